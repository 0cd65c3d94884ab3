"""`kill -9` of dispatchers: nothing lost, the same key on every try, repeats dropped by the platform."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.support.processes import DEDUPLICATING, Fleet, Process, batch, figures, fleet, scaled
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
async def one(database_url: str) -> AsyncIterator[Fleet]:
    async with fleet(database_url, "meta") as running:
        yield running


@asynccontextmanager
async def locked(url: str, table: str, mode: str) -> AsyncIterator[None]:
    """Whoever wants the table waits until the end of the block."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield
    finally:
        await connection.close()


async def _blocked(one: Fleet, words: str) -> None:
    """Until a dispatcher's statement that contains `words` waits for a lock."""
    await eventually(
        lambda: one.value(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postbacks dispatch' "
            "AND wait_event_type = 'Lock' AND query LIKE $1",
            f"%{words}%",
        )
    )


async def _post(one: Fleet, count: int) -> None:
    answer = await one.client(one.secret_key).post("/v1/events", json=batch("e", 0, count))
    assert answer.json()["accepted"] == count, answer.text


async def _taken_over(one: Fleet, events: int, copies: int) -> None:
    """The heir delivers everything; the platform saw each key `copies` times and counted it once."""
    heir = await one.dispatcher()
    await one.drained(30)
    assert await one.ended() == events
    stored = await one.sandbox.received("meta")
    assert len(stored) == events
    assert {item["copies"] for item in stored} == {copies}
    assert await heir.terminate() == 0


async def test_killed_after_the_claim(one: Fleet) -> None:
    await _post(one, 50)
    async with locked(one.database_url, "events", "ACCESS EXCLUSIVE"):
        victim = one.spawn("dispatch")
        await _blocked(one, "FROM events")
        assert await one.value("SELECT sum(cardinality(deliveries)) FROM leases WHERE until > now()") == 50
        victim.kill()
    assert await one.sandbox.count("meta") == 0
    await _taken_over(one, 50, copies=1)


async def test_killed_with_the_request_under_way(one: Fleet) -> None:
    await one.sandbox.fault("meta", "hang", seconds=60)
    await _post(one, 50)
    victim = await one.dispatcher()
    await eventually(lambda: one.sandbox.requests("meta"))
    victim.kill()
    assert await one.sandbox.count("meta") == 0
    await _taken_over(one, 50, copies=1)


async def test_killed_after_the_platform_stored_it_and_before_it_is_recorded(one: Fleet) -> None:
    await one.sandbox.fault("meta", "slow", seconds=0.5)
    await _post(one, 50)
    victim = await one.dispatcher()
    await eventually(lambda: one.sandbox.requests("meta"))
    async with locked(one.database_url, "outbox", "SHARE"):
        await _blocked(one, "DELETE FROM outbox")
        assert await one.sandbox.count("meta") == 50
        victim.kill()
    assert await one.ended() == 0
    await _taken_over(one, 50, copies=2)


async def test_killed_while_settling(one: Fleet) -> None:
    """The outcome is half written (the delivery is gone from the outbox, it is not in the history yet)."""
    await _post(one, 50)
    async with locked(one.database_url, "exchanges", "SHARE"):
        victim = await one.dispatcher()
        await _blocked(one, "exchanges")
        victim.kill()
    await eventually(lambda: one.value("SELECT count(*) FROM outbox"), lambda open_: open_ == 50)
    assert await one.ended() == 0
    await _taken_over(one, 50, copies=2)


async def test_the_same_key_on_every_try(one: Fleet) -> None:
    """Two connections cut after the platform stored it, a gateway's page, then a proper answer."""
    await one.sandbox.fault("meta", "cut_after", times=2)
    await one.sandbox.fault("meta", "html")
    await _post(one, 1)
    await one.dispatcher()
    await one.drained(30)
    requests = await one.sandbox.requests("meta")
    keys = {event["event_id"] for request in requests for event in json.loads(request["body"])["data"]}
    assert len(requests) == 4
    assert len(keys) == 1
    assert [item["copies"] for item in await one.sandbox.received("meta")] == [3]


async def test_killed_at_random_moments(database_url: str) -> None:
    """Dispatchers die one after the other while events keep coming."""
    kills, events = scaled(5, 60), scaled(1_500, 20_000)
    dice = random.Random(20_000)
    async with fleet(database_url, *DEDUPLICATING) as one:
        game = one.client(one.secret_key)

        async def feed(start: int, end: int) -> None:
            answer = await game.post("/v1/events", json=batch("e", start, end - start))
            assert answer.json()["accepted"] == end - start, answer.text

        workers: list[Process] = [one.spawn("dispatch") for _ in range(3)]
        for killed in range(kills):
            victim = workers.pop(0)
            await victim.ready("The dispatcher runs.")
            workers.append(one.spawn("dispatch"))
            feeding = asyncio.create_task(feed(events * killed // kills, events * (killed + 1) // kills))
            # Along with new events, so that every dispatcher dies with work in its hands.
            while not feeding.done() and not await one.value("SELECT count(*) FROM leases WHERE until > now()"):
                pass
            await asyncio.sleep(dice.uniform(0, 0.15))
            victim.kill()
            await feeding
        await one.drained(120)
        assert await one.ended() == events * len(DEDUPLICATING)
        repeats = 0
        for platform in DEDUPLICATING:
            stored = await one.sandbox.received(platform)
            assert len(stored) == events  # none lost, and none under a second key
            repeats += sum(item["copies"] - 1 for item in stored)
        figures(dispatcher_kills=kills, events=events, deliveries=await one.ended(), lost=0, repeats_dropped=repeats)
