from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.web.limits import RateLimit


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_of_a_minute_s_worth_is_allowed_and_no_more(clock: Clock) -> None:
    limit = RateLimit(5, clock=clock)

    assert [limit.wait("a") for _ in range(5)] == [0.0] * 5
    assert limit.wait("a") == pytest.approx(12)


def test_the_wait_that_is_told_is_the_wait_that_is_needed(clock: Clock) -> None:
    limit = RateLimit(5, clock=clock)
    while not limit.wait("a"):
        pass

    wait = limit.wait("a")
    clock.now += wait - 0.01
    assert limit.wait("a") == pytest.approx(0.01)
    clock.now += 0.011
    assert limit.wait("a") == 0


def test_a_refusal_costs_nothing(clock: Clock) -> None:
    limit = RateLimit(1, clock=clock)
    limit.wait("a")

    assert [round(limit.wait("a"), 6) for _ in range(100)] == [60.0] * 100


def test_keys_do_not_share(clock: Clock) -> None:
    limit = RateLimit(1, clock=clock)

    assert limit.wait("a") == limit.wait(("b", 1)) == 0
    assert limit.wait("a") > 0


def test_a_rest_of_an_hour_saves_up_no_more_than_one_burst(clock: Clock) -> None:
    limit = RateLimit(3, clock=clock)
    limit.wait("a")
    clock.now += 3600

    assert [limit.wait("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_only_the_keys_used_last_are_remembered(clock: Clock) -> None:
    limit = RateLimit(1, size=2, clock=clock)
    for key in ("a", "b", "a", "c"):
        limit.wait(key)

    # "b" was used least recently and is forgotten; looking at the two others first keeps them.
    assert limit.wait("a") > 0
    assert limit.wait("c") > 0
    assert limit.wait("b") == 0


@given(st.integers(1, 100), st.lists(st.floats(0, 120), max_size=200))
def test_never_more_than_a_burst_and_the_rate_get_through(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    limit = RateLimit(per_minute, clock=clock)
    through = 0
    for pause in pauses:
        clock.now += pause
        through += limit.wait("a") == 0

    assert through <= per_minute + sum(pauses) * per_minute / 60 + 1e-6
