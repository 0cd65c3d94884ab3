"""`kill -9` and SIGTERM of the API under load: what got a 202 is there, what got no answer is sent again as one."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time

import httpx
import pytest

from tests.support.processes import Fleet, batch, figures, fleet, scaled
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CLIENTS = 8
GRACE = 10.0


class Load:
    """Game backends that send singles and batches, and send again whatever got no answer."""

    def __init__(self, one: Fleet, seed: int) -> None:
        self._client = one.client(one.secret_key, timeout=10)
        self._numbers = itertools.count()
        self._dice = random.Random(seed)
        self.accepted: set[str] = set()
        self.resent = 0
        self.stop = False

    async def run(self) -> None:
        await asyncio.gather(*(self._backend() for _ in range(CLIENTS)))

    async def _backend(self) -> None:
        while not self.stop:
            number = next(self._numbers) * 100
            events = batch("load", number, self._dice.choice((1, 1, 1, 100)))["events"]
            body = {"events": events} if len(events) > 1 else events[0]
            while not await self._sent(body):
                self.resent += 1
            self.accepted.update(event["event_id"] for event in events)

    async def _sent(self, body: dict[str, object]) -> bool:
        try:
            answer = await self._client.post("/v1/events", json=body)
        except httpx.TransportError:
            await asyncio.sleep(0.05)  # nobody listens between a kill and the next start
            return False
        if answer.status_code == 503:
            await asyncio.sleep(0.05)
            return False
        assert answer.status_code == 202, answer.text
        return True


async def _check_database(one: Fleet, load: Load) -> None:
    """Exactly the events that were answered, each once, each with its one delivery."""
    stored = await one.database.fetch("SELECT event_id FROM events")
    assert len(stored) == len({row["event_id"] for row in stored})
    assert {row["event_id"] for row in stored} == load.accepted
    assert await one.open_deliveries() + await one.ended() == len(load.accepted)


async def test_kill_9_under_load(database_url: str) -> None:
    kills = scaled(4, 30)
    async with fleet(database_url, "meta") as one:
        load = Load(one, seed=1)
        sending = asyncio.create_task(load.run())
        dice = random.Random(2)
        for _ in range(kills):
            before = len(load.accepted)
            await eventually(_grown(load, before + 50), seconds=30)
            await asyncio.sleep(dice.uniform(0, 0.05))
            one.processes[-1].kill()
            # What was answered before the kill is in the database while nobody runs who could still write it.
            stored = {row["event_id"] for row in await one.database.fetch("SELECT event_id FROM events")}
            assert load.accepted <= stored
            await one.api()
        load.stop = True
        await sending
        assert load.resent > 0
        await _check_database(one, load)
        figures(API_kills=kills, events=len(load.accepted), requests_sent_again=load.resent, lost=0, doubled=0)


def _grown(load: Load, size: int):  # type: ignore[no-untyped-def]
    async def grown() -> bool:
        return len(load.accepted) >= size

    return grown


async def test_sigterm_under_load_drains_and_exits_0(database_url: str) -> None:
    """API and dispatcher in the middle of their work; both end in time, and the next ones go on."""
    async with fleet(database_url, "meta", SHUTDOWN_SECONDS=GRACE) as one:
        await one.sandbox.fault("meta", "slow", seconds=1.0, times=2)
        load = Load(one, seed=3)
        sending = asyncio.create_task(load.run())
        api, dispatcher = one.processes[-1], await one.dispatcher()
        await eventually(lambda: one.sandbox.requests("meta"), seconds=20)
        started = time.monotonic()
        for process in (api, dispatcher):
            process.signal(signal.SIGTERM)
        for process in (api, dispatcher):
            assert await process.ends(GRACE) == 0, process.output
            assert "Traceback" not in process.output, process.output[-3000:].replace("\\n", "\n")
        figures(seconds_to_drain=time.monotonic() - started)
        # The sends under way were finished and written down: no lease is left behind.
        assert await one.value("SELECT count(*) FROM leases") == 0
        assert await one.ended() > 0
        await one.api()
        load.stop = True
        await sending
        await one.dispatcher()
        await one.drained()
        await _check_database(one, load)
        assert {item["copies"] for item in await one.sandbox.received("meta")} == {1}


async def test_sigterm_does_not_wait_longer_than_the_grace_time(database_url: str) -> None:
    """A platform that hangs does not keep the process; its deliveries are taken over after the lease."""
    async with fleet(database_url, "meta", SHUTDOWN_SECONDS=1) as one:
        await one.sandbox.fault("meta", "hang", seconds=60)
        answer = await one.client(one.secret_key).post("/v1/events", json=batch("e", 0, 10))
        assert answer.json()["accepted"] == 10
        dispatcher = await one.dispatcher()
        await eventually(lambda: one.sandbox.requests("meta"))
        assert await dispatcher.terminate(8) == 0, dispatcher.output
        await one.dispatcher()
        await one.drained(20)
        assert await one.ended() == 10
