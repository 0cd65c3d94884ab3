"""Every rule of the X sheet that the simulator enforces, each broken once. Numbers are the sheet's."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from oauthlib.oauth1 import Client

from postbacks.sandbox import x_oauth
from postbacks.sandbox.base import Fault, Reply, Seen
from postbacks.sandbox.x import XSimulator
from postbacks.sandbox.x_auth import Nonces

NOW = 1_795_450_000.25
PATH = "/12/measurement/conversions/o1abc"
BASE = "http://127.0.0.1:9000/x"
ACCOUNT = "18ce000000a"
HEADERS = {"x-pixel-token": "sandbox-x-token", "content-type": "application/json"}
TWCLID = "2-4k1zq8examplexx0w7p3m5n9"
HASH = "a" * 64

Change = Callable[[dict[str, Any]], object]


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(at * 1000) % 1000:03d}Z"


def install(**changes: Any) -> dict[str, Any]:
    return {
        "conversion_time": iso(NOW - 60),
        "event_id": "tw-o1abc-o1d01",
        "identifiers": [{"twclid": TWCLID}],
        "conversion_id": "inst-7f0c2b9e",
        **changes,
    }


def purchase() -> dict[str, Any]:
    content = {
        "content_id": "gems_500",
        "content_name": "Gem pack",
        "content_type": "currency",
        "content_price": "4.99",
        "num_items": 1,
    }
    return install(
        event_id="tw-o1abc-o1p07",
        identifiers=[
            {"twclid": TWCLID},
            {"ip_address": "203.0.113.24", "user_agent": "ExampleGame/3.2 (Windows NT 10.0)"},
        ],
        value="4.99",
        price_currency="EUR",
        number_items=1,
        conversion_id="ord-2026-000417",
        contents=[content],
    )


@pytest.fixture
def sim() -> XSimulator:
    return XSimulator()


def send(
    sim: XSimulator,
    *conversions: Any,
    body: bytes | None = None,
    path: str = PATH,
    method: str = "POST",
    at: float = NOW,
    fault: Fault | None = None,
    query: str = "",
    **headers: str | None,
) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {name: value for name, value in {**HEADERS, **given}.items() if value is not None}
    payload = json.dumps({"conversions": list(conversions)}).encode() if body is None else body
    seen = Seen(method, path, f"{BASE}{path}{query}", {}, merged, payload, at)
    return sim.answer(seen, fault)


def error(reply: Reply, account: str | None = ACCOUNT) -> tuple[int, str, str, str]:
    """Status, code, message and parameter of an answer with one error."""
    (one,) = reply.body["errors"]
    assert reply.body["request"] == {"params": {"account_id": account} if account else {}}
    return reply.status, one["code"], one["message"], one["parameter"]


# --- accepted ---


def test_examples_of_the_sheet_are_counted(sim: XSimulator) -> None:
    sim.set_switches({"events": {**sim.switches["events"], "tw-o1abc-o1t03": "tutorial_complete"}})
    minimal = install()
    del minimal["conversion_id"]
    milestone = install(event_id="tw-o1abc-o1t03", conversion_id="tut-91ab", description="tutorial complete")
    reply = send(sim, install(), purchase(), milestone, minimal)
    assert reply.status == 200
    assert reply.body["request"] == {"params": {"account_id": ACCOUNT}}
    assert reply.body["data"]["conversions_processed"] == 4
    assert UUID(reply.body["data"]["debug_id"]).version == 4
    assert reply.headers == {
        "x-current-api-version": "12",
        "x-rate-limit-limit": "60000",
        "x-rate-limit-remaining": "59996",
        "x-rate-limit-reset": str(int(NOW) + 900),
    }
    first, second, third, fourth = sim.received()
    assert (first["key"], first["name"], first["click_id"]) == ("inst-7f0c2b9e", "tw-o1abc-o1d01", TWCLID)
    assert first["occurred_at"] == pytest.approx(NOW - 60, abs=0.001)
    assert (second["value"], second["currency"], second["raw"]) == (4.99, "EUR", purchase())
    assert (third["value"], third["currency"], fourth["key"]) == (None, None, "")


def test_the_demo_destination_names_what_the_simulator_accepts(sim: XSimulator) -> None:
    demo = XSimulator.demo_destination()
    assert set(demo["events"]) == {"install", "registration", "level_up", "purchase"}
    credentials = demo["credentials"]
    conversions = [install(event_id=mapping["event_id"]) for mapping in demo["events"].values()]
    path = f"/12/measurement/conversions/{credentials['pixel_id']}"
    assert send(sim, *conversions, path=path, x_pixel_token=credentials["pixel_token"]).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": "o1d01"},
        {"value": 4.5},
        {"value": "1000000000000.00", "price_currency": "JPY"},
        {"value": "0.00"},
        {"conversion_time": iso(NOW + 299)},
        {"conversion_time": "2020-01-01T00:00:00.000Z"},
        {"identifiers": [{"hashed_email": HASH}]},
        {"identifiers": [{"ip_address": "203.0.113.24", "user_agent": "Game/1"}]},
        {"identifiers": [{"twclid": "c" * 100}, {"ip_address": "203.0.113.24"}]},
    ],
)
def test_limits_themselves_are_accepted(sim: XSimulator, changes: dict[str, Any]) -> None:
    assert send(sim, install(**changes)).status == 200


# --- the request ---

UNAUTHORIZED = (401, "UNAUTHORIZED_ACCESS", "This request is not properly authenticated", "")
NO_ROUTE = (404, "ROUTE_NOT_FOUND", "The requested resource could not be found", "")
NOT_JSON = (400, "INVALID_PARAMETER", "Request body is not valid JSON", "")
NO_CONVERSIONS = (400, "MISSING_PARAMETER", "conversions is required", "conversions")


@pytest.mark.parametrize(
    ("rule", "request_", "expected"),
    [
        (1, {"path": "/12/measurement/conversions/tw-o1abc-o1d01"}, NO_ROUTE),
        (1, {"path": "/10/measurement/conversions/o1abc"}, NO_ROUTE),
        (34, {"path": "/12/measurement/app_conversions/o1abc"}, NO_ROUTE),
        (2, {"method": "GET"}, (405, "METHOD_NOT_ALLOWED", "Method not allowed", "")),
        (3, {"x_pixel_token": None}, UNAUTHORIZED),
        (3, {"x_pixel_token": ""}, UNAUTHORIZED),
        (3, {"x_pixel_token": None, "authorization": 'OAuth oauth_token="sandbox-x-access"'}, UNAUTHORIZED),
        (4, {"x_pixel_token": None, "authorization": "Bearer sandbox-x-token"}, UNAUTHORIZED),
        (5, {"x_pixel_token": "revoked"}, UNAUTHORIZED),
        (5, {"path": "/12/measurement/conversions/o9zzz"}, UNAUTHORIZED),
    ],
)
def test_rules_before_authentication(sim: XSimulator, rule: int, request_: dict[str, Any], expected: object) -> None:
    reply = send(sim, install(), **request_)
    assert error(reply, account=None) == expected, rule
    assert int(reply.headers["x-rate-limit-remaining"]) == 60_000
    assert sim.received() == []


@pytest.mark.parametrize(
    ("rule", "request_", "expected"),
    [
        (12, {"content_type": "text/plain"}, NOT_JSON),
        (12, {"body": b"{"}, NOT_JSON),
        (12, {"body": b"[]"}, NOT_JSON),
        (13, {"body": b"{}"}, NO_CONVERSIONS),
        (13, {"body": b'{"conversions":{}}'}, NO_CONVERSIONS),
        (13, {"body": b'{"conversions":[]}'}, NO_CONVERSIONS),
    ],
)
def test_rules_of_the_body(sim: XSimulator, rule: int, request_: dict[str, Any], expected: object) -> None:
    assert error(send(sim, install(), **request_)) == expected, rule


@pytest.mark.parametrize(
    ("switch", "request_", "status"),
    [
        ("rule_4", {"x_pixel_token": None, "authorization": "Bearer sandbox-x-token"}, 200),
        ("rule_5", {"x_pixel_token": "whatever"}, 200),
        # Rule 10 stands behind rule 5: an unknown pixel is now the account's matter.
        ("rule_5", {"path": "/12/measurement/conversions/o9zzz"}, 404),
    ],
)
def test_uncertain_rules_of_the_token_can_be_switched_off(
    sim: XSimulator, switch: str, request_: dict[str, Any], status: int
) -> None:
    sim.set_switches({switch: False})
    assert send(sim, install(), **request_).status == status


def test_rule_1_version_11_is_answered_with_a_warning(sim: XSimulator) -> None:
    reply = send(sim, install(), path="/11/measurement/conversions/o1abc")
    assert reply.status == 200
    assert reply.headers["x-api-warn"]


def test_rule_11_rate_per_account(sim: XSimulator) -> None:
    sim.set_switches({"rate_limit": 3})
    assert send(sim, install(), install()).headers["x-rate-limit-remaining"] == "1"
    refused = send(sim, install(), install(), at=NOW + 10)
    assert error(refused) == (429, "TOO_MANY_REQUESTS", "Too many requests", "")
    assert refused.headers["x-rate-limit-remaining"] == "0"
    assert refused.headers["x-rate-limit-reset"] == str(int(NOW) + 900)
    assert send(sim, install(), install(), at=NOW + 900).status == 200
    sim.set_switches({"rate_limit": 0})
    unlimited = send(sim, *[install()] * 10, at=NOW + 901)
    assert (unlimited.status, unlimited.headers["x-rate-limit-remaining"]) == (200, "60000")


def test_rule_14_five_hundred_conversions_at_most(sim: XSimulator) -> None:
    expected = (400, "INVALID_PARAMETER", "Conversion count limit is 500", "conversions")
    assert error(send(sim, *[install()] * 501)) == expected
    assert send(sim, *[install()] * 500).status == 200


# --- one conversion ---

MISSING_TIME = ("MISSING_PARAMETER", "conversion_time is required", "conversion_time")
NO_IDENTIFIER = ("INVALID_PARAMETER", "At least one user identifier must be provided", "")


def bad_time(text: str) -> tuple[str, str, str]:
    message = f'Expected Time in yyyy-MM-ddTHH:mm:ss.SSSZ, got "{text}" for conversion_time'
    return "INVALID_PARAMETER", message, "conversion_time"


def invalid(message: str, parameter: str) -> tuple[str, str, str]:
    return "INVALID_PARAMETER", message, parameter


BROKEN: list[tuple[int | str, Change, list[tuple[str, str, str]]]] = [
    (15, lambda c: c.pop("conversion_time"), [MISSING_TIME]),
    (15, lambda c: (c.pop("conversion_time"), c.update(conversion_timestamp=1)), [MISSING_TIME]),
    *[
        (16, lambda c, text=text: c.update(conversion_time=text), [bad_time(text)])
        for text in (
            "2026-11-23T10:00:00.000",
            "2026-11-23T10:00:00Z",
            "2026-11-23T10:00:00.000000Z",
            "2026-11-23T10:00:00.000+00:00",
            "2026-02-30T10:00:00.000Z",
            "1795428000",
            "2026-11-23T10:00:00.000Z\n",
        )
    ],
    (
        17,
        lambda c: c.update(conversion_time=iso(NOW + 301)),
        [invalid("conversion_time out of range", "conversion_time")],
    ),
    (18, lambda c: c.pop("event_id"), [invalid("Event ID was not found", "event_id")]),
    (18, lambda c: c.update(event_id=""), [invalid("Event ID was not found", "event_id")]),
    (
        19,
        lambda c: c.update(event_id="tw-o1abc-o1zzz"),
        [
            ("NOT_FOUND", "event_id (tw-o1abc-o1zzz) does not belong to provided account", "event_id"),
            invalid("event_id (tw-o1abc-o1zzz) is not a single event tag (SET)", "event_id"),
        ],
    ),
    (
        20,
        lambda c: c.update(event_id="o1abc"),
        [invalid("event_id (o1abc) is not a single event tag (SET)", "event_id")],
    ),
    (21, lambda c: c.pop("identifiers"), [NO_IDENTIFIER]),
    (21, lambda c: c.update(identifiers=[]), [NO_IDENTIFIER]),
    (21, lambda c: c.update(identifiers=[{"twclid": ""}]), [NO_IDENTIFIER]),
    (21, lambda c: c.update(identifiers=[{"ip_address": "203.0.113.24"}]), [NO_IDENTIFIER]),
    (
        22,
        lambda c: c["identifiers"].append({"hashed_email": "p@example.com"}),
        [invalid("hashed_email (p@example.com) is not a valid SHA-256 hash", "hashed_email")],
    ),
    (
        23,
        lambda c: c["identifiers"].append({"hashed_phone_number": "+1"}),
        [invalid("hashed_phone_number (+1) is not a valid SHA-256 hash", "hashed_phone_number")],
    ),
    (24, lambda c: c.update(ip_address="x"), [invalid("Unsupported parameter ip_address", "ip_address")]),
    (24, lambda c: c.update(user_agent="x"), [invalid("Unsupported parameter user_agent", "user_agent")]),
    *[
        (
            25,
            lambda c, value=value: c.update(value=value),
            [invalid(f'Expected Double, got "{value}" for value', "value")],
        )
        for value in (5, "5", "-5.00", -5.0, "4,99", "1E+3", True)
    ],
    (
        25,
        lambda c: c["contents"][0].update(content_price=5),
        [invalid('Expected Double, got "5" for content_price', "content_price")],
    ),
    (
        26,
        lambda c: c.update(price_currency="eur"),
        [invalid("price_currency (eur) is not a valid currency", "price_currency")],
    ),
    *[
        (
            27,
            lambda c, n=n: c.update(number_items=n),
            [invalid("Expected positive integer for number_items", "number_items")],
        )
        for n in (0, "1", 1.0, True)
    ],
    (
        27,
        lambda c: c["contents"][0].update(num_items=0),
        [invalid("Expected positive integer for num_items", "num_items")],
    ),
    *[
        (
            28,
            lambda c, twclid=twclid: c.update(identifiers=[{"twclid": twclid}]),
            [invalid(f"twclid ({twclid}) is not valid", "twclid")],
        )
        for twclid in ("short", "with space in it", HASH, "c" * 101)
    ],
    (
        "ipv4_only",
        lambda c: c["identifiers"][1].update(ip_address=3405803800),
        [invalid("ip_address is not a valid IPv4 address", "ip_address")],
    ),
    (
        "ipv4_only",
        lambda c: c["identifiers"][1].update(ip_address="2001:db8::1"),
        [invalid("ip_address is not a valid IPv4 address", "ip_address")],
    ),
    (
        "field_types",
        lambda c: c.update(conversion_id=7),
        [invalid("Expected String for conversion_id", "conversion_id")],
    ),
    (
        "field_types",
        lambda c: c.update(contents={}),
        [invalid("Expected an array of objects for contents", "contents")],
    ),
]


@pytest.mark.parametrize(("rule", "breaks", "expected"), BROKEN)
def test_rules_of_a_conversion(
    sim: XSimulator, rule: int | str, breaks: Change, expected: list[tuple[str, str, str]]
) -> None:
    """The broken conversion stands between two good ones: no index is named and nothing is stored (rule 30)."""
    conversion = copy.deepcopy(purchase())
    breaks(conversion)
    reply = send(sim, install(), conversion, install())
    assert [(one["code"], one["message"], one["parameter"]) for one in reply.body["errors"]] == expected, rule
    assert reply.status == (404 if rule == 19 else 400)
    assert sim.received() == []


def test_something_else_than_an_object_is_refused(sim: XSimulator) -> None:
    assert error(send(sim, "install"))[:2] == (400, "INVALID_PARAMETER")


def test_errors_of_all_conversions_come_in_one_list_and_not_found_wins(sim: XSimulator) -> None:
    reply = send(sim, install(event_id=""), install(), install(event_id="o1zzz"), install(identifiers=[]))
    assert reply.status == 404
    assert [one["parameter"] for one in reply.body["errors"]] == ["event_id", "event_id", "event_id", ""]
    assert [set(one) for one in reply.body["errors"]] == [{"code", "message", "parameter"}] * 4


@pytest.mark.parametrize(
    ("switch", "changes"),
    [
        ("rule_17", {"conversion_time": iso(NOW + 9000)}),
        ("rule_28", {"identifiers": [{"twclid": HASH}]}),
        ("ipv4_only", {"identifiers": [{"twclid": TWCLID, "ip_address": "2001:db8::1"}]}),
        ("field_types", {"contents": 5}),
        ("lenient_time", {"conversion_time": "2026-11-23T10:00:00Z"}),
        ("rule_17_age", {"conversion_time": iso(NOW - 91 * 86400)}),
        ("conversion_timestamp", {"conversion_time": None, "conversion_timestamp": int(NOW * 1000)}),
    ],
)
def test_uncertain_rules_of_a_conversion_can_be_switched(sim: XSimulator, switch: str, changes: dict[str, Any]) -> None:
    before = send(sim, install(**changes)).status
    sim.set_switches({switch: not sim.switches[switch]})
    after = send(sim, install(**changes)).status
    assert {before, after} == {200, 400}
    refuses_when_on = switch not in ("lenient_time", "conversion_timestamp")
    assert (after == 400) == (sim.switches[switch] == refuses_when_on)


def test_rule_19_events_of_another_pixel_of_the_account_belong_to_it(sim: XSimulator) -> None:
    sim.set_switches(
        {
            "accounts": {"o1abc": ACCOUNT, "o2same": ACCOUNT, "o3other": "18ce000000b"},
            "events": {"tw-o2same-o2e01": "", "tw-o3other-o3e01": "", "o1bare": ""},
        }
    )
    same = [install(event_id=event_id) for event_id in ("tw-o2same-o2e01", "o2e01", "o1bare", "tw-o1abc-o1bare")]
    assert send(sim, *same).status == 200
    assert send(sim, install(event_id="tw-o3other-o3e01")).status == 404


def test_rule_29_unknown_keys_are_ignored_and_noted(sim: XSimulator) -> None:
    body = {
        "conversions": [install(custom_data={}, identifiers=[{"twclid": TWCLID, "gclid": "x"}])],
        "pixel_id": "o1abc",
    }
    assert send(sim, body=json.dumps(body).encode()).status == 200
    assert [note["keys"] for note in sim.notes] == [["custom_data", "identifiers.gclid", "pixel_id"]]
    assert sim.received()[0]["warnings"] == ("rule 29: custom_data: ignored", "rule 29: identifiers.gclid: ignored")
    send(sim, purchase())
    assert len(sim.notes) == 1


@pytest.mark.parametrize(("counts_again", "counted"), [(True, 4), (False, 2)])
def test_rule_32_repeats(sim: XSimulator, counts_again: bool, counted: int) -> None:
    sim.set_switches({"rule_32": counts_again})
    send(sim, install(), install(event_id="o1d01"))
    reply = send(sim, install(), at=NOW + 48 * 3600)
    assert reply.body["data"]["conversions_processed"] == 1
    assert [one["copies"] for one in sim.received()] == [3]
    assert send(sim, install(), at=NOW + 48 * 3600 + 1).status == 200
    assert [one["copies"] for one in sim.received()] == [3, 1]
    assert (sim.duplicates, sim.counted) == (2, counted)


def test_a_poisoned_conversion_is_refused_without_an_index(sim: XSimulator) -> None:
    sim.set_switches({"poison": "giftig-ü"})
    reply = send(sim, install(), install(conversion_id="giftig-ü"))
    assert error(reply) == (400, "INVALID_PARAMETER", "Invalid parameter", "")
    assert sim.received() == []
    assert send(sim, install()).status == 200


# --- OAuth 1.0a ---

VECTOR = {
    "oauth_consumer_key": "ck_example",
    "oauth_nonce": "n0nce4example",
    "oauth_signature_method": "HMAC-SHA1",
    "oauth_timestamp": "1795428000",
    "oauth_token": "at_example",
    "oauth_version": "1.0",
}


def test_oauth_vector_of_the_sheet() -> None:
    url = "https://ads-api.x.com/12/measurement/conversions/o1abc"
    base = x_oauth.base_string("POST", url, VECTOR)
    assert base == (
        "POST&https%3A%2F%2Fads-api.x.com%2F12%2Fmeasurement%2Fconversions%2Fo1abc&oauth_consumer_key%3Dck_example"
        "%26oauth_nonce%3Dn0nce4example%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D1795428000"
        "%26oauth_token%3Dat_example%26oauth_version%3D1.0"
    )
    assert x_oauth.signature(base, "cs&secret", "ts/secret") == "dpi6DuDTGqV7+azEtC+tdAt5Cwk="


def signed(url: str = BASE + PATH, *, nonce: str = "n1", at: float = NOW, secret: str = "", **extra: str) -> str:
    """The header of the sandbox's own consumer, signed by another implementation, without a body."""
    client = Client(
        "sandbox-x-consumer",
        client_secret=secret or "sandbox-x-consumer-secret",
        resource_owner_key="sandbox-x-access",
        resource_owner_secret="sandbox-x-access-secret",
        nonce=nonce,
        timestamp=str(int(at)),
        **extra,
    )
    _, headers, _ = client.sign(url, http_method="POST")
    return str(headers["Authorization"])


