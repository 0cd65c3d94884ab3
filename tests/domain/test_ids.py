from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.domain import ids
from tests.domain.strategies import NOW, moments

events = moments.map(ids.new_id)
slots = st.integers(1, ids.MAX_SLOTS)


def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_sequence", type(ids._sequence)())


@pytest.fixture(autouse=True)
def _own_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests make ids with times in the far future, after which the sequence never goes back."""
    fresh(monkeypatch)


def test_an_id_is_a_version_7_uuid_that_tells_when_it_was_made() -> None:
    made = ids.new_id(NOW + timedelta(microseconds=123_999))

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert ids.created_at(made) == NOW + timedelta(milliseconds=123)


def test_more_ids_than_fit_into_a_millisecond_stay_in_order_and_differ() -> None:
    made = [ids.new_id(NOW) for _ in range(10_000)]

    assert made == sorted(set(made))
    assert ids.created_at(made[-1]) - NOW < timedelta(milliseconds=4)


def test_a_clock_that_goes_back_does_not_put_ids_out_of_order() -> None:
    made = [ids.new_id(NOW - timedelta(seconds=second)) for second in range(20)]

    assert made == sorted(set(made))


def test_threads_never_get_the_same_id() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [one for part in pool.map(lambda _: [ids.new_id(NOW) for _ in range(500)], range(8)) for one in part]

    assert len(set(made)) == 4_000


@given(st.lists(moments, min_size=2, max_size=20))
def test_ids_sort_by_the_time_they_were_made(times: list[datetime]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fresh(patch)
        made = [ids.new_id(moment) for moment in sorted(times)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


@given(moments, moments)
def test_everything_from_a_moment_on_lies_above_its_floor(made_at: datetime, moment: datetime) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fresh(patch)
        made = ids.new_id(made_at)

    milliseconds = [one.replace(microsecond=one.microsecond // 1000 * 1000) for one in (made_at, moment)]
    assert (made >= ids.floor(moment)) is (milliseconds[0] >= milliseconds[1])


def test_the_floor_of_a_moment_before_1970_is_the_smallest_id() -> None:
    assert ids.floor(datetime(1815, 12, 10, tzinfo=UTC)) == UUID(int=0)


@given(events, slots)
def test_a_delivery_leads_back_to_its_event(event: UUID, slot: int) -> None:
    delivery = ids.delivery_id(event, slot)

    assert ids.event_of(delivery) == event
    assert ids.event_of(event) == event
    assert ids.created_at(delivery) == ids.created_at(event)


@given(events, events, slots)
def test_the_deliveries_of_an_event_are_a_range_that_no_other_event_touches(one: UUID, other: UUID, slot: int) -> None:
    delivery = ids.delivery_id(other, slot)

    assert (one < delivery <= ids.last_delivery(one)) is (one == other)


@given(events)
def test_the_deliveries_of_an_event_are_in_the_order_of_their_slots(event: UUID) -> None:
    deliveries = [ids.delivery_id(event, slot) for slot in range(1, ids.MAX_SLOTS + 1)]

    assert deliveries == sorted(set(deliveries))
    assert deliveries[-1] == ids.last_delivery(event)


@pytest.mark.parametrize("slot", [-1, 0, 256])
def test_there_are_255_slots(slot: int) -> None:
    with pytest.raises(ValueError, match="at most 255 destinations"):
        ids.delivery_id(ids.new_id(NOW), slot)


@given(st.sampled_from(["evt", "dlv"]), st.uuids())
def test_a_public_id_is_read_back(prefix: str, identifier: UUID) -> None:
    assert ids.parse_public(prefix, ids.public(prefix, identifier)) == identifier


@given(st.text() | st.text("0123456789abcdefABCDEF_-+{} ٣", min_size=32, max_size=32).map("dlv_{}".format))
def test_only_what_is_shown_is_read(text: str) -> None:
    found = ids.parse_public("dlv", text)

    assert found is None or ids.public("dlv", found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dlv",
        "dlv_",
        "evt_0198c9a45d007000800000000000ab01",
        "0198c9a45d007000800000000000ab01",
        "dlv_0198c9a45d007000800000000000ab0",
        "dlv_0198c9a45d007000800000000000ab011",
        "dlv_0198C9A45D007000800000000000AB01",
        "dlv_+198c9a45d007000800000000000ab01",
        "dlv_0198_9a45d007000800000000000ab01",
        "dlv_0198c9a45d007000800000000000ab01\n",
    ],
)
def test_anything_else_is_no_public_id(text: str) -> None:
    assert ids.parse_public("dlv", text) is None
