"""Reading answers: what every platform has in common (gateways, time-outs, throttles)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import Answer, Response, TransportFailure

LONGEST_WAIT: Final = 86_400.0
"""Seconds. An answer that asks for more is asked again after a day: a header must not shut a destination for years."""


def json_object(response: Response) -> dict[str, Any] | None:
    """The body as a JSON object, or `None` (an HTML page of a gateway, an empty body, a list)."""
    try:
        body = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def retry_after(response: Response, now: datetime) -> float | None:
    """Seconds from a `Retry-After` header, in either of its two forms; from 0 to `LONGEST_WAIT`."""
    raw = response.headers.get("retry-after", "").strip()
    # Not `float` alone, which also takes `inf` and `nan`.
    if re.fullmatch(r"\d+(\.\d+)?", raw, re.ASCII):
        return min(LONGEST_WAIT, float(raw))
    try:
        return min(LONGEST_WAIT, max(0.0, (parsedate_to_datetime(raw) - now).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return None


def transport_verdict(failure: TransportFailure) -> Verdict:
    """No answer at all: always a passing reason; ambiguous when the request may have arrived."""
    return Verdict(Kind.RETRY, code=failure.code, message=failure.message, ambiguous=failure.sent)


def gateway_verdict(response: Response, now: datetime) -> Verdict | None:
    """What 429 and 5xx mean wherever the body says nothing more exact; `None` for every other status."""
    if response.status == 429:
        return Verdict(
            Kind.RETRY,
            code="http_429",
            message="The platform asked for fewer requests.",
            retry_after=retry_after(response, now),
            throttled=True,
        )
    if response.status >= 500:
        return Verdict(
            Kind.RETRY,
            code=f"http_{response.status}",
            message=f"The platform answered {response.status}.",
            retry_after=retry_after(response, now),
            # 502 and 504 are a gateway that lost its backend: the backend may have stored the events.
            ambiguous=response.status in (502, 504),
        )
    return None


def same_for_all(verdict: Verdict, count: int) -> Sequence[Verdict]:
    """One verdict for each delivery of a request."""
    return (verdict,) * count


def transport_or_gateway(answer: Answer, now: datetime) -> Verdict | None:
    """The verdict where no body needs reading; `None` where the platform itself answered."""
    if isinstance(answer, TransportFailure):
        return transport_verdict(answer)
    return gateway_verdict(answer, now)