def send_signed(sim: XSimulator, header: str, **request_: Any) -> Reply:
    return send(sim, install(), x_pixel_token=None, authorization=header, **request_)


def test_a_signed_request_is_accepted_also_with_a_query_and_the_token_wins_over_a_bad_signature(
    sim: XSimulator,
) -> None:
    assert send_signed(sim, signed()).status == 200
    query = "?b=2%20x&a=%C3%BC&a="
    assert send_signed(sim, signed(BASE + PATH + query, nonce="n2"), query=query).status == 200
    assert send(sim, install(), authorization="OAuth nonsense").status == 200


@pytest.mark.parametrize(
    ("rule", "header"),
    [
        (3, signed().replace('oauth_version="1.0", ', "")),
        (3, signed() + ', oauth_token="twice"'),
        (6, signed(secret="wrong")),
        (6, signed(BASE + "/12/measurement/conversions/o1abd")),
        (6, signed(signature_method="HMAC-SHA256")),
        (6, signed().replace("sandbox-x-access", "unknown-token")),
        (6, signed().replace("sandbox-x-consumer", "unknown-consumer")),
        (7, signed(at=NOW - 302)),
        (7, signed(at=NOW + 302)),
    ],
)
def test_rules_of_a_signed_request(sim: XSimulator, rule: int, header: str) -> None:
    assert error(send_signed(sim, header), account=None) == UNAUTHORIZED, rule


