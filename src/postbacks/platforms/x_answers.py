"""Reading the answers of X's Conversion API (sheet x, 7 and 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.answer_table import Row, failed_check, pick, reset_wait, settled, unknown_answer, words
from postbacks.platforms.base import Answer, CheckResult, Response, TransportFailure
from postbacks.platforms.reading import gateway_verdict, json_object, retry_after, same_for_all, transport_verdict

_EVENT_ID = (
    "Correct the event's event_id in the destination's events: copy the tw-… ID of a single event from X Events "
    "Manager (not the pixel's ID), then retry the delivery."
)
_DATA = "Correct what X names, then retry the delivery."
_OUR_FAULT = "The event has a shape that X does not take. Report it to Postbacks with the attempt log."
_ACCESS = (
    "Give the user of these credentials AD_MANAGER or ACCOUNT_ADMIN on the ad account that owns the pixel, and "
    "compare credentials.pixel_id with X Events Manager."
)
PIXEL_REMEDY = (
    "Generate a new Conversion API access token in X Events Manager for this very pixel and put it into the "
    "destination's credentials as pixel_token."
)
OAUTH_REMEDY = (
    "Check consumer_key, consumer_secret, access_token and access_token_secret (access tokens must be made again "
    "after the Ads API was approved) and this machine's clock (NTP). X may be ending OAuth 1.0a here: a pixel_token "
    "needs no developer app."
)
_IN_BETWEEN = (
    "This was not X itself: check POSTBACKS_X_API_BASE, and what stands between this machine and X (proxy, firewall)."
)

ANSWERS: tuple[Row, ...] = (
    Row((400, 404), Kind.SPLIT, "X knows no such event.", _EVENT_ID, text="is not a single event tag"),
    Row((400, 404), Kind.SPLIT, "The event ID is of another account.", _EVENT_ID, text="does not belong to provided"),
    Row((400, 404), Kind.SPLIT, "The event ID is missing.", _EVENT_ID, text="Event ID was not found"),
    Row((400, 404), Kind.SPLIT, "X knows no such event.", _EVENT_ID, code="WEB_EVENT_TAG_NOT_FOUND"),
    Row((400,), Kind.SPLIT, "The time has a wrong shape.", _OUR_FAULT, text="Expected Time in"),
    Row((400,), Kind.SPLIT, "More than 500 conversions.", _OUR_FAULT, text="Conversion count limit"),
    Row((400,), Kind.SPLIT, "Something required is missing.", _OUR_FAULT, code="MISSING_PARAMETER"),
    Row((400, 404), Kind.SPLIT, "X refused a value.", _DATA, code="INVALID_PARAMETER"),
    Row((400,), Kind.SPLIT, "X refused the request.", _DATA),
    Row((401,), Kind.HOLD, "X refused the credentials."),
    Row(
        (403,),
        Kind.HOLD,
        "The developer app has no Ads API access.",
        "Request Ads API access (level Conversion Only) for the app and make its access tokens again, or use a "
        "pixel_token.",
        code="UNAUTHORIZED_CLIENT_APPLICATION",
    ),
    Row((403,), Kind.HOLD, "X forbids it.", _ACCESS),
    Row((404,), Kind.HOLD, "No access to the account that owns the pixel.", _ACCESS, code="NOT_FOUND"),
    Row(
        (404,),
        Kind.HOLD,
        "X knows no such address.",
        "Compare credentials.pixel_id and options.api_version with X's documentation; an event's ID is no pixel ID.",
        code="ROUTE_NOT_FOUND",
    ),
    Row(
        (405,),
        Kind.HOLD,
        "X does not take a POST at this address.",
        "Check options.api_version and X_API_BASE.",
        code="METHOD_NOT_ALLOWED",
    ),
    Row((408,), Kind.RETRY, "X cancelled the request.", code="CANCELLED_REQUEST"),
    Row((423,), Kind.RETRY, "X could not get a lock in time.", code="LOCK_ACQUISITION_TIMEOUT"),
    Row((429,), Kind.RETRY, "Too many requests.", throttled=True),
    Row((500,), Kind.RETRY, "X had an internal error.", code="INTERNAL_ERROR"),
    Row((503,), Kind.RETRY, "X is over capacity.", throttled=True, code="OVER_CAPACITY"),
    Row((503,), Kind.RETRY, "X is unavailable."),
)
"""Status, code and text → verdict (sheet x, 8).

