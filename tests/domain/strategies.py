"""Strategies and shorthands that the tests of the pure core share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from hypothesis import strategies as st

from postbacks.domain.model import Click, Consent

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)

PLATFORM_OF: Final = {"fbclid": "meta", "gclid": "google", "gbraid": "google", "ttclid": "tiktok"}
PREFERENCE: Final = {"gclid": 0, "gbraid": 1, "fbclid": 0, "ttclid": 0}

flags = st.sampled_from([None, True, False])
consents = st.builds(Consent, flags, flags, flags)
moments = st.datetimes(
    datetime(1971, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds and adds the zone itself
    datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def ago(**units: float) -> datetime:
    """A moment before `NOW`."""
    return NOW - timedelta(**units)


def click(
    number: int = 1,
    clicked_at: datetime = NOW - timedelta(hours=1),
    type: str = "fbclid",  # noqa: A002 - the field's own name
    visitor_id: str = "visitor",
    consent: Consent | None = None,
) -> Click:
    """A click whose id and click ID are told apart by `number`."""
    return Click(
        id=UUID(int=number),
        type=type,
        value=f"click-{number}",
        clicked_at=clicked_at,
        visitor_id=visitor_id,
        consent=consent or Consent(),
    )
