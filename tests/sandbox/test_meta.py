"""The Meta simulator against its sheet: every rule broken once, every switch turned, the sheet's examples taken."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from postbacks.sandbox.base import Fault, Reply, Seen
from postbacks.sandbox.meta import STRICTEST, MetaSimulator
from postbacks.sandbox.meta_events import EVENT_RULES
from postbacks.sandbox.meta_request import REQUEST_RULES

NOW = 1_795_426_400.0
FBC = "fb.1.1795420000123.IwZXh0bgNhZW0BMABhZGlkAasSYNTH_ETIC-0001"
AGENT = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36"
EXTINFO = ["a2", "com.example.dragons", "2.4", "2.4.1", "15", "Pixel 9", "en_US", "PST", "", "1080", "2424"]
EXTINFO += ["2.6", "8", "128", "64", "America/Los_Angeles"]
HASH = "bc451d260364cfcaf6cdc5bb9e8ab2e2f54c05518c2b4a65b4ffb8f0c1e56d80"

PURCHASE: dict[str, Any] = {
    "event_name": "Purchase",
    "event_time": 1795426200,
    "event_id": "pb-7f3c2a91-purchase-000451",
    "action_source": "website",
    "event_source_url": "https://play.example-game.com/lp/dragons",
    "user_data": {"fbc": FBC, "client_ip_address": "203.0.113.24", "client_user_agent": AGENT},
    "custom_data": {"value": 4.99, "currency": "USD", "order_id": "ord-000451", "content_ids": ["gems_small"]},
}
LEVEL: dict[str, Any] = {
    "event_name": "LevelAchieved",
    "event_time": 1795426260,
    "event_id": "pb-7f3c2a91-lvl-10",
    "action_source": "system_generated",
    "user_data": {"fbc": FBC, "external_id": [HASH]},
    "custom_data": {"level": 10},
}
REGISTRATION: dict[str, Any] = {
    "event_name": "CompleteRegistration",
    "event_time": 1795426201,
    "event_id": "pb-7f3c2a91-reg",
    "action_source": "system_generated",
    "user_data": {"fbc": FBC},
}
APP_PURCHASE: dict[str, Any] = {
    "event_name": "Purchase",
    "event_time": 1795426300,
    "event_id": "pb-9c11-purchase-000452",
    "action_source": "app",
    "user_data": {"madid": "38400000-8cf0-11bd-b23e-10b96e40000d", "client_ip_address": "203.0.113.25"},
    "app_data": {"advertiser_tracking_enabled": 1, "application_tracking_enabled": 1, "extinfo": EXTINFO},
    "custom_data": {"value": 9.99, "currency": "EUR"},
    "data_processing_options": [],
}


def seen(body: Any, **changes: Any) -> Seen:
    """A good request around `body`: events, a whole body, or bytes."""
    payload = {"data": body} if isinstance(body, list) else body
    facts: dict[str, Any] = {
        "method": "POST",
        "path": "/v26.0/998877665544332/events",
        "url": "http://localhost/meta/v26.0/998877665544332/events",
        "query": {},
        "headers": {"authorization": "Bearer sandbox-meta-token", "content-type": "application/json"},
        "body": payload if isinstance(payload, bytes) else orjson.dumps(payload),
        "at": NOW,
    }
    return Seen(**(facts | changes))


def changed(event: dict[str, Any], /, **changes: Any) -> dict[str, Any]:
    """A copy with keys replaced; `a__b` reaches into `a`; `...` removes."""
    copy = deepcopy(event)
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = copy
        for key in outer:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return copy


def error_of(reply: Reply) -> tuple[int, int, int | None]:
    error = reply.body["error"]
    return reply.status, error["code"], error.get("error_subcode")


TAKEN = (200, 0, None)


def outcome(sim: MetaSimulator, request: Seen) -> tuple[int, int, int | None]:
    reply = sim.answer(request, None)
    return TAKEN if reply.status == 200 else error_of(reply)


Refused = tuple[int, int, int | None]
BAD = (400, 100, None)
LACKING = (400, 100, 2804019)

BROKEN_REQUESTS: list[tuple[int, Seen, Refused]] = [
    (1, seen([LEVEL], path="/998877665544332/events"), (400, 2500, None)),
    (1, seen([LEVEL], path="/v26.0/998877665544332/events/"), (400, 2500, None)),
    (2, seen([LEVEL], method="GET"), (400, 100, 33)),
    (3, seen([LEVEL], path="/v20.0/998877665544332/events"), (400, 2635, None)),
    (4, seen([LEVEL], headers={"content-type": "application/json"}), (400, 104, None)),
    (4, seen([LEVEL], headers={"authorization": "Bearer nonsense"}), (401, 190, None)),
    (4, seen([LEVEL], headers={"authorization": "Bearer sandbox-meta-expired"}), (401, 190, 463)),
    (6, seen([LEVEL], path="/v26.0/111111111111111/events"), (400, 100, 33)),
    (8, seen(b"{not json"), BAD),
    (8, seen({"data": {"event_name": "Purchase"}}), BAD),
    (8, seen({"data": "[broken"}), BAD),
    (8, seen([LEVEL, 7]), BAD),
    (9, seen([]), BAD),
    (9, seen([LEVEL] * 1001), BAD),
    (25, seen({"data": [LEVEL], "test_event_code": 12345}), BAD),
    (25, seen({"data": [LEVEL], "test_event_code": None}), BAD),
]
BROKEN_EVENTS: list[tuple[int, dict[str, Any], Refused]] = [
    (10, {}, LACKING),
    (10, changed(LEVEL, event_name=""), LACKING),
    (11, changed(LEVEL, event_time=...), LACKING),
    (11, changed(LEVEL, event_time=1795426260.5), BAD),
    (11, changed(LEVEL, event_time=True), BAD),
    (11, changed(LEVEL, event_time=int(NOW) - 7 * 86400 - 1), (400, 100, 2804003)),
    (11, changed(LEVEL, action_source="physical_store", event_time=int(NOW) - 62 * 86400 - 1), (400, 100, 2804003)),
    (11, changed(LEVEL, event_time=int(NOW) + 61), (400, 100, 2804004)),
    (11, changed(LEVEL, event_time=int(NOW) * 1000), (400, 100, 2804004)),
    (12, changed(LEVEL, action_source=...), LACKING),
    (12, changed(LEVEL, action_source="web"), LACKING),
    (13, changed(LEVEL, user_data=...), LACKING),
    (14, changed(LEVEL, user_data__fbc="fb.1.1795420000123"), (400, 100, 2804001)),
    (14, changed(LEVEL, user_data__fbc=f"fb.1.1795420000123.{FBC}"), (400, 100, 2804001)),
    (14, changed(LEVEL, user_data__fbc="fb.1.1795420000123.5.IwZXh0bgNhZW0"), (400, 100, 2804001)),
    (14, changed(LEVEL, user_data__fbc="fb.1.1795420000123.Iw%20ZX"), (400, 100, 2804001)),
    (14, changed(LEVEL, user_data__fbc=f"{FBC}\n"), (400, 100, 2804001)),
    (15, changed(LEVEL, user_data={}), (400, 100, 2804050)),
    (15, changed(LEVEL, user_data={"client_user_agent": AGENT, "fbc": None}), (400, 100, 2804050)),
    (15, changed(LEVEL, user_data={"db": HASH, "client_user_agent": AGENT}), (400, 100, 2804050)),
    (15, changed(LEVEL, user_data={"fn": HASH, "ge": HASH}), (400, 100, 2804050)),
    (15, changed(LEVEL, user_data={"ln": HASH, "ge": HASH, "fbp": ""}), (400, 100, 2804050)),
    (15, changed(LEVEL, user_data={"ct": HASH, "unknown_key": "x"}), (400, 100, 2804050)),
    (16, changed(LEVEL, user_data__em="player@example.com"), BAD),
    (16, changed(LEVEL, user_data__em=[HASH, HASH.upper()]), BAD),
    (17, changed(LEVEL, user_data__client_ip_address="203.0.113.999"), BAD),
    (19, changed(APP_PURCHASE, app_data=...), BAD),
    (19, changed(APP_PURCHASE, app_data__advertiser_tracking_enabled="1"), BAD),
    (19, changed(APP_PURCHASE, app_data__extinfo=[*EXTINFO, "", ""]), BAD),
    (19, changed(APP_PURCHASE, app_data__extinfo=["x1", *EXTINFO[1:]]), BAD),
    (19, changed(APP_PURCHASE, app_data__extinfo=[*EXTINFO[:5], None, *EXTINFO[6:]]), BAD),
    (19, changed(APP_PURCHASE, app_data__extinfo=[*EXTINFO[:4], "", *EXTINFO[5:]]), (400, 100, 2804043)),
    (20, changed(PURCHASE, custom_data__value=...), (400, 100, 2804009)),
    (20, changed(PURCHASE, custom_data__value="free"), (400, 100, 2804009)),
    (20, changed(PURCHASE, custom_data__currency=...), (400, 100, 2804010)),
    (20, changed(PURCHASE, custom_data__currency="ZZZ"), (400, 100, 2804010)),
    (21, changed(LEVEL, data_processing_options="LDU"), BAD),
    (21, changed(LEVEL, data_processing_options=["LDU"], data_processing_options_country=2), BAD),
    (
        21,
        changed(
            LEVEL,
            data_processing_options=["LDU"],
            data_processing_options_country=1,
            data_processing_options_state=1014,
        ),
        BAD,
    ),
    (22, changed(LEVEL, event_id=["a"]), BAD),
]


@pytest.mark.parametrize(("rule", "request_", "expected"), BROKEN_REQUESTS)
def test_a_broken_request_is_refused(rule: int, request_: Seen, expected: Refused) -> None:
    sim = MetaSimulator()

    assert expected == outcome(sim, request_), f"rule {rule}"
    assert not sim.stored


@pytest.mark.parametrize(("rule", "event", "expected"), BROKEN_EVENTS)
def test_a_broken_event_refuses_its_whole_request_without_naming_it(
    rule: int, event: dict[str, Any], expected: Refused
) -> None:
    """Also rule 26."""
    sim = MetaSimulator()
    reply = sim.answer(seen([REGISTRATION, event, PURCHASE]), None)

    assert expected == error_of(reply), f"rule {rule}"
    assert not sim.stored
    assert "index" not in str(reply.body) and "data[1]" not in str(reply.body)


def test_every_rule_that_is_enforced_is_broken_by_a_test() -> None:
    enforced = {int(rule.__name__.removeprefix("rule_")) for rule in (*REQUEST_RULES, *EVENT_RULES)}
    broken = {one[0] for one in (*BROKEN_REQUESTS, *BROKEN_EVENTS)}

    # Rules 5 and 18 need a switch and are broken below.
    assert enforced | {25} == broken | {5, 18}


SWITCHED: list[tuple[dict[str, Any], Seen, Refused]] = [
    ({"rule_2": False}, seen([LEVEL], method="PUT"), TAKEN),
    ({"rule_4": False}, seen([LEVEL], headers={}), (401, 190, None)),
    ({"rule_6_scope": True}, seen([LEVEL], path="/v26.0/111111111111111/events"), (403, 200, None)),
    ({"rule_9": False}, seen([LEVEL] * 1001), TAKEN),
    ({"rule_10_length": True}, seen([changed(LEVEL, event_name="x" * 51)]), BAD),
    ({"rule_11_text": False}, seen([changed(LEVEL, event_time="1795426260")]), BAD),
    ({"rule_11_future_seconds": 0}, seen([changed(LEVEL, event_time=int(NOW) + 1)]), (400, 100, 2804004)),
    ({"rule_12": False}, seen([changed(LEVEL, action_source=...)]), TAKEN),
    ({"rule_13": False}, seen([changed(LEVEL, user_data=...)]), (400, 100, 2804050)),
    ({"rule_14_strict": True}, seen([changed(LEVEL, user_data__fbc="fb.1.1795420000.Iw")]), (400, 100, 2804001)),
    ({"rule_14_strict": True}, seen([changed(LEVEL, user_data__fbc="fb.1.1795426400001.Iw")]), (400, 100, 2804001)),
    ({"rule_14_strict": True}, seen([LEVEL]), TAKEN),
    ({"rule_16": False}, seen([changed(LEVEL, user_data__em="player@example.com")]), TAKEN),
    ({"rule_16_md5": False}, seen([changed(LEVEL, user_data__em=HASH[:32])]), BAD),
    ({"rule_17": False}, seen([changed(LEVEL, user_data__client_ip_address="x")]), TAKEN),
    ({"rule_18": True}, seen([changed(PURCHASE, user_data__client_user_agent=...)]), LACKING),
    ({"rule_18": True}, seen([changed(PURCHASE, event_source_url="game://lp")]), LACKING),
    ({"rule_18": True}, seen([PURCHASE]), TAKEN),
    ({"rule_19": False}, seen([changed(APP_PURCHASE, app_data=...)]), TAKEN),
    ({"rule_21": False}, seen([changed(LEVEL, data_processing_options="LDU")]), TAKEN),
    ({"rule_22_number": False}, seen([changed(LEVEL, event_id=7)]), BAD),
    ({"poison": "ord-000451"}, seen([LEVEL, PURCHASE]), BAD),
    ({"poison": "ord-000451"}, seen([LEVEL]), TAKEN),
]


@pytest.mark.parametrize(("switches", "request_", "expected"), SWITCHED)
def test_an_uncertain_rule_can_be_switched(switches: dict[str, Any], request_: Seen, expected: Refused) -> None:
    sim = MetaSimulator()
    sim.set_switches(switches)

    assert expected == outcome(sim, request_)


ACCEPTED: list[Any] = [
    [PURCHASE],
    {"data": [REGISTRATION, LEVEL], "test_event_code": "TEST12345"},
    [APP_PURCHASE],
    {"data": orjson.dumps([LEVEL]).decode()},
    [orjson.dumps(LEVEL).decode()],
    [changed(LEVEL, event_time=int(NOW) - 7 * 86400)],
    [changed(LEVEL, action_source="physical_store", event_time=int(NOW) - 62 * 86400)],
    [changed(LEVEL, event_time=int(NOW) + 60)],
    [changed(LEVEL, event_time="1795426260")],
    [changed(LEVEL, user_data__fbc=f"{FBC}.Bg")],
    [changed(LEVEL, user_data__fbc=f"{FBC}.AQEAAgAB")],
    [changed(LEVEL, user_data={"client_ip_address": "2001:db8::1"})],
    [changed(LEVEL, unknown={"x": 1}, user_data__unknown=1)],
    [changed(LEVEL, event_id=17)],
    [changed(PURCHASE, custom_data__value="0.00", custom_data__currency="jpy")],
    [
        changed(
            LEVEL,
            data_processing_options=["LDU"],
            data_processing_options_country=0,
            data_processing_options_state=0,
        )
    ],
    [LEVEL] * 1000,
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_good_requests_are_taken_with_exactly_the_documented_answer(body: Any) -> None:
    """The sheet's section 14 and each limit from its inner side; rules 23 and 24."""
    sim = MetaSimulator()
    reply = sim.answer(seen(body), None)
    items = body["data"] if isinstance(body, dict) else body
    trace = reply.body["fbtrace_id"]

    assert reply.status == 200
    assert {"events_received": len(items) if isinstance(items, list) else 1, "messages": [], "fbtrace_id": trace} == (
        reply.body
    )
    assert re.fullmatch(r"[A-Za-z0-9_-]{23}", trace)


