"""pgqueuer: asyncio jobs in PostgreSQL over asyncpg."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

import conversion

BATCH = 1_000


async def _enqueue(count: int) -> None:
    connection = await asyncpg.connect(conversion.database())
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    # Its guide asks for `pgq autovac` after each installation.
    await queries.optimize_autovacuum()
    waiting: list[bytes | None] = [body.encode() for body in conversion.bodies(count)]
    for start in range(0, count, BATCH):
        part = waiting[start : start + BATCH]
        await queries.enqueue(["send"] * len(part), part, [0] * len(part))
    await connection.close()


async def _work() -> None:
    # A single connection, which its guide recommends for the manager.
    connection = await asyncpg.connect(conversion.database())
    manager = PgQueuer(AsyncpgDriver(connection))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, manager.shutdown.set)
    connector = aiohttp.TCPConnector(limit=conversion.setting("concurrency"))
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:

        @manager.entrypoint("send")
        async def send(job: Job) -> None:
            async with http.post(conversion.sink(), data=job.payload, headers=conversion.HEADERS) as response:
                response.raise_for_status()
                await response.read()

        await manager.run(
            batch_size=conversion.setting("prefetch"), max_concurrent_tasks=conversion.setting("tasks") or None
        )


async def _left() -> int:
    connection = await asyncpg.connect(conversion.database())
    count: int = await connection.fetchval("SELECT count(*) FROM pgqueuer")
    await connection.close()
    return count


if __name__ == "__main__":
    conversion.command(
        lambda count: uvloop.run(_enqueue(count)), lambda: uvloop.run(_work()), lambda: uvloop.run(_left())
    )
