"""The log: every try of every delivery, as the operator will read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
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


@frozen
class AttemptRow:
    """One try of one delivery. `request`: its own part of what was sent, masked."""

    delivery: UUID
    number: int
    said: Said
    request: str | None


async def record(connection: Connection, app: str, rows: Sequence[AttemptRow]) -> None:
    """Adds tries to the log."""
    if not rows:
        return
    await connection.copy_records_to_table(
        "attempts",
        columns=(
            *("app_id", "delivery", "number", "started_at", "duration_ms", "http_status", "verdict", "code", "message"),
            *("method", "url", "request", "response", "consent", "shared"),
        ),
        records=[
            (
                app,
                row.delivery,
                row.number,
                said.started_at,
                said.duration_ms,
                said.http_status,
                said.verdict,
                said.code,
                said.message,
                said.method,
                said.url,
                row.request,
                said.response,
                said.consent,
                said.shared,
            )
            for row in rows
            for said in (row.said,)
        ],
    )