def test_what_is_stored_is_what_counts() -> None:
    sim = MetaSimulator()
    sim.answer(seen([PURCHASE]), None)
    (one,) = sim.received()

    assert one == {
        "key": "pb-7f3c2a91-purchase-000451",
        "name": "Purchase",
        "click_id": "IwZXh0bgNhZW0BMABhZGlkAasSYNTH_ETIC-0001",
        "occurred_at": 1795426200.0,
        "value": 4.99,
        "currency": "USD",
        "raw": PURCHASE,
        "received_at": NOW,
        "copies": 1,
        "test_code": "",
        "warnings": (),
    }


def test_a_website_event_without_url_and_agent_is_stored_with_warnings() -> None:
    """Rule 18, the lenient side."""
    sim = MetaSimulator()
    sim.answer(seen([changed(PURCHASE, event_source_url=..., user_data__client_user_agent=...)]), None)

    assert len(sim.received()[0]["warnings"]) == 2


@pytest.mark.parametrize(("later", "records", "copies"), [(48 * 3600, 1, 2), (48 * 3600 + 1, 2, 1)])
def test_a_repeat_within_48_hours_is_received_but_stored_once(later: int, records: int, copies: int) -> None:
    """Rule 22."""
    sim = MetaSimulator()
    sim.answer(seen([REGISTRATION]), None)
    again = sim.answer(seen([changed(REGISTRATION, event_time=int(NOW))], at=NOW + later), None)

    assert again.body["events_received"] == 1
    assert records == len(sim.stored)
    assert all(one.copies == copies for one in sim.stored.values())


