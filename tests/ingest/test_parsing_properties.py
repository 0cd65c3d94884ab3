"""What holds of every input: reading it never fails, and the same content is the same event."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postbacks.ingest.fields import parse_time
from postbacks.ingest.parsing import AHEAD, OLDEST, EventIn, NewEvent, parse_event, parse_events
from postbacks.platforms.registry import CLICK_ID_PLATFORM

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

texts = st.text(st.characters(codec=None), max_size=20)
numbers = (
    st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([10**400, -(10**4000), 2**63, 2**64, 1e308, 5e-324, -0.0])
)
number_texts = st.sampled_from(
    ["1e999999999", "-0", "0e999999999", "1e-999999999", "NaN", "sNaN", "1_0", "٣", "9" * 500]
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts | number_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
names = st.sampled_from([*EventIn.__annotations__])


def near(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly good, sometimes anything."""
    return value | json_values


plausible = st.fixed_dictionaries(
    {"name": near(st.sampled_from(["install", "purchase"]))},
    optional={
        "event_id": near(st.text(min_size=1, max_size=128)),
        "occurred_at": near(st.integers(1795435200 - 91 * 86400, 1795435200 + 700) | st.just("2026-11-23T10:00:00Z")),
        "user_id": near(st.text(min_size=1, max_size=20)),
        "visitor_id": near(st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)),
        "click_ids": near(st.dictionaries(st.sampled_from([*CLICK_ID_PLATFORM, "FBCLID"]), near(texts), max_size=3)),
        "ip": near(st.ip_addresses().map(str)),
        "value": near(st.floats(0, 1e12)),
        "currency": near(st.sampled_from(["EUR", "jpy", "KWD"])),
        "platform": near(st.just("windows")),
        "properties": near(st.dictionaries(texts, json_values, max_size=4)),
        "consent": near(st.fixed_dictionaries({}, optional={"postbacks": near(st.booleans())})),
    },
)


def check(found: NewEvent | list[Any]) -> None:
    """An event that the database takes, or errors that can be answered."""
    if isinstance(found, list):
        assert found
        # Field names and messages stand in the answer; a lone surrogate there could not be sent.
        assert orjson.dumps([one.as_json() for one in found])
        assert all(one.message for one in found)
        return
    assert 1 <= len(found.event_id) <= 128
    assert NOW - OLDEST <= found.occurred_at <= NOW + AHEAD
    assert (found.value is None) is (found.currency is None)
    if found.value is not None:
        assert 0 <= found.value <= 10**12
        assert set(str(found.value)) <= set("0123456789.") or found.value < Decimal("0.0001")
    assert len(found.properties or "") <= 4096
    for text in (found.event_id, found.user_id, found.ip, found.platform, found.properties, *found.click_ids.values()):
        # PostgreSQL's texts hold UTF-8 without NUL.
        assert "\x00" not in (text or "").encode().decode()


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_no_json_value_makes_reading_fail(value: Any) -> None:
    check(parse_event(value, NOW))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, json_values, max_size=8))
def test_no_value_of_a_field_makes_reading_fail(item: dict[str, Any]) -> None:
    check(parse_event(item, NOW))
    check(parse_event({"name": "install", "user_id": "player", **item}, NOW))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plausible, st.none() | texts)
def test_no_event_that_is_almost_good_makes_reading_fail(item: dict[str, Any], header: str | None) -> None:
    check(parse_event(item, NOW, idempotency_key=header))


@pytest.mark.parametrize("name", EventIn.__annotations__)
@pytest.mark.parametrize("value", [10**400, -(10**400), 10**4000, 1e308, "\ud800", "\x00", "9" * 5000, [[]], {"": {}}])
def test_no_extreme_in_any_field_makes_reading_fail(name: str, value: Any) -> None:
    check(parse_event({"name": "install", "user_id": "player", "value": 1, "currency": "EUR", name: value}, NOW))


def reordered(value: Any, order: random.Random) -> Any:
    if isinstance(value, list):
        return [reordered(one, order) for one in value]
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    order.shuffle(items)
    return {key: reordered(one, order) for key, one in items}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plausible, st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_nothing(item: dict[str, Any], order: random.Random) -> None:
    one, other = parse_event(item, NOW), parse_event(reordered(item, order), NOW)

    assert isinstance(one, NewEvent) is isinstance(other, NewEvent)
    if isinstance(one, NewEvent) and isinstance(other, NewEvent):
        assert (one.event_id, one.fingerprint) == (other.event_id, other.fingerprint)
        assert one.click_ids == other.click_ids


@settings(max_examples=80, deadline=None)
@given(plausible)
def test_what_was_read_once_reads_the_same_after_a_trip_as_json(item: dict[str, Any]) -> None:
    one = parse_event(item, NOW)
    if not isinstance(one, NewEvent):
        return
    again = parse_event(json.loads(json.dumps(item)), NOW)

    assert again == one


moments = st.datetimes(
    datetime(1000, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds and adds the zone itself
    datetime(2999, 12, 31),  # noqa: DTZ001
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(moments)
def test_a_time_in_rfc_3339_reads_back(moment: datetime) -> None:
    text = moment.isoformat()

    for form in (text, text.lower(), text.replace("T", " "), f" {text} ", moment.astimezone(UTC).isoformat()):
        assert parse_time(form) == moment
    assert parse_time(moment.astimezone(UTC).isoformat().replace("+00:00", "Z")) == moment
    assert parse_time(text).tzinfo is UTC


@given(st.integers(-30_000_000_000, 32_503_680_000))
def test_a_time_in_whole_unix_seconds_reads_back(seconds: int) -> None:
    for form in (seconds, float(seconds), str(seconds), f"{seconds}.0"):
        assert parse_time(form).timestamp() == seconds


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_in_unix_seconds_with_milliseconds_reads_back(milliseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)

    for form in (milliseconds / 1000, f"{milliseconds // 1000}.{milliseconds % 1000:03}"):
        assert abs(parse_time(form) - moment) < timedelta(microseconds=2)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1795428000000, "milliseconds"),
        ("1795428000000", "milliseconds"),
        (10**400, "milliseconds"),
        (float("inf"), "milliseconds"),
        (float("nan"), "time in Unix seconds"),
        ("2026-11-23", "RFC 3339"),
        ("2026-11-23T10:00:00", "RFC 3339"),
        ("2026-11-23T10:00:00.000", "with a zone"),
        ("2026-13-23T10:00:00Z", "with a zone"),
        ("2026-02-30T10:00:00Z", "with a zone"),
        ("0001-01-01T00:00:00+23:59", "with a zone"),
        ("yesterday, about ten o'clock", "RFC 3339"),
        ("١٧٩٥٤٢٨٠٠٠", "RFC 3339"),
        ("", "RFC 3339"),
        (True, "RFC 3339"),
        (None, "RFC 3339"),
        ([], "RFC 3339"),
        ({}, "RFC 3339"),
    ],
)
def test_what_is_no_time_is_told(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_time(value)


@given(json_values)
def test_reading_a_time_raises_nothing_else(value: Any) -> None:
    with suppress(ValueError):
        assert parse_time(value).tzinfo is UTC


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(plausible | json_values, max_size=6))
def test_a_batch_is_read_as_its_items_are(items: list[Any]) -> None:
    secret = b"s" * 32

    assert parse_events(items, NOW, secret=secret) == [parse_event(item, NOW, secret=secret) for item in items]
