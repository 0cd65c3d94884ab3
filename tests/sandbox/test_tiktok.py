"""The TikTok simulator against its sheet: every rule broken once, every switch turned, the sheet's examples taken."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import orjson
import pytest

from postbacks.sandbox.base import Fault, Reply, Seen
from postbacks.sandbox.tiktok import (
    DEMO_APP,
    DEMO_CRM_SET,
    DEMO_OFFLINE_SET,
    DEMO_PIXEL,
    STRICTEST,
    TikTokSimulator,
)
from postbacks.sandbox.tiktok_events import CURRENCIES, EVENT_RULES
from postbacks.sandbox.tiktok_request import REQUEST_RULES

NOW = 1_795_426_400.0
HASH = "bc451d260364cfcaf6cdc5bb9e8ab2e2f54c05518c2b4a65b4ffb8f0c1e56d80"
HEADERS = {"access-token": "sandbox-tiktok-token", "content-type": "application/json"}
PATH = "/open_api/v1.3/event/track/"

PURCHASE: dict[str, Any] = {
    "event": "Purchase",
    "event_time": 1795426200,
    "event_id": "pb-7f3c2a91-purchase-000451",
    "user": {
        "ttclid": "E.C.P.CSYNTHETIC0001abcDEF_-ghi",
        "ip": "203.0.113.24",
        "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    },
    "page": {"url": "https://play.example-game.com/lp/dragons"},
    "properties": {
        "value": 4.99,
        "currency": "USD",
        "content_type": "product",
        "order_id": "ord-000451",
        "contents": [{"content_id": "gems_small", "quantity": 1, "price": 4.99}],
    },
    "limited_data_use": False,
}
REGISTRATION: dict[str, Any] = {
    "event": "CompleteRegistration",
    "event_time": 1795426201,
    "event_id": "pb-7f3c2a91-reg",
    "user": {"ttclid": "E.C.P.CSYNTHETIC0001abcDEF_-ghi"},
    "page": {"url": "https://play.example-game.com/lp/dragons"},
}
LEVEL: dict[str, Any] = {
    "event": "AchieveLevel",
    "event_time": 1795426260,
    "event_id": "pb-7f3c2a91-lvl-10",
    "user": {"ttclid": "E.C.P.CSYNTHETIC0001abcDEF_-ghi", "external_id": HASH},
    "page": {"url": "https://play.example-game.com/lp/dragons"},
    "properties": {"description": "level 10"},
}
INSTALL: dict[str, Any] = {
    "event": "InstallApp",
    "event_time": 1795426100,
    "user": {"gaid": "38400000-8cf0-11bd-b23e-10b96e40000d", "locale": "en-US", "att_status": "NOT_APPLICABLE"},
    "app": {"app_id": "com.example.dragons", "app_name": "Dragons", "app_version": "2.4.1"},
    "ad": {"callback": "SYNTHETIC_CALLBACK_PARAM_0001"},
    "limited_data_use": False,
}
OFFLINE: dict[str, Any] = {"event": "Purchase", "event_time": 1795426200, "user": {"phone": [HASH]}}
CRM: dict[str, Any] = {"event": "Lead", "event_time": 1795426200, "lead": {"lead_id": "7301"}}

SOURCE_IDS = {"web": DEMO_PIXEL, "app": DEMO_APP, "offline": DEMO_OFFLINE_SET, "crm": DEMO_CRM_SET}


def payload(*events: Any, source: str = "web", **changes: Any) -> dict[str, Any]:
    return {"event_source": source, "event_source_id": SOURCE_IDS[source], "data": list(events)} | changes


def seen(body: Any, **changes: Any) -> Seen:
    facts: dict[str, Any] = {
        "method": "POST",
        "path": PATH,
        "url": f"http://localhost/tiktok{PATH}",
        "query": {},
        "headers": HEADERS,
        "body": body if isinstance(body, bytes) else orjson.dumps(body),
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


def content(**changes: Any) -> dict[str, Any]:
    """A purchase whose only content is changed."""
    return changed(PURCHASE, properties__contents=[{"content_id": "gems", "quantity": 1, "price": 4.99} | changes])


def outcome(reply: Reply) -> tuple[int, int]:
    return reply.status, reply.body["code"]


EMPTY_SOURCE: dict[str, Any] = {"event_source": "web", "data": [LEVEL]}

BROKEN_REQUESTS: list[tuple[int, Seen, tuple[int, int]]] = [
    (1, seen(payload(LEVEL), path="/open_api/v2.0/event/track/"), (200, 40051)),
    (1, seen(payload(LEVEL), path="/open_api/v1.3/event/track"), (200, 40400)),
    (1, seen(payload(LEVEL), path="/open_api/v1.3/pixel/track/"), (200, 40400)),
    (2, seen(payload(LEVEL), method="GET"), (405, 40400)),
    (3, seen(payload(LEVEL), headers={"authorization": "Bearer sandbox-tiktok-token"}), (200, 40104)),
    (3, seen(payload(LEVEL), headers={}, query={"access_token": "sandbox-tiktok-token"}), (200, 40104)),
    (4, seen(payload(LEVEL), headers=HEADERS | {"access-token": "nonsense"}), (200, 40105)),
    (4, seen(payload(LEVEL), headers=HEADERS | {"access-token": "sandbox-tiktok-expired"}), (200, 40102)),
    (6, seen(payload(LEVEL), headers=HEADERS | {"content-type": "text/plain"}), (200, 40002)),
    (6, seen(b"{not json"), (200, 40002)),
    (6, seen([LEVEL]), (200, 40002)),
    (7, seen(payload(LEVEL, event_source="game")), (200, 40002)),
    (7, seen(payload(LEVEL, event_source=["web"])), (200, 40002)),
    (8, seen(EMPTY_SOURCE), (200, 40002)),
    (8, seen(payload(LEVEL, event_source_id=7300000000000000001)), (200, 40002)),
    (8, seen(payload(OFFLINE, source="offline", event_source_id=DEMO_PIXEL)), (200, 40002)),
    (8, seen(payload(OFFLINE, source="offline", event_source_id=DEMO_CRM_SET)), (200, 40002)),
    (8, seen(payload(LEVEL, event_source_id="c9sandbox0pixel00001")), (200, 40002)),
    (9, seen(payload(LEVEL, event_source_id="C9ANOTHER0PIXEL00001")), (200, 40001)),
    (10, seen(payload(INSTALL, source="app")), (200, 40118)),
    (11, seen(payload(LEVEL, data=LEVEL)), (200, 40002)),
    (11, seen(payload(LEVEL, data=[LEVEL, "text"])), (200, 40002)),
    (11, seen(payload(*[LEVEL] * 1001)), (200, 40061)),
    (11, seen(payload()), (200, 40002)),
    (27, seen(payload(LEVEL, test_event_code=12345)), (200, 40002)),
]
BROKEN_EVENTS: list[tuple[int, str, dict[str, Any], int]] = [
    (12, "web", changed(LEVEL, event=""), 40002),
    (12, "web", changed(LEVEL, event=7), 40002),
    (12, "offline", changed(OFFLINE, event="AchieveLevel"), 40002),
    (13, "web", changed(LEVEL, event_time=...), 40002),
    (13, "web", changed(LEVEL, event_time="1795426260"), 40002),
    (13, "web", changed(LEVEL, event_time=1795426260.0), 40002),
    (15, "web", changed(LEVEL, event_id=273196), 40002),
    (15, "web", changed(LEVEL, event_id=None), 40002),
    (16, "web", changed(LEVEL, user="E.C.P.C"), 40002),
    (16, "web", changed(LEVEL, user__ttclid=12), 40002),
    (16, "web", changed(LEVEL, user__ip=[]), 40002),
    (17, "web", changed(LEVEL, user__external_id="player-1"), 40062),
    (17, "web", changed(LEVEL, user__email=[HASH, "player@example.com"]), 40062),
    (17, "web", changed(LEVEL, user__phone=49170), 40002),
    (18, "web", changed(LEVEL, page=...), 40002),
    (18, "web", changed(LEVEL, page__url="game://lp"), 40002),
    (19, "app", changed(INSTALL, app__app_id=""), 40002),
    (19, "app", changed(INSTALL, user__att_status="MAYBE"), 40002),
    (20, "crm", changed(CRM, lead={}), 40002),
    (21, "offline", changed(OFFLINE, user={"email": ""}), 40002),
    (22, "web", changed(PURCHASE, properties__value="4.99"), 40002),
    (22, "web", changed(PURCHASE, properties__contents={"content_id": "gems"}), 40002),
    (22, "web", changed(PURCHASE, properties=[]), 40002),
    (22, "web", content(price="4.99"), 40000),
    (22, "web", content(quantity=1.5), 40002),
    (23, "web", content(content_id=12), 40002),
    (24, "web", changed(PURCHASE, properties__currency="KGS"), 40002),
    (24, "web", changed(PURCHASE, properties__currency="usd"), 40002),
    (25, "web", changed(PURCHASE, properties__content_type="gems"), 40002),
    (26, "web", changed(PURCHASE, limited_data_use="false"), 40002),
    (26, "offline", changed(OFFLINE, limited_data_use=False), 40002),
]


@pytest.mark.parametrize(("rule", "request_", "expected"), BROKEN_REQUESTS)
def test_a_broken_request_is_refused(rule: int, request_: Seen, expected: tuple[int, int]) -> None:
    sim = TikTokSimulator()

    assert outcome(sim.answer(request_, None)) == expected, f"rule {rule}"
    assert not sim.stored


GOOD = {"web": REGISTRATION, "app": INSTALL, "offline": OFFLINE, "crm": CRM}


@pytest.mark.parametrize(("rule", "source", "event", "code"), BROKEN_EVENTS)
def test_a_broken_event_refuses_its_whole_request_with_status_200(
    rule: int, source: str, event: dict[str, Any], code: int
) -> None:
    """Also the default side of rule 31."""
    sim = TikTokSimulator()
    sim.set_switches({"allowed_apps": [DEMO_APP]})
    good = GOOD[source]
    reply = sim.answer(seen(payload(good, event, good, source=source)), None)

    assert outcome(reply) == (200, code), f"rule {rule}"
    assert not sim.stored


def test_every_rule_that_is_enforced_is_broken_by_a_test() -> None:
    enforced = {int(rule.__name__.removeprefix("rule_")) for rule in (*REQUEST_RULES, *EVENT_RULES)}
    broken = {one[0] for one in BROKEN_REQUESTS} | {one[0] for one in BROKEN_EVENTS}

    # Rule 14 needs a switch and is broken below.
    assert enforced | {27} == broken | {14}


OLD = changed(LEVEL, event_time=int(NOW) - 7 * 86400 - 1)
SWITCHED: list[tuple[dict[str, Any], Seen, tuple[int, int]]] = [
    ({"rule_1_version": False}, seen(payload(LEVEL), path="/open_api/v2.0/event/track/"), (200, 0)),
    ({"rule_1_http_404": True}, seen(payload(LEVEL), path="/nowhere"), (404, 40400)),
    ({"rule_2_http_405": False}, seen(payload(LEVEL), method="GET"), (200, 40400)),
    ({"rule_6": False}, seen(payload(LEVEL), headers={"access-token": "sandbox-tiktok-token"}), (200, 0)),
    ({"rule_10": False}, seen(payload(INSTALL, source="app")), (200, 0)),
    ({"rule_11_max": False}, seen(payload(*[LEVEL] * 1001)), (200, 0)),
    ({"rule_11_empty": False}, seen(payload()), (200, 0)),
    ({"rule_12_offline": False}, seen(payload(changed(OFFLINE, event="X"), source="offline")), (200, 0)),
    ({"rule_13_milliseconds": True}, seen(payload(changed(LEVEL, event_time=1795426260000))), (200, 40002)),
    ({"rule_14": True}, seen(payload(OLD)), (200, 40002)),
    ({"rule_14": True}, seen(payload(changed(LEVEL, event_time=int(NOW) + 301))), (200, 40002)),
    ({"rule_14": True}, seen(payload(changed(OFFLINE, event_time=OLD["event_time"]), source="offline")), (200, 0)),
    ({}, seen(payload(OLD)), (200, 0)),
    ({"rule_17": False}, seen(payload(changed(LEVEL, user__email="player@example.com"))), (200, 0)),
    ({"rule_18": False}, seen(payload(changed(LEVEL, page=...))), (200, 0)),
    ({"rule_21": False}, seen(payload(changed(OFFLINE, user={}), source="offline")), (200, 0)),
    ({"rule_24": False}, seen(payload(changed(PURCHASE, properties__currency="KGS"))), (200, 0)),
    ({"rule_24_strict": True}, seen(payload(changed(PURCHASE, properties__currency=...))), (200, 40002)),
    ({"rule_25": False}, seen(payload(changed(PURCHASE, properties__content_type="gems"))), (200, 0)),
    ({"rule_26": False}, seen(payload(changed(PURCHASE, limited_data_use="no"))), (200, 0)),
    ({"rule_26_strict": True}, seen(payload(changed(LEVEL, limited_data_use=True))), (200, 40002)),
    ({"poison": "ord-000451"}, seen(payload(LEVEL, PURCHASE)), (200, 40002)),
    ({"poison": "ord-000451"}, seen(payload(LEVEL)), (200, 0)),
]


@pytest.mark.parametrize(("switches", "request_", "expected"), SWITCHED)
def test_an_uncertain_rule_can_be_switched(switches: dict[str, Any], request_: Seen, expected: tuple[int, int]) -> None:
    sim = TikTokSimulator()
    sim.set_switches(switches)

    assert outcome(sim.answer(request_, None)) == expected


ACCEPTED: list[dict[str, Any]] = [
    payload(PURCHASE),
    payload(REGISTRATION, LEVEL, test_event_code="TEST12345"),
    payload(INSTALL, source="app"),
    payload(OFFLINE, source="offline"),
    payload(CRM, source="crm"),
    payload(changed(LEVEL, user={}, unknown={"x": 1})),
    payload(changed(LEVEL, user__email=[], user__phone="", user__external_id=["", HASH])),
    payload(changed(LEVEL, event_id=...)),
    payload(*[LEVEL] * 1000),
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_good_requests_are_taken_with_exactly_the_documented_answer(body: dict[str, Any]) -> None:
    """The sheet's section 14 and more; rules 28 and 30."""
    sim = TikTokSimulator()
    sim.set_switches({"allowed_apps": [DEMO_APP]})
    reply = sim.answer(seen(body), None)
    request_id = reply.body["request_id"]

    assert reply.status == 200
    assert reply.body == {"code": 0, "message": "OK", "request_id": request_id, "data": {}}
    assert re.fullmatch(r"20261123\d{6}[0-9A-F]{20}", request_id)
    assert sim.stored


