"""The ceilings of the database: the bare statements, written by hand, from one process on the same database.

    python -m postbacks.bench.raw '{"mode": "insert", …}'   events with a delivery each, in batches
    python -m postbacks.bench.raw '{"mode": "drain", …}'    claim, read, build a body, POST, settle with a try

Each prints its rate as JSON. They use the service's own tables and indexes, and nothing of its code but the ids.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import orjson

from postbacks.bench.seeding import APP, PLATFORMS
from postbacks.domain import ids

CONNECTIONS = 2
BATCH = 1_000
CLAIM = 500

_EVENTS = (
    "INSERT INTO events (app_id, id, event_id, name, occurred_at, user_id, value, currency, platform, status, match) "
    "SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::numeric[], "
    "$8::text[], $9::text[], $10::text[], $11::text[])"
)
_DELIVERIES = (
    "INSERT INTO outbox (app_id, id, destination, due, deadline, created_at, click, status) SELECT $1, * FROM "
    "unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::text[])"
)
_CLAIM = (
    "SELECT id, click, created_at FROM outbox WHERE app_id = $1 AND destination = $2 AND due <= now() AND id NOT IN "
    "(SELECT unnest(deliveries) FROM leases WHERE app_id = $1 AND destination = $2) ORDER BY due LIMIT $3"
)
_LEASE = (
    "INSERT INTO leases (app_id, id, destination, until, deliveries) VALUES ($1, $2, $3, now() + interval '60 s', $4)"
)
_UNLEASE = "DELETE FROM leases WHERE app_id = $1 AND id = $2"
_LOAD = (
    "SELECT e.id, e.event_id, e.name, e.occurred_at, e.value, e.currency, c.value AS click, c.clicked_at, c.user_agent "
    "FROM unnest($2::uuid[], $3::uuid[]) AS w(event, click) "
    "JOIN events e ON e.app_id = $1 AND e.id = w.event AND e.id BETWEEN $4 AND $5 "
    "JOIN clicks c ON c.app_id = $1 AND c.id = w.click"
)
_TAKE_OUT = "DELETE FROM outbox WHERE app_id = $1 AND id = ANY($2::uuid[])"
_SAID = (
    "INSERT INTO exchanges (app_id, id, deliveries, started_at, duration_ms, http_status, verdict, method, url, "
    "response) VALUES ($1, $2, $3, $4, 1, 200, 'delivered', 'POST', $5, $6)"
)
_ENDED = (
    "INSERT INTO deliveries (app_id, id, destination, platform, status, attempts, click, created_at, exchange, "
    "request) SELECT $1, t.id, $2, $2, 'delivered', 1, t.click, t.created_at, $3, t.request "
    "FROM unnest($4::uuid[], $5::uuid[], $6::timestamptz[], $7::text[]) AS t(id, click, created_at, request)"
)


async def insert(url: str, seconds: float) -> float:
    """Events per second of the two bare statements in one transaction, in batches of 1,000, on two connections."""
    stop = time.perf_counter() + seconds
    counts = await asyncio.gather(*(_insert(url, stop, tag) for tag in range(CONNECTIONS)))
    return sum(counts) / seconds


async def _insert(url: str, stop: float, tag: int) -> int:
    connection = await asyncpg.connect(url)
    click = uuid4()
    count = 0
    match = orjson.dumps({"method": "user_id", "confidence": "high", "platforms": ["meta"]}).decode()
    while time.perf_counter() < stop:
        now = datetime.now(UTC)
        names = [f"raw-{tag}-{count + number}" for number in range(BATCH)]
        events = [ids.new_id(now) for _ in range(BATCH)]
        async with connection.transaction():
            await connection.execute(
                _EVENTS,
                f"raw{tag}",
                events,
                names,
                ["purchase"] * BATCH,
                [now] * BATCH,
                names,
                [Decimal("4.99")] * BATCH,
                ["EUR"] * BATCH,
                ["pc"] * BATCH,
                ["matched"] * BATCH,
                [match] * BATCH,
            )
            await connection.execute(
                _DELIVERIES,
                f"raw{tag}",
                [ids.delivery_id(event, 1) for event in events],
                ["meta"] * BATCH,
                [now] * BATCH,
                [now + timedelta(days=6)] * BATCH,
                [now] * BATCH,
                [click] * BATCH,
                ["queued"] * BATCH,
            )
        count += BATCH
    await connection.close()
    return count


async def drain(url: str, sink: str) -> float:
    """Deliveries per second until the outbox holds no more work; one connection for each of the five platforms."""
    started = time.perf_counter()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        counts = await asyncio.gather(*(_drain(url, f"{sink}/v25.0/1/events", name, session) for name in PLATFORMS))
    return sum(counts) / (time.perf_counter() - started)


async def _drain(url: str, target: str, name: str, session: aiohttp.ClientSession) -> int:
    connection = await asyncpg.connect(url)
    count = 0
    while True:
        lease = uuid4()
        async with connection.transaction():
            rows = await connection.fetch(_CLAIM, APP, name, CLAIM)
            if rows:
                await connection.execute(_LEASE, APP, lease, name, [row["id"] for row in rows])
        if not rows:
            await connection.close()
            return count
        now = datetime.now(UTC)
        events = [ids.event_of(row["id"]) for row in rows]
        loaded = await connection.fetch(_LOAD, APP, events, [row["click"] for row in rows], min(events), max(events))
        by_event = {row["id"]: row for row in loaded}
        parts = [_part(by_event[event]) for event in events]
        async with session.post(target, data=b'{"data":[' + b",".join(parts) + b"]}") as response:
            answer = (await response.read()).decode()
        found, exchange = [row["id"] for row in rows], ids.new_id(now)
        async with connection.transaction():
            await connection.execute(_UNLEASE, APP, lease)
            await connection.execute(_TAKE_OUT, APP, found)
            await connection.execute(_SAID, APP, exchange, len(rows), now, target, answer)
            await connection.execute(
                _ENDED,
                APP,
                name,
                exchange,
                found,
                [row["click"] for row in rows],
                [row["created_at"] for row in rows],
                [part.decode() for part in parts],
            )
        count += len(rows)


def _part(row: asyncpg.Record) -> bytes:
    return orjson.dumps(
        {
            "event_name": "Purchase",
            "event_time": int(row["occurred_at"].timestamp()),
            "event_id": f"pbk_{row['id'].hex}",
            "action_source": "website",
            "user_data": {
                "fbc": f"fb.1.{int(row['clicked_at'].timestamp() * 1000)}.{row['click']}",
                "client_user_agent": row["user_agent"],
            },
            "custom_data": {"value": float(row["value"]), "currency": row["currency"]},
        }
    )


async def _rate(arguments: dict[str, Any]) -> float:
    if arguments["mode"] == "insert":
        return await insert(arguments["url"], arguments["seconds"])
    return await drain(arguments["url"], arguments["sink"])


if __name__ == "__main__":
    import uvloop

    measured = uvloop.run(_rate(orjson.loads(sys.argv[1])))
    print(orjson.dumps({"events_per_second": measured}).decode())  # noqa: T201 - the parent process reads it
