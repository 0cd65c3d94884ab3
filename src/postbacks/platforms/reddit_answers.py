"""Reading the answers of Reddit's Conversions API v3 (sheet reddit, 7 and 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.answer_table import Row, failed_check, pick, reset_wait, settled, unknown_answer, words
from postbacks.platforms.base import Answer, CheckResult, Response, TransportFailure
from postbacks.platforms.reading import gateway_verdict, json_object, retry_after, same_for_all, transport_verdict

_REGENERATE = (
    "Generate a conversion access token in Reddit Events Manager (Conversions API), put it into the destination's "
    "credentials as access_token; the held deliveries then go out."
)
_PIXEL = (
    "Compare credentials.pixel_id with the pixel in Reddit Events Manager; the token must come from the same pixel's "
    "Conversions API panel."
)
_OUR_FAULT = "The request has a shape that Reddit does not take. Report it to Postbacks with the attempt log."

ANSWERS: tuple[Row, ...] = (
    Row((400,), Kind.SPLIT, "The request was not understood.", _OUR_FAULT, text="JSON error"),
    Row((400,), Kind.SPLIT, "The request was refused.", "Correct what Reddit names, then retry the delivery."),
    Row((401,), Kind.HOLD, "The request carried no token.", _REGENERATE, text="No bearer token"),
    Row((401,), Kind.HOLD, "The access token is wrong or was revoked.", _REGENERATE),
    Row(
        (403,),
        Kind.HOLD,
        "The token lacks the scope adsconversions.",
        "Authorise the OAuth token again with the scope adsconversions, or use a conversion access token.",
        text="adsconversions scope",
    ),
    Row((403,), Kind.HOLD, "The token may not write to this pixel.", _PIXEL),
    Row((404,), Kind.HOLD, "Reddit knows no such pixel.", _PIXEL),
    Row((413,), Kind.SPLIT, "The request is too large."),
    Row(
        (429,),
        Kind.RETRY,
        "Reddit limits this User-Agent.",
        "Set options.user_agent to one of your own, such as server:com.example.game:1.0 (by /u/your-account).",
        text="user agent",
        throttled=True,
    ),
    Row((429,), Kind.RETRY, "Too many requests or events.", throttled=True),
    Row((500,), Kind.RETRY, "Reddit is unavailable; nothing was stored.", text="No conversion events were processed"),
)
"""Status and text → verdict (sheet reddit, 8). 502, 503, 504 and other 5xx: `reading.gateway_verdict`."""

FIELD_FAULTS: tuple[Row, ...] = (
    Row((400,), Kind.EXPIRED, "Older than the 168 hours that Reddit takes.", text="must be less than 168h"),
    Row(
        (400,),
        Kind.RETRY,
        "Reddit takes the event for one of the future.",
        "Synchronise this machine's clock (NTP): it is ahead of Reddit's.",
        text="in the future",
    ),
    Row((400,), Kind.REFUSED, "Reddit refused the event.", "Correct what Reddit names, then retry the delivery."),
)
"""Text of an entry of `error.fields[]` → verdict for the event that it names (sheet reddit, rules 15 to 28)."""

_INDEX = re.compile(r"\bevents\[(\d{1,6})\]")
_PROCESSED = re.compile(r"processed (\d{1,9}) conversion event", re.IGNORECASE)
_RATE_LIMIT_ITEM = re.compile(r";\s*r=(\d{1,12}).*?;\s*t=(\d{1,9})")


def read_answer(answer: Answer, count: int, now: datetime) -> Sequence[Verdict]:
    """One verdict for each of the `count` events of a request, in its order."""
    if isinstance(answer, TransportFailure):
        return same_for_all(transport_verdict(answer), count)
    if 200 <= answer.status < 300:
        return same_for_all(_read_success(answer, count), count)
    body = json_object(answer)
    error = _error(body)
    message = words(error.get("message")) or words(error.get("explanation"))
    if answer.status == 400 and (named := _named(error, count)):
        return _take_out(named, error, message, count)
    row = pick(ANSWERS, answer.status, message)
    if row is None:
        unlisted = gateway_verdict(answer, now) or unknown_answer(answer)
        return same_for_all(replace(unlisted, message=message or unlisted.message), count)
    wait = _wait(answer, now) if row.kind is Kind.RETRY else None
    return same_for_all(
        settled(row, code=f"http_{answer.status}", message=message, batch=count, retry_after=wait), count
    )


def read_check(answer: Answer, now: datetime) -> CheckResult:
    """Reads the answer to a request without events: Reddit refuses it with 400 after token and pixel have passed."""
    if isinstance(answer, Response) and (answer.status == 400 or 200 <= answer.status < 300):
        return CheckResult(ok=True, message="Reddit accepts the access token for this pixel; no event was sent.")
    return failed_check(read_answer(answer, 1, now)[0])


def _read_success(response: Response, count: int) -> Verdict:
    """A 2xx counts only with Reddit's own words, and only for as many events as were sent (sheet reddit, 8)."""
    body = json_object(response) or {}
    data = body.get("data")
    message = words(data.get("message") if isinstance(data, dict) else body.get("message"))
    if not message or body.get("error") or body.get("invalid_events"):
        return unknown_answer(response, "Reddit answered 2xx without saying that it processed the events.")
    processed = _PROCESSED.search(message)
    if processed is None or int(processed[1]) >= count:
        return Verdict(Kind.DELIVERED, code=f"http_{response.status}", message=message)
    # A repeat is safe: Reddit drops the copy by its conversion_id (sheet reddit, 6).
    kind = Kind.SPLIT if count > 1 else Kind.RETRY
    return Verdict(kind, code="processed_fewer", message=message, remedy="Compare the counts in Reddit Events Manager.")


