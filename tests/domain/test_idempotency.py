from __future__ import annotations

import random
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.domain import idempotency
from tests.domain.strategies import NOW

texts = st.text(st.characters(codec=None), max_size=40)
contents = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def shuffled(value: Any, seed: int) -> Any:
    """The same value with the keys of each object in another order."""
    if isinstance(value, list):
        return [shuffled(one, seed) for one in value]
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    random.Random(seed).shuffle(items)
    return {key: shuffled(one, seed) for key, one in items}


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_two_lists_of_parts_have_the_same_digest_only_if_they_are_the_same(one: list[str], other: list[str]) -> None:
    assert (idempotency.digest(*one) == idempotency.digest(*other)) is (one == other)


def test_where_parts_are_cut_counts() -> None:
    assert idempotency.digest("ab", "c") != idempotency.digest("a", "bc")
    assert idempotency.digest("a") != idempotency.digest("a", "")


@given(texts, texts, texts)
def test_a_delivery_key_fits_every_platform_and_never_changes(app: str, event_id: str, destination: str) -> None:
    key = idempotency.delivery_key(app, event_id, destination)

    assert re.fullmatch(r"[a-z0-9_]{36}", key)
    assert key == idempotency.delivery_key(app, event_id, destination)


def test_the_delivery_keys_of_this_release_are_those_of_every_later_one() -> None:
    """A restored backup or an upgrade in between must not make a platform count twice."""
    assert idempotency.delivery_key("my-game", "evt-1", "meta") == "pbk_f25dea63fbe30cd86bcd76776b7fc475"


def test_a_delivery_key_differs_by_app_event_and_destination() -> None:
    keys = {idempotency.delivery_key(a, b, c) for a in "xy" for b in "xy" for c in "xy"}

    assert len(keys) == 8


def test_an_exact_repeat_derives_the_same_event_id_and_nothing_else_does() -> None:
    derived = idempotency.derived_event_id("install", "player", NOW)

    assert derived == idempotency.derived_event_id("install", "player", NOW)
    assert len({
        derived,
        idempotency.derived_event_id("login", "player", NOW),
        idempotency.derived_event_id("install", "other", NOW),
        idempotency.derived_event_id("install", "player", NOW + timedelta(microseconds=1)),
    }) == 4  # fmt: skip


def test_derived_event_ids_sort_by_the_time_of_their_events() -> None:
    derived = [idempotency.derived_event_id("login", f"player-{n}", NOW + timedelta(seconds=n)) for n in range(50)]

    assert derived == sorted(derived)
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", one) for one in derived)


def test_the_kinds_of_keys_do_not_meet() -> None:
    assert len({
        idempotency.event_key("x"),
        idempotency.click_key("fbclid", "x"),
        idempotency.click_key("gclid", "x"),
        idempotency.match_key("visitor", "x"),
        idempotency.match_key("user", "x"),
        idempotency.match_key("ip", "x"),
    }) == 6  # fmt: skip


def test_click_ids_are_told_apart_by_case() -> None:
    assert idempotency.click_key("fbclid", "IwAR") != idempotency.click_key("fbclid", "iwar")


@given(contents, st.integers())
def test_the_order_of_keys_does_not_change_a_fingerprint(content: dict[str, Any], seed: int) -> None:
    assert idempotency.fingerprint(shuffled(content, seed)) == idempotency.fingerprint(content)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": {"b": 1}}, {"a": {"b": True}}),
    ],
)
def test_other_content_has_another_fingerprint(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert idempotency.fingerprint(one) != idempotency.fingerprint(other)
