"""Access tokens: fetched once for all, renewed early, replaced once when refused (sheet google, 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from postbacks.catalog import Destination
from postbacks.domain.model import Kind, Verdict
from postbacks.outbound import tokens as module
from postbacks.outbound.http import Sender
from postbacks.outbound.tokens import Tokens
from postbacks.platforms.base import Target
from postbacks.sandbox.base import Fault, Simulator
from postbacks.sandbox.google import GoogleSimulator
from postbacks.sandbox.server import Running, api_bases
from tests.platforms.conversions import target
from tests.platforms.google_setup import GOOGLE


class Clock:
    """The monotonic clock of the module; the event loop keeps its own."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
async def tokens(clock: Clock) -> AsyncIterator[Tokens]:
    sender = Sender((), 10)
    yield Tokens(sender, lambda: datetime.now(UTC))
    await sender.close()


@pytest.fixture
def simulator(sandbox: Running) -> Simulator:
    return sandbox.simulators["google"]


@pytest.fixture
def destination(sandbox: Running) -> Destination:
    demo = GoogleSimulator.demo_destination()
    plain = target(GOOGLE, demo["credentials"])
    where: Target[Any, Any] = Target(plain.credentials, plain.options, {**plain.bases, **api_bases(sandbox.url)})
    return Destination("game", "google", GOOGLE, where, demo["events"], enabled=True, version=1)


def fetches(simulator: Simulator) -> int:
    return len(simulator.requests)


async def test_many_who_need_one_at_once_fetch_it_once(
    tokens: Tokens, destination: Destination, simulator: Simulator
) -> None:
    simulator.add_fault(Fault("slow", seconds=0.1))

    handed_out = await asyncio.gather(*(tokens.token(destination) for _ in range(20)))

    assert len(set(handed_out)) == fetches(simulator) == 1


async def test_kept_for_its_life_but_for_the_last_five_minutes(
    tokens: Tokens, destination: Destination, simulator: Simulator, clock: Clock
) -> None:
    first = await tokens.token(destination)
    clock.seconds += 3599 - 301
    assert await tokens.token(destination) == first
    clock.seconds += 2

    assert await tokens.token(destination) not in (first, None)
    assert fetches(simulator) == 2


async def test_a_refused_one_is_replaced_once_for_all_who_had_it(
    tokens: Tokens, destination: Destination, simulator: Simulator
) -> None:
    old = await tokens.token(destination)
    assert isinstance(old, str)

    fresh = await asyncio.gather(*(tokens.token(destination, refused=old) for _ in range(5)))

    assert set(fresh) == {await tokens.token(destination)}
    assert old not in fresh
    assert fetches(simulator) == 2


async def test_while_the_token_endpoint_is_down_the_old_one_is_used_to_its_end(
    tokens: Tokens, destination: Destination, simulator: Simulator, clock: Clock
) -> None:
    old = await tokens.token(destination)
    simulator.add_fault(Fault("html", times=3))
    clock.seconds += 3400

    assert [await tokens.token(destination) for _ in range(3)] == [old] * 3
    assert fetches(simulator) == 2  # the endpoint is not asked again at once
    clock.seconds += 300
    over = await tokens.token(destination)
    assert isinstance(over, Verdict)
    assert over.kind is Kind.RETRY


async def test_a_refused_one_is_never_handed_out_again(
    tokens: Tokens, destination: Destination, simulator: Simulator
) -> None:
    old = await tokens.token(destination)
    assert isinstance(old, str)
    simulator.add_fault(Fault("html"))

    assert isinstance(await tokens.token(destination, refused=old), Verdict)


async def test_a_dead_grant_is_said_although_the_token_still_lives(
    tokens: Tokens, destination: Destination, simulator: Simulator, clock: Clock
) -> None:
    await tokens.token(destination)
    simulator.add_fault(Fault("token_invalid_grant"))
    clock.seconds += 3400

    dead = await tokens.token(destination)

    assert isinstance(dead, Verdict)
    assert (dead.kind, dead.code) == (Kind.HOLD, "invalid_grant")


async def test_a_token_that_lives_shorter_than_five_minutes_is_renewed_before_it_is_used(
    tokens: Tokens, destination: Destination, simulator: Simulator, clock: Clock
) -> None:
    simulator.set_switches({"token_seconds": 200})
    await tokens.token(destination)
    clock.seconds += 2
    await tokens.token(destination)

    assert fetches(simulator) == 2


async def test_another_version_of_the_destination_has_its_own(
    tokens: Tokens, destination: Destination, simulator: Simulator
) -> None:
    changed = Destination("game", "google", GOOGLE, destination.target, destination.events, enabled=True, version=2)

    assert await tokens.token(destination) != await tokens.token(changed)
    assert fetches(simulator) == 2
