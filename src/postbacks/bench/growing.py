"""`postbacks bench --grow`: whether rate, delay and size stay what they are while queue and history grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from postbacks.bench.measuring import drained, nothing_queued, offer
from postbacks.bench.plot import Line, plot
from postbacks.bench.seeding import APP
from postbacks.bench.stage import Stage, stage
from postbacks.domain import ids

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)

STEADY = 2_000.0
"""Deliveries per second that are offered to see how long each waits."""


async def grown(stage: Stage, size: int, seconds: float) -> dict[str, Any]:
    """One row of the table of growth: `size` finished and `size` queued deliveries; the rate at which the queue is
    worked off, then how long each waits at a steady rate, and what the tables weigh."""
    await stage.seeder.empty()
    await stage.seeder.history(size)
    async with stage.dispatcher():
        rate = await drained(stage, size)
        queue = await _weight(stage, "outbox")
        waits = await _steady(stage, seconds)
    history = [await _weight(stage, table) for table in ("deliveries", "exchanges", "attempts")]
    return {
        "size": size,
        "deliveries_per_s": round(rate, 1),
        "p50_wait_ms": round(waits[0] * 1000, 1),
        "p99_wait_ms": round(waits[1] * 1000, 1),
        "queue_mb": queue[0],
        "queue_index_mb": queue[1],
        "dead_queue_rows": queue[2],
        "history_mb": round(sum(one[0] for one in history), 1),
        "history_index_mb": round(sum(one[1] for one in history), 1),
    }


async def _steady(stage: Stage, seconds: float) -> tuple[float, float]:
    """p50 and p99 of the wait for the first try at a steady rate, in seconds."""
    moment = await stage.connection.fetchval("SELECT now()")
    await offer(stage, seconds, STEADY)
    await nothing_queued(stage)
    row = await stage.connection.fetchrow(
        "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP "
        "(ORDER BY extract(epoch FROM x.started_at - d.created_at)) AS waits "
        "FROM deliveries d JOIN exchanges x ON x.app_id = d.app_id AND x.id = d.exchange AND d.attempts = 1 "
        "WHERE d.app_id = $1 AND d.id >= $2 AND x.id >= $2 AND d.created_at >= $3",
        APP,
        ids.floor(moment),
        moment,
    )
    p50, p99 = row["waits"] or (0.0, 0.0)
    return float(p50), float(p99)


async def _weight(stage: Stage, table: str) -> tuple[float, float, int]:
    """Megabytes of a table with its partitions, of its indexes, and its dead rows."""
    row = await stage.connection.fetchrow(
        "SELECT coalesce(sum(pg_table_size(c.oid)), 0) AS heap, coalesce(sum(pg_indexes_size(c.oid)), 0) AS indexes, "
        "coalesce(sum(pg_stat_get_dead_tuples(c.oid)), 0)::bigint AS dead FROM pg_class c "
        r"WHERE c.relkind = 'r' AND (c.relname = $1 OR c.relname LIKE $1 || '\_2%')",
        table,
    )
    return round(float(row["heap"]) / 1e6, 1), round(float(row["indexes"]) / 1e6, 1), int(row["dead"])


async def grow(largest: int, seconds: float, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row for each size up to `largest`."""
    rows = []
    async with stage() as one:
        for size in SIZES:
            if size <= largest:
                progress(f"{size:,} queued and finished")
                rows.append(await grown(one, size, seconds))
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---:"] * len(names), *([f"{value:,}" for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as an SVG; every line is relative to its smallest size, so that flat is good in each."""
    names = ("deliveries_per_s", "p99_wait_ms", "queue_index_mb", "dead_queue_rows")
    lines = []
    for name in names:
        values = [float(row[name]) for row in rows]
        base = next((value for value in values if value), 1.0)
        lines.append(Line(name, [(float(row["size"]), value / base) for row, value in zip(rows, values, strict=True)]))
    return plot("Queued and finished deliveries", "times the value at the smallest size", lines)
