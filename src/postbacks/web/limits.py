"""Rate limits for what strangers may send: token buckets in memory, per process.

They keep one visitor from filling the database. They are no billing meter: with several API processes each counts
for itself.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class RateLimit:
    """`per_minute` events for each key, with a burst of the same size; remembers the last `size` keys."""

    def __init__(self, per_minute: float, *, size: int = 50_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = float(per_minute)
        self._size = size
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """Takes one; returns 0, or the seconds after which there is one again."""
        now = self._clock()
        left, then = self._buckets.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1
        self._buckets[key] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate
