"""Several dispatchers: work is shared, nothing is sent by two, and whoever lost a lease cannot write any more."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter

import pytest

from tests.support.processes import DEDUPLICATING, batch, figures, fleet, scaled
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.mark.parametrize("count", [2, 4])
async def test_dispatchers_share_and_send_nothing_twice(database_url: str, count: int) -> None:
    """Each may have one request to a destination under way, so as many at once mean as many at work."""
    events = scaled(count * 2_000, 20_000)  # a claim takes 2,000
    async with fleet(database_url, *DEDUPLICATING, LEASE_SECONDS=30, SENDS_PER_DESTINATION=1) as one:
        game = one.client(one.secret_key)
        await one.database.execute("UPDATE destinations SET paused_at = now()")
        for start in range(0, events, 1_000):
            assert (await game.post("/v1/events", json=batch("e", start, 1_000))).json()["accepted"] == 1_000
        await asyncio.gather(*(one.dispatcher() for _ in range(count)))
        await one.sandbox.fault("meta", "slow", seconds=1, times=count)
        await one.database.execute("UPDATE destinations SET paused_at = NULL")
        await eventually(
            lambda: one.value("SELECT count(*) FROM leases WHERE destination = 'meta' AND until > now()"),
            lambda at_work: at_work == count,
        )
        await one.drained(120)
        for platform in DEDUPLICATING:
            stored = await one.sandbox.received(platform)
            assert len(stored) == events
            assert {item["copies"] for item in stored} == {1}
        tries = await one.tries()
        delivered = sum(row["verdict"] == "delivered" for row in tries)
        assert delivered == events * len(DEDUPLICATING), Counter((row["verdict"], row["code"]) for row in tries)
        # At full size Reddit's own rate is reached: what it refuses whole and unseen is no second send of a delivery.
        assert {row["code"] for row in tries if row["verdict"] != "delivered"} <= {"http_429"}
        figures(dispatchers=count, deliveries=await one.ended(), sent_twice=0)


async def test_a_backlog_leaves_connections_to_others(database_url: str) -> None:
    """A dozen claims are open at once, most of them to X, which takes 500 in each; three of them are at work in the database.
    The others are for the look for work, the housekeeping, and the API that may share the pool."""
    async with fleet(database_url, *DEDUPLICATING, "x", SENDS_PER_DESTINATION=12) as one:
        game = one.client(one.secret_key)
        await one.database.execute("UPDATE destinations SET paused_at = now()")
        for start in range(0, 4_000, 1_000):
            assert (await game.post("/v1/events", json=batch("e", start, 1_000))).json()["accepted"] == 1_000
        await one.dispatcher()
        await one.database.execute("UPDATE destinations SET paused_at = NULL")
        await one.drained(60)

        used = await one.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postbacks dispatch'")
        assert used <= 3 + 3


async def test_stopped_past_its_lease_it_cannot_overwrite_a_newer_outcome(database_url: str) -> None:
    """SIGSTOP with a request under way; another one delivers; SIGCONT: the late failure is dropped."""
    async with fleet(database_url, "meta") as one:
        await one.sandbox.fault("meta", "hang", seconds=1.0)
        answer = await one.client(one.secret_key).post("/v1/events", json=batch("e", 0, 20))
        assert answer.json()["accepted"] == 20
        sleeper = await one.dispatcher()
        await eventually(lambda: one.sandbox.requests("meta"))
        sleeper.signal(signal.SIGSTOP)
        await one.dispatcher()
        await one.drained(20)
        before = await one.database.fetch("SELECT id, status, attempts, updated_at FROM deliveries ORDER BY id")
        assert {row["status"] for row in before} == {"delivered"}

        sleeper.signal(signal.SIGCONT)
        assert await sleeper.terminate() == 0  # after it has finished what it believed to be its work

        assert await one.database.fetch("SELECT id, status, attempts, updated_at FROM deliveries ORDER BY id") == before
        assert await one.open_deliveries() == 0
        tries = await one.tries()
        assert {(row["number"], row["verdict"]) for row in tries} == {(1, "delivered")}
        assert len(tries) == 20
        assert {item["copies"] for item in await one.sandbox.received("meta")} == {1}


async def test_stopped_before_it_sent_it_sends_nothing_after_its_lease(database_url: str) -> None:
    """Stopped while it loads what it claimed: the lease is gone when it wakes up, so it must not send."""
    async with fleet(database_url, "meta") as one:
        answer = await one.client(one.secret_key).post("/v1/events", json=batch("e", 0, 20))
        assert answer.json()["accepted"] == 20
        async with one.database.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            sleeper = await one.dispatcher()
            await eventually(
                lambda: one.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND application_name = 'postbacks dispatch'"
                )
            )
            sleeper.signal(signal.SIGSTOP)
        await one.dispatcher()
        await one.drained(20)
        sleeper.signal(signal.SIGCONT)
        assert await sleeper.terminate() == 0
        requests = await one.sandbox.requests("meta")
        assert sum(len(json.loads(request["body"])["data"]) for request in requests) == 20
        assert {item["copies"] for item in await one.sandbox.received("meta")} == {1}
