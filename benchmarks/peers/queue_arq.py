"""arq: asyncio jobs in Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import uvloop
from arq import Worker, create_pool, func
from arq.connections import RedisSettings

import conversion

AT_ONCE = 200


def _settings() -> RedisSettings:
    return RedisSettings.from_dsn(conversion.redis())


async def _enqueue(count: int) -> None:
    redis = await create_pool(_settings())
    waiting = list(conversion.bodies(count))
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(redis.enqueue_job("send", body) for body in waiting[start : start + AT_ONCE]))
    await redis.aclose()


async def send(ctx: dict[Any, Any], body: str) -> None:
    """The job."""
    async with ctx["http"].post(conversion.sink(), data=body, headers=conversion.HEADERS) as response:
        response.raise_for_status()
        await response.read()


async def _open(ctx: dict[Any, Any]) -> None:
    connector = aiohttp.TCPConnector(limit=conversion.setting("concurrency"))
    ctx["http"] = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def _close(ctx: dict[Any, Any]) -> None:
    await ctx["http"].close()


async def _work() -> None:
    worker = Worker(
        functions=[func(send)],
        redis_settings=_settings(),
        on_startup=_open,
        on_shutdown=_close,
        max_jobs=conversion.setting("concurrency"),
        queue_read_limit=conversion.setting("prefetch"),
        # The defaults poll twice a second and write a result for an hour: both only slow it here.
        poll_delay=0.01,
        keep_result=0,
        handle_signals=False,
    )
    await worker.async_run()


async def _left() -> int:
    redis = await create_pool(_settings())
    count: int = await redis.zcard("arq:queue")
    await redis.aclose()
    return count


if __name__ == "__main__":
    conversion.command(
        lambda count: uvloop.run(_enqueue(count)), lambda: uvloop.run(_work()), lambda: uvloop.run(_left())
    )