def test_the_same_id_under_another_name_or_without_id_is_no_repeat() -> None:
    sim = MetaSimulator()
    nameless = changed(LEVEL, event_id=...)
    sim.answer(seen([LEVEL, changed(LEVEL, event_name="Other"), nameless, nameless]), None)

    assert [one.copies for one in sim.stored.values()] == [1, 1, 1, 1]


def test_test_events_stand_in_the_test_view_and_in_the_store() -> None:
    """Rule 25."""
    sim = MetaSimulator()
    sim.answer(seen({"data": [LEVEL], "test_event_code": "TEST12345"}), None)

    assert [one["test_code"] for one in sim.received()] == ["TEST12345"]


FORM = urlencode({"data": orjson.dumps([LEVEL]).decode(), "access_token": "sandbox-meta-token"}).encode()
MULTIPART = b"".join(
    b'--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % part
    for part in [(b"data", orjson.dumps([orjson.dumps(LEVEL).decode()])), (b"access_token", b"sandbox-meta-token")]
)


@pytest.mark.parametrize(
    "request_",
    [
        seen([LEVEL], headers={}, query={"access_token": "sandbox-meta-token"}),
        seen({"data": [LEVEL], "access_token": "sandbox-meta-token"}, headers={}),
        seen(FORM, headers={"content-type": "application/x-www-form-urlencoded"}),
        seen(MULTIPART + b"--cut--\r\n", headers={"content-type": "multipart/form-data; boundary=cut"}),
    ],
    ids=["query", "json", "form", "multipart"],
)
def test_a_token_is_found_in_every_documented_place(request_: Seen) -> None:
    assert outcome(MetaSimulator(), request_) == TAKEN