def test_what_is_stored_is_what_counts() -> None:
    sim = TikTokSimulator()
    sim.answer(seen(payload(PURCHASE)), None)
    (one,) = sim.received()

    assert one == {
        "key": "pb-7f3c2a91-purchase-000451",
        "name": "Purchase",
        "click_id": "E.C.P.CSYNTHETIC0001abcDEF_-ghi",
        "occurred_at": 1795426200.0,
        "value": 4.99,
        "currency": "USD",
        "raw": PURCHASE,
        "received_at": NOW,
        "copies": 1,
        "test_code": "",
        "warnings": (),
    }


@pytest.mark.parametrize(
    ("event", "rule"),
    [
        (changed(LEVEL, event_time=1795426260000), "rule 13"),
        (changed(PURCHASE, properties__currency=...), "rule 24"),
        (changed(LEVEL, limited_data_use=True), "rule 26"),
    ],
)
def test_what_is_taken_but_useless_is_stored_with_a_warning(event: dict[str, Any], rule: str) -> None:
    sim = TikTokSimulator()
    sim.answer(seen(payload(event)), None)

    assert sim.received()[0]["warnings"][0].startswith(rule)


@pytest.mark.parametrize(("later", "records", "copies"), [(48 * 3600, 1, 2), (48 * 3600 + 1, 2, 1)])
def test_a_repeat_within_48_hours_is_no_error_and_stored_once(later: int, records: int, copies: int) -> None:
    """Rule 29."""
    sim = TikTokSimulator()
    sim.answer(seen(payload(LEVEL)), None)
    again = sim.answer(seen(payload(LEVEL), at=NOW + later), None)

    assert again.body["code"] == 0
    assert len(sim.stored) == records
    assert all(one.copies == copies for one in sim.stored.values())


