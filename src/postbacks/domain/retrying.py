"""When to try again, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

LAST_MOMENT = timedelta(minutes=1)
"""How long before the platform's age limit the last try is made: a busy dispatcher must still get to it in time."""

AMBIGUOUS_TRIES = 2
"""Tries after which an unanswered send is not repeated where the platform may count repeats (sheet x, 6)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`schedule`: seconds between tries, the last repeats. `give_up_after`: from the first try on."""

    schedule: Sequence[float]
    give_up_after: timedelta


@dataclass(frozen=True, slots=True)
class TryAgain:
    at: datetime


@dataclass(frozen=True, slots=True)
class Stop:
    """`expired` where the platform's age limit comes before the next try, else `retries_exhausted`."""

    expired: bool


def next_try(
    policy: RetryPolicy,
    *,
    attempts: int,
    first_try: datetime,
    deadline: datetime,
    now: datetime,
    retry_after: float | None,
    jitter: Callable[[], float],
) -> TryAgain | Stop:
    """The time of the next try after `attempts` tries, or why there is none.

    `jitter` returns a factor around 1. It never shortens a wait that was asked for: `retry_after` (seconds) is a
    lower bound, and 0 means "again at once". A wait that was not asked for and would end beyond the deadline is cut
    to `LAST_MOMENT` before it; at the deadline itself the platform would refuse the event for its age.
    """
    step = policy.schedule[min(max(attempts, 1), len(policy.schedule)) - 1]
    wait = step * jitter()
    if retry_after is not None:
        wait = max(wait, retry_after) if retry_after > 0 else 0.0
    # What a header asks for can be more than a timedelta holds.
    at = now + timedelta(seconds=min(wait, (deadline - now).total_seconds()))
    if at >= deadline:
        if retry_after is not None or now >= deadline - LAST_MOMENT:
            return Stop(expired=True)
        at = deadline - LAST_MOMENT
    if at >= first_try + policy.give_up_after:
        return Stop(expired=False)
    return TryAgain(at)
