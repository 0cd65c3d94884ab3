"""How platforms write times. One is written for every delivery, hence not with the nearest means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_OFFSET: Final = len("+00:00")


def milliseconds(moment: datetime) -> int:
    """Since 1970, cut down to whole ones; exact, and in half the time of a division by `timedelta`."""
    passed = moment - EPOCH
    return passed.days * 86_400_000 + passed.seconds * 1_000 + passed.microseconds // 1_000


def zulu(moment: datetime, timespec: str = "auto") -> str:
    """ISO 8601 in UTC with `Z` instead of an offset."""
    return moment.astimezone(UTC).isoformat(timespec=timespec)[:-_OFFSET] + "Z"
