"""Deliveries that ended, each with the try that ended it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from postbacks.domain import ids
from postbacks.domain.frozen import frozen
from postbacks.domain.planning import Planned
from postbacks.store import copying
from postbacks.store.attempts import LAST, SAID, AttemptRow, Said, values
from postbacks.store.codecs import UUID_FOLLOWS, encode_moment
from postbacks.store.database import Connection
from postbacks.store.outbox import Claimed


@frozen
class Ended:
    """How a delivery ended. `status`: delivered, failed, expired, skipped or cancelled.

    `last`: the try that ended it, number `attempts`; `None` where it ended without one.
    """

    row: Claimed
    status: str
    reason: str | None
    attempts: int
    last: AttemptRow | None

    @property
    def id(self) -> UUID:
        return self.row.id


_COLUMNS = (
    *("app_id", "destination", "platform", "status", "reason", "attempts", "exchange"),
    *("id", "click", "created_at", "request"),
)
"""Of a delivery that ended; first what many of a claim have in common."""


async def insert(
    connection: Connection, app: str, destination: str, platform: str, rows: Sequence[Ended], now: datetime
) -> None:
    """Adds deliveries that were taken out of the outbox in the same transaction, and their last tries.

    `now`: the transaction's time by PostgreSQL's clock, for which there is a partition.
    """
    exchanges = await _insert_exchanges(connection, app, [row.last.said for row in rows if row.last is not None], now)
    begin = b"".join((copying.row_of(_COLUMNS), *map(copying.text, (app, destination, platform))))
    shared: dict[tuple[str, str | None, int, UUID | None], bytes] = {}
    parts: list[bytes] = []
    for row in rows:
        claimed, last = row.row, row.last
        exchange, request = (exchanges[id(last.said)], last.request) if last is not None else (None, None)
        alike = (row.status, row.reason, row.attempts, exchange)
        head = shared.get(alike)
        if head is None:
            head = shared[alike] = b"".join(
                (
                    begin,
                    copying.text(row.status),
                    copying.text(row.reason),
                    copying.smallint(row.attempts),
                    copying.uuid(exchange),
                    UUID_FOLLOWS,
                )
            )
        parts += (
            head,
            claimed.id.bytes,
            UUID_FOLLOWS,
            claimed.click.bytes,
            copying.TIME_FOLLOWS,
            encode_moment(claimed.created_at),
            copying.text(request),
        )
    await copying.copy(connection, "deliveries", _COLUMNS, parts)


async def _insert_exchanges(
    connection: Connection, app: str, said: Sequence[Said], now: datetime
) -> Mapping[int, UUID]:
    """What hundreds of tries have in common, once. Returns the ids under the `id` of the object."""
    counts = Counter(map(id, said))
    if not counts:
        return {}
    distinct = {id(one): one for one in said}
    keys = dict(zip(distinct, ids.new_ids(now, len(distinct)), strict=True))
    await connection.copy_records_to_table(
        "exchanges",
        columns=("app_id", "id", "deliveries", *SAID),
        records=[(app, keys[place], counts[place], *values(one)) for place, one in distinct.items()],
    )
    return keys


async def insert_unsent(
    connection: Connection, app: str, rows: Sequence[tuple[UUID, Planned]], reason: str, now: datetime
) -> None:
    """Deliveries that end as they are planned, without a try."""
    await connection.execute(
        "INSERT INTO deliveries (app_id, id, destination, platform, status, reason, attempts, click, created_at, "
        "updated_at) SELECT $1, id, destination, platform, 'expired', $6, 0, click, $7, $7 "
        "FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[]) AS v(id, destination, platform, click)",
        app,
        [identifier for identifier, _ in rows],
        [one.destination for _, one in rows],
        [one.platform for _, one in rows],
        [one.click.id for _, one in rows],
        reason,
        now,
    )


async def reopen(connection: Connection, app: str, rows: Sequence[tuple[UUID, datetime]]) -> list[UUID]:
    """Takes ended deliveries back into the outbox, due at once: (id, deadline). Returns those that had ended.

    Must run inside a transaction. The try that ended them joins the earlier ones.
    """
    wanted = [row[0] for row in rows]
    span = min(wanted), max(wanted)
    exchanges = await exchanges_of(connection, app, wanted, *span)
    await connection.execute(
        f"INSERT INTO attempts (app_id, delivery, number, request, {', '.join(SAID)}) "
        f"SELECT $1, d.id, d.attempts, d.request, {', '.join(f'x.{name}' for name in SAID)} FROM deliveries d "
        f"{LAST} WHERE d.app_id = $1 AND d.id = ANY($2::uuid[]) AND d.id BETWEEN $3 AND $4",
        app,
        list(exchanges),
        *span,
    )
    moved = await connection.fetch(
        "WITH v AS (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]) AS v(id, deadline)), "
        "mine AS (DELETE FROM deliveries d USING v WHERE d.app_id = $1 AND d.id = v.id AND d.id BETWEEN $4 AND $5 "
        "RETURNING d.id, d.destination, d.click, d.created_at, d.attempts) "
        "INSERT INTO outbox (app_id, id, destination, due, deadline, created_at, click, attempts, status) "
        "SELECT $1, mine.id, mine.destination, now(), v.deadline, mine.created_at, mine.click, mine.attempts, 'queued' "
        "FROM mine JOIN v ON v.id = mine.id RETURNING id",
        app,
        wanted,
        [row[1] for row in rows],
        *span,
    )
    await leave(connection, app, Counter(exchanges.values()))
    return [row["id"] for row in moved]


async def exchanges_of(
    connection: Connection, app: str, deliveries: Sequence[UUID], low: UUID, high: UUID
) -> dict[UUID, UUID]:
    """Delivery → exchange, of those that have one; the deliveries stay locked until the transaction ends."""
    rows = await connection.fetch(
        "SELECT id, exchange FROM deliveries WHERE app_id = $1 AND id = ANY($2::uuid[]) AND id BETWEEN $3 AND $4 "
        "AND exchange IS NOT NULL ORDER BY id FOR UPDATE",
        app,
        deliveries,
        low,
        high,
    )
    return {row["id"]: row["exchange"] for row in rows}


async def leave(connection: Connection, app: str, exchanges: Mapping[UUID, int]) -> None:
    """So many deliveries refer to an exchange no more. What nobody refers to is removed: it may name a player."""
    if not exchanges:
        return
    await connection.execute(
        "UPDATE exchanges x SET deliveries = x.deliveries - v.n FROM unnest($2::uuid[], $3::int[]) AS v(id, n) "
        "WHERE x.app_id = $1 AND x.id = v.id AND x.id BETWEEN $4 AND $5",
        app,
        list(exchanges),
        list(exchanges.values()),
        min(exchanges),
        max(exchanges),
    )
    await connection.execute(
        "DELETE FROM exchanges x WHERE x.app_id = $1 AND x.id = ANY($2::uuid[]) AND x.id BETWEEN $3 AND $4 "
        "AND x.deliveries <= 0",
        app,
        list(exchanges),
        min(exchanges),
        max(exchanges),
    )


async def strip(connection: Connection, app: str, events: Sequence[UUID]) -> Counter[UUID]:
    """Takes their last tries from the deliveries of events. Returns the exchanges, which they have left.

    The deliveries stay as bare facts: that something went to a platform at a time.
    """
    low, high = min(events), ids.last_delivery(max(events))
    rows = await connection.fetch(
        "SELECT d.id FROM deliveries d JOIN unnest($2::uuid[], $3::uuid[]) AS e(first, last) "
        "ON d.id BETWEEN e.first AND e.last WHERE d.app_id = $1 AND d.id BETWEEN $4 AND $5 AND d.exchange IS NOT NULL",
        app,
        events,
        [ids.last_delivery(event) for event in events],
        low,
        high,
    )
    exchanges = await exchanges_of(connection, app, [row["id"] for row in rows], low, high)
    await connection.execute(
        "UPDATE deliveries SET exchange = NULL, request = NULL WHERE app_id = $1 AND id = ANY($2::uuid[]) "
        "AND id BETWEEN $3 AND $4",
        app,
        list(exchanges),
        low,
        high,
    )
    left = Counter(exchanges.values())
    await leave(connection, app, left)
    return left


async def redact(connection: Connection, app: str, exchanges: Collection[UUID], texts: Sequence[str]) -> None:
    """Removes what platforms said to many at once, where it holds one of the texts."""
    if not exchanges or not texts:
        return
    await connection.execute(
        "UPDATE exchanges SET response = NULL, message = NULL WHERE app_id = $1 AND id = ANY($2::uuid[]) "
        "AND id BETWEEN $3 AND $4 AND EXISTS (SELECT 1 FROM unnest($5::text[]) AS v(text) "
        "WHERE position(v.text IN concat(response, message)) > 0)",
        app,
        list(exchanges),
        min(exchanges),
        max(exchanges),
        texts,
    )
