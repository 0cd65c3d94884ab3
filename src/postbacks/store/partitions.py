"""Daily partitions: made ahead of time, dropped to forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from postbacks.domain import ids
from postbacks.store.database import Connection
from postbacks.store.schema import PARTITIONED

AHEAD = 7
"""Days for which partitions exist in advance: how long the housekeeping may be away."""

_LOCK = 0x706F7374
"""Number of the advisory lock that lets one process at a time change partitions."""


def _name(table: str, day: datetime) -> str:
    return f"{table}_{day:%Y%m%d}"


async def ensure(connection: Connection, now: datetime, *, behind: int = 1, ahead: int = AHEAD) -> None:
    """Creates what is missing from `behind` days ago to `ahead` days from now. Must run inside a transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    existing = await _existing(connection)
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for offset in range(-behind, ahead + 1):
        day = today + timedelta(days=offset)
        for table in PARTITIONED:
            name = _name(table, day)
            if name not in existing:
                start, end = ids.floor(day), ids.floor(day + timedelta(days=1))
                await connection.execute(
                    f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{start}') TO ('{end}')"
                )


async def drop_older(connection: Connection, table: str, before: datetime) -> list[str]:
    """Drops the partitions of `table` that hold nothing younger than `before`, except those with open work.

    Must run inside a transaction. Returns the names of the tables dropped.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    dropped = []
    for name in sorted(await _existing(connection)):
        if name.rpartition("_")[0] != table:
            continue
        day = datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)
        end = day + timedelta(days=1)
        if end > before or (table != "waiting" and await _open_work(connection, day, end)):
            continue
        await connection.execute(f"DROP TABLE {name}")
        dropped.append(name)
    return dropped


async def _open_work(connection: Connection, start: datetime, end: datetime) -> bool:
    """A delivery that is still held needs its event, and keeps its attempts."""
    return bool(
        await connection.fetchval(
            "SELECT count(*) > 0 FROM (SELECT 1 FROM outbox WHERE id >= $1 AND id < $2 LIMIT 1) AS one",
            ids.floor(start),
            ids.floor(end),
        )
    )


async def _existing(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
        "JOIN pg_class parent ON parent.oid = inhparent WHERE parent.relname = ANY($1::text[])",
        list(PARTITIONED),
    )
    return {row["relname"] for row in rows}
