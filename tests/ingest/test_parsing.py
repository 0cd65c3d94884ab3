"""One event: which fields it needs, what each may hold, and what the answer says where it does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from postbacks.domain.model import Consent
from postbacks.ingest.parsing import NewEvent, parse_event

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = b"s" * 32

EVENT = {"name": "purchase", "event_id": "order-1", "user_id": "player-1", "occurred_at": "2026-11-23T10:00:00Z"}


def parsed(**fields: Any) -> NewEvent:
    event = parse_event({**EVENT, **fields}, NOW, secret=SECRET)
    assert isinstance(event, NewEvent), event
    return event


def problems(**fields: Any) -> dict[str, str]:
    found = parse_event({**EVENT, **fields}, NOW, secret=SECRET)
    assert isinstance(found, list), found
    return {one.field: one.message for one in found}


def without(*names: str, **fields: Any) -> NewEvent:
    item = {name: value for name, value in {**EVENT, **fields}.items() if name not in names}
    event = parse_event(item, NOW, secret=SECRET)
    assert isinstance(event, NewEvent), event
    return event


def test_a_whole_event_is_taken_over_field_by_field() -> None:
    event = parsed(
        visitor_id="v-1",
        click_ids={"FBCLID": "IwAR-1", "gclid": ""},
        ip="203.0.113.7",
        value=4.99,
        currency="eur",
        platform="windows",
        storefront="steam",
        properties={"level": 3},
        consent={"attribution": True, "postbacks": False},
        unknown="ignored",
    )

    assert (event.name, event.event_id, event.occurred_at) == ("purchase", "order-1", NOW - timedelta(hours=2))
    assert (event.user_id, event.visitor_id, event.ip) == ("player-1", "v-1", "203.0.113.7")
    assert event.click_ids == {"fbclid": "IwAR-1"}
    assert (event.value, event.currency) == (Decimal("4.99"), "EUR")
    assert (event.platform, event.storefront) == ("windows", "steam")
    assert json.loads(event.properties or "") == {"level": 3}
    assert event.consent == Consent(attribution=True, postbacks=False)


@pytest.mark.parametrize("body", [None, [], "install", 1, True])
def test_what_is_no_object_is_told(body: Any) -> None:
    found = parse_event(body, NOW)

    assert isinstance(found, list)
    assert [(one.field, one.message) for one in found] == [("body", "must be a JSON object")]


def test_every_wrong_field_is_named_at_once() -> None:
    assert set(problems(name="not a name", value=-1, currency="EUR", ip="home", platform=7)) == {
        "name",
        "value",
        "ip",
        "platform",
    }


@pytest.mark.parametrize("name", ["install", "a", "A.b:c-d_9", "x" * 64])
def test_a_name_has_64_letters_digits_and_a_few_signs(name: str) -> None:
    assert parsed(name=name).name == name


@pytest.mark.parametrize("name", ["", "x" * 65, "level up", "öffnen", "a\n", None, 1])
def test_any_other_name_is_refused(name: Any) -> None:
    assert set(problems(name=name)) == {"name"}


def test_a_missing_name_is_told() -> None:
    found = parse_event({"user_id": "player"}, NOW)

    assert isinstance(found, list)
    assert [one.field for one in found] == ["name"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("user_id", "player"), ("visitor_id", "v"), ("click_ids", {"ttclid": "E.C.P"}), ("ip", "2001:db8::1")],
)
def test_any_one_means_of_matching_suffices(name: str, value: Any) -> None:
    assert isinstance(parse_event({"name": "install", name: value}, NOW), NewEvent)


@pytest.mark.parametrize("fields", [{}, {"click_ids": {}}, {"click_ids": {"fbclid": ""}}, {"user_id": None}])
def test_without_any_means_of_matching_an_event_is_refused(fields: dict[str, Any]) -> None:
    found = parse_event({"name": "install", **fields}, NOW)

    assert isinstance(found, list)
    assert "at least one of user_id, visitor_id, click_ids, ip" in found[0].message


@pytest.mark.parametrize(("fields", "missing"), [({"value": 1}, "currency"), ({"currency": "EUR"}, "value")])
def test_value_and_currency_go_together(fields: dict[str, Any], missing: str) -> None:
    assert problems(**fields) == {missing: f"value and currency go together: {missing} is missing"}


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0, "0"),
        (-0.0, "0"),
        ("-0", "0"),
        ("0e999999999", "0"),
        (4.99, "4.99"),
        ("4.990", "4.99"),
        (50, "50"),
        (1000.0, "1000"),
        (0.1 + 0.2, "0.3"),
        ("1e3", "1000"),
        (1e12, "1000000000000"),
        ("1." + "0" * 5000, "1"),
        (1e-7, "0"),
        (" 4.99 ", "4.99"),
    ],
)
def test_an_amount_is_kept_as_it_would_be_written(value: Any, amount: str) -> None:
    """Compared as text: `1E+3` and `0E+999999999` are equal to good numbers, yet no database or person wants them."""
    assert str(parsed(value=value, currency="EUR").value) == amount


@pytest.mark.parametrize(
    "value",
    [-0.01, 1e12 + 1, "1000000000000.01", 10**400, "1e999999999", "NaN", "Infinity", float("inf"), "-1", "", "4,99",
     "1_000", "٣", "0x10", "1e-9999999999999999999", True, [1], {"amount": 1}],
)  # fmt: skip
def test_any_other_amount_is_refused(value: Any) -> None:
    assert set(problems(value=value, currency="EUR")) == {"value"}


@pytest.mark.parametrize("currency", ["EU", "EURO", "XXX", "", "€", "UſD", 978, ["EUR"]])
def test_only_iso_4217_currencies_are_taken(currency: Any) -> None:
    assert "currency" in problems(value=1, currency=currency)


@pytest.mark.parametrize(
    ("given", "kept"), [("x" * 128, "x" * 128), (42, "42"), ("Bestellung №1 🎮", "Bestellung №1 🎮"), (" ", " ")]
)
def test_an_event_id_is_any_printable_text_or_number(given: Any, kept: str) -> None:
    assert parsed(event_id=given).event_id == kept


@pytest.mark.parametrize("event_id", ["", "x" * 129, "a\nb", "a\x00b", "\x7f", "\ud800", True, 1.5, 10**400])
def test_any_other_event_id_is_refused(event_id: Any) -> None:
    assert set(problems(event_id=event_id)) == {"event_id"}


def test_the_idempotency_key_header_stands_in_for_a_missing_event_id_only() -> None:
    item = {"name": "install", "user_id": "player"}

    for given, kept in ((item, "header"), ({**item, "event_id": None}, "header"), ({**item, "event_id": "own"}, "own")):
        event = parse_event(given, NOW, idempotency_key="header")
        assert isinstance(event, NewEvent)
        assert event.event_id == kept
    bad = parse_event(item, NOW, idempotency_key="x" * 129)
    assert isinstance(bad, list)
    assert [one.field for one in bad] == ["event_id"]


def test_a_player_s_number_is_the_text_of_it() -> None:
    assert parsed(user_id=42).user_id == parsed(user_id="42").user_id


@pytest.mark.parametrize("user_id", ["", "x" * 257, "a\tb", True, 1.5, 10**400, ["a"]])
def test_other_players_are_refused(user_id: Any) -> None:
    assert set(problems(user_id=user_id)) == {"user_id"}


@pytest.mark.parametrize("visitor_id", ["", "a b", "x" * 129, "ä", 1])
def test_other_visitors_are_refused(visitor_id: Any) -> None:
    assert set(problems(visitor_id=visitor_id)) == {"visitor_id"}


@pytest.mark.parametrize("ip", ["", "localhost", "203.0.113.007", "203.0.113.7:1", "[::1]", 3405803783])
def test_what_is_no_address_is_refused_without_being_repeated(ip: Any) -> None:
    found = problems(ip=ip)

    assert set(found) == {"ip"}
    assert not ip or str(ip) not in found["ip"]


@pytest.mark.parametrize(
    ("click_ids", "words"),
    [
        ({"msclkid": "x"}, "is not a click ID; known are fbclid"),
        ({"fbclid": 1}, "fbclid must be a string"),
        ({"fbclid": "a b"}, "fbclid must be printable ASCII"),
        ({"fbclid": "ä"}, "fbclid must be printable ASCII"),
        ({"gclid": "x" * 4097}, "gclid must have at most 4096 characters"),
        ({"fbclid": "a", "FBCLID": "b"}, "fbclid is given twice"),
        (["fbclid"], "must be an object"),
        ("fbclid", "must be an object"),
    ],
)
def test_wrong_click_ids_are_told(click_ids: Any, words: str) -> None:
    assert words in problems(click_ids=click_ids)["click_ids"]


def test_a_click_id_is_kept_byte_for_byte() -> None:
    value = "IwAR_~!$&'()*+,;=:@/?%2B" + "x" * 4000

    assert parsed(click_ids={"fbclid": value}).click_ids == {"fbclid": value}
    assert parsed(click_ids={"fbclid": "a", "FbClid": "a"}).click_ids == {"fbclid": "a"}


@pytest.mark.parametrize(("shift", "good"), [(0, True), (600, True), (600.001, False), (-90 * 86400, True)])
def test_an_event_may_be_10_minutes_ahead(shift: float, good: bool) -> None:
    moment = (NOW + timedelta(seconds=shift)).isoformat()

    if good:
        assert parsed(occurred_at=moment).occurred_at == NOW + timedelta(seconds=shift)
    else:
        assert problems(occurred_at=moment) == {"occurred_at": "is more than 10 minutes in the future"}


def test_an_event_may_be_90_days_old() -> None:
    moment = NOW - timedelta(days=90, milliseconds=1)

    assert problems(occurred_at=moment.isoformat()) == {"occurred_at": "is more than 90 days ago"}


def test_without_a_time_it_is_now() -> None:
    assert without("occurred_at").occurred_at == NOW
    assert parsed(occurred_at=None).occurred_at == NOW


def test_properties_have_4_kib_at_most() -> None:
    fits = {"a": "x" * (4096 - len('{"a":""}'))}

    assert json.loads(parsed(properties=fits).properties or "") == fits
    assert problems(properties={"a": fits["a"] + "x"}) == {"properties": "must have at most 4 KiB as JSON"}
    assert parsed(properties={}).properties is None


def test_properties_with_nul_are_refused_but_a_backslash_and_u0000_are_text() -> None:
    assert problems(properties={"a": ["b\x00"]}) == {"properties": "must not contain NUL"}
    assert problems(properties={"\\\x00": 1}) == {"properties": "must not contain NUL"}
    assert json.loads(parsed(properties={"a": "\\u0000"}).properties or "") == {"a": "\\u0000"}


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


@pytest.mark.parametrize("properties", [nested(300), {"a": 2**64}, {"a": "\ud800"}, {"\udfff": 1}])
def test_properties_that_no_json_text_can_hold_are_refused(properties: dict[str, Any]) -> None:
    assert "must be JSON that can be stored" in problems(properties=properties)["properties"]


@pytest.mark.parametrize("properties", [[], "a", 1, True])
def test_properties_are_an_object(properties: Any) -> None:
    assert problems(properties=properties) == {"properties": "must be an object"}


@pytest.mark.parametrize("consent", [[], "yes", {"postbacks": "perhaps"}, {"postbacks": 2}, {"attribution": []}])
def test_consent_is_an_object_of_flags(consent: Any) -> None:
    assert all(field.startswith("consent") for field in problems(consent=consent))


@pytest.mark.parametrize("consent", [None, {}, {"postbacks": None}, {"other": True}])
def test_an_absent_flag_is_unknown(consent: Any) -> None:
    assert parsed(consent=consent).consent == Consent()


def test_an_exact_repeat_without_an_event_id_is_one_event() -> None:
    one, again = without("event_id"), without("event_id")

    assert one.event_id.startswith("evt_")
    assert (one.event_id, one.key, one.fingerprint) == (again.event_id, again.key, again.fingerprint)


@pytest.mark.parametrize("other", [{"name": "login"}, {"user_id": "other"}, {"occurred_at": "2026-11-23T10:00:01Z"}])
def test_another_name_player_or_time_is_another_event(other: dict[str, Any]) -> None:
    assert without("event_id", **other).event_id != without("event_id").event_id


@pytest.mark.parametrize("other", [{"value": 1, "currency": "EUR"}, {"properties": {"a": 1}}, {"platform": "mac"}])
def test_the_same_name_player_and_time_with_other_content_is_a_conflict(other: dict[str, Any]) -> None:
    one, changed = without("event_id"), without("event_id", **other)

    assert one.key == changed.key
    assert one.fingerprint != changed.fingerprint


def test_an_event_known_by_its_address_alone_gets_an_id_that_does_not_give_the_address_away() -> None:
    """All addresses can be tried against a plain hash; against one with a secret key they can not."""
    item = {"name": "install", "ip": "203.0.113.7", "occurred_at": "2026-11-23T10:00:00Z"}

    def event_id(secret: bytes, **changed: str) -> str:
        event = parse_event({**item, **changed}, NOW, secret=secret)
        assert isinstance(event, NewEvent)
        return event.event_id

    assert event_id(SECRET) == event_id(SECRET)
    assert event_id(SECRET) != event_id(SECRET, ip="203.0.113.8")
    assert event_id(SECRET) != event_id(b"t" * 32)


@pytest.mark.parametrize("other", [{"user_id": "p"}, {"visitor_id": "v"}, {"click_ids": {"fbclid": "x"}}])
def test_where_there_is_anything_better_an_address_does_not_tell_events_apart(other: dict[str, Any]) -> None:
    item = {"name": "install", "occurred_at": "2026-11-23T10:00:00Z", **other}
    one, elsewhere = (parse_event({**item, "ip": ip}, NOW) for ip in ("203.0.113.7", "203.0.113.8"))

    assert isinstance(one, NewEvent) and isinstance(elsewhere, NewEvent)
    assert (one.event_id, one.fingerprint) == (elsewhere.event_id, elsewhere.fingerprint)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"value": "4.99", "currency": "EUR"}, {"value": 4.990, "currency": "eur"}),
        ({"occurred_at": "2026-11-23T10:00:00Z"}, {"occurred_at": 1795428000}),
        ({"occurred_at": "2026-11-23T10:00:00Z"}, {"occurred_at": "2026-11-23T11:00:00.000+01:00"}),
        ({"click_ids": {"fbclid": "a", "gclid": "b"}}, {"click_ids": {"GCLID": "b", "FBCLID": "a"}}),
        ({"consent": {}}, {"consent": None}),
        ({"unknown": 1}, {}),
        ({"user_id": 7}, {"user_id": "7"}),
        ({"value": 0, "currency": "EUR"}, {"value": "-0.0", "currency": "EUR"}),
    ],
)
def test_two_spellings_of_the_same_content_are_the_same_event(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert parsed(**one).fingerprint == parsed(**other).fingerprint


def test_messages_repeat_no_input() -> None:
    secret = "do-not-show-" + "x" * 200
    found = problems(name=secret, event_id=secret, value=secret, currency=secret, ip=secret, occurred_at=secret)

    assert len(found) == 6
    assert not [message for message in found.values() if "do-not-show" in message]