def test_an_app_that_demands_proof_checks_it() -> None:
    """Rule 5."""
    sim = MetaSimulator()
    sim.set_switches({"app_secret": "hush"})
    proof = hmac.new(b"hush", b"sandbox-meta-token", hashlib.sha256).hexdigest()
    absent = sim.answer(seen([LEVEL]), None)

    assert error_of(absent) == BAD
    assert absent.body["error"]["type"] == "GraphMethodException"
    assert outcome(sim, seen([LEVEL], query={"appsecret_proof": "0" * 64})) == BAD
    assert outcome(sim, seen([LEVEL], query={"appsecret_proof": proof})) == TAKEN
    assert outcome(sim, seen({"data": [LEVEL], "appsecret_proof": proof})) == TAKEN


def test_a_retired_version_can_be_upgraded_with_a_warning() -> None:
    """Rule 3."""
    sim = MetaSimulator()
    sim.set_switches({"rule_3": False})
    reply = sim.answer(seen([LEVEL], path="/v19.0/998877665544332/events"), None)

    assert reply.status == 200
    assert "v19.0" in reply.headers["X-Ad-Api-Version-Warning"]


def test_the_time_is_judged_before_the_identifiers() -> None:
    """Sheet meta, 5: an old event with too little customer information is too old."""
    weak = changed(LEVEL, user_data={"client_user_agent": AGENT})
    old = changed(LEVEL, event_time=int(NOW) - 8 * 86400)

    assert outcome(MetaSimulator(), seen([weak, old])) == (400, 100, 2804003)


