"""What TikTok's answers mean (sheet tiktok, 8 and 8.1).

The `code` in the body decides, never the HTTP status: nearly every failure comes with status 200.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import Answer, TransportFailure
from postbacks.platforms.code_table import CodeRow, CodeTable, number, platform_words
from postbacks.platforms.reading import gateway_verdict, json_object, retry_after, transport_verdict

_RENEW: Final = (
    "Generate a new token in Events Manager (data source, Settings, Events API) and put it as `access_token`; "
    "what is held then goes out."
)
_RIGHTS: Final = (
    "Let an Admin or Operator of the ad account that owns this pixel generate the token, in the right Business Center."
)
_PIXEL: Final = (
    "Compare `pixel_code` with Events Manager (data source, Settings): a web data source has a code of 20 capital "
    "letters and digits; IDs of apps, offline and CRM event sets do not work here."
)
_SUPPORT: Final = "Ask TikTok's support, with the request_id of the answer in the attempt log."
_UPDATE: Final = "Update this service: TikTok no longer offers what it calls."
_AGAIN: Final = "Nothing to do: it is tried again."
_WAIT: Final = "Nothing to do: sending goes on more slowly."
_LOOK: Final = "Compare the request in the attempt log with TikTok's words."

TABLE: Final = CodeTable(
    (
        # Taken.
        CodeRow("0", Kind.DELIVERED, ""),
        CodeRow(
            "20001",
            Kind.DELIVERED,
            "TikTok took the request in part.",
            "Look for the event in Events Manager.",
            # A repeat with the same event_id is dropped without an error (sheet tiktok, 6), so that sending each
            # event of a batch once more alone is safe, and shows which one TikTok does not want.
            one_by_one=True,
        ),
        CodeRow("40050", Kind.DELIVERED, "TikTok had received it already."),
        # One event.
        CodeRow("40000, 40002", Kind.REFUSED, "TikTok found a field invalid.", _LOOK),
        CodeRow("40061", Kind.REFUSED, "TikTok found the batch too large or empty.", _LOOK),
        CodeRow("40062", Kind.REFUSED, "TikTok found personal data that is not hashed.", _LOOK),
        CodeRow("40700", Kind.REFUSED, "TikTok's validation refused the event.", _LOOK),
        # Credentials, permission, configuration.
        CodeRow("40001", Kind.HOLD, "The token has no right to this pixel.", f"{_RIGHTS} {_PIXEL}"),
        CodeRow("40003", Kind.HOLD, "TikTok forbids the call.", _RIGHTS),
        CodeRow("40006, 40051", Kind.HOLD, "TikTok has retired this API version.", _UPDATE),
        CodeRow("40007", Kind.HOLD, "The pixel does not exist.", _PIXEL),
        CodeRow("40008, 40400", Kind.HOLD, "TikTok does not know the address of the request.", _UPDATE),
        CodeRow("40009, 40013", Kind.HOLD, "TikTok's sandbox limits were reached.", "Use a token for production."),
        CodeRow("40063, 40101", Kind.HOLD, "TikTok does not know this partner.", _SUPPORT),
        CodeRow("40102", Kind.HOLD, "The access token has expired.", _RENEW),
        CodeRow("40103, 40107", Kind.HOLD, "The refresh token has expired or is invalid.", _RENEW),
        CodeRow("40104", Kind.HOLD, "The access token is empty.", _RENEW),
        CodeRow("40105", Kind.HOLD, "The access token is wrong or was revoked.", _RENEW),
        CodeRow("40106, 40108-40110, 40112", Kind.HOLD, "TikTok refused the access token.", _RENEW),
        CodeRow("40113, 40117, 40124, 40125", Kind.HOLD, "The token's app or developer is not allowed.", _RENEW),
        CodeRow("40115, 40116", Kind.HOLD, "TikTok refused the time or signature of the authorization.", _RENEW),
        CodeRow("40118", Kind.HOLD, "The account is not on TikTok's allow list for this feature.", _SUPPORT),
        CodeRow("40130, 40131", Kind.HOLD, "The token lacks a scope.", _RENEW),
        CodeRow("40300-40302", Kind.HOLD, "The ad account is missing, or the role in it is too low.", _RIGHTS),
        CodeRow("41000", Kind.HOLD, "TikTok has blocked the caller.", _SUPPORT),
        CodeRow("41001, 41002", Kind.HOLD, "TikTok has switched off what is called.", _UPDATE),
        # Passing reasons.
        CodeRow("40016", Kind.RETRY, "TikTok slows this business down.", _WAIT, throttled=True),
        CodeRow("40100, 40132", Kind.RETRY, "Too many requests.", _WAIT, throttled=True),
        CodeRow("40200-40202", Kind.RETRY, "Another task was writing at the same time.", _AGAIN),
        CodeRow("50000", Kind.RETRY, "TikTok had a system fault.", _AGAIN),
        CodeRow("50002", Kind.RETRY, "TikTok took too long.", _AGAIN),
        CodeRow("51000-51099", Kind.RETRY, "A service inside TikTok failed.", _AGAIN),
        CodeRow("52000-52203, 53102-53103", Kind.RETRY, "TikTok's storage failed.", _AGAIN),
        CodeRow("60001", Kind.RETRY, "TikTok is under maintenance.", _WAIT, throttled=True),
        CodeRow("61000", Kind.RETRY, "Too many requests of this business.", _WAIT, throttled=True),
    )
)

_NO_PERMISSION: Final = CodeRow("40002", Kind.HOLD, "The token has no right to this pixel.", f"{_RIGHTS} {_PIXEL}")
_BAD_PIXEL: Final = CodeRow("40002", Kind.HOLD, "TikTok does not take the pixel code.", _PIXEL)
_BAD_TEST_CODE: Final = CodeRow(
    "40002",
    Kind.HOLD,
    "TikTok does not take the test event code.",
    "Copy it from Events Manager (data source, Test events) again, or remove the option `test_event_code`.",
)
_UNKNOWN_CODE: Final = CodeRow(
    "1", Kind.RETRY, "TikTok gave a code that is not in our table.", "It is tried again; look at TikTok's words."
)
_UNKNOWN_REFUSAL: Final = replace(_UNKNOWN_CODE, one_by_one=True)
"""Among the codes for parameters: perhaps one event is to blame, and must not keep the others of its batch."""
_UNREADABLE: Final = CodeRow(
    "1",
    Kind.RETRY,
    "The answer is not one of the Events API.",
    "It is tried again; look whether a proxy stands between this service and TikTok.",
)
_TOO_LARGE: Final = replace(_UNREADABLE, one_by_one=True)
"""413: nobody knows the limit (sheet tiktok, 7), so that a smaller request may pass."""


def read_answer(answer: Answer, now: datetime, count: int, secrets: Iterable[str | None]) -> Verdict:
    """The verdict for each of the `count` deliveries in one request: TikTok names no single event."""
    if isinstance(answer, TransportFailure):
        return transport_verdict(answer)
    body = json_object(answer) or {}
    code = number(body, "code")
    words = platform_words([body.get("message")], secrets)
    if code is None and 200 <= answer.status < 300:
        return Verdict(
            Kind.RETRY,
            code="unreadable_answer",
            message="TikTok answered with success, but not in the form of the Events API.",
            remedy="It is tried again; look whether a proxy stands between this service and TikTok.",
            ambiguous=True,
        )
    if code is None:
        row = _TOO_LARGE if answer.status == 413 else _UNREADABLE
        return gateway_verdict(answer, now) or row.verdict(f"http_{answer.status}", words, count)
    if code == 0:
        return Verdict(Kind.DELIVERED)
    row = _row(code, words) or (_UNKNOWN_REFUSAL if 40000 <= code <= 40099 else _UNKNOWN_CODE)
    verdict = row.verdict(str(code), words, count, retry_after(answer, now))
    return replace(verdict, throttled=True) if answer.status == 429 and verdict.kind is Kind.RETRY else verdict


def _row(code: int, words: str) -> CodeRow | None:
    """40002 stands for faults of an event and of the destination alike; only its English text tells them apart."""
    if code not in (40000, 40002):
        return TABLE.find(code)
    if "no permission" in words.casefold():
        return _NO_PERMISSION
    if "event_source" in words:
        return _BAD_PIXEL
    return _BAD_TEST_CODE if "test_event_code" in words else TABLE.find(code)