def test_another_name_another_pixel_or_no_id_is_no_repeat() -> None:
    sim = TikTokSimulator()
    other = "C9ANOTHER0PIXEL00001"
    sim.set_switches({"tokens": {"sandbox-tiktok-token": [DEMO_PIXEL, other]}})
    nameless = changed(LEVEL, event_id=...)
    sim.answer(seen(payload(LEVEL, changed(LEVEL, event="Other"), nameless, nameless)), None)
    sim.answer(seen(payload(LEVEL, event_source_id=other)), None)

    assert [one.copies for one in sim.stored.values()] == [1] * 5


def test_test_events_stand_in_the_test_view_and_in_the_store() -> None:
    """Rule 27."""
    sim = TikTokSimulator()
    sim.answer(seen(payload(LEVEL, test_event_code="TEST12345")), None)

    assert [one["test_code"] for one in sim.received()] == ["TEST12345"]


def test_messages_read_as_the_sheet_quotes_them() -> None:
    sim = TikTokSimulator()

    def message(body: dict[str, Any]) -> str:
        return str(sim.answer(seen(body), None).body["message"])

    assert message(payload(changed(LEVEL, event_id=1))) == "Invalid value for event_id: not a valid string."
    assert message(payload(LEVEL, event_source_id=1)) == "Invalid value for event_source_id: not a valid string."
    assert message(payload(content(price="(null)"))) == "Invalid Price Field"
    assert message(payload(LEVEL, content(content_id=1))) == (
        "Data.1.properties.contents.0.content_id: Not a valid string"
    )
    assert message(payload(LEVEL, event_source_id="C9ANOTHER0PIXEL00001")) == (
        "No permission to operate pixel code: C9ANOTHER0PIXEL00001"
    )


