"""What Meta's answers mean (sheet meta, 8 and 8.1).

Codes and subcodes decide, never the texts: Meta writes those in the language of the token's owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import Answer, Response, TransportFailure
from postbacks.platforms.code_table import CodeRow, CodeTable, number, platform_words
from postbacks.platforms.reading import LONGEST_WAIT, gateway_verdict, json_object, retry_after, transport_verdict

_RENEW: Final = (
    "Generate a new token in Events Manager (dataset, Settings, Conversions API) and put it as `access_token`; "
    "what is held then goes out."
)
_PROVE: Final = (
    "Put the secret of the app that owns the token as `app_secret`, or turn off 'Require app secret' in the app."
)
_DATASET: Final = (
    "Compare `dataset_id` with Events Manager (dataset, Settings); for a system user's token assign the dataset to "
    "that user with 'Manage'."
)
_PERMISSION: Final = (
    "Generate the token in Events Manager as a person with developer rights, or give the system user `ads_management` "
    "and the dataset."
)
_VERSION: Final = "Set the option `api_version` to a current version, or remove it to use the default."
_WAIT: Final = "Nothing to do: sending goes on when Meta allows it."
_AGAIN: Final = "Nothing to do: it is tried again."
_LOOK: Final = "Compare the request in the attempt log with Meta's words."
_MESSAGING: Final = "Set the option `action_source` back to `website`."

TABLE: Final = CodeTable(
    (
        # Credentials, permission, configuration.
        CodeRow("190", Kind.HOLD, "The access token is invalid or has expired.", _RENEW),
        CodeRow("190/458", Kind.HOLD, "The app behind the access token was removed.", _RENEW),
        CodeRow("190/459", Kind.HOLD, "The token's owner must pass a security check at Meta first.", _RENEW),
        CodeRow("190/460", Kind.HOLD, "The token's owner changed the password.", _RENEW),
        CodeRow("190/463", Kind.HOLD, "The access token has expired.", _RENEW),
        CodeRow("190/464", Kind.HOLD, "The token's owner is not confirmed.", _RENEW),
        CodeRow("190/467", Kind.HOLD, "The access token was invalidated.", _RENEW),
        CodeRow("102", Kind.HOLD, "The token's session is not valid.", _RENEW),
        CodeRow("104", Kind.HOLD, "The token or its app secret proof is missing or wrong.", f"{_RENEW} {_PROVE}"),
        CodeRow("100/33", Kind.HOLD, "The dataset is unknown, or the token has no right to it.", _DATASET),
        CodeRow("100/34", Kind.HOLD, "The dataset was not found.", _DATASET),
        CodeRow("3", Kind.HOLD, "The token's app may not use the Conversions API.", _PERMISSION),
        CodeRow("10", Kind.HOLD, "The token lacks a permission.", _PERMISSION),
        CodeRow("200-299", Kind.HOLD, "The token lacks a permission.", _PERMISSION),
        CodeRow("803", Kind.HOLD, "The dataset ID is unknown to Meta.", _DATASET),
        CodeRow("2635", Kind.HOLD, "This Graph API version has been retired.", _VERSION),
        CodeRow("2500", Kind.HOLD, "Meta cannot read the address of the request.", f"{_VERSION} {_DATASET}"),
        # One event.
        CodeRow("100/2804001", Kind.REFUSED, "The click ID (`fbc`) is wrongly formatted.", _LOOK),
        CodeRow("100/2804003", Kind.EXPIRED, "The event is older than the 7 days that Meta takes."),
        CodeRow(
            "100/2804004",
            Kind.REFUSED,
            "The event lies in Meta's future.",
            "Set the clock of this machine (NTP), then replay.",
        ),
        CodeRow("100/2804009", Kind.REFUSED, "A Purchase needs a value.", "Send `value` and `currency` with it."),
        CodeRow("100/2804010", Kind.REFUSED, "A Purchase needs a currency.", "Send `value` and `currency` with it."),
        CodeRow("100/2804019", Kind.REFUSED, "A required field is missing.", _LOOK),
        CodeRow("100/2804036", Kind.REFUSED, "The lead ID is unknown.", _LOOK),
        CodeRow("100/2804043", Kind.REFUSED, "The OS version of an app event is missing.", _LOOK),
        CodeRow("100/2804050", Kind.REFUSED, "The event says too little about the player.", _LOOK),
        CodeRow("100/2804066", Kind.REFUSED, "This event name is not allowed for business messaging.", _MESSAGING),
        CodeRow("100/2804072", Kind.REFUSED, "The page of a business message does not match.", _MESSAGING),
        CodeRow("100/2804087", Kind.REFUSED, "The click ID of a business message is wrong.", _MESSAGING),
        CodeRow(
            "100/2804007, 100/2804016, 100/2804017, 100/2804048", Kind.REFUSED, "Meta found the event invalid.", _LOOK
        ),
        CodeRow("100", Kind.REFUSED, "Meta found a parameter invalid.", _LOOK),
        # Passing reasons.
        CodeRow("1", Kind.RETRY, "Meta had an unknown fault.", _AGAIN),
        CodeRow("2", Kind.RETRY, "Meta's service is not available for the moment.", _AGAIN),
        CodeRow("5000", Kind.RETRY, "Meta had an internal fault.", _AGAIN),
        CodeRow("21009", Kind.RETRY, "The dataset cannot take events for the moment.", _AGAIN),
        CodeRow("4", Kind.RETRY, "The app reached its request limit.", _WAIT, throttled=True),
        CodeRow("17, 32, 341, 613", Kind.RETRY, "Meta asks for fewer requests.", _WAIT, throttled=True),
        CodeRow("80000-80014", Kind.RETRY, "The business reached its request limit.", _WAIT, throttled=True),
        CodeRow(
            "368",
            Kind.RETRY,
            "Meta blocked this account for policy reasons, for some time.",
            "Look in Business Support Home for what was blocked and ask for a review there.",
            throttled=True,
            retry_after=3600,
        ),
    )
)

_PROOF_MISSING: Final = CodeRow(
    "100", Kind.HOLD, "Meta asks for an app secret proof, or the one sent is wrong.", _PROVE
)
"""Has no subcode, so it is no row of its own: the error's type tells it from a bad parameter (sheet meta, rule 5).

