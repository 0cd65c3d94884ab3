"""The nouns of the service, as plain frozen data.

All times are aware datetimes in UTC. Money is a `Decimal` in currency units (4.99, never cents).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from postbacks.domain.frozen import frozen


@frozen
class Consent:
    """What the player agreed to. `None` is "unknown", which is neither yes nor no."""

    attribution: bool | None = None
    postbacks: bool | None = None
    ad_personalization: bool | None = None


@frozen
class Click:
    """One ad click as it was first seen. `value` is the click ID, byte for byte as the platform wrote it."""

    id: UUID
    type: str
    """Name of the URL parameter: `fbclid`, `gclid`, …"""
    value: str
    clicked_at: datetime
    """When the click ID was first seen; never moved later (Meta's `fbc` is minted from it)."""
    visitor_id: str = ""
    url: str | None = None
    """Landing page without its query and fragment."""
    user_agent: str | None = None
    ip: str | None = None
    """Only where a destination shares addresses and the click's consent allows it; otherwise never kept."""
    consent: Consent = Consent()


@frozen
class Conversion:
    """One event on its way to one destination: all that an adapter gets to see.

    There is no player in it, no visitor and no address of the event: what is not here cannot leak.
    """

    key: str
    """Idempotency key, the same on every try: 36 characters of `[a-z0-9_]`."""
    event_id: str
    event_name: str
    """The game's name; what the platform calls it is in `mapping`."""
    mapping: Mapping[str, Any]
    """The destination's entry for this event, already validated by the adapter's mapping model."""
    occurred_at: datetime
    click: Click
    value: Decimal | None = None
    currency: str | None = None
    """ISO 4217, upper case; set exactly when `value` is."""
    consent: Consent = Consent()
    """Of click and event together, the narrower of the two for each flag."""
    properties: Mapping[str, Any] = field(default_factory=dict)


class Kind(StrEnum):
    """What an answer of a platform means for one delivery."""

    DELIVERED = "delivered"
    """The platform's final yes; "already received" counts."""
    ACCEPTED = "accepted"
    """Taken, to be confirmed later with `Verdict.reference`."""
    RETRY = "retry"
    """A passing reason; `retry_after` seconds where the platform said so."""
    HOLD = "hold"
    """The destination cannot work until a person acts (credentials, permission, configuration)."""
    REFUSED = "refused"
    """This delivery will never be taken."""
    SPLIT = "split"
    """The batch was refused because of something in it that the answer does not name."""
    SKIPPED = "skipped"
    """The platform cannot take this one whatever we do."""
    EXPIRED = "expired"
    """Older than the platform takes."""


@frozen
class Verdict:
    """One answer, read for one delivery."""

    kind: Kind
    code: str = ""
    """The platform's own code (`100/2804003`, `40100`, `INVALID_GCLID`), or ours (`timeout`, `http_502`)."""
    message: str = ""
    """The platform's own words where it gave any. Never a secret, never an address."""
    remedy: str = ""
    """For an operator: what to do now."""
    retry_after: float | None = None
    """Seconds to wait before the next try; only a lower bound."""
    throttled: bool = False
    """The platform asked for a pause of the whole destination, not of this delivery alone."""
    reference: str = ""
    """ACCEPTED: the handle with which the outcome is asked for later."""
    ambiguous: bool = False
    """The platform may have stored it although no answer said so (a cut or a timeout after sending)."""
    stale_token: bool = False
    """RETRY: the access token was refused; fetch a fresh one before the next try (once)."""
    excerpt: str | None = None
    """This delivery's part of the answer's body; `None` stands for the whole body."""