@pytest.mark.parametrize(
    "changes",
    [
        {"oauth_version": "2.0"},
        {"oauth_signature_method": "HMAC-SHA256"},
        {"oauth_timestamp": "now"},
        {"oauth_timestamp": "9" * 5000},
    ],
)
def test_well_signed_but_odd_parameters_are_refused(sim: XSimulator, changes: dict[str, str]) -> None:
    assert send_signed(sim, self_signed({})).status == 200
    assert send_signed(sim, self_signed({"oauth_nonce": "n2", **changes})).status == 401


def self_signed(changes: dict[str, str]) -> str:
    names = {"oauth_consumer_key": "sandbox-x-consumer", "oauth_token": "sandbox-x-access"}
    oauth = {**VECTOR, **names, "oauth_timestamp": str(int(NOW)), **changes}
    base = x_oauth.base_string("POST", BASE + PATH, oauth)
    oauth["oauth_signature"] = x_oauth.signature(base, "sandbox-x-consumer-secret", "sandbox-x-access-secret")
    return "OAuth " + ", ".join(f'{name}="{x_oauth.encoded(value)}"' for name, value in oauth.items())


def test_remembered_nonces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbacks.sandbox.x_auth.NONCE_MEMORY", 4)
    nonces = Nonces()
    assert all(nonces.is_new("t", "1", nonce) for nonce in "abcde")
    assert not nonces.is_new("t", "1", "c")
    assert nonces.is_new("t", "1", "a")


