"""How values are written on the pages. Escaping is left to the template engine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

STATUSES = (
    "queued",
    "sending",
    "retrying",
    "held",
    "accepted",
    "delivered",
    "failed",
    "expired",
    "skipped",
    "cancelled",
)
PLATFORMS = ("meta", "google", "tiktok", "reddit", "x", "webhook")
RETRYABLE = frozenset(STATUSES) - {"queued", "sending", "accepted", "delivered"}
"""Statuses in which a person may ask for another try. What a platform has taken is not sent twice."""

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')

_TONES = {
    "delivered": "good",
    "matched": "good",
    "accepted": "fair",
    "queued": "calm",
    "sending": "calm",
    "waiting": "calm",
    "retrying": "warn",
    "retry": "warn",
    "split": "warn",
    "held": "warn",
    "hold": "warn",
    "failed": "bad",
    "refused": "bad",
    "expired": "bad",
}

_REASONS = {
    "no_click_id": "no click of this platform was matched",
    "unmapped": "the destination does not map this event",
    "consent": "the player's consent to postbacks is missing or was refused",
    "destination_disabled": "the destination is disabled",
    "paused": "the destination is paused",
    "young_click": "the platform takes no click as young as this one yet",
    "early_event": "the event's time has not come yet; the game's clock is ahead",
    "too_old": "older than the platform takes",
    "retries_exhausted": "refused for passing reasons until we gave up",
    "outcome_unknown": "answers got lost, and the platform may count a further try twice",
    "never_confirmed": "the platform never said what became of it",
    "erased": "the player was erased",
    "consent_withdrawn": "the player took the consent back",
    "destination_deleted": "the destination was deleted",
}
_HELD = "destination_held: "

ON_RESUME = ("paused", "destination_disabled")
"""Reasons for which a held delivery waits for a person, not for a time."""


def tone(status: object) -> str:
    """The colour group of a status, a verdict or a match."""
    return _TONES.get(str(status), "dim")


def reason(code: object) -> str:
    """`no_click_id` in words; an unknown code as it is."""
    text = str(code or "")
    if text.startswith(_HELD):
        return f"the destination is held: the platform answered {text.removeprefix(_HELD)}"
    return _REASONS.get(text, text)


def gated(item: Mapping[str, Any]) -> bool:
    """Whether a delivery waits for its destination to be released rather than for a time."""
    why = str(item.get("reason") or "")
    return item.get("status") == "held" and (why in ON_RESUME or why.startswith(_HELD))


def ticks(text: object) -> Markup:
    """`text` escaped, with what stands between backticks as code."""
    parts = str(text or "").split("`")
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def when(value: object) -> str:
    """`2026-11-02 09:30:05`, in UTC; empty for nothing, and text that is no time as it is."""
    moment = _moment(value)
    if moment is None:
        return str(value or "")
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def left(value: object, now: datetime) -> str:
    """The time until `value`: `in 5 h 20 min`, `overdue`; empty for nothing."""
    moment = _moment(value)
    if moment is None:
        return ""
    seconds = (moment - now).total_seconds()
    return f"in {span(seconds)}" if seconds > 0 else "due now"


def ago(value: object, now: datetime) -> str:
    """`12 s ago`; empty for nothing."""
    moment = _moment(value)
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A length of time in its two largest units: `3 d 4 h`, `5 min`, `12 s`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return (
                f"{whole // size} {unit} {rest} {smaller}" if rest and whole // size < 10 else f"{whole // size} {unit}"
            )
    return ""


def pretty(body: object) -> str:
    """JSON indented, its keys in the order in which they were sent; anything else as it is."""
    if body is None:
        return ""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _indented(text)


def segment(value: object) -> str:
    """One segment of a URL's path: an event ID may hold a slash or a question mark."""
    return quote(str(value), safe="")


def publishable_keys(app: dict[str, Any]) -> list[str]:
    """The keys of an app that are in force."""
    if app.get("keys"):
        return [str(key["publishable_key"]) for key in app["keys"] if not key.get("revoked_at")]
    return [str(app["publishable_key"])] if app.get("publishable_key") else []


def _indented(text: str) -> str:
    """Valid JSON with line breaks; each token stays as it was written, so 4.90 is not shown as 4.9."""
    parts: list[str] = []
    depth = 0
    previous = ""
    for piece in _PIECE.findall(text):
        closing = piece in ("}", "]")
        depth -= closing
        opened = previous in ("{", "[")
        if previous == "," or (opened and not closing) or (closing and not opened):
            parts.append("\n" + "  " * depth)
        parts.append(": " if piece == ":" else piece)
        depth += piece in ("{", "[")
        previous = piece
    return "".join(parts)


def _moment(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
