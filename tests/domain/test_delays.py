from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.domain.delays import NO_DELAY, buckets, percentile, upper_bound_ms

milliseconds = st.floats(0.001, 10**11)


def bucket(delay: timedelta) -> int:
    """The bucket of one delay by itself."""
    ((number, count),) = buckets([delay.total_seconds()]).items()
    assert count == 1
    return number


@pytest.mark.parametrize("seconds", [-3600, 0, 0.0001, 0.001])
def test_up_to_a_millisecond_and_before_the_start_is_bucket_0(seconds: float) -> None:
    assert bucket(timedelta(seconds=seconds)) == 0


def test_no_delay_is_not_a_bucket() -> None:
    assert bucket(timedelta()) != NO_DELAY
    assert bucket(timedelta(days=-999_999)) != NO_DELAY


def test_the_longest_delays_share_the_last_bucket() -> None:
    assert bucket(timedelta(days=999_999)) == bucket(timedelta(days=365 * 20)) == 120


@given(milliseconds)
def test_a_bucket_is_at_most_a_quarter_wide(delay: float) -> None:
    upper = upper_bound_ms(bucket(timedelta(milliseconds=delay)))

    # A timedelta holds microseconds.
    assert delay - 0.001 <= upper * (1 + 1e-9)
    assert upper <= max(1.0, delay + 0.001) * 1.25 * (1 + 1e-9)


@given(milliseconds, milliseconds)
def test_a_longer_delay_is_never_in_an_earlier_bucket(one: float, other: float) -> None:
    short, long = sorted((one, other))

    assert bucket(timedelta(milliseconds=short)) <= bucket(timedelta(milliseconds=long))


@pytest.mark.parametrize("counts", [{}, {3: 0}])
def test_without_any_delay_there_is_no_percentile(counts: dict[int, int]) -> None:
    assert percentile(counts, 0.5) is None


@pytest.mark.parametrize(("share", "number"), [(0.5, 10), (0.9, 10), (0.91, 40), (0.99, 40), (1.0, 40)])
def test_a_percentile_is_the_bound_of_the_bucket_in_which_it_lies(share: float, number: int) -> None:
    assert percentile({40: 10, 10: 90}, share) == pytest.approx(upper_bound_ms(number), abs=0.05)


@given(st.lists(st.floats(1, 10**9), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_true_to_a_quarter(delays: list[float], share: float) -> None:
    found = percentile(Counter(bucket(timedelta(milliseconds=one)) for one in delays), share)
    ordered = sorted(delays)
    exact = next(one for count, one in enumerate(ordered, 1) if count >= share * len(ordered))

    assert found is not None
    # The bound is rounded to a tenth of a millisecond for display.
    assert exact * 0.999 - 0.06 <= found <= exact * 1.251 + 0.06


@given(st.lists(st.one_of(st.floats(-10, 10**9), st.sampled_from([0.001, 0.00125, 10.0**12]))))
def test_many_are_counted_as_one_by_one(seconds: list[float]) -> None:
    # A timedelta holds microseconds.
    delays = sorted(timedelta(seconds=min(one, 10.0**10)).total_seconds() for one in seconds)

    assert buckets(delays) == Counter(bucket(timedelta(seconds=one)) for one in delays)