def test_rule_6_a_signature_that_covers_the_json_body_is_refused(sim: XSimulator) -> None:
    body = json.dumps({"conversions": [install()]})
    client = Client(
        "sandbox-x-consumer",
        client_secret="sandbox-x-consumer-secret",
        resource_owner_key="sandbox-x-access",
        resource_owner_secret="sandbox-x-access-secret",
        timestamp=str(int(NOW)),
    )
    _, headers, _ = client.sign(BASE + PATH, "POST", body, {"Content-Type": "application/json"})
    assert "oauth_body_hash" in headers["Authorization"]
    assert send_signed(sim, headers["Authorization"]).status == 401
    sim.set_switches({"oauth_body_hash": True})
    assert send_signed(sim, headers["Authorization"]).status == 200


def test_rule_7_the_tolerance_can_be_set(sim: XSimulator) -> None:
    sim.set_switches({"timestamp_tolerance": 10})
    assert send_signed(sim, signed(at=NOW - 20)).status == 401
    assert send_signed(sim, signed(at=NOW - 9, nonce="n2")).status == 200


def test_rule_8_a_nonce_serves_once(sim: XSimulator) -> None:
    assert [send_signed(sim, signed()).status for _ in range(2)] == [200, 401]
    assert send_signed(sim, signed(at=NOW + 1)).status == 200
    sim.set_switches({"rule_8": False})
    assert send_signed(sim, signed()).status == 200


