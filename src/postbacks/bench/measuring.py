"""The measurements, one function for each line of the report."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import psutil

from postbacks.bench.figures import Pair, quantile, summary
from postbacks.bench.seeding import APP, PLATFORMS, PLAYERS
from postbacks.bench.stage import Stage, first_line, process

CLIENTS = 64
BATCH = 1_000
IDLE_EVENTS = 30
POLL = 0.02


async def ingest_batches(stage: Stage, seconds: float, runs: int, *, apis: int = 1) -> dict[str, Any]:
    """Events per second in batches of 1,000 on four connections; the ceiling is the bare INSERT, on two."""
    pairs = []
    async with AsyncExitStack() as processes:
        ports = [await processes.enter_async_context(stage.api()) for _ in range(apis)]
        await stage.load(*ports, clients=apis, batch=BATCH, seconds=0.3, players=PLAYERS)
        for _ in range(runs):
            await stage.seeder.empty()
            ceiling = await stage.ceiling(mode="insert", seconds=seconds)
            await stage.seeder.empty()
            result = await stage.load(*ports, clients=4, batch=BATCH, seconds=seconds, players=PLAYERS)
            pairs.append(Pair(result["events_per_second"], ceiling))
    return summary(pairs, "events/s", 0.5) | {"apis": apis}


async def ingest_single(stage: Stage, seconds: float, runs: int) -> dict[str, Any]:
    """Requests per second of 64 keep-alive clients; the ceiling is a bare endpoint without a database."""
    pairs, waits = [], []
    async with stage.api() as port, process("postbacks.bench.bare", environment=stage.environment) as bare:
        bare_port = int(await first_line(bare))
        for _ in range(runs):
            await stage.seeder.empty()
            ceiling = await stage.load(bare_port, clients=CLIENTS, batch=0, seconds=seconds, players=PLAYERS)
            result = await stage.load(port, clients=CLIENTS, batch=0, seconds=seconds, players=PLAYERS)
            pairs.append(Pair(result["requests_per_second"], ceiling["requests_per_second"]))
            waits.append(result["p99_ms"])
    return summary(pairs, "requests/s", 0.6) | {"p99_ms": round(quantile(waits, 0.5), 1)}


async def dispatch_backlog(
    stage: Stage, backlog: int, runs: int, *, history: int = 0, dispatchers: int = 1
) -> dict[str, Any]:
    """Deliveries per second over all five platforms; the ceiling is the hand-written prototype, one process."""
    pairs = []
    for _ in range(runs):
        await stage.seeder.empty()
        if history:
            await stage.seeder.history(history)
        await stage.seeder.backlog(backlog)
        ceiling = await stage.ceiling(mode="drain", sink=stage.sink)
        await stage.connection.execute("TRUNCATE outbox")
        async with AsyncExitStack() as processes:
            for _ in range(dispatchers):
                await processes.enter_async_context(stage.dispatcher())
            pairs.append(Pair(await drained(stage, backlog), ceiling))
    facts = {"backlog": backlog, "history": history, "dispatchers": dispatchers}
    return summary(pairs, "deliveries/s", 0.6) | facts


async def drained(stage: Stage, backlog: int, *, without: str = "", ignoring: str = "") -> float:
    """Queues work and waits until it is settled; returns deliveries per second, without those of `ignoring`."""
    before, _ = await stage.received()
    started = await stage.seeder.backlog(backlog, without=without)
    await stage.seeder.wake()
    names = [name for name in PLATFORMS if name not in (without, ignoring)]
    wanted = sum(1 for number in range(backlog) if PLATFORMS[number % 5] in names)
    while True:
        seen, _ = await stage.received()
        if sum(seen.get(name, 0) - before.get(name, 0) for name in names) >= wanted:
            break
        await asyncio.sleep(POLL)
    await nothing_queued(stage, names)
    return wanted / (time.time() - started)


async def _queued(stage: Stage, names: Sequence[str] = PLATFORMS) -> int:
    count: int = await stage.connection.fetchval(
        "SELECT count(*) FROM outbox WHERE app_id = $1 AND status = 'queued' AND destination = ANY($2::text[])",
        APP,
        list(names),
    )
    return count


async def nothing_queued(stage: Stage, names: Sequence[str] = PLATFORMS) -> None:
    while True:
        if not await _queued(stage, names):
            return
        await asyncio.sleep(POLL)


async def mixed(stage: Stage, seconds: float, ingest_rate: float) -> dict[str, Any]:
    """Dispatch while events arrive at half the rate that ingest reaches alone."""
    await stage.seeder.empty()
    async with stage.api() as port, stage.dispatcher():
        load = await stage.load(
            port, clients=4, batch=100, seconds=seconds, players=PLAYERS, rate=max(ingest_rate / 2, 100)
        )
        left = await _queued(stage)
        started = time.monotonic()
        await nothing_queued(stage)
        after = time.monotonic() - started
    return {
        "offered": round(ingest_rate / 2, 1),
        "ingested": round(load["events_per_second"], 1),
        "left_at_the_end": left,
        "seconds_to_finish": round(after, 2),
        **await _waits(stage),
        "goal": {"max_wait_s": 2.0},
        "unit": "events/s",
    }


async def _waits(stage: Stage) -> dict[str, float]:
    """From the planning of a delivery to its first try, in seconds."""
    row = await stage.connection.fetchrow(
        "SELECT percentile_cont(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY extract(epoch FROM w)) AS waits FROM ("
        "SELECT x.started_at - d.created_at AS w FROM deliveries d JOIN exchanges x ON x.app_id = d.app_id "
        "AND x.id = d.exchange WHERE d.attempts = 1 AND d.app_id = $1) AS waits",
        APP,
    )
    p50, p99, most = row["waits"] or (0.0, 0.0, 0.0)
    return {"p50_wait_s": round(p50, 3), "p99_wait_s": round(p99, 3), "max_wait_s": round(most, 3)}


async def idle_latency(stage: Stage) -> dict[str, Any]:
    """From the POST of an event to an idle service to the arrival of its conversion at the platform."""
    delays = []
    await stage.seeder.empty()
    headers = {"Authorization": f"Bearer {stage.secret_key}"}
    async with stage.api() as port, stage.dispatcher():
        for number in range(IDLE_EVENTS + 5):
            before, _ = await stage.received()
            body = {"name": "purchase", "event_id": secrets.token_hex(8), "user_id": f"p-{number}", "value": 4.99}
            sent = time.time()
            async with stage.http.post(
                f"http://127.0.0.1:{port}/v1/events", json={**body, "currency": "EUR"}, headers=headers
            ) as answer:
                await answer.read()
            while True:
                seen, last = await stage.received()
                if seen != before:
                    break
                await asyncio.sleep(0.01)
            # The first of each platform open connections and fetch a token.
            if number >= 5:
                delays.append((max(last.values()) - sent) * 1000)
            await asyncio.sleep(0.05 + secrets.randbelow(100) / 1000)
    return {
        "p50_ms": round(quantile(delays, 0.5), 1),
        "p99_ms": round(quantile(delays, 0.99), 1),
        "events": len(delays),
        "goal": {"p99_ms": 250},
        "batch_linger_ms": 50,
    }


async def snapshot(stage: Stage, seconds: float, rate: float) -> dict[str, Any]:
    """Dispatch at a steady rate, first without, then with a snapshot that somebody holds open all the time."""
    results = {}
    for name in ("without", "held"):
        await stage.seeder.empty()
        async with stage.dispatcher():
            if name == "held":
                holder = await _snapshot(stage)
            sent, elapsed = await offer(stage, seconds, rate)
            left = await stage.connection.fetchval("SELECT count(*) FROM outbox WHERE status = 'queued'")
            dead = await stage.connection.fetchval(
                "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'outbox'"
            )
            if name == "held":
                await holder.close()
        results[name] = {
            "offered": round(sent / elapsed, 1),
            "done": round((sent - left) / elapsed, 1),
            "dead_rows": dead,
            **await _waits(stage),
        }
    return {
        **results,
        "seconds": seconds,
        "ratio": round(results["held"]["done"] / results["without"]["done"], 3),
        "goal": {"ratio": 0.8, "p99_wait_s": 1.0},
    }


async def offer(stage: Stage, seconds: float, rate: float) -> tuple[int, float]:
    """Queues deliveries at a steady rate. Returns how many, and after how many seconds it ended."""
    started, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        due = int(elapsed * rate) - sent
        if due > 0:
            await stage.seeder.backlog(due)
            await stage.seeder.wake()
            sent += due
        await asyncio.sleep(0.05)
    return sent, elapsed


async def _snapshot(stage: Stage) -> Any:
    connection = await asyncpg.connect(stage.url)
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await connection.fetchval("SELECT count(*) FROM outbox")
    return connection


async def memory(stage: Stage, queued: int, seconds: float) -> dict[str, Any]:
    """The highest resident memory of one dispatcher that works on a long queue."""
    await stage.seeder.empty()
    await stage.seeder.backlog(queued)
    most = 0
    async with stage.dispatcher() as pid:
        dispatcher = psutil.Process(pid)
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            most = max(most, dispatcher.memory_info().rss)
            await asyncio.sleep(POLL)
    return {"queued": queued, "rss_mb": round(most / 1e6, 1), "goal": {"rss_mb": 300}}


async def slow_platform(stage: Stage, backlog: int, runs: int) -> dict[str, Any]:
    """What the four others lose when Meta takes 2 seconds for each answer instead of answering at once."""
    pairs = []
    for _ in range(runs):
        rates = []
        for seconds in (0.0, 2.0):
            await stage.seeder.empty()
            await stage.slow("meta", seconds)
            async with stage.dispatcher():
                rates.append(await drained(stage, backlog, ignoring="meta"))
        await stage.slow("meta", 0.0)
        pairs.append(Pair(rates[1], rates[0]))
    return summary(pairs, "deliveries/s of the others", 0.95)
