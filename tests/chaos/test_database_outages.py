"""PostgreSQL restarted, killed, and its connections cut, under load: 503, then everything goes on by itself."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.own_postgres import OwnPostgres, own_postgres
from tests.support.processes import Fleet, batch, figures, fleet, scaled
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

PLATFORMS = ("meta", "tiktok", "reddit")


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[OwnPostgres]:
    async with own_postgres() as one:
        yield one


class Backend:
    """One game backend that sends batches of ten, and each again until it is answered with 202."""

    def __init__(self, one: Fleet, prefix: str) -> None:
        self._client = one.client(one.secret_key, timeout=15)
        self._prefix = prefix
        self.accepted = 0
        self.refused: list[httpx.Response] = []
        self.stop = False

    async def run(self) -> None:
        for number in itertools.count(0, 10):
            if self.stop:
                return
            while True:
                answer = await self._client.post("/v1/events", json=batch(self._prefix, number, 10))
                if answer.status_code == 202:
                    break
                self.refused.append(answer)
                await asyncio.sleep(0.05)
            self.accepted += 10


async def _survives(one: Fleet, backend: Backend, outage: float) -> None:
    """All refusals were clean, and all that was accepted is delivered."""
    answers = {(answer.status_code, answer.headers.get("retry-after")) for answer in backend.refused}
    assert answers <= {(503, "2")}, [answer.text for answer in backend.refused][:3]
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in backend.refused)
    await one.drained(60)
    assert await one.ended() == backend.accepted * len(PLATFORMS)
    assert await one.value("SELECT count(*) FROM events") == backend.accepted
    for platform in PLATFORMS:
        assert await one.sandbox.count(platform) == backend.accepted
    figures(
        events=backend.accepted, answered_with_503=len(backend.refused), seconds_down=outage, lost=0, stuck_in_sending=0
    )


async def _fresh(server: OwnPostgres) -> None:
    """The same server serves several tests: what the last one left must not count."""
    import asyncpg

    connection = await asyncpg.connect(server.url)
    await connection.execute(
        "TRUNCATE apps, api_keys, destinations, clicks, players, event_keys, events, leases, outbox, deliveries, exchanges, "
        "attempts"
    )
    await connection.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["restarted", "kill -9"])
async def test_the_server_goes_away_and_comes_back(server: OwnPostgres, how: signal.Signals) -> None:
    await _fresh(server)
    async with fleet(server.url, *PLATFORMS, LEASE_SECONDS=5) as one:
        dispatchers = [await one.dispatcher(), await one.dispatcher()]
        backend = Backend(one, "e")
        sending = asyncio.create_task(backend.run())
        for _ in range(scaled(1, 5)):
            goal = backend.accepted + 100
            await eventually(lambda goal=goal: _value(backend.accepted >= goal))
            down = time.monotonic()
            await asyncio.to_thread(server.stop, how)
            refused = len(backend.refused)
            await eventually(lambda refused=refused: _value(len(backend.refused) >= refused + 3))
            ready = await one.client("none").get("/readyz")
            assert (ready.status_code, ready.headers.get("retry-after")) == (503, "2")
            assert (await one.client("none").get("/healthz")).status_code == 200
            await asyncio.to_thread(server.start)
            goal = backend.accepted + 100
            await eventually(lambda goal=goal: _value(backend.accepted >= goal), seconds=20)
        backend.stop = True
        await sending
        await _survives(one, backend, time.monotonic() - down)
        assert all(process.running for process in dispatchers)


async def test_connections_are_cut_again_and_again(server: OwnPostgres) -> None:
    """`pg_terminate_backend` on every connection of the service, in the middle of whatever it does."""
    await _fresh(server)
    async with fleet(server.url, *PLATFORMS, LEASE_SECONDS=5) as one:
        dispatchers = [await one.dispatcher(), await one.dispatcher()]
        backend = Backend(one, "e")
        sending = asyncio.create_task(backend.run())
        cut = 0
        for _ in range(scaled(5, 50)):
            goal = backend.accepted + 50
            await eventually(lambda goal=goal: _value(backend.accepted >= goal), seconds=30)
            cut += await one.value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name LIKE 'postbacks %'"
            )
        backend.stop = True
        await sending
        await _survives(one, backend, 0)
        assert cut >= 10
        assert all(process.running for process in dispatchers)
        figures(connections_cut=cut)


async def test_a_configuration_change_is_heard_after_the_listener_was_cut(server: OwnPostgres) -> None:
    """The dispatcher and the API listen again at once; a new destination does not wait for the next look."""
    await _fresh(server)
    async with fleet(server.url, "meta") as one:
        await one.dispatcher()
        await one.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'postbacks listen'"
        )
        await eventually(
            lambda: one.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postbacks listen'"),
            lambda count: count == 2,
            seconds=3,
        )
        await one.destination("tiktok")
        answer = await one.client(one.secret_key).post("/v1/events", json=batch("e", 0, 1)["events"][0])
        assert {delivery["platform"] for delivery in answer.json()["deliveries"]} == {"meta", "tiktok"}
        await one.drained(5)
        assert await one.ended() == 2


async def _value(value: object) -> object:
    return value
