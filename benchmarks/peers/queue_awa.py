"""Awa: jobs in PostgreSQL, claimed and completed by its Rust core, run by Python."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass

import aiohttp
import uvloop
from awa import AsyncClient, Job

import conversion

QUEUE = "send"
BATCH = 5_000


@dataclass
class Send:
    """The job's arguments."""

    body: str


async def _enqueue(count: int) -> None:
    client = AsyncClient(conversion.database())
    await client.migrate()
    await _activate(client)
    waiting = [Send(body) for body in conversion.bodies(count)]
    for start in range(0, count, BATCH):
        await client.enqueue_many_copy(waiting[start : start + BATCH], queue=QUEUE)
    await client.close()


async def _activate(client: AsyncClient) -> None:
    """Starts a worker of another queue for a moment: only the first worker makes a fresh database's storage active."""

    @client.task(Send, queue="none")
    async def nothing(_: Job[Send]) -> None:
        return

    await client.start([("none", 1)])
    # It tells no event when that is done.
    for _ in range(300):
        if json.loads(await client.storage_status())["state"] == "active":
            break
        await asyncio.sleep(0.1)
    await client.shutdown()


async def _work() -> None:
    client = AsyncClient(conversion.database(), max_connections=conversion.setting("connections"))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connector = aiohttp.TCPConnector(limit=conversion.setting("concurrency"))
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:

        @client.task(Send, queue=QUEUE)
        async def send(job: Job[Send]) -> None:
            async with http.post(conversion.sink(), data=job.args.body, headers=conversion.HEADERS) as response:
                response.raise_for_status()
                await response.read()

        await client.start([(QUEUE, conversion.setting("concurrency"))])
        await stop.wait()
        await client.shutdown()


async def _left() -> int:
    client = AsyncClient(conversion.database())
    stats = await client.queue_stats()
    await client.close()
    return sum(stat.total_queued + stat.running for stat in stats)


if __name__ == "__main__":
    conversion.command(
        lambda count: uvloop.run(_enqueue(count)), lambda: uvloop.run(_work()), lambda: uvloop.run(_left())
    )
