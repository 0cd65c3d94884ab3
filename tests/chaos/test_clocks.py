"""Clocks that jump an hour either way: nothing is lost, nothing is sent twice, little is late."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import DEDUPLICATING, batch, figures, fleet, scaled
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

HOUR = 3600
ahead_and_behind = pytest.mark.parametrize("hours", [1, -1], ids=["ahead", "behind"])


@ahead_and_behind
async def test_the_clock_of_the_service_jumps(database_url: str, tmp_path: Path, hours: int) -> None:
    """API and dispatchers, with retries, waits and sends under way. When something is due, PostgreSQL's clock says."""
    events = scaled(1_000, 10_000)
    clock = tmp_path / "clock"
    clock.write_text("0")
    async with fleet(database_url, *DEDUPLICATING, clock=clock) as one:
        for _ in range(2):
            await one.dispatcher()
        game = one.client(one.secret_key)
        await one.sandbox.fault("meta", "status", status=503, times=3)
        await one.sandbox.fault("reddit", "throttle", seconds=1)
        await one.sandbox.fault("tiktok", "slow", seconds=1)
        for start in range(0, events, 100):
            if start == events // 2:
                clock.write_text(str(hours * HOUR))
            answer = await game.post("/v1/events", json=_batch(start, told=hours > 0))
            assert (answer.status_code, answer.json().get("accepted")) == (202, 100), answer.text
        await one.drained(30)  # an hour's wait anywhere would be seen here
        assert await one.ended() == events * len(DEDUPLICATING)
        for platform in DEDUPLICATING:
            stored = await one.sandbox.received(platform)
            assert (len(stored), {item["copies"] for item in stored}) == (events, {1})
        figures(events=events, hours=hours, lost=0, sent_twice=0)


async def test_an_api_that_is_an_hour_behind_refuses_what_seems_to_lie_ahead(database_url: str, tmp_path: Path) -> None:
    """A clear no instead of a wrong yes: the game's backend sends it again when the clock is right."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    async with fleet(database_url, "meta", clock=clock) as one:
        clock.write_text(str(-HOUR))
        game = one.client(one.secret_key)
        refused = await game.post("/v1/events", json=_batch(0, told=True))
        assert refused.status_code == 422
        assert await one.value("SELECT count(*) FROM events") == 0
        clock.write_text("0")
        assert (await game.post("/v1/events", json=_batch(0, told=True))).json()["accepted"] == 100


def _batch(start: int, *, told: bool) -> dict[str, Any]:
    """`told`: with the times at which the events happened, by the game's clock, which is right."""
    body = batch("e", start, 100)
    for event in body["events"] if told else ():
        event["occurred_at"] = time.time()
    return body


@ahead_and_behind
async def test_postgresqls_clock_jumps(database_url: str, hours: int) -> None:
    """All that stands in the tables moves against `now()` at once, which is what a jump of the server's clock means.

    Ahead: leases end early, and another dispatcher takes over what is still being sent; the first cannot write any
    more, and the platform drops the repeat. Behind: what was to be tried again waits for the hour, unless somebody
    looks after it; what is new goes out.
    """
    async with fleet(database_url, "meta", LEASE_SECONDS=30, SENDS_PER_DESTINATION=1) as one:
        game = one.client(one.secret_key)
        await one.sandbox.fault("meta", "slow", seconds=2)
        for _ in range(2):
            await one.dispatcher()
        assert (await game.post("/v1/events", json=batch("e", 0, 50))).json()["accepted"] == 50
        await eventually(lambda: one.sandbox.requests("meta"))
        for table, column in (("outbox", "due"), ("leases", "until")):
            await one.database.execute(f"UPDATE {table} SET {column} = {column} - $1::interval", timedelta(hours=hours))
        assert (await game.post("/v1/events", json=batch("new", 0, 50))).json()["accepted"] == 50
        await one.drained(20)
        assert await one.ended() == 100
        assert len(await one.tries()) == 100
        stored = await one.sandbox.received("meta")
        assert len(stored) == 100
        sent = [json.loads(request["body"])["data"] for request in await one.sandbox.requests("meta")]
        keys = [event["event_id"] for part in sent for event in part]
        assert len(set(keys)) == 100
        assert len(keys) == (150 if hours > 0 else 100)
