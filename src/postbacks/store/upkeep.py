"""Statements of the housekeeping: heartbeats, locks, retention."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta
from uuid import UUID

from postbacks.domain import ids
from postbacks.store import leases, partitions, stats
from postbacks.store.database import Connection, Database

CLICK_DAYS = 90
"""Google's longest window; no platform takes a click that is older (sheet google, 4.5)."""

STATS_DAYS = 400

_AT_ONCE = 5_000


async def heartbeat(connection: Connection, dispatcher: UUID) -> None:
    await connection.execute(
        "INSERT INTO dispatchers (app_id, dispatcher) VALUES ('', $1) "
        "ON CONFLICT (app_id, dispatcher) DO UPDATE SET seen_at = excluded.seen_at",
        dispatcher,
    )


async def sign_off(connection: Connection, dispatcher: UUID) -> None:
    await connection.execute("DELETE FROM dispatchers WHERE app_id = '' AND dispatcher = $1", dispatcher)


async def last_heartbeat_seconds(connection: Connection) -> float | None:
    """The age of the youngest heartbeat; `None` where no dispatcher was ever seen."""
    age = await connection.fetchval(
        "SELECT extract(epoch FROM now() - max(seen_at)) FROM dispatchers WHERE app_id = ''"
    )
    return float(age) if age is not None else None


async def try_lock(connection: Connection, job: str) -> bool:
    """Takes the lock of a job for this connection, unless another process has it."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", 0x7062, zlib.crc32(job.encode()) >> 1))


async def unlock(connection: Connection, job: str) -> None:
    await connection.execute("SELECT pg_advisory_unlock($1, $2)", 0x7062, zlib.crc32(job.encode()) >> 1)


async def refresh_statistics(connection: Connection) -> bool:
    """Analyzes the outbox where the planner believes it to be nearly empty and it is not. Returns whether it did.

    Whoever analyzes a queue meets it drained most of the time. A planner that believes in an empty table finds all
    indexes equally cheap and settles a backlog through the wrong one, a hundred times slower (decision 8). PostgreSQL's
    own next look comes within a minute; a backlog of that minute is most of a day's.
    """
    stale = await connection.fetchval(
        "SELECT s.n_live_tup > 10 * greatest(c.reltuples, 1000) FROM pg_class c "
        "JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.oid = 'outbox'::regclass"
    )
    if stale:
        async with connection.transaction():
            # A sample of 3,000 rows instead of 30,000 tells how many there are as well, at a tenth of the cost.
            await connection.execute("SET LOCAL default_statistics_target = 10")
            await connection.execute("ANALYZE outbox")
    return bool(stale)


async def merge_stats(connection: Connection, app: str, before: datetime) -> None:
    await stats.merge(connection, app, before)


async def make_partitions(connection: Connection, now: datetime) -> None:
    await partitions.ensure(connection, now)


async def drop_partitions(database: Database, now: datetime, retention_days: int, late_click: timedelta) -> list[str]:
    """Drops what is older than it may be kept; each table in its own transaction, so that locks are short."""
    kept = {
        "waiting": late_click,
        "attempts": timedelta(days=retention_days),
        "deliveries": timedelta(days=retention_days),
        "exchanges": timedelta(days=retention_days),
        "events": timedelta(days=retention_days),
    }
    dropped: list[str] = []
    for table, age in kept.items():
        async with database.transaction() as connection:
            dropped += await partitions.drop_older(connection, table, now - age)
    return dropped


async def forget_app(
    connection: Connection, app: str, now: datetime, retention_days: int, address_window: timedelta
) -> None:
    """Deletes, a few thousand at a time, what does not stand in partitions: keys of events, clicks, links, counts,
    leases that nobody revoked."""
    await leases.forget(connection, app)
    oldest_event = ids.floor(now - timedelta(days=retention_days))
    await _in_steps(
        connection,
        "DELETE FROM event_keys k WHERE k.app_id = $1 AND k.ctid = ANY(ARRAY(SELECT ctid FROM event_keys WHERE app_id = $1 "
        "AND event < $2 LIMIT $3))",
        app,
        oldest_event,
        _AT_ONCE,
    )
    oldest_click = now - timedelta(days=CLICK_DAYS)
    await _in_steps(
        connection,
        "DELETE FROM clicks c WHERE c.app_id = $1 AND c.ctid = ANY(ARRAY(SELECT ctid FROM clicks WHERE app_id = $1 "
        "AND id < $2 LIMIT $3))",
        app,
        ids.floor(oldest_click),
        _AT_ONCE,
    )
    await _in_steps(
        connection,
        "DELETE FROM players p WHERE p.app_id = $1 AND p.ctid = ANY(ARRAY(SELECT ctid FROM players WHERE app_id = $1 "
        "AND click < $2 LIMIT $3))",
        app,
        ids.floor(oldest_click),
        _AT_ONCE,
    )
    # Without its key nobody can tell which address a hash stood for.
    await connection.execute(
        "DELETE FROM address_keys WHERE app_id = $1 AND valid_from < $2", app, now - address_window
    )
    await stats.forget(connection, app, now - timedelta(days=STATS_DAYS))
    await connection.execute("DELETE FROM dispatchers WHERE app_id = '' AND seen_at < now() - interval '1 day'")


async def _in_steps(connection: Connection, statement: str, *arguments: object) -> None:
    while not (await connection.execute(statement, *arguments)).endswith(" 0"):
        pass
