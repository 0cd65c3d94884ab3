"""The log: every try of every delivery, as the operator will read it.

The try that ended a delivery stands with it (`postbacks.store.history`); what is written here are those after which it
went on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from uuid import UUID

from postbacks.domain.frozen import frozen
from postbacks.store.database import Connection


@frozen
class Said:
    """What the tries of all deliveries in a request have in common, as the operator will read it. Texts are masked."""

    started_at: datetime
    duration_ms: int
    http_status: int | None
    verdict: str
    code: str | None
    message: str | None
    method: str | None
    url: str | None
    response: str | None
    consent: str | None = None
    """At the time of sending; see `postbacks.domain.consent.written`. `None` where nothing was sent."""
    shared: str | None = None
    """What left beside the click ID, comma-separated."""


SAID = tuple(field.name for field in fields(Said))
"""The columns of `Said`."""

values = attrgetter(*SAID)
"""The values of one `Said`, in the order of `SAID`."""


LAST = "JOIN LATERAL (SELECT * FROM exchanges x WHERE x.app_id = $1 AND x.id = d.exchange LIMIT 1) x ON true"
"""Joins deliveries `d` of the app `$1` with what their last tries have in common with others, as `x`: one look-up for
each, since a plain join may read all exchanges of the app instead."""


@frozen
class AttemptRow:
    """One try of one delivery. `request`: its own part of what was sent, masked."""

    delivery: UUID
    number: int
    said: Said
    request: str | None


async def record(connection: Connection, app: str, rows: Sequence[AttemptRow]) -> None:
    """Adds tries after which a delivery goes on."""
    if not rows:
        return
    await connection.copy_records_to_table(
        "attempts",
        columns=("app_id", "delivery", "number", "request", *SAID),
        records=[(app, row.delivery, row.number, row.request, *values(row.said)) for row in rows],
    )