The name of the parameter does so as well; it stands untranslated in the localised text (sheet meta, 8.1)."""

_UNKNOWN_CODE: Final = CodeRow(
    "0", Kind.RETRY, "Meta gave a code that is not in our table.", "It is tried again; look at Meta's words."
)
"""Nothing is split: Meta complains of an event with code 100 alone, and of the destination with all other codes."""
_UNREADABLE: Final = CodeRow(
    "0",
    Kind.RETRY,
    "The answer is not one of the Conversions API.",
    "It is tried again; look whether a proxy stands between this service and Meta.",
)
_TOO_LARGE: Final = replace(_UNREADABLE, one_by_one=True)
"""413: nobody knows the limit (sheet meta, 7), so that a smaller request may pass."""

_USAGE_HEADERS: Final = ("x-business-use-case-usage", "x-ad-account-usage", "x-app-usage")
_USED_UP: Final = ("call_count", "total_cputime", "total_time")
"""Shares of what is allowed, in per cent (sheet meta, 7)."""


def read_answer(answer: Answer, now: datetime, count: int, secrets: Iterable[str | None]) -> Verdict:
    """The verdict for each of the `count` deliveries in one request: Meta answers for a request as a whole."""
    if isinstance(answer, TransportFailure):
        return transport_verdict(answer)
    body = json_object(answer) or {}
    error = body.get("error")
    if isinstance(error, dict):
        return _read_error(answer, error, now, count, secrets)
    if 200 <= answer.status < 300:
        return _read_success(answer, {} if error else body, count, secrets)
    return gateway_verdict(answer, now) or _without_code(answer, "", count)


def _without_code(answer: Response, words: str, count: int) -> Verdict:
    row = _TOO_LARGE if answer.status == 413 else _UNREADABLE
    return row.verdict(f"http_{answer.status}", words, count)


def version_warning(answer: Answer, secrets: Iterable[str | None]) -> str:
    """What Meta says of a retired version that it upgraded by itself; mostly nothing (sheet meta, 1)."""
    headers = answer.headers if isinstance(answer, Response) else {}
    return platform_words([headers.get("x-ad-api-version-warning")], secrets)


def _read_success(answer: Response, body: dict[str, Any], count: int, secrets: Iterable[str | None]) -> Verdict:
    received = number(body, "events_received")
    if received is None:
        return Verdict(
            Kind.RETRY,
            code="unreadable_answer",
            message="Meta answered with success, but not in the form of the Conversions API.",
            remedy="It is tried again; look whether a proxy stands between this service and Meta.",
            ambiguous=True,
        )
    if received < count:
        return Verdict(
            # Sent alone, each event shows for itself; those already stored are known to Meta by their event_id.
            Kind.SPLIT if count > 1 else Kind.RETRY,
            code="events_received",
            message=f"Meta took {received} of {count} events and does not say which.",
            remedy=_AGAIN,
            ambiguous=True,
        )
    usage = list(_usage(answer))
    pause = _regain_seconds(usage)
    warning = version_warning(answer, secrets)
    notes = body.get("messages")
    return Verdict(
        Kind.DELIVERED,
        # `messages` was empty in every answer that anybody wrote down; what stands there is worth reading.
        message=platform_words([warning, *(notes if isinstance(notes, list) else ())], secrets),
        remedy=_VERSION if warning else "",
        retry_after=pause,
        throttled=pause is not None or any(_figure(one, key) >= 100 for one in usage for key in _USED_UP),
    )


def _read_error(
    answer: Response, error: dict[str, Any], now: datetime, count: int, secrets: Iterable[str | None]
) -> Verdict:
    code, subcode = number(error, "code"), number(error, "error_subcode")
    texts = (error.get("message"), error.get("error_user_title"), error.get("error_user_msg"))
    words = platform_words(texts, secrets)
    gateway = gateway_verdict(answer, now)
    if code is None:
        return gateway or _without_code(answer, words, count)
    name = f"{code}/{subcode}" if subcode else str(code)
    row = _row(error, code, subcode)
    if error.get("is_transient") is True and (row is None or row.kind is not Kind.RETRY):
        row = CodeRow("0", Kind.RETRY, "Meta calls this fault a passing one.", _AGAIN)
    # Meta's order of decision puts 5xx first; only token and permission were seen with 500 (sheet meta, 8.1).
    if gateway is not None and (row is None or (row.kind is not Kind.RETRY and not _may_come_with_500(code))):
        return replace(gateway, code=name, message=words or gateway.message)
    waits = [seconds for seconds in (retry_after(answer, now), _regain_seconds(_usage(answer))) if seconds is not None]
    verdict = (row or _UNKNOWN_CODE).verdict(name, words, count, max(waits, default=None))
    return replace(verdict, throttled=True) if answer.status == 429 and verdict.kind is Kind.RETRY else verdict


def _may_come_with_500(code: int) -> bool:
    return code in (3, 10, 190) or 200 <= code <= 299


def _row(error: dict[str, Any], code: int, subcode: int | None) -> CodeRow | None:
    if code < 0:
        return TABLE.find(5000)
    if code == 100 and not subcode and (error.get("type") == "GraphMethodException" or _names_proof(error)):
        return _PROOF_MISSING
    return TABLE.find(code, subcode)


def _names_proof(error: dict[str, Any]) -> bool:
    return "appsecret_proof" in str(error.get("message")).casefold()


def _usage(answer: Response) -> Iterator[dict[str, Any]]:
    """Every object of the usage headers; they lie at different depths (sheet meta, 7)."""
    pending: list[Any] = []
    for header in _USAGE_HEADERS:
        try:
            pending.append(orjson.loads(answer.headers.get(header, "")))
        except orjson.JSONDecodeError:
            continue
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        if isinstance(value, dict):
            yield value
            pending.extend(value.values())


def _regain_seconds(usage: Iterable[dict[str, Any]]) -> float | None:
    """The longest `estimated_time_to_regain_access`, which is in minutes (sheet meta, 7); a day at most."""
    longest = max((_figure(one, "estimated_time_to_regain_access") * 60.0 for one in usage), default=0.0)
    return min(longest, LONGEST_WAIT) or None


def _figure(usage: dict[str, Any], key: str) -> float:
    value = usage.get(key)
    return float(value) if isinstance(value, (int, float)) and value > 0 else 0.0