def _error(body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The `error` object; the v2 shapes have the message at the root (sheet reddit, 8)."""
    if body is None:
        return {}
    error = body.get("error")
    return error if isinstance(error, dict) else body


def _named(error: Mapping[str, Any], count: int) -> Mapping[int, list[Mapping[str, Any]]]:
    """Index of an event in the request → the entries of `fields` that speak of it."""
    named: dict[int, list[Mapping[str, Any]]] = {}
    fields = error.get("fields")
    for entry in fields if isinstance(fields, list) else ():
        index = _INDEX.search(str(entry.get("field"))) if isinstance(entry, dict) else None
        if index is not None and int(index[1]) < count:
            named.setdefault(int(index[1]), []).append(entry)
    return named


def _take_out(
    named: Mapping[int, list[Mapping[str, Any]]], error: Mapping[str, Any], message: str, count: int
) -> Sequence[Verdict]:
    """The named events are settled; the others were stored as little and go again at once (sheet reddit, 7)."""
    other = Verdict(
        Kind.RETRY,
        code="batch_refused",
        message="Reddit refused another event of the same request and stored none of them.",
        retry_after=0.0,
        excerpt=_excerpt(error, ()),
    )
    return tuple(_field_verdict(named[index], error, message) if index in named else other for index in range(count))


def _field_verdict(entries: Sequence[Mapping[str, Any]], error: Mapping[str, Any], message: str) -> Verdict:
    text = words("; ".join(str(entry.get("message", "")) for entry in entries)) or message
    found = [pick(FIELD_FAULTS, 400, str(entry.get("message", ""))) for entry in entries]
    rows = [row for row in found if row is not None]
    # Age settles an event for good whatever else is wrong with it; a clock's fault only when it is the sole one.
    row = min(rows, key=lambda row: (Kind.EXPIRED, Kind.REFUSED, Kind.RETRY).index(row.kind))
    return Verdict(row.kind, code="http_400", message=text, remedy=row.remedy, excerpt=_excerpt(error, entries))


def _excerpt(error: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> str:
    own = {"code": error.get("code"), "message": error.get("message"), "fields": list(entries)}
    return orjson.dumps({"error": own}).decode()


def _wait(response: Response, now: datetime) -> float | None:
    """Seconds that Reddit asks for, from whichever header it sends (none is documented; sheet reddit, 7)."""
    wait = retry_after(response, now)
    if wait is not None:
        return wait
    items = [
        (int(item[1]), float(item[2]))
        for part in response.headers.get("ratelimit", "").split(",")
        if (item := _RATE_LIMIT_ITEM.search(part)) is not None
    ]
    spent = [seconds for remaining, seconds in items if remaining == 0] or [seconds for _, seconds in items]
    if spent:
        return max(spent)
    return reset_wait(response.headers, ("x-ratelimit-reset", "ratelimit-reset"), now)
