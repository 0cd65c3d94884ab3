from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.domain.retrying import LAST_MOMENT, RetryPolicy, Stop, TryAgain, next_try
from tests.domain.strategies import NOW

POLICY = RetryPolicy(schedule=(10, 30, 120), give_up_after=timedelta(hours=72))
FAR = NOW + timedelta(days=7)


def after(
    attempts: int = 1,
    *,
    policy: RetryPolicy = POLICY,
    deadline: datetime = FAR,
    first_try: datetime = NOW,
    retry_after: float | None = None,
    factor: float = 1.0,
) -> TryAgain | Stop:
    return next_try(
        policy,
        attempts=attempts,
        first_try=first_try,
        deadline=deadline,
        now=NOW,
        retry_after=retry_after,
        jitter=lambda: factor,
    )


def in_seconds(seconds: float) -> TryAgain:
    return TryAgain(NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 10), (1, 10), (2, 30), (3, 120), (4, 120), (400, 120)])
def test_the_schedule_is_followed_and_its_last_step_repeats(attempts: int, seconds: float) -> None:
    assert after(attempts) == in_seconds(seconds)


def test_jitter_spreads_the_steps() -> None:
    assert after(factor=0.9) == in_seconds(9)
    assert after(factor=1.1) == in_seconds(11)


@pytest.mark.parametrize(("retry_after", "seconds"), [(3600, 3600), (10, 10), (3, 10), (0.5, 10)])
def test_what_the_platform_asks_for_is_a_lower_bound(retry_after: float, seconds: float) -> None:
    assert after(retry_after=retry_after) == in_seconds(seconds)


def test_zero_means_at_once() -> None:
    """The other conversions of a batch that was refused for one of them have no reason to wait."""
    assert after(attempts=3, retry_after=0) == in_seconds(0)


def test_a_step_beyond_the_age_limit_is_cut_so_that_the_last_moment_is_used() -> None:
    deadline = NOW + timedelta(seconds=100)

    assert after(attempts=3, deadline=deadline) == TryAgain(deadline - LAST_MOMENT)


def test_after_the_last_moment_there_is_no_try_that_would_end_beyond_the_age_limit() -> None:
    assert after(attempts=3, deadline=NOW + LAST_MOMENT) == Stop(expired=True)
    assert after(attempts=1, deadline=NOW + LAST_MOMENT) == in_seconds(10)


@pytest.mark.parametrize("retry_after", [100, 3600, 1e300, float("inf")])
def test_a_wait_that_was_asked_for_is_never_cut_short(retry_after: float) -> None:
    assert after(retry_after=retry_after, deadline=NOW + timedelta(seconds=100)) == Stop(expired=True)


@pytest.mark.parametrize("left", [0, -1, -1e6])
def test_an_event_over_its_age_expires(left: float) -> None:
    assert after(deadline=NOW + timedelta(seconds=left)) == Stop(expired=True)
    assert after(deadline=NOW + timedelta(seconds=left), retry_after=0) == Stop(expired=True)


def test_tries_are_given_up_so_long_after_the_first() -> None:
    started = NOW - POLICY.give_up_after

    assert after(first_try=started + timedelta(seconds=10)) == Stop(expired=False)
    assert after(first_try=started + timedelta(seconds=11)) == in_seconds(10)


def test_where_both_ends_are_reached_the_platform_s_age_limit_is_the_reason() -> None:
    assert after(first_try=NOW - timedelta(days=30), deadline=NOW) == Stop(expired=True)


seconds = st.floats(0, 10**6)


@given(
    schedule=st.lists(seconds, min_size=1, max_size=9),
    attempts=st.integers(0, 50),
    since=seconds,
    left=st.floats(-(10**6), 10**6),
    give_up=st.floats(1, 10**6),
    retry_after=st.none() | seconds | st.just(float("inf")),
    factor=st.floats(0.9, 1.1),
)
def test_a_try_is_never_late_never_hasty_and_never_endless(
    schedule: list[float],
    attempts: int,
    since: float,
    left: float,
    give_up: float,
    retry_after: float | None,
    factor: float,
) -> None:
    policy = RetryPolicy(schedule, timedelta(seconds=give_up))
    deadline = NOW + timedelta(seconds=left)
    first_try = NOW - timedelta(seconds=since)

    step = after(
        attempts, policy=policy, deadline=deadline, first_try=first_try, retry_after=retry_after, factor=factor
    )

    if isinstance(step, TryAgain):
        assert NOW <= step.at < deadline
        assert step.at < first_try + policy.give_up_after
        # A timedelta holds microseconds.
        assert step.at >= NOW + timedelta(seconds=min(retry_after or 0, 10**9)) - timedelta(microseconds=1)
    elif not step.expired:
        longest = max([*schedule, retry_after or 0]) * 1.1
        assert first_try + policy.give_up_after <= NOW + timedelta(seconds=longest)
