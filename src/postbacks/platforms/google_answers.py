"""Google's error envelope, and what both routes read from it alike (sheet google, 4.2 and 4.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import CheckResult, Response
from postbacks.platforms.reading import gateway_verdict, json_object

SIX_HOURS: Final = 6 * 3600.0
ONE_DAY: Final = 24 * 3600.0

ANSWER_LIMIT: Final = 128 * 1024
"""Bytes after which `Response.body` is cut."""

NO_CLOCK: Final = datetime.max.replace(tzinfo=UTC)
"""Stands for the time where an answer is read only for what it says, not for when to try again."""

_WORDS = 500


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an answer table: what a code of Google's means for a delivery."""

    kind: Kind
    meaning: str
    remedy: str = ""
    retry_after: float | None = None
    """Seconds."""
    may_last: bool = False
    """A RETRY that may never succeed: it must not keep innocent neighbours waiting."""

    def verdict(self, code: str, said: str = "", excerpt: str | None = None) -> Verdict:
        """The verdict under `code`, with Google's own words where it gave any."""
        return Verdict(
            self.kind,
            code=code,
            message=said or self.meaning,
            remedy=self.remedy,
            retry_after=self.retry_after,
            excerpt=excerpt,
        )


PARKED: Final = Row(
    Kind.REFUSED,
    "Google gave a reason that this version of Postbacks does not know; the conversion is parked, not lost.",
    "Look the code up in Google's documentation. Replay the delivery once the cause is gone.",
)
"""Google adds reasons without a new version (sheet google, 2.4 and 9 no. 10)."""

STALE_TOKEN: Final = Verdict(
    Kind.RETRY,
    message="Google refused the access token.",
    remedy=(
        "A fresh token is fetched by itself. If that one is refused too, make a new key or refresh token, put it into "
        "the credentials, then `postbacks doctor`."
    ),
    stale_token=True,
)

ACCESS_REASONS: Final[Mapping[str, Row]] = {
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": Row(
        Kind.HOLD,
        "The access token lacks the scope of the chosen route.",
        "A refresh token made for the Google Ads API does not work with Data Manager, nor the other way round: ask "
        "for consent again with both scopes (datamanager and adwords), or use a service account.",
    ),
    "SERVICE_DISABLED": Row(
        Kind.HOLD,
        "The API is not enabled in the Google Cloud project.",
        "Enable the Data Manager API (route ads_api: the Google Ads API) in the Cloud project of the service account "
        "or OAuth client, wait a few minutes, then `postbacks doctor`.",
    ),
    "PERMISSION_DENIED": Row(
        Kind.HOLD,
        "The identity may not write to this Ads account.",
        "Add the service account's e-mail address (or the user) under Admin › Access and security of the Ads account "
        "with the Standard role. Access through a manager account: set login_account_id to the manager's ID.",
    ),
}
"""403: `ErrorInfo.reason` → what it means; any other reason reads as `PERMISSION_DENIED`."""

_CERTAINTY = (Kind.DELIVERED, Kind.REFUSED, Kind.HOLD, Kind.SPLIT, Kind.RETRY)


@dataclass(frozen=True, slots=True)
class Violation:
    """One entry of `google.rpc.BadRequest`."""

    field: str
    reason: str
    description: str
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GoogleError:
    """The `error` object of an answer."""

    status: str
    """`INVALID_ARGUMENT`, …"""
    message: str
    reason: str = ""
    """`ErrorInfo.reason`."""
    violations: Sequence[Violation] = ()
    failures: Sequence[Mapping[str, Any]] = ()
    """`GoogleAdsFailure.errors` (Google Ads API only)."""
    retry_delay: float | None = None
    """Seconds, from `RetryInfo`."""

    def excerpt(self) -> str:
        """The error without its details: what concerns a conversion that the details do not name."""
        return orjson.dumps({"error": {"status": self.status, "message": self.message}}).decode()


def text(value: object) -> str:
    """The value where it is text, else nothing."""
    return value if isinstance(value, str) else ""


def words(value: object) -> str:
    """Google's own words, short enough for a table and without the NUL that PostgreSQL refuses."""
    return text(value).replace("\x00", "")[:_WORDS]


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def seconds(value: object) -> float | None:
    """Seconds of a JSON duration such as `900s`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s", text(value))
    return float(match[1]) if match else None


def whole(value: object) -> int | None:
    """A JSON integer, which Google writes as a number or (int64) as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value) else None


def details(status: Mapping[str, Any], type_name: str) -> list[dict[str, Any]]:
    """The details of a `google.rpc.Status` whose `@type` ends with `type_name`."""
    return [item for item in objects(status.get("details")) if text(item.get("@type")).endswith(type_name)]


def read_error(response: Response) -> GoogleError | None:
    """The error object of the body, or `None` where Google did not write it (an HTML page of a gateway)."""
    error = (json_object(response) or {}).get("error")
    if not isinstance(error, dict):
        return None
    infos, delays = details(error, "google.rpc.ErrorInfo"), details(error, "google.rpc.RetryInfo")
    return GoogleError(
        status=text(error.get("status")),
        message=words(error.get("message")),
        reason=text(infos[0].get("reason")) if infos else "",
        violations=[
            Violation(text(item.get("field")), text(item.get("reason")), words(item.get("description")), item)
            for detail in details(error, "google.rpc.BadRequest")
            for item in objects(detail.get("fieldViolations"))
        ],
        failures=[
            failure for detail in details(error, ".GoogleAdsFailure") for failure in objects(detail.get("errors"))
        ],
        retry_delay=seconds(delays[0].get("retryDelay")) if delays else None,
    )


