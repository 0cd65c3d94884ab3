"""Delays in buckets that grow by a quarter each: enough for percentiles, cheap to count and to add up."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

NO_DELAY = -1
_GROWTH = math.log(1.25)
_LAST = 120
"""Covers 14 years in milliseconds."""
_BOUNDS = [math.exp(number * _GROWTH) / 1000 for number in range(_LAST)]
"""The longest delay in each bucket but the last, in seconds."""


def buckets(delays: Sequence[float]) -> dict[int, int]:
    """Bucket → how many of the delays (seconds, in ascending order) fall into it; up to a millisecond is bucket 0.

    Looks for the ends of the few buckets among the delays, which is quicker than for the bucket of each delay.
    """
    counts: dict[int, int] = {}
    start = 0
    while start < len(delays):
        number = bisect_left(_BOUNDS, delays[start])
        end = bisect_right(delays, _BOUNDS[number], start) if number < _LAST else len(delays)
        counts[number] = end - start
        start = end
    return counts


def upper_bound_ms(number: int) -> float:
    """The longest delay in a bucket, in milliseconds."""
    return math.exp(number * _GROWTH)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The delay in milliseconds that `share` (0…1) of all stayed under, to within 25 %; `None` without any."""
    total = sum(counts.values())
    if total <= 0:
        return None
    wanted, seen = share * total, 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= wanted:
            return round(upper_bound_ms(number), 1)
    return None