An unknown event ID is a fault of one event's mapping, so it refuses that event and does not hold the destination:
the other events of the game are mapped to IDs of their own and still go through.
"""

_RESET_HEADERS = ("x-account-rate-limit-reset", "x-rate-limit-reset")
"""Unix seconds; the account's limit comes first where both are there (sheet x, 7)."""

_NAMED_EVENT_ID = re.compile(r"event_id \(([^)]{1,200})\)")


@dataclass(frozen=True, slots=True)
class _Error:
    code: str
    message: str
    raw: Mapping[str, Any]


def read_answer(answer: Answer, parts: Sequence[str], now: datetime, *, oauth: bool) -> Sequence[Verdict]:
    """One verdict for each of `parts` (the conversions of the request as JSON), in that order."""
    if isinstance(answer, TransportFailure):
        return same_for_all(transport_verdict(answer), len(parts))
    errors = _errors(answer)
    if 200 <= answer.status < 300:
        return same_for_all(_read_success(answer, errors, len(parts), now), len(parts))
    verdict = _decisive(answer, errors, len(parts), now, oauth=oauth)
    if answer.status == 503 and verdict.retry_after:
        # Who says when to come back means all of us, not this one request.
        verdict = replace(verdict, throttled=True)
    if verdict.kind is not Kind.SPLIT:
        return same_for_all(verdict, len(parts))
    return _take_out(errors, parts) or same_for_all(verdict, len(parts))


def read_check(answer: Answer, now: datetime, *, oauth: bool) -> CheckResult:
    """Reads the answer to a request without conversions: X asks for the missing list once it knows who asks."""
    if isinstance(answer, Response):
        errors = _errors(answer)
        if 200 <= answer.status < 300 and not errors and _processed(answer) is not None:
            return CheckResult(ok=True, message="X accepts the credentials for this pixel; no conversion was sent.")
        if answer.status == 400 and any(error.code or error.message for error in errors):
            return CheckResult(
                ok=True, message="X accepts the credentials for this pixel and asks for conversions; none was sent."
            )
        if 200 <= answer.status < 300 or answer.status == 400:
            # A page of something in between: nothing was learned, and no conversion is to blame.
            return failed_check(replace(unknown_answer(answer), remedy=_IN_BETWEEN))
    return failed_check(read_answer(answer, ("{}",), now, oauth=oauth)[0])


def _read_success(response: Response, errors: Sequence[_Error], count: int, now: datetime) -> Verdict:
    """A 2xx counts only as far as `conversions_processed` goes (sheet x, 8)."""
    processed = _processed(response)
    if errors or processed is None:
        unknown = unknown_answer(response, "X answered 2xx without saying how many conversions it processed.")
        return replace(unknown, ambiguous=True)
    if processed >= count:
        spent = _is_spent(response.headers)
        debug_id = words(_data(response).get("debug_id"))
        return Verdict(
            Kind.DELIVERED,
            code=f"http_{response.status}",
            message=f"conversions_processed {processed}" + (f", debug_id {debug_id}" if debug_id else ""),
            # With nothing left in the window the next request would only be refused.
            throttled=spent,
            retry_after=reset_wait(response.headers, _RESET_HEADERS, now) if spent else None,
        )
    message = f"X processed {processed} of {count} conversions."
    if processed <= 0:
        # Nothing was counted, so a repeat cannot count twice.
        return Verdict(Kind.RETRY, code="none_processed", message=message, remedy=_COMPARE)
    # X does not say which ones, and a repeat may count the others twice: a person has to decide.
    return Verdict(Kind.REFUSED, code="partly_processed", message=message, remedy=_COMPARE)


def _data(response: Response) -> Mapping[str, Any]:
    data = (json_object(response) or {}).get("data")
    return data if isinstance(data, dict) else {}


def _processed(response: Response) -> int | None:
    """`conversions_processed`, or `None` where the answer does not say."""
    number = _data(response).get("conversions_processed")
    # JSON's true is an int in Python.
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _is_spent(headers: Mapping[str, str]) -> bool:
    """Whether nothing is left in the window; the account's limit comes first where both are there (sheet x, 7)."""
    left = (headers.get(name) for name in ("x-account-rate-limit-remaining", "x-rate-limit-remaining"))
    return next((value for value in left if value is not None), "").strip() == "0"


_COMPARE = "Compare the counts in X Events Manager before a replay: X may count a repeat twice."


def _errors(response: Response) -> Sequence[_Error]:
    """The entries of `errors`; none where the body is a gateway's page."""
    listed = (json_object(response) or {}).get("errors")
    return tuple(
        _Error(words(entry.get("code")), words(entry.get("message")), entry)
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict)
    )


def _decisive(response: Response, errors: Sequence[_Error], count: int, now: datetime, *, oauth: bool) -> Verdict:
    """The verdict for the request as a whole; of several errors one that concerns the destination comes first."""
    status = response.status
    found = [(error, pick(ANSWERS, status, error.message, error.code)) for error in errors]
    rows = [(error, row) for error, row in found if row is not None]
    if not rows:
        rows = [(_Error("", "", {}), row) for row in (pick(ANSWERS, status, ""),) if row is not None]
    if not rows:
        return _unlisted(response, errors, now)
    error, row = min(rows, key=lambda item: (Kind.HOLD, Kind.SPLIT, Kind.RETRY).index(item[1].kind))
    if status == 401:
        row = replace(row, remedy=OAUTH_REMEDY if oauth else PIXEL_REMEDY)
    wait = _wait(response, now) if row.kind is Kind.RETRY else None
    return settled(row, code=error.code or f"http_{status}", message=error.message, batch=count, retry_after=wait)


def _unlisted(response: Response, errors: Sequence[_Error], now: datetime) -> Verdict:
    """An answer outside the table. Without X's own error body nobody knows whether it was stored (sheet x, 6)."""
    verdict = gateway_verdict(response, now) or unknown_answer(response)
    error = errors[0] if errors else _Error("", "", {})
    return replace(
        verdict,
        code=error.code or verdict.code,
        message=error.message or verdict.message,
        ambiguous=verdict.ambiguous or (not errors and (response.status == 408 or response.status >= 500)),
    )


def _take_out(errors: Sequence[_Error], parts: Sequence[str]) -> Sequence[Verdict] | None:
    """Verdicts where the errors name event IDs of the request; `None` where they do not, so that it is split.

    Errors carry no index, but X repeats the event ID that it does not know. Without this a mistyped event ID would
    have every batch halved down to each single event that bears it.
    """
    named: dict[str, _Error] = {}
    for error in errors:
        found = _NAMED_EVENT_ID.search(error.message)
        if found is not None:
            named.setdefault(found[1], error)
    if not named:
        return None
    culprits = [named.get(str(orjson.loads(part).get("event_id"))) for part in parts]
    if not any(culprits):
        return None
    other = Verdict(
        Kind.RETRY,
        code="batch_refused",
        message="X refused another conversion of the same request and stored none of them.",
        retry_after=0.0,
        excerpt="",
    )
    return tuple(
        other
        if error is None
        else Verdict(
            Kind.REFUSED,
            code=error.code,
            message=error.message,
            remedy=_EVENT_ID,
            excerpt=orjson.dumps({"errors": [error.raw]}).decode(),
        )
        for error in culprits
    )


def _wait(response: Response, now: datetime) -> float | None:
    """Seconds that X asks for: `retry-after` (503), else the reset of the rate limit (sheet x, 7)."""
    wait = retry_after(response, now)
    if wait is not None or response.status != 429:
        return wait
    return reset_wait(response.headers, _RESET_HEADERS, now)
