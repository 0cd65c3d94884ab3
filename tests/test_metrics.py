from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from postbacks.metrics import DelayHistogram

BOUNDS = (0.1, 2, 86400)


def text(registry: CollectorRegistry) -> str:
    return re.sub(r"(_created\{.*?\}) .*", r"\1 …", generate_latest(registry).decode())


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from([0.0, 0.1, 1.5, 2.0, 90_000.0]), min_size=1)))
def test_delays_of_a_claim_are_shown_as_the_library_shows_them_one_by_one(claims: dict[str, list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = DelayHistogram("delay_seconds", "How long.", bounds=BOUNDS, registry=ours)
    reference = Histogram("delay_seconds", "How long.", ["platform"], buckets=BOUNDS, registry=theirs)

    for platform, delays in claims.items():
        histogram.observe(platform, sorted(delays))
        for delay in sorted(delays):
            reference.labels(platform).observe(delay)

    assert text(ours) == text(theirs)