def test_with_partial_success_the_good_events_are_stored() -> None:
    """Rule 31, switched."""
    sim = TikTokSimulator()
    sim.set_switches({"rule_31_partial": True, "poison": "ord-000451"})
    bad = changed(LEVEL, event_time="now", event_id="bad")
    some = sim.answer(seen(payload(bad, REGISTRATION, PURCHASE)), None)
    none = sim.answer(seen(payload(bad)), None)
    every = sim.answer(seen(payload(LEVEL)), None)

    assert (some.body["code"], some.body["message"]) == (20001, "partial success")
    assert (none.body["code"], every.body["code"]) == (40002, 0)
    assert [one["key"] for one in sim.received()] == [REGISTRATION["event_id"], LEVEL["event_id"]]


FAULTS = {
    "throttle_40100": 40100,
    "throttle_40132": 40132,
    "sys_50000": 50000,
    "sys_50002": 50002,
    "sys_51012": 51012,
    "maintenance_60001": 60001,
    "throttle_429": 40100,
    "sys_500": 50000,
    "unknown_code": 49999,
    "token_expired": 40102,
    "token_revoked": 40105,
    "wrong_permission": 40001,
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_answers_like_the_platform_and_stores_nothing(kind: str) -> None:
    """Rule 5."""
    sim = TikTokSimulator()
    reply = sim.answer(seen(payload(LEVEL)), Fault(kind))

    assert outcome(reply) == ({"throttle_429": 429, "sys_500": 500}.get(kind, 200), FAULTS[kind])
    assert not sim.stored


def test_the_other_faults() -> None:
    sim = TikTokSimulator()
    throttled = sim.answer(seen(payload(LEVEL)), Fault("http_429"))
    partial = sim.answer(seen(payload(LEVEL)), Fault("partial_20001"))

    assert (throttled.status, throttled.body) == (429, b"")
    assert outcome(partial) == (200, 20001)
    assert len(sim.stored) == 1
    assert FAULTS.keys() | {"http_429", "partial_20001"} == TikTokSimulator.fault_kinds


def test_the_strictest_reading_turns_every_lenient_default() -> None:
    lenient = {name for switches, _, (_, code) in SWITCHED for name in switches if code != 0 and switches[name] is True}

    assert STRICTEST.keys() == lenient - {"rule_1_http_404"}
    assert all(TikTokSimulator.switch_defaults[name] != value for name, value in STRICTEST.items())


def test_the_currency_list_has_the_sheets_62_codes() -> None:
    assert len(CURRENCIES) == 62


def test_the_demo_destination_matches_the_switches() -> None:
    credentials = TikTokSimulator.demo_destination()["credentials"]

    assert credentials["pixel_code"] in TikTokSimulator().switches["tokens"][credentials["access_token"]]
