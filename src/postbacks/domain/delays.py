"""Delays in buckets that grow by a quarter each: enough for percentiles, cheap to count and to add up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

NO_DELAY = -1
_GROWTH = math.log(1.25)
_LAST = 120
"""Covers 14 years in milliseconds."""


def bucket(delay: timedelta) -> int:
    """The bucket of a delay; everything up to a millisecond is bucket 0."""
    milliseconds = delay.total_seconds() * 1000
    return 0 if milliseconds <= 1 else min(_LAST, math.ceil(math.log(milliseconds) / _GROWTH))


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