def test_a_refusal_has_the_shape_of_graphs_error_object() -> None:
    error = MetaSimulator().answer(seen([changed(LEVEL, event_time=1)]), None).body["error"]

    assert set(error) == {
        "message",
        "type",
        "code",
        "error_subcode",
        "is_transient",
        "error_user_title",
        "error_user_msg",
        "fbtrace_id",
    }
    assert (error["type"], error["is_transient"]) == ("OAuthException", False)
    assert error["error_user_title"] == "Event Timestamp Too Old"


def test_a_simple_error_lacks_the_optional_keys() -> None:
    error = MetaSimulator().answer(seen([LEVEL], headers={"authorization": "Bearer x"}), None).body["error"]

    assert set(error) == {"message", "type", "code", "fbtrace_id"}


FAULTS: list[tuple[str, Refused, Callable[[Reply], bool]]] = [
    ("throttle_4", (403, 4, None), lambda r: r.body["error"]["is_transient"]),
    ("throttle_17", (400, 17, 2446079), lambda r: not r.body["error"]["is_transient"]),
    ("throttle_613", (400, 613, None), lambda r: True),
    ("throttle_80004", (400, 80004, None), lambda r: "X-Business-Use-Case-Usage" in r.headers),
    ("server_1", (500, 1, None), lambda r: True),
    ("server_2", (500, 2, None), lambda r: r.body["error"]["is_transient"]),
    ("token_expired", (401, 190, 463), lambda r: True),
    ("token_invalid", (401, 190, None), lambda r: True),
    ("wrong_permission", (403, 200, None), lambda r: True),
    ("throttle_429", (429, 80004, None), lambda r: "X-Business-Use-Case-Usage" in r.headers),
    ("error_200", (200, 2, None), lambda r: "events_received" not in r.body),
    ("unknown_code", (400, 31337, None), lambda r: True),
    ("proof_required", (400, 100, None), lambda r: r.body["error"]["type"] == "GraphMethodException"),
]


