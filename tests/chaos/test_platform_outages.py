"""A platform that misbehaves, or is down: the others notice nothing, and afterwards the backlog drains in good order."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support import database
from tests.support.processes import Fleet, batch, figures, fleet, scaled
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

UNDISTURBED = timedelta(seconds=3)
"""From the event to "delivered" beside a platform that hangs for 5: far more than it takes, less than that wait."""

FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"seconds": 5},
    "trickle": {"seconds": 5},
    "garbage": {},
    "cut_before": {},
    "cut_after": {},
    "html": {"status": 502},
    "error_200": {},
}
"""All of Meta. The last one is a 200 whose body is an error."""


@pytest.fixture(scope="module")
async def two_apps(postgres: str) -> AsyncIterator[tuple[Fleet, httpx.AsyncClient]]:
    """`game` sends to Meta, TikTok and Reddit, `other` to Meta alone; two dispatchers serve both."""
    url = await database.fresh(postgres)
    async with fleet(url, "meta", "tiktok", "reddit") as one:
        other = await one.create_app("other")
        await one.destination("meta", app="other")
        await one.dispatcher()
        await one.dispatcher()
        yield one, other
    await database.drop(url)


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_is_nobody_elses(two_apps: tuple[Fleet, httpx.AsyncClient], kind: str) -> None:
    """Bulkhead: other destinations, and other apps at the same platform, are as fast as ever."""
    one, other = two_apps
    game = one.client(one.secret_key)
    count = scaled(100, 1_000)
    began = await one.value("SELECT now()")
    faulty = {"events": [{**event, "currency": "NOK"} for event in batch(kind, 0, count)["events"]]}
    await one.sandbox.fault("meta", kind, times=1_000_000, match="NOK", **FAULTS[kind])
    try:
        assert (await game.post("/v1/events", json=faulty)).json()["accepted"] == count
        await eventually(lambda: _faults_met(one))
        assert (await other.post("/v1/events", json=batch(f"beside-{kind}", 0, count))).json()["accepted"] == count
        delays = await eventually(lambda: _delays(one, began), lambda found: len(found) == 3 * count, seconds=15)
        assert max(delays) < UNDISTURBED
        assert await one.value("SELECT count(*) FROM outbox WHERE destination = 'meta' AND app_id = 'game'") == count
        figures(slowest_delivery_beside_it_in_seconds=max(delays).total_seconds())
    finally:
        await one.sandbox.clear("meta")
    await one.drained(60)
    assert await one.value("SELECT count(*) FROM deliveries WHERE status <> 'delivered'") == 0
    assert await one.value("SELECT failures FROM destinations WHERE app_id = 'other'") == 0
    assert await one.sandbox.count("meta") == await one.value("SELECT count(*) FROM events")


async def _faults_met(one: Fleet) -> bool:
    return any(request["fault"] for request in (await one.sandbox.requests("meta"))[-5:])


async def _delays(one: Fleet, since: datetime) -> list[timedelta]:
    """Of the deliveries that were planned and sent since then."""
    rows = await one.database.fetch(
        "SELECT updated_at - created_at AS delay FROM deliveries WHERE created_at >= $1", since
    )
    return [row["delay"] for row in rows]


async def test_the_breaker_opens_and_closes_and_the_backlog_drains_in_good_order(database_url: str) -> None:
    """Down for a long time, as the schedule of this test has it: every step of it is gone through several times."""
    events = scaled(3_000, 20_000)
    async with fleet(database_url, "meta", RETRY_SCHEDULE="0.1,0.2", SENDS_PER_DESTINATION=4) as one:
        game = one.client(one.secret_key)
        await one.sandbox.fault("meta", "status", status=503, times=1_000_000)
        for _ in range(2):
            await one.dispatcher()
        for start in range(0, events, 1_000):
            assert (await game.post("/v1/events", json=batch("e", start, 1_000))).json()["accepted"] == 1_000
        gate = await eventually(
            lambda: one.database.fetchrow(
                "SELECT failures, blocked_reason FROM destinations WHERE blocked_until > now()"
            )
        )
        assert gate["failures"] >= 5
        assert gate["blocked_reason"] == "http_503"
        # While it is open nothing is sent; when it is tried again, then with a handful of events by each dispatcher.
        await eventually(lambda: one.value("SELECT failures FROM destinations"), lambda failures: failures >= 8)
        down = await one.sandbox.requests("meta")
        assert len(down) < 40
        assert all(_size(request) <= 10 for request in down[-3:])
        # The shortest pause of an open breaker is a second, give or take a tenth so that nobody marches in step.
        assert down[-1]["at"] - down[-3]["at"] > 0.85

        await one.sandbox.clear("meta")
        up = time.time()
        await one.drained(60)
        drained = time.time() - up
        requests = [request for request in await one.sandbox.requests("meta") if request["at"] > down[-1]["at"]]
        assert _size(requests[0]) <= 10
        # Full batches, not one request for each delivery; and no second request before the first was answered.
        assert len(requests) <= events / 1_000 * 2 + 20
        assert await one.ended() == events == await one.sandbox.count("meta")
        assert {item["copies"] for item in await one.sandbox.received("meta")} == {1}
        healthy = await one.database.fetchrow("SELECT failures, blocked_until, blocked_reason FROM destinations")
        assert tuple(healthy) == (0, None, None)
        figures(events=events, requests_while_down=len(down), requests_to_drain=len(requests), seconds_to_drain=drained)


def _size(request: dict[str, Any]) -> int:
    return len(json.loads(request["body"])["data"])


async def test_the_backlog_drains_within_the_platforms_rate(database_url: str) -> None:
    """Two dispatchers with four workers each: once one of them is told to wait, all of them wait."""
    events, pause = scaled(4_000, 20_000), 1.5
    async with fleet(database_url, "reddit") as one:
        game = one.client(one.secret_key)
        await one.database.execute("UPDATE destinations SET paused_at = now()")
        for start in range(0, events, 1_000):
            assert (await game.post("/v1/events", json=batch("e", start, 1_000))).json()["accepted"] == 1_000
        for _ in range(2):
            await one.dispatcher()
        for _ in range(3):
            await one.sandbox.fault("reddit", "throttle", seconds=pause)
        await one.database.execute("UPDATE destinations SET paused_at = NULL")
        await one.drained(60)
        requests = await one.sandbox.requests("reddit")
        refused = [request["at"] for request in requests if request["fault"]]
        assert len(refused) == 3
        # What was under way already when the first was refused arrives within moments.
        too_soon = [
            request["at"] - at for at in refused for request in requests if 0.3 < request["at"] - at < pause - 0.1
        ]
        assert not too_soon
        assert await one.ended() == events == await one.sandbox.count("reddit")
        assert {item["copies"] for item in await one.sandbox.received("reddit")} == {1}


async def test_a_batch_of_1000_with_one_poisoned_event(database_url: str) -> None:
    """The platform refuses the whole batch and does not say why: one fails, 999 arrive, once each."""
    platforms = ("meta", "google", "tiktok", "reddit", "x")
    async with fleet(database_url, *platforms) as one:
        for platform in platforms:
            await one.sandbox.switch(platform, poison="99999.25")
        await one.database.execute("UPDATE destinations SET paused_at = now()")
        body = batch("e", 0, 1_000)
        for number, event in enumerate(body["events"]):
            event["occurred_at"] = time.time() - 2_000 + number  # Google counts one per click, action and second
        body["events"][617]["value"] = "99999.25"
        body["events"][31]["currency"] = "not a currency"
        answer = (await one.client(one.secret_key).post("/v1/events", json=body)).json()
        # Our own door first: what we refuse does not sink the rest either.
        assert (answer["accepted"], answer["rejected"], answer["results"][31]["status"]) == (999, 1, "rejected")
        await one.dispatcher()
        await one.database.execute("UPDATE destinations SET paused_at = NULL")
        await one.drained(60)
        for platform in platforms:
            failed = await one.database.fetch(
                "SELECT d.reason, (SELECT e.event_id FROM events e WHERE e.id <= d.id ORDER BY e.id DESC LIMIT 1) AS event_id "
                "FROM deliveries d WHERE platform = $1 AND status <> 'delivered'",
                platform,
            )
            assert [row["event_id"] for row in failed] == ["e-617"], (platform, failed)
            stored = await one.sandbox.received(platform)
            assert (len(stored), {item["copies"] for item in stored}) == (998, {1}), platform
            # By halving: not one request for each of a thousand.
            assert len(await one.sandbox.requests(platform)) < 60, platform
        assert await one.value("SELECT count(*) FROM destinations WHERE held_at IS NOT NULL OR failures > 0") == 0


async def test_a_long_backlog_behind_a_held_destination(database_url: str) -> None:
    """100,000 events wait for new credentials at Meta while TikTok goes on; then all of them go out."""
    events = scaled(10_000, 100_000)
    async with fleet(database_url, "meta", "tiktok", LEASE_SECONDS=30) as one:
        game = one.client(one.secret_key)
        await one.sandbox.fault("meta", "token_expired", times=1_000_000)
        await one.dispatcher()
        for start in range(0, events, 1_000):
            assert (await game.post("/v1/events", json=batch("e", start, 1_000))).json()["accepted"] == 1_000
        held = await one.database.fetchrow("SELECT held_code, held_remedy FROM destinations WHERE held_at IS NOT NULL")
        assert held["held_code"]
        assert held["held_remedy"]
        await eventually(one.ended, lambda count: count == events, seconds=120)
        assert await one.open_deliveries() == events

        # A dispatcher's look and claim do not grow with what waits.
        began = await one.value("SELECT now()")
        assert (await game.post("/v1/events", json=batch("late", 0, 20))).json()["accepted"] == 20
        delays = await eventually(lambda: _delays(one, began), lambda found: len(found) == 20)
        assert max(delays) < timedelta(seconds=1)
        look = await _explained(
            one, "SELECT 1 FROM outbox o WHERE o.app_id = 'game' AND o.destination = 'tiktok' AND o.due <= now()"
        )
        assert look < await one.value("SELECT pg_relation_size('outbox') / 8192 / 3")

        await one.sandbox.clear("meta")
        await one.destination("meta")  # new credentials are put
        await one.drained(300)
        assert await one.ended() == 2 * (events + 20)
        for platform in ("meta", "tiktok"):
            assert await one.sandbox.count(platform) == events + 20
        figures(events_behind_a_held_destination=events, slowest_beside_it_in_seconds=max(delays).total_seconds())


async def _explained(one: Fleet, statement: str) -> int:
    """Pages that a statement reads."""
    plan = json.loads(await one.value(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"))[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
