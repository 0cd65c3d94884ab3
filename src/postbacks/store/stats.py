"""Counts per minute. Writers only ever add rows, so that nobody waits for anybody; a job merges them later."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from postbacks.domain.delays import NO_DELAY
from postbacks.domain.frozen import frozen
from postbacks.store.database import Connection
from postbacks.store.leases import UNDER_LEASE

EVENTS = ""
"""Stands in the destination column for counts of events by their status."""


@frozen
class Count:
    """What is counted: the end of deliveries per destination and status, or events per status."""

    minute: datetime
    destination: str
    status: str
    reason: str = ""
    delay: int = NO_DELAY


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


async def add(connection: Connection, app: str, counts: Mapping[Count, int]) -> None:
    """Adds to the counts (a negative number takes back what was counted before)."""
    rows = [(count, n) for count, n in counts.items() if n]
    if not rows:
        return
    # Random, not timed: two processes that commit in the same millisecond must not get the same one. 0 is the merged row.
    part = 1 + secrets.randbelow(2**63 - 1)
    await connection.execute(
        "INSERT INTO stats (app_id, minute, destination, status, reason, delay, part, n) "
        "SELECT $1, v.minute, v.destination, v.status, v.reason, v.delay, $7, v.n FROM unnest($2::timestamptz[], "
        "$3::text[], $4::text[], $5::text[], $6::int2[], $8::bigint[]) AS v(minute, destination, status, reason, delay, n)",
        app,
        [count.minute for count, _ in rows],
        [count.destination for count, _ in rows],
        [count.status for count, _ in rows],
        [count.reason for count, _ in rows],
        [count.delay for count, _ in rows],
        part,
        [n for _, n in rows],
    )


async def read(connection: Connection, app: str, start: datetime, end: datetime) -> list[Mapping[str, Any]]:
    """Counts per minute from `start` (inclusive) to `end` (exclusive)."""
    rows: list[Mapping[str, Any]] = await connection.fetch(
        "SELECT minute, destination, status, reason, delay, sum(n)::bigint AS n FROM stats "
        "WHERE app_id = $1 AND minute >= $2 AND minute < $3 GROUP BY 1, 2, 3, 4, 5",
        app,
        start,
        end,
    )
    return rows


async def open_counts(connection: Connection, app: str) -> list[Mapping[str, Any]]:
    """Open deliveries per destination and status, with the oldest time that was due and the first deadline."""
    rows: list[Mapping[str, Any]] = await connection.fetch(
        f"SELECT o.destination, CASE WHEN {UNDER_LEASE} THEN 'sending' "
        "WHEN d.paused_at IS NOT NULL OR d.held_at IS NOT NULL OR NOT d.enabled THEN 'held' ELSE o.status END AS status, "
        "count(*) AS n, min(o.due) AS oldest_due, min(o.deadline) AS first_deadline FROM outbox o "
        "LEFT JOIN destinations d ON d.app_id = $1 AND d.name = o.destination WHERE o.app_id = $1 GROUP BY 1, 2",
        app,
    )
    return rows


async def merge(connection: Connection, app: str, before: datetime) -> int:
    """Adds up the rows of minutes that are over. Must run inside a transaction. Returns how many rows were merged."""
    rows = await connection.fetch(
        "DELETE FROM stats WHERE app_id = $1 AND minute < $2 AND minute >= $3 AND part <> 0 "
        "RETURNING minute, destination, status, reason, delay, n",
        app,
        before,
        before - timedelta(days=2),
    )
    totals: Counter[Count] = Counter()
    for row in rows:
        totals[Count(row["minute"], row["destination"], row["status"], row["reason"], row["delay"])] += row["n"]
    ordered = sorted(
        totals.items(), key=lambda item: (item[0].minute, *map(str, (item[0].destination, item[0].status)))
    )
    await connection.executemany(
        "INSERT INTO stats AS s (app_id, minute, destination, status, reason, delay, part, n) "
        "VALUES ($1, $2, $3, $4, $5, $6, 0, $7) ON CONFLICT (app_id, minute, destination, status, reason, delay, part) "
        "DO UPDATE SET n = s.n + excluded.n",
        [
            (app, count.minute, count.destination, count.status, count.reason, count.delay, n)
            for count, n in ordered
            if n
        ],
    )
    return len(rows)


async def forget(connection: Connection, app: str, before: datetime) -> None:
    """Deletes counts that are older than anybody asks for."""
    await connection.execute("DELETE FROM stats WHERE app_id = $1 AND minute < $2", app, before)