@pytest.mark.parametrize(("kind", "expected", "also"), FAULTS)
def test_a_fault_answers_like_the_platform_and_stores_nothing(
    kind: str, expected: Refused, also: Callable[[Reply], bool]
) -> None:
    sim = MetaSimulator()
    reply = sim.answer(seen([LEVEL]), Fault(kind))

    assert expected == error_of(reply)
    assert also(reply)
    assert not sim.stored


def test_every_fault_is_tested_and_429_comes_without_a_body() -> None:
    sim = MetaSimulator()
    reply = sim.answer(seen([LEVEL]), Fault("http_429"))
    liar = sim.answer(seen([LEVEL]), Fault("received_none"))

    assert (reply.status, reply.body) == (429, b"")
    assert (liar.status, liar.body["events_received"]) == (200, 0)
    assert not sim.stored
    assert {one[0] for one in FAULTS} | {"http_429", "received_none"} == MetaSimulator.fault_kinds


def test_the_strictest_reading_turns_every_lenient_default() -> None:
    lenient = {switches.popitem()[0] for switches, _, expected in deepcopy(SWITCHED) if expected[0] == 400}

    # Rules 4, 13 and `poison` are answered with a refusal on either side.
    assert STRICTEST.keys() == lenient - {"rule_4", "rule_13", "poison"}
    assert all(MetaSimulator.switch_defaults[name] != value for name, value in STRICTEST.items())


@pytest.mark.parametrize(("seconds", "minutes"), [(5, 1), (600, 10), (601, 11)])
def test_the_time_to_wait_is_in_whole_minutes(seconds: float, minutes: int) -> None:
    reply = MetaSimulator().answer(seen([LEVEL]), Fault("throttle_80004", seconds=seconds))
    (usage,) = orjson.loads(reply.headers["X-Business-Use-Case-Usage"]).values()

    assert minutes == usage[0]["estimated_time_to_regain_access"]


def test_the_demo_destination_matches_the_switches() -> None:
    credentials = MetaSimulator.demo_destination()["credentials"]

    assert credentials["dataset_id"] in MetaSimulator().switches["tokens"][credentials["access_token"]]


def test_only_the_newest_are_kept() -> None:
    sim = MetaSimulator()
    sim.set_switches({"keep": 2})
    sim.answer(seen([changed(LEVEL, event_id=str(number)) for number in range(5)]), None)

    assert [one["key"] for one in sim.received()] == ["3", "4"]
