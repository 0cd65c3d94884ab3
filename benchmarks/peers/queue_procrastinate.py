"""procrastinate: asyncio jobs in PostgreSQL over psycopg."""

from __future__ import annotations

import aiohttp
import uvloop
from procrastinate import App, PsycopgConnector
from procrastinate.types import JSONDict

import conversion

BATCH = 1_000

app = App(
    connector=PsycopgConnector(conninfo=conversion.database(), min_size=4, max_size=conversion.setting("connections"))
)


class _Http:
    session: aiohttp.ClientSession


@app.task(name="send")
async def send(body: str) -> None:
    """The job."""
    async with _Http.session.post(conversion.sink(), data=body, headers=conversion.HEADERS) as response:
        response.raise_for_status()
        await response.read()


async def _enqueue(count: int) -> None:
    waiting: list[JSONDict] = [{"body": body} for body in conversion.bodies(count)]
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for start in range(0, count, BATCH):
            await send.batch_defer_async(*waiting[start : start + BATCH])


async def _work() -> None:
    connector = aiohttp.TCPConnector(limit=conversion.setting("concurrency"))
    async with app.open_async(), aiohttp.ClientSession(connector=connector) as _Http.session:
        await app.run_worker_async(concurrency=conversion.setting("concurrency"))


async def _left() -> int:
    async with app.open_async():
        row = await app.connector.execute_query_one_async(
            "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        )
    return int(row["jobs"])


if __name__ == "__main__":
    conversion.command(
        lambda count: uvloop.run(_enqueue(count)), lambda: uvloop.run(_work()), lambda: uvloop.run(_left())
    )
