"""The log: every try of every delivery, as the operator will read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from postbacks.domain.frozen import frozen
from postbacks.store import copying
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
    if rows:
        await connection.copy_to_table(
            "attempts", columns=_LOGGED, format="binary", source=copying.chunks(_encoded(app, rows))
        )


_LOGGED = (
    *("app_id", "started_at", "duration_ms", "http_status", "verdict", "code", "message", "method", "url", "response"),
    *("consent", "shared", "delivery", "number", "request"),
)


def _encoded(app: str, rows: Sequence[AttemptRow]) -> Iterator[bytes]:
    """Rows for COPY. Hundreds share all but the last three values, so that the rest is encoded once for all of them."""
    known: dict[int, bytes] = {}
    for row in rows:
        begin = known.get(id(row.said))
        if begin is None:
            begin = known[id(row.said)] = _encoded_said(app, row.said)
        yield begin + copying.uuid(row.delivery) + copying.int2(row.number) + copying.text(row.request)


def _encoded_said(app: str, said: Said) -> bytes:
    return b"".join(
        (
            copying.begin(len(_LOGGED)),
            copying.text(app),
            copying.moment(said.started_at),
            copying.int4(said.duration_ms),
            copying.int2(said.http_status),
            *map(copying.text, (said.verdict, said.code, said.message, said.method, said.url, said.response)),
            *map(copying.text, (said.consent, said.shared)),
        )
    )