def test_rule_9_the_app_needs_access(sim: XSimulator) -> None:
    consumers = copy.deepcopy(sim.switches["oauth_consumers"])
    consumers["sandbox-x-consumer"]["ads_api"] = False
    sim.set_switches({"oauth_consumers": consumers})
    status, code, message, _ = error(send_signed(sim, signed()), account=None)
    assert (status, code) == (403, "UNAUTHORIZED_CLIENT_APPLICATION")
    assert "client application with id 28000001" in message


def test_rule_10_the_user_needs_the_account_and_the_pixel_must_exist(sim: XSimulator) -> None:
    tokens = copy.deepcopy(sim.switches["oauth_tokens"])
    tokens["sandbox-x-access"]["accounts"] = []
    path = "/12/measurement/conversions/o9zzz"
    unknown = send_signed(sim, signed(BASE + path), path=path)
    assert error(unknown, account=None)[:2] == (404, "NOT_FOUND")
    sim.set_switches({"oauth_tokens": tokens})
    expected = (404, "NOT_FOUND", f"User 756201191 does not have access to account {ACCOUNT}", "")
    assert error(send_signed(sim, signed(nonce="n2"))) == expected


# --- rule 33: faults ---


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("cancelled_408", 408, "CANCELLED_REQUEST"),
        ("locked_423", 423, "LOCK_ACQUISITION_TIMEOUT"),
        ("throttle", 429, "TOO_MANY_REQUESTS"),
        ("internal_500", 500, "INTERNAL_ERROR"),
        ("over_capacity_503", 503, "OVER_CAPACITY"),
        ("token_revoked", 401, "UNAUTHORIZED_ACCESS"),
        ("wrong_permission", 403, "UNAUTHORIZED_CLIENT_APPLICATION"),
        ("no_account", 404, "NOT_FOUND"),
    ],
)
def test_faults(sim: XSimulator, kind: str, status: int, code: str) -> None:
    assert kind in XSimulator.fault_kinds
    reply = send(sim, install(), fault=Fault(kind, seconds=7))
    assert error(reply, account=None if status == 401 else ACCOUNT)[:2] == (status, code)
    assert reply.headers.get("retry-after") == ("7" if status == 503 else None)
    assert reply.headers["x-rate-limit-remaining"] == ("0" if status == 429 else "60000")
    assert reply.headers["x-rate-limit-reset"] == str(int(NOW) + (7 if status == 429 else 900))
    assert sim.received() == []