def decisive(rows: Iterable[tuple[str, Row]]) -> tuple[str, Row]:
    """Of several codes for one conversion the one that settles it: an "already there", else what never passes."""
    return min(rows, key=lambda item: _CERTAINTY.index(item[1].kind))


def refusal(
    response: Response, error: GoogleError | None, now: datetime, *, code: str = "", pause: float | None = None
) -> Verdict | None:
    """What 401, 403, 429 and 5xx mean for the whole request; `None` for every other status.

    `code` and `pause` (seconds) are what a route's own body says more exactly. A 429 that names no pause (Data Manager
    promises none; sheet google, rule 40) leaves it to the dispatcher, whose own pauses grow up to a minute.
    """
    said = error.message if error else ""
    code = code or (error.reason if error else "")
    if response.status == 401:
        return replace(STALE_TOKEN, code=code or "http_401", message=said or STALE_TOKEN.message)
    if response.status == 403 and error:
        row = ACCESS_REASONS.get(error.reason, ACCESS_REASONS["PERMISSION_DENIED"])
        return row.verdict(code or error.status or "http_403", said)
    verdict = gateway_verdict(response, now)
    if not verdict:
        return None
    asked = [wait for wait in (verdict.retry_after, error.retry_delay if error else None, pause) if wait]
    return replace(
        verdict,
        code=code or verdict.code,
        message=said or verdict.message,
        retry_after=max(asked, default=None),
    )


def unreadable(response: Response, count: int = 1) -> Verdict:
    """An answer that is not Google's JSON, or says nothing that is understood: tried again, in sight.

    Where it was only too long to be kept, smaller requests (of `count` conversions now) get shorter answers.
    """
    if count > 1 and len(response.body) >= ANSWER_LIMIT:
        return Verdict(Kind.SPLIT, code="answer_too_long", message="Google's answer was too long to be read.")
    return Verdict(
        Kind.RETRY,
        code=f"http_{response.status}",
        message=f"Google's answer ({response.status}) could not be understood.",
        ambiguous=response.status == 200,
    )


def unlocated(error: GoogleError, count: int, *, code: str = "", said: str = "") -> Verdict:
    """The request was refused for something that the answer does not pin to a conversion."""
    return Verdict(
        Kind.SPLIT if count > 1 else Kind.REFUSED,
        code=code or error.reason or error.status,
        message=said or error.message or "Google refused the request.",
        excerpt=error.excerpt(),
    )


def by_field(
    error: GoogleError,
    count: int,
    event_path: re.Pattern[str],
    table: Mapping[str, Row],
    setting_row: Row | None = None,
) -> list[Verdict]:
    """Verdicts of a request that was refused whole, from its field violations (sheet google, 4.3).

    Where violations name events (`event_path`, whose group 1 is the place in the body), those events are refused and
    the others go out again at once: nothing of the request was stored. A violation under `destinations[…]` concerns
    all and reads as `setting_row` unless the table knows its reason.
    """
    named: dict[int, list[tuple[str, Row, Violation]]] = {}
    common: list[tuple[str, Row, Violation]] = []
    for violation in error.violations:
        code = violation.reason or error.status
        row = table.get(violation.reason)
        match = event_path.match(violation.field)
        if match and int(match[1]) < count:
            row = row or Row(Kind.REFUSED, "Google refuses this event.")
            named.setdefault(int(match[1]), []).append((code, row, violation))
            continue
        if violation.field.startswith("destinations"):
            row = row or setting_row
        if row:
            common.append((code, row, violation))
    for_others = _for_others(error, count, common, named=bool(named), table=table)
    return [_worst(named[place]) if place in named else for_others for place in range(count)]


def _for_others(
    error: GoogleError,
    count: int,
    common: list[tuple[str, Row, Violation]],
    *,
    named: bool,
    table: Mapping[str, Row],
) -> Verdict:
    if common:
        verdict = _worst(common)
        if verdict.kind in (Kind.REFUSED, Kind.SPLIT):
            return replace(verdict, kind=Kind.SPLIT if count > 1 else Kind.REFUSED)
        return verdict
    if named:
        return Verdict(
            Kind.RETRY,
            code="batch_rejected",
            message="Google refused the whole request because of another event in it and stored nothing.",
            retry_after=0,
            excerpt=error.excerpt(),
        )
    if error.violations:
        return unlocated(error, count, code=error.violations[0].reason, said=_said(error.violations[0]))
    row = table.get(error.reason)
    if row and row.kind in (Kind.HOLD, Kind.RETRY):
        return row.verdict(error.reason, error.message, error.excerpt())
    return unlocated(error, count)


def _worst(entries: list[tuple[str, Row, Violation]]) -> Verdict:
    code, row = decisive((code, row) for code, row, _ in entries)
    violation = next(violation for _, known, violation in entries if known is row)
    return row.verdict(code, _said(violation), orjson.dumps(violation.raw).decode())


def _said(violation: Violation) -> str:
    return f"{violation.field}: {violation.description or violation.reason}"


def failed_check(verdict: Verdict) -> CheckResult:
    """`doctor`'s answer for a refusal."""
    return CheckResult(
        ok=False,
        code=verdict.code,
        message=verdict.message,
        remedy=verdict.remedy or "Google could not be asked just now; run the check again in a few minutes.",
    )


def reached(actions: Sequence[str], at_most: int) -> CheckResult:
    """`doctor`'s yes, which says how far it goes: `at_most` conversion actions can be asked about."""
    if not actions:
        about = "it maps no event yet"
    elif len(actions) > at_most:
        about = f"{at_most} of its {len(actions)} conversion actions were asked about"
    else:
        about = "all its conversion actions were asked about"
    return CheckResult(ok=True, message=f"Google accepts the destination ({about}); nothing was recorded.")
