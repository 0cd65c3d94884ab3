"""Whatever ingest accepts is stored by every platform, or ends as skipped or expired with a reason."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from string import ascii_letters, digits
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from postbacks.domain.money import MINOR_UNITS, rounded
from tests.e2e.platforms.cases import GOOGLE, GOOGLE_ADS, META, REDDIT, TIKTOK, X_BY_OAUTH, Scene, X

DAY = 86_400.0
OLDEST_CLICK = 89.995 * DAY
EVENTS = 12
EXAMPLES = 40
ODD = frozenset(map(chr, range(0x21, 0x7F))) - frozenset(ascii_letters + digits + "-_")
"""What no platform's click ID has been seen to contain, and ingest takes nevertheless."""
DESTINATIONS = {case.id: case for case in (META, GOOGLE, GOOGLE_ADS, TIKTOK, REDDIT, X, X_BY_OAUTH)}
SAFE = "ABCDEFabcdef0123456789-_"

_AMOUNTS = st.sampled_from(["0", "1e12", "0.30000000000000004", "0.005", "0.0049999", "1", "4.99", "999999999.999"])
_MONEY = st.tuples(_AMOUNTS, st.sampled_from(["JPY", "KWD", "CLF", "EUR", "usd", *sorted(MINOR_UNITS)]))
_AGES = st.sampled_from([-599.0, -300.0, 0.0, 1.0, 6.99 * DAY, 7 * DAY - 90, 7.01 * DAY, 30.1 * DAY, 89.99 * DAY])
_CLICK = st.one_of(
    st.text(SAFE, min_size=10, max_size=60),
    st.text(SAFE, min_size=2000, max_size=2000),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40),
    st.sampled_from(["fb.1.1700000000000.AbCd_1", "fb.1.x", ".", "{click_id}", "0" * 64, "a.b", "%2F+"]),
)
_EVENT = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["install", "purchase", "registration", "level_up", "subscribe"]),
        "age": _AGES,
        "money": st.none() | _MONEY,
        "click": _CLICK,
        "click_age": st.sampled_from([0.5, 60.0, DAY, 0.05 * DAY]),
        "properties": st.sampled_from([{}, {"level": 7}, {"level": "x"}, {"level": 1e300}, {"level": True}]),
        "consent": st.sampled_from([{}, {"postbacks": True}, {"ad_personalization": False}]),
    }
)


async def test_whatever_ingest_takes_is_stored_or_has_a_reason(scene: Scene) -> None:
    named = {"install": {"name": "Größe 🎮🚀"}, "purchase": {"name": "Purchase"}, "level_up": {"name": "🎉"}}
    for name, case in DESTINATIONS.items():
        events = named if case.platform in ("meta", "tiktok", "reddit") else scene.body(case)["events"]
        await scene.put(case, name, events=events)
    await scene.put_body(_hook(scene), "webhook")
    wanted: dict[str, Mapping[str, Any]] = {}
    for number, events in enumerate(_examples()):
        wanted |= await _send(scene, number, events)
    # All are on their way before the first is waited for: the platforms' waits pass together.
    for event_id, body in wanted.items():
        await _outcome(scene, event_id, body)


def _examples() -> list[list[Mapping[str, Any]]]:
    found: list[list[Mapping[str, Any]]] = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_EVENT, min_size=EVENTS, max_size=EVENTS))
    def collect(events: list[Mapping[str, Any]]) -> None:
        found.append(events)

    collect()
    assert len(found) >= EXAMPLES
    return found


def _hook(scene: Scene) -> dict[str, Any]:
    url = f"{scene.service.sandbox.url}/sink/{{event_name}}?c={{click_id}}&v={{value}}&t={{occurred_at}}"
    return {
        "platform": "webhook",
        "credentials": {},
        "options": {"url": url, "body": {"event_id": "{event_id}", "value": "{value}", "click": "{click_id}"}},
        "events": {"*": {}, "install": {"name": "Größe 🎮🚀"}},
    }


async def _send(scene: Scene, batch: int, events: list[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    now = time.time()
    wanted: dict[str, Mapping[str, Any]] = {}
    bodies = []
    for number, event in enumerate(events):
        occurred = now - event["age"]
        event_id = f"b{batch}-{number}"
        # No two share a click: Google Ads counts one conversion per click, action and second.
        click = event["click"]
        clicks = dict.fromkeys(("fbclid", "gclid", "ttclid", "rdt_cid", "twclid"), click)
        for name, value in clicks.items():
            clicked = max(min(occurred, now) - event["click_age"], now - OLDEST_CLICK)
            body = {"click_ids": {name: value}, "clicked_at": clicked}
            answer = await scene.service.game.post("/v1/clicks", json={**body, "url": "https://game.example/lp"})
            assert answer.status_code == 202, answer.text
        body = {"name": event["name"], "event_id": event_id, "occurred_at": occurred, "click_ids": clicks}
        if event["money"]:
            body["value"], body["currency"] = event["money"]
        bodies.append({**body, "properties": event["properties"], "consent": event["consent"]})
        wanted[event_id] = bodies[-1]
    answer = await scene.batch(bodies)
    assert answer["rejected"] == 0, answer
    return wanted


async def _outcome(scene: Scene, event_id: str, body: Mapping[str, Any]) -> None:
    shown = (await scene.service.game.get(f"/v1/events/{event_id}")).json()
    left_out = {one["destination"]: one["reason"] for one in shown["not_sent"]}
    sent = {one["destination"]: one["id"] for one in shown["deliveries"]}
    assert left_out.keys() | sent.keys() == {*DESTINATIONS, "webhook"}
    # The same click ID can have come with another event of the batch, after this one.
    assert set(left_out.values()) <= {"unmapped", "no_click_id"}
    for destination, identifier in sent.items():
        # A platform that refuses what lies ahead gets it when its time has come.
        ahead = ["held"] if body["occurred_at"] > time.time() + 20 else []
        delivery = await scene.service.settled(
            identifier, "delivered", "skipped", "expired", "failed", *ahead, seconds=30
        )
        log = delivery["attempt_log"]
        if delivery["status"] == "held":
            wait = datetime.fromisoformat(delivery["next_attempt_at"]) - datetime.fromtimestamp(
                body["occurred_at"], UTC
            )
            assert timedelta(0) <= wait < timedelta(seconds=5), (destination, body, delivery)
            continue
        if delivery["status"] == "failed" and not ODD.isdisjoint(body["click_ids"]["gclid"]):
            # Nobody but Google can tell which of these is a click of its own; that it says so is an answer.
            assert delivery["reason"] in ("INVALID_GCLID", "UNPARSEABLE_GCLID"), (destination, body, log[-1:])
            continue
        assert delivery["status"] != "failed", (destination, body, delivery["reason"], log[-1:])
        if delivery["status"] != "delivered":
            assert delivery["reason"], (destination, delivery)
            continue
        case = DESTINATIONS.get(destination)
        if case is None:
            continue
        simulator = scene.simulator(case)
        stored = [one for one in simulator.received() if one["key"] == delivery["idempotency_key"]]
        if not stored and log[-1]["code"] in ("CLICK_CONVERSION_ALREADY_EXISTS", "DUPLICATE_GCLID"):
            continue
        assert len(stored) == 1, (destination, body, log[-1:])
        value = stored[0]["value"]
        if value is not None:
            exact = rounded(Decimal(body["value"]), body["currency"].upper())
            assert Decimal(str(value)) == exact, (destination, body)
            assert stored[0]["currency"] == body["currency"].upper()