@pytest.mark.parametrize(("kind", "status"), [("html_502", 502), ("html_404", 404)])
def test_faults_with_a_page(sim: XSimulator, kind: str, status: int) -> None:
    reply = send(sim, install(), fault=Fault(kind))
    assert (reply.status, reply.content_type, reply.headers) == (status, "text/html", {})
    assert b"<html>" in reply.payload()


def test_fault_processed_zero(sim: XSimulator) -> None:
    reply = send(sim, install(), fault=Fault("processed_zero"))
    assert (reply.status, reply.body["data"]["conversions_processed"]) == (200, 0)
    assert sim.received() == []
    assert send(sim, install(event_id=""), fault=Fault("processed_zero")).status == 400


def test_fault_processed_fewer(sim: XSimulator) -> None:
    reply = send(sim, install(), purchase(), fault=Fault("processed_fewer"))
    assert (reply.status, reply.body["data"]["conversions_processed"]) == (200, 1)
    assert [one["key"] for one in sim.received()] == ["inst-7f0c2b9e"]


def test_only_the_newest_are_kept_and_reset_forgets(sim: XSimulator) -> None:
    sim.set_switches({"keep": 3})
    send(sim, *[install(conversion_id=f"c{number}") for number in range(5)])
    assert [one["key"] for one in sim.received()] == ["c2", "c3", "c4"]
    send_signed(sim, signed())
    sim.reset()
    assert (sim.received(), sim.counted, sim.switches["keep"]) == ([], 0, 200_000)
    assert send_signed(sim, signed()).status == 200
