"""What both routes do with a conversion before it becomes a body (sheet google, 1.4 and 4.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from postbacks.domain.model import Conversion, Kind, Verdict
from postbacks.platforms.base import Unsendable

CLICK_ID_TYPES: Final = ("gclid", "gbraid", "wbraid")

MAX_BATCH: Final = 2000
"""Conversions in one request, on both routes (sheet google, 1.3 and 2.2)."""

OLDEST_CLICK: Final = timedelta(days=90)
"""Clicks older than this are never imported (sheet google, 4.5)."""

AGE_MARGIN: Final = timedelta(hours=1)
"""Kept back from the 90 days: Google saw the click before the landing page did, and reads the event after us."""

AGE: Final = OLDEST_CLICK - AGE_MARGIN
"""Of a click, up to which Google is still asked."""

T = TypeVar("T")


def conversion_time(conversion: Conversion, now: datetime) -> datetime:
    """When the conversion happened, never in the future.

    Ingest lets a game's clock run up to ten minutes ahead. The hold usually lets that pass; with a hold of 0 it is met
    here (sheet google, 4.5: future times are to be settled by the sender).
    """
    return min(conversion.occurred_at, max(now, conversion.click.clicked_at))


def sort_out(conversions: Sequence[Conversion], now: datetime) -> tuple[list[int], list[Unsendable]]:
    """Places of the conversions that may be sent, and why the others may not."""
    sendable: list[int] = []
    unsendable: list[Unsendable] = []
    oldest = now - AGE
    for position, conversion in enumerate(conversions):
        obstacle = _obstacle(conversion, oldest)
        if obstacle:
            unsendable.append(Unsendable(position, obstacle))
        else:
            sendable.append(position)
    return sendable, unsendable


def chunks(items: Iterable[T], size: int) -> Iterable[list[T]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _obstacle(conversion: Conversion, oldest: datetime) -> Verdict | None:
    click = conversion.click
    if click.type not in CLICK_ID_TYPES:
        return Verdict(Kind.SKIPPED, code="no_click_id", message=f"Google does not know the click ID {click.type}.")
    if conversion.occurred_at < click.clicked_at:
        return Verdict(
            Kind.SKIPPED, code="conversion_precedes_click", message="Google refuses a conversion before its click."
        )
    if click.clicked_at <= oldest:
        return Verdict(Kind.EXPIRED, code="click_too_old", message="Google imports no click older than 90 days.")
    return None
