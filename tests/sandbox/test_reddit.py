"""Every rule of the Reddit sheet that the simulator enforces, each broken once. Numbers are the sheet's."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from postbacks.sandbox.base import Fault, Reply, Seen
from postbacks.sandbox.reddit import RedditSimulator

NOW = 1_795_450_000.25
PIXEL = "a2_sandboxpixel"
PATH = f"/api/v3/pixels/{PIXEL}/conversion_events"
HEADERS = {
    "authorization": "Bearer sandbox-reddit-token",
    "content-type": "application/json",
    "user-agent": "server:postbacks:0.1 (by /u/example)",
}
CLICK_ID = "4100200300400500601"
UUID = "1795427000123.2b1f0c9e-7d1a-4c2e-9f00-5a6b7c8d9e0f"

Change = Callable[[dict[str, Any]], object]


def install(**changes: Any) -> dict[str, Any]:
    return {
        "event_at": int(NOW * 1000) - 60_000,
        "action_source": "APP",
        "click_id": CLICK_ID,
        "type": {"tracking_type": "CUSTOM", "custom_event_name": "Install"},
        "metadata": {"conversion_id": "inst-7f0c2b9e"},
        **changes,
    }


def purchase() -> dict[str, Any]:
    product = {"id": "gems_500", "name": "Gem pack", "quantity": 1, "item_price": 4.99}
    metadata = {"conversion_id": "ord-417", "currency": "EUR", "value": 4.99, "item_count": 1, "products": [product]}
    user = {
        "external_id": "player-55012",
        "uuid": UUID,
        "screen_dimensions": {"width": 1920, "height": 1080},
        "data_processing_options": {"modes": ["LDU"], "country": "US", "region": "US-CA"},
    }
    return install(
        type={"tracking_type": "PURCHASE"},
        metadata=metadata,
        user=user,
        action_source="WEBSITE",
        event_source_url="https://game.example/shop",
    )


@pytest.fixture
def sim() -> RedditSimulator:
    return RedditSimulator()


def send(
    sim: RedditSimulator,
    *events: Any,
    body: bytes | None = None,
    path: str = PATH,
    method: str = "POST",
    at: float = NOW,
    fault: str = "",
    **headers: str | None,
) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {name: value for name, value in {**HEADERS, **given}.items() if value is not None}
    payload = json.dumps({"data": {"events": list(events)}}).encode() if body is None else body
    seen = Seen(method, path, f"http://127.0.0.1:9000/reddit{path}", {}, merged, payload, at)
    return sim.answer(seen, Fault(fault) if fault else None)


def message(reply: Reply) -> str:
    assert reply.body["error"]["code"] == reply.status
    return str(reply.body["error"]["message"])


def test_examples_of_the_sheet_are_counted(sim: RedditSimulator) -> None:
    minimal = install()
    del minimal["metadata"]
    ldu = install(
        type={"tracking_type": "SIGN_UP"},
        metadata={"conversion_id": "reg-91ab"},
        user={"data_processing_options": {"modes": ["LDU"], "country": "US", "region": "US-CA"}},
    )
    reply = send(sim, install(), purchase(), ldu, minimal)
    assert (reply.status, reply.body) == (200, {"data": {"message": "Successfully processed 4 conversion events."}})
    first, second, third, fourth = sim.received()
    assert (first["key"], first["name"], first["click_id"]) == ("inst-7f0c2b9e", "Install", CLICK_ID)
    assert first["occurred_at"] == pytest.approx(NOW - 60, abs=0.001)
    assert (second["name"], second["value"], second["currency"], second["raw"]) == ("PURCHASE", 4.99, "EUR", purchase())
    assert (third["name"], third["value"], fourth["key"]) == ("SIGN_UP", None, "")


def test_the_demo_destination_names_what_the_simulator_accepts(sim: RedditSimulator) -> None:
    demo = RedditSimulator.demo_destination()
    assert set(demo["events"]) == {"install", "registration", "level_up", "purchase"}
    credentials = demo["credentials"]
    path = f"/api/v3/pixels/{credentials['pixel_id']}/conversion_events"
    assert send(sim, install(), path=path, authorization=f"Bearer {credentials['access_token']}").status == 200


@pytest.mark.parametrize(
    ("rule", "request_", "status", "text"),
    [
        (1, {"path": "/api/v3/pixels/a2_unknown/conversion_events"}, 404, "Not Found"),
        (1, {"path": f"/api/v3/conversions/events/{PIXEL}"}, 404, "Not Found"),
        (1, {"path": f"/api/v2.0/conversions/events/{PIXEL}"}, 404, "Not Found"),
        (2, {"method": "GET"}, 405, "Method Not Allowed"),
        (3, {"user_agent": None}, 429, "Your user agent was automatically ratelimited."),
        (3, {"user_agent": "python-httpx/0.28.1"}, 429, "Your user agent was automatically ratelimited."),
        (3, {"user_agent": "Python/3.11 aiohttp/3.14.0"}, 429, "Your user agent was automatically ratelimited."),
        (3, {"user_agent": "Go-http-client/1.1"}, 429, "Your user agent was automatically ratelimited."),
        (4, {"authorization": None}, 401, "No bearer token provided"),
        (4, {"authorization": "Basic abc"}, 401, "No bearer token provided"),
        (5, {"authorization": "Bearer revoked"}, 401, "UNAUTHORIZED"),
        (
            6,
            {"path": "/api/v3/pixels/a2_otherpixel/conversion_events"},
            403,
            "You're not authorized to post conversions to Pixel ID a2_otherpixel.",
        ),
        (9, {"content_type": "text/plain"}, 400, "Bad Request"),
        (10, {"body": b"{"}, 400, 'JSON error "syntax error"'),
        (10, {"body": b"[]"}, 400, 'JSON error "syntax error"'),
        (13, {"body": b"{}"}, 400, "Bad Request"),
        (13, {"body": b'{"data":{}}'}, 400, "Bad Request"),
        (13, {"body": b'{"data":{"events":[]}}'}, 400, "Bad Request"),
    ],
)
def test_rules_of_the_request(
    sim: RedditSimulator, rule: int, request_: dict[str, Any], status: int, text: str
) -> None:
    reply = send(sim, install(), **request_)
    assert (reply.status, message(reply)) == (status, text), rule
    assert sim.received() == []


def test_rule_7_an_oauth_token_needs_its_scope(sim: RedditSimulator) -> None:
    sim.set_switches({"token_scopes": {"sandbox-reddit-token": ["adsread"]}})
    reply = send(sim, install())
    assert (reply.status, message(reply)) == (403, "Missing adsconversions scope to post conversions to Pixel.")
    sim.set_switches({"token_scopes": {"sandbox-reddit-token": ["adsread", "adsconversions"]}})
    assert send(sim, install()).status == 200


@pytest.mark.parametrize(
    ("switch", "count", "test_id"),
    [({"requests_per_second": 1}, 1, None), ({"events_per_second": 7}, 4, None), ({}, 6, "t1")],
)
def test_rule_8_limits_per_second(
    sim: RedditSimulator, switch: dict[str, int], count: int, test_id: str | None
) -> None:
    sim.set_switches(switch)
    data: dict[str, Any] = {"events": [install()] * count}
    if test_id:
        data["test_id"] = test_id
    body = json.dumps({"data": data}).encode()
    assert send(sim, body=body).status == 200
    refused = send(sim, body=body, at=NOW + 0.1)
    assert (refused.status, message(refused)) == (429, "Too many requests/events within timeframe.")
    assert refused.headers == {"RateLimit": '"ads-conversion-events-rps";r=0;t=1'}
    assert send(sim, body=body, at=NOW + 1).status == 200


def test_rule_8_can_be_silent_about_when_and_switched_off(sim: RedditSimulator) -> None:
    sim.set_switches({"events_per_second": 1, "throttle_header": False})
    assert send(sim, install(), install()).headers == {}
    sim.set_switches({"events_per_second": 0})
    assert send(sim, install(), install()).status == 200


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ((), "events"),
        (("data",), "test_mode"),
        (("data", "events", 1), "event_metadata"),
        (("data", "events", 1, "type"), "name"),
        (("data", "events", 1, "metadata"), "value_decimal"),
        (("data", "events", 1, "metadata", "products", 0), "price"),
        (("data", "events", 1, "user"), "ip"),
        (("data", "events", 1, "user", "screen_dimensions"), "depth"),
        (("data", "events", 1, "user", "data_processing_options"), "opt_out"),
    ],
)
def test_rule_11_unknown_keys_at_every_level(sim: RedditSimulator, where: tuple[Any, ...], key: str) -> None:
    # The first event breaks rule 12, which must not come before rule 11.
    body: dict[str, Any] = {"data": {"events": [install(click_id=5), purchase()]}}
    holder: Any = body
    for step in where:
        holder = holder[step]
    holder[key] = True
    reply = send(sim, body=json.dumps(body).encode())
    assert (reply.status, message(reply)) == (400, f'JSON error "unknown field" on field "{key}"')
    assert "fields" not in reply.body["error"]


@pytest.mark.parametrize(
    ("changes", "found", "key"),
    [
        ({"event_at": "2026-11-23T10:00:00Z"}, "string", "event_at"),
        ({"event_at": 1795428000000.5}, "number", "event_at"),
        ({"event_at": True}, "bool", "event_at"),
        ({"click_id": 4100200300400500601}, "number", "click_id"),
        ({"click_id": None}, "null", "click_id"),
        ({"type": "PURCHASE"}, "string", "type"),
        ({"metadata": []}, "array", "metadata"),
        ({"metadata": {"value": "4.99"}}, "string", "value"),
        ({"metadata": {"item_count": 1.5}}, "number", "item_count"),
        ({"metadata": {"item_count": 2**31}}, "number", "item_count"),
        ({"metadata": {"products": {}}}, "object", "products"),
        ({"metadata": {"products": ["gems"]}}, "string", "products"),
        ({"user": {"data_processing_options": {"modes": "LDU"}}}, "string", "modes"),
    ],
)
def test_rule_12_types(sim: RedditSimulator, changes: dict[str, Any], found: str, key: str) -> None:
    reply = send(sim, install(), install(**changes))
    assert (reply.status, message(reply)) == (400, f'JSON error "unexpected type {found}" on field "{key}"')


def test_rule_14_a_thousand_events_at_most(sim: RedditSimulator) -> None:
    reply = send(sim, *[install()] * 1001)
    assert (reply.status, message(reply)) == (400, "Bad Request")
    assert send(sim, *[install()] * 1000, at=NOW + 1).status == 200


BROKEN_EVENTS: list[tuple[int, Change, str, str]] = [
    (15, lambda e: e.pop("event_at"), "event_at", "missing event_at"),
    (
        16,
        lambda e: e.update(event_at=int((NOW - 168 * 3600) * 1000)),
        "event_at",
        "event_at timestamp must be less than 168h0m0s old",
    ),
    (16, lambda e: e.update(event_at=int(NOW)), "event_at", "event_at timestamp must be less than 168h0m0s old"),
    (
        17,
        lambda e: e.update(event_at=int((NOW + 301) * 1000)),
        "event_at",
        "event_at timestamp must not be in the future",
    ),
    (18, lambda e: e.pop("action_source"), "action_source", "missing action_source"),
    (
        19,
        lambda e: e.update(action_source="website"),
        "action_source",
        "action_source: invalid action_source: website",
    ),
    (20, lambda e: e.pop("type"), "type.tracking_type", "type.tracking_type: invalid tracking_type: "),
    (
        20,
        lambda e: e.update(type={"tracking_type": "Purchase"}),
        "type.tracking_type",
        "type.tracking_type: invalid tracking_type: Purchase",
    ),
    (
        21,
        lambda e: e.update(type={"tracking_type": "CUSTOM"}),
        "type.custom_event_name",
        "type.custom_event_name: required for CUSTOM and limited to 64 characters",
    ),
    (
        21,
        lambda e: e.update(type={"tracking_type": "CUSTOM", "custom_event_name": "ü" * 65}),
        "type.custom_event_name",
        "type.custom_event_name: required for CUSTOM and limited to 64 characters",
    ),
    (
        22,
        lambda e: e["user"].update(uuid="1795427000123.nonsense"),
        "user.UUID",
        "user.UUID: invalid UUID: UUID must be RFC-4122 compliant",
    ),
    (23, lambda e: e["metadata"].update(value=-0.01), "metadata.value", ""),
    (23, lambda e: e["metadata"].update(item_count=-1), "metadata.item_count", ""),
    (23, lambda e: e["metadata"]["products"][0].update(quantity=-1), "metadata.products[0].quantity", ""),
    (23, lambda e: e["metadata"]["products"][0].update(item_price=-1), "metadata.products[0].item_price", ""),
    (24, lambda e: e["metadata"].update(currency="eur"), "metadata.currency", ""),
    (24, lambda e: e["metadata"].update(currency="ABC"), "metadata.currency", ""),
    (25, lambda e: e["metadata"]["products"][0].pop("id"), "metadata.products[0].id", ""),
    (
        26,
        lambda e: e["user"]["data_processing_options"].update(modes=["LDU", "X"]),
        "user.data_processing_options.modes",
        "",
    ),
    (26, lambda e: e["user"]["screen_dimensions"].update(width=32768), "user.screen_dimensions.width", ""),
    (27, lambda e: e.update(event_source_url="/shop"), "event_source_url", ""),
    (27, lambda e: e.update(referrer_url="https://[bad/"), "referrer_url", ""),
    (28, lambda e: e.update(click_id=""), "click_id", ""),
    (32, lambda e: (e.pop("click_id"), e.pop("user")), "user", ""),
]


@pytest.mark.parametrize(("rule", "breaks", "field", "text"), BROKEN_EVENTS)
def test_rules_of_an_event(sim: RedditSimulator, rule: int, breaks: Change, field: str, text: str) -> None:
    """The broken event stands second among three: its index is named and nothing is stored (rule 29)."""
    sim.set_switches({"rule_28": True, "rule_32": True})
    event = copy.deepcopy(purchase())
    breaks(event)
    reply = send(sim, install(), event, purchase())
    assert reply.status == 400, rule
    assert message(reply) == "There were 1 invalid conversion events. None were processed."
    (problem,) = reply.body["error"]["fields"]
    assert problem["field"] == f"$.data.events[1].{field}"
    assert problem["message"] == text or not text
    assert sim.received() == []


@pytest.mark.parametrize(
    ("switch", "breaks", "by_default"),
    [
        ("rule_17", lambda e: e.update(event_at=int((NOW + 9000) * 1000)), 400),
        ("rule_27", lambda e: e.update(referrer_url="shop"), 400),
        ("rule_27", lambda e: (e.pop("click_id"), e.update(event_source_url="https://[bad/?rdt_cid=1")), 400),
        ("rule_28", lambda e: e.update(click_id=""), 200),
        ("rule_32", lambda e: (e.pop("click_id"), e.pop("user")), 200),
    ],
)
def test_uncertain_rules_of_an_event_can_be_switched(
    sim: RedditSimulator, switch: str, breaks: Change, by_default: int
) -> None:
    event = purchase()
    breaks(event)
    assert send(sim, event).status == by_default
    sim.set_switches({switch: not sim.switches[switch]})
    assert send(sim, event).status == 600 - by_default


@pytest.mark.parametrize(
    ("switch", "request_"), [("rule_2", {"method": "PUT"}), ("rule_9", {"content_type": "text/plain"})]
)
def test_uncertain_rules_of_the_request_can_be_switched(
    sim: RedditSimulator, switch: str, request_: dict[str, Any]
) -> None:
    sim.set_switches({switch: False})
    assert send(sim, install(), **request_).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"event_at": int((NOW - 168 * 3600 + 1) * 1000)},
        {"event_at": int((NOW + 299) * 1000)},
        {"type": {"tracking_type": "CUSTOM", "custom_event_name": "🎮" * 64}},
        {"metadata": {"value": 0, "currency": "JPY"}},
        {"metadata": {"value": 1e12, "currency": "KWD"}},
        {"click_id": "c" * 2000},
        {"user": {"uuid": UUID.partition(".")[2]}},
    ],
)
def test_limits_themselves_are_accepted(sim: RedditSimulator, changes: dict[str, Any]) -> None:
    assert send(sim, install(**changes)).status == 200


def test_all_problems_of_all_events_are_listed_and_none_is_stored(sim: RedditSimulator) -> None:
    bad = install(action_source="web", event_at=1)
    reply = send(sim, bad, install(), install(type={"tracking_type": "Install"}))
    assert message(reply) == "There were 2 invalid conversion events. None were processed."
    assert [problem["field"] for problem in reply.body["error"]["fields"]] == [
        "$.data.events[0].event_at",
        "$.data.events[0].action_source",
        "$.data.events[2].type.tracking_type",
    ]
    assert sim.received() == []


def test_answers_of_2025_bare_reason_without_fields(sim: RedditSimulator) -> None:
    sim.set_switches({"error_fields": False})
    assert send(sim, install(action_source="web")).body == {
        "error": {"code": 400, "message": "invalid action_source: web"}
    }
    event = install()
    del event["action_source"]
    assert message(send(sim, event)) == "missing action_source"


def test_rules_30_and_31_repeats_are_answered_like_the_first_and_counted_once(sim: RedditSimulator) -> None:
    other_source = install(action_source="WEBSITE")
    assert message_of(send(sim, install(), install(), other_source)) == "Successfully processed 3 conversion events."
    send(sim, install(), at=NOW + 48 * 3600)
    assert [one["copies"] for one in sim.received()] == [3, 1]
    assert sim.duplicates == 2
    later = NOW + 48 * 3600 + 1
    assert send(sim, install(), install(), at=later).status == 200
    copies = sorted((one["received_at"], one["copies"]) for one in sim.received())
    assert copies == [(NOW, 1), (NOW, 3), (later, 2)]


def message_of(reply: Reply) -> str:
    assert reply.status == 200
    return str(reply.body["data"]["message"])


def test_a_test_event_is_marked(sim: RedditSimulator) -> None:
    body = json.dumps({"data": {"events": [install()], "test_id": "t2_test"}}).encode()
    assert send(sim, body=body).status == 200
    assert [one["test_code"] for one in sim.received()] == ["t2_test"]


def test_without_a_conversion_id_every_arrival_counts(sim: RedditSimulator) -> None:
    send(sim, install(metadata={}), install(metadata={}))
    assert [one["copies"] for one in sim.received()] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "unmatched"),
    [
        ({"user": {"email": "player@example.com"}}, 0),
        ({"user": {"ip_address": "203.0.113.7", "user_agent": "Game/1"}}, 0),
        ({"user": {"ip_address": "203.0.113.7"}}, 1),
        ({"event_source_url": "https://game.example/?rdt_cid=abc", "action_source": "WEBSITE"}, 0),
        ({}, 1),
    ],
)
def test_rule_32_match_keys(sim: RedditSimulator, changes: dict[str, Any], unmatched: int) -> None:
    event = install(**changes)
    del event["click_id"]
    assert send(sim, event).status == 200
    assert sim.unmatched == unmatched
    (stored,) = sim.received()
    assert stored["click_id"] == ("abc" if "event_source_url" in changes else "")
    assert stored["warnings"] == (("rule 32: user: no match key",) if unmatched else ())


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        (
            {"type": {"tracking_type": "SEARCH"}, "metadata": {"value": 1, "currency": "EUR", "item_count": 1}},
            ["metadata.value", "metadata.currency", "metadata.item_count"],
        ),
        (
            {"type": {"tracking_type": "SIGN_UP"}, "metadata": {"value": 1, "currency": "EUR", "item_count": 1}},
            ["metadata.item_count"],
        ),
        ({"type": {"tracking_type": "LEAD", "custom_event_name": "x"}}, ["type.custom_event_name"]),
        ({"type": {"tracking_type": "CUSTOM", "custom_event_name": "PURCHASE"}}, ["type.custom_event_name"]),
        ({"event_source_url": "https://game.example/"}, ["event_source_url"]),
        ({"metadata": {"value": 1, "currency": "EUR", "item_count": 1}}, []),
    ],
)
def test_rule_33_diagnostics(sim: RedditSimulator, changes: dict[str, Any], fields: list[str]) -> None:
    assert send(sim, install(**changes)).status == 200
    assert [note["field"] for note in sim.diagnostics] == fields
    assert [warning.split(": ")[1] for warning in sim.received()[0]["warnings"]] == fields


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("throttle", 429, "Too many requests/events within timeframe."),
        ("user_agent_limited", 429, "Your user agent was automatically ratelimited."),
        ("unavailable", 500, "The service is currently unavailable. No conversion events were processed."),
        ("token_revoked", 401, "UNAUTHORIZED"),
        ("wrong_permission", 403, f"You're not authorized to post conversions to Pixel ID {PIXEL}."),
    ],
)
def test_rule_34_faults(sim: RedditSimulator, kind: str, status: int, text: str) -> None:
    assert kind in RedditSimulator.fault_kinds
    reply = send(sim, install(), fault=kind)
    assert (reply.status, message(reply)) == (status, text)
    assert ("RateLimit" in reply.headers) == (kind == "throttle")
    assert sim.received() == []


@pytest.mark.parametrize("kind", ["processed_zero", "invalid_in_200"])
def test_a_200_that_stores_nothing(sim: RedditSimulator, kind: str) -> None:
    reply = send(sim, install(), fault=kind)
    assert reply.status == 200
    assert ("processed 0 " in message_of(reply)) != ("invalid_events" in reply.body)
    assert sim.received() == []


def test_a_429_can_speak_in_other_headers(sim: RedditSimulator) -> None:
    sim.set_switches({"throttle_header": "x"})
    assert send(sim, install(), fault="throttle").headers == {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "5"}


def test_fault_http_503_is_a_page(sim: RedditSimulator) -> None:
    reply = send(sim, install(), fault="http_503")
    assert (reply.status, reply.content_type) == (503, "text/html")
    assert b"<html>" in reply.payload()


@pytest.mark.parametrize(("token", "status"), [("wrong", 401), ("other", 403)])
def test_auth_errors_can_be_plain_text(sim: RedditSimulator, token: str, status: int) -> None:
    sim.set_switches({"plain_auth_errors": True, "tokens": {"other": [], "right": [PIXEL]}})
    reply = send(sim, install(), authorization=f"Bearer {token}")
    assert (reply.status, reply.content_type) == (status, "text/plain")


def test_a_poisoned_event_is_named_or_not(sim: RedditSimulator) -> None:
    poisoned = install(metadata={"conversion_id": "giftig-ü"})
    sim.set_switches({"poison": "giftig-ü"})
    reply = send(sim, install(), poisoned)
    assert message(reply) == "There were 1 invalid conversion events. None were processed."
    assert [one["field"] for one in reply.body["error"]["fields"]] == ["$.data.events[1].metadata"]
    sim.set_switches({"poison_index": False})
    reply = send(sim, install(), poisoned)
    assert reply.status == 400
    assert "fields" not in reply.body["error"]
    assert sim.received() == []
    assert send(sim, install()).status == 200


def test_only_the_newest_are_kept_and_reset_forgets(sim: RedditSimulator) -> None:
    sim.set_switches({"keep": 3})
    send(sim, *[install(metadata={"conversion_id": f"c{number}"}) for number in range(5)])
    assert [one["key"] for one in sim.received()] == ["c2", "c3", "c4"]
    send(sim, install(metadata={"conversion_id": "c4"}))
    sim.reset()
    assert (sim.received(), sim.duplicates, sim.switches["keep"]) == ([], 0, 200_000)
