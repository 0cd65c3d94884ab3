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
from postbacks.platforms.reading import (
    LONGEST_WAIT,
    gateway_verdict,
    json_object,
    retry_after,
    same_for_all,
    transport_verdict,
)

_REGENERATE = (
    "Generate a conversion access token in Reddit Events Manager (Conversions API), put it into the destination's "
    "credentials as access_token; the held deliveries then go out."
)
_PIXEL = (
    "Compare credentials.pixel_id with the pixel in Reddit Events Manager; the token must come from the same pixel's "
    "Conversions API panel."
)
_OUR_FAULT = "The request has a shape that Reddit does not take. Report it to Postbacks with the attempt log."
_IN_BETWEEN = (
    "This was not Reddit itself: check POSTBACKS_REDDIT_API_BASE, and what stands between this machine and Reddit "
    "(proxy, firewall)."
)

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
_PROCESSED = re.compile(r"processed ([\d,]{1,12}) conversion event", re.IGNORECASE)
_RATE_LIMIT_ITEM = re.compile(r";\s*r=(\d{1,12}).*?;\s*t=(\d{1,9})")
_REMAINING_HEADERS = ("x-ratelimit-remaining", "ratelimit-remaining")
_RESET_HEADERS = ("x-ratelimit-reset", "ratelimit-reset")
_REFUSALS = ("error", "errors", "fields", "invalid_events")
"""What has no place in a success (sheet reddit, 8)."""


def read_answer(answer: Answer, count: int, now: datetime) -> Sequence[Verdict]:
    """One verdict for each of the `count` events of a request, in its order."""
    if isinstance(answer, TransportFailure):
        return same_for_all(transport_verdict(answer), count)
    if 200 <= answer.status < 300:
        return same_for_all(_read_success(answer, count, now), count)
    error = _error(json_object(answer))
    message = words(error.get("message")) or words(error.get("explanation")) or _plain_text(answer)
    if answer.status == 400 and (named := _named(error, count)):
        return _take_out(named, error, message, count)
    row = _row(answer.status, message, count)
    if row is None:
        unlisted = gateway_verdict(answer, now) or unknown_answer(answer)
        verdict = replace(unlisted, message=message or unlisted.message)
    else:
        wait = _wait(answer, now) if row.kind is Kind.RETRY else None
        verdict = settled(row, code=f"http_{answer.status}", message=message, batch=count, retry_after=wait)
    if answer.status == 503 and verdict.retry_after:
        # Who says when to come back means all of us, not this one request.
        verdict = replace(verdict, throttled=True)
    return same_for_all(verdict, count)


def read_check(answer: Answer, now: datetime) -> CheckResult:
    """Reads the answer to a request without events: Reddit refuses it with 400 after token and pixel have passed.

    The refusal has to be Reddit's own. A page of something in between says nothing about the credentials.
    """
    if isinstance(answer, Response):
        error = _error(json_object(answer))
        refused_by_reddit = answer.status == 400 and bool(words(error.get("message")))
        if refused_by_reddit or (200 <= answer.status < 300 and _processed(answer) is not None):
            return CheckResult(ok=True, message="Reddit accepts the access token for this pixel; no event was sent.")
        if 200 <= answer.status < 300 or answer.status == 400:
            return failed_check(replace(unknown_answer(answer), remedy=_IN_BETWEEN))
    return failed_check(read_answer(answer, 1, now)[0])


def _row(status: int, message: str, count: int) -> Row | None:
    """The row of an answer that names no event; of a lone event the bare reason is about that event.

    Early v3 gave the reason in `message` without `fields` (sheet reddit, 8).
    """
    if status == 400 and count == 1:
        special = [row for row in FIELD_FAULTS if row.text and row.fits(status, "", message)]
        if special:
            return special[0]
    return pick(ANSWERS, status, message)


def _processed(response: Response) -> tuple[int, str] | None:
    """How many events a 2xx says that Reddit processed, and in which words; `None` where it does not say so."""
    body = json_object(response) or {}
    data = body.get("data")
    inner = data if isinstance(data, dict) else {}
    message = words(inner.get("message")) or words(body.get("message"))
    found = _PROCESSED.search(message)
    if found is None or any(part.get(key) for part in (body, inner) for key in _REFUSALS):
        return None
    return int(found[1].replace(",", "") or 0), message


def _read_success(response: Response, count: int, now: datetime) -> Verdict:
    """A 2xx counts only with Reddit's own words, and only for as many events as were sent (sheet reddit, 8)."""
    processed = _processed(response)
    if processed is None:
        return unknown_answer(response, "Reddit answered 2xx without saying that it processed the events.")
    number, message = processed
    if number >= count:
        spent = _is_spent(response)
        return Verdict(
            Kind.DELIVERED,
            code=f"http_{response.status}",
            message=message,
            # With nothing left in the window the next request would only be refused.
            throttled=spent,
            retry_after=_wait(response, now) if spent else None,
        )
    # A repeat is safe: Reddit drops the copy by its conversion_id (sheet reddit, 6).
    kind = Kind.SPLIT if count > 1 else Kind.RETRY
    return Verdict(kind, code="processed_fewer", message=message, remedy="Compare the counts in Reddit Events Manager.")


def _plain_text(response: Response) -> str:
    """Reddit's words where a refusal of credentials is plain text (sheet reddit, 12 no. 5); never a page's markup."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/plain":
        return ""
    return words(response.body.decode("utf-8", "replace"))


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
    items = _limits(response)
    spent = [seconds for remaining, seconds in items if remaining == 0] or [seconds for _, seconds in items]
    if spent:
        return min(LONGEST_WAIT, max(spent))
    return reset_wait(response.headers, _RESET_HEADERS, now)


def _limits(response: Response) -> Sequence[tuple[int, float]]:
    """What `RateLimit` says of each policy: requests or events left, and seconds until there are more."""
    return [
        (int(item[1]), float(item[2]))
        for part in response.headers.get("ratelimit", "").split(",")
        if (item := _RATE_LIMIT_ITEM.search(part)) is not None
    ]


def _is_spent(response: Response) -> bool:
    """Whether a good answer says that nothing is left until some time that it names."""
    if any(remaining == 0 for remaining, _ in _limits(response)):
        return True
    if not any(name in response.headers for name in _RESET_HEADERS):
        return False
    left = next((response.headers[name] for name in _REMAINING_HEADERS if name in response.headers), "").strip()
    return re.fullmatch(r"0+(\.0+)?", left) is not None
