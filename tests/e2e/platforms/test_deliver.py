"""Install and purchase on every platform and route: right click ID, time, value, currency, key and name."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import orjson
import pytest

from tests.e2e.platforms.cases import META, PLATFORM_CASES, SINK_BODY, TIKTOK, Case, Scene, ids_of
from tests.support.service import CLICKS


@pytest.mark.parametrize("case", PLATFORM_CASES, ids=ids_of(PLATFORM_CASES))
async def test_install_and_purchase(scene: Scene, case: Case) -> None:
    await scene.start(case)
    at = time.time() - 300.123
    install = (await scene.service.event("install", user_id="p1", occurred_at=at))["deliveries"][0]
    purchase = await scene.buy(occurred_at=at + 1.5)

    for name, posted, when in (("install", install, at), ("purchase", purchase, at + 1.5)):
        delivery = await scene.service.settled(posted["id"], "delivered")
        stored = {one["key"]: one for one in scene.simulator(case).received()}[delivery["idempotency_key"]]
        assert stored["click_id"] == case.click_id
        assert stored["occurred_at"] == pytest.approx(when, abs=case.time_step)
        assert stored["name"].rpartition("/")[2] == case.names[name == "purchase"]
        assert stored["copies"] == 1
        assert not stored["warnings"]
        assert (stored["value"], stored["currency"]) == ((4.99, "EUR") if name == "purchase" else (None, None))
        assert delivery["delivered_at"] is not None
        assert delivery["match"]["method"] == "user_id"
    assert len(scene.simulator(case).received()) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_webhook(scene: Scene, method: str) -> None:
    query = "&".join(f"{name}={macro}" for name, macro in SINK_BODY.items())
    base = f"{scene.service.sandbox.url}/sink/hook"
    options: dict[str, Any] = {"url": f"{base}?{query}", "method": "GET"}
    if method == "POST":
        options = {"url": base, "method": "POST", "headers": {"X-Game": "{event_name}"}, "body": SINK_BODY}
    await scene.put_body({"platform": "webhook", "credentials": {}, "options": options}, "hook")
    await scene.service.click(user_id="p1", clicked_at=time.time() - 600)
    at = time.time() - 60
    delivery = await scene.service.settled((await scene.buy(occurred_at=at))["id"], "delivered")

    (stored,) = scene.simulator("webhook").received()
    assert (stored["raw"]["method"], stored["name"]) == (method, "purchase")
    assert stored["click_id"] in CLICKS.values()
    assert (stored["value"], stored["currency"]) == (4.99, "EUR")
    assert stored["key"] == delivery["idempotency_key"]
    raw = stored["raw"]["query"] if method == "GET" else orjson.loads(stored["raw"]["body"])
    assert raw["event_id"] == delivery["event_id"]
    assert datetime.fromisoformat(raw["occurred_at"]).timestamp() == pytest.approx(at, abs=1)


async def test_the_same_thousand_events_twice_are_a_thousand_deliveries(scene: Scene) -> None:
    for case in (META, TIKTOK):
        await scene.put(case)
        await scene.click(case)
    events = [{"name": "install", "event_id": f"e{number}", "user_id": "p1"} for number in range(1000)]
    first, second = await scene.batch(events), await scene.batch(events)

    assert (first["accepted"], first["duplicates"]) == (1000, 0)
    assert (second["accepted"], second["duplicates"]) == (0, 1000)
    done = await scene.all_settled(2000, "delivered")
    assert len({(one["event_id"], one["destination"]) for one in done}) == 2000
    for case in (META, TIKTOK):
        received = scene.simulator(case).received()
        assert len(received) == 1000
        assert {one["copies"] for one in received} == {1}


@pytest.mark.parametrize("case", PLATFORM_CASES, ids=ids_of(PLATFORM_CASES))
async def test_queued_events_go_out_in_few_requests(scene: Scene, case: Case) -> None:
    await scene.start(case)
    await scene.post(case, "pause")
    # Google Ads counts one conversion per click and moment, so that each event has a second of its own.
    now = time.time()
    await scene.batch(
        [
            {"name": "install", "event_id": f"e{number}", "user_id": "p1", "occurred_at": now - 580 + number / 2}
            for number in range(1000)
        ]
        if case.time_step < 1
        else [
            {"name": "install", "event_id": f"e{number}", "click_ids": {case.click_type: f"{case.click_id}{number}"}}
            for number in range(1000)
        ]
    )
    held = await scene.all_settled(1000, "held")
    assert {one["reason"] for one in held} == {"paused"}
    await scene.post(case, "resume")
    await scene.all_settled(1000, "delivered")

    received = scene.simulator(case).received()
    assert len(received) == 1000
    assert {one["copies"] for one in received} == {1}
    # X takes 500 in a request; Google Ads repeats each event in its answer, of which 128 KiB are read.
    assert len(scene.sends(case)) <= (3 if case.id in ("x", "x_oauth", "google_ads") else 2)


async def test_two_destinations_of_one_platform_have_keys_of_their_own(scene: Scene) -> None:
    await scene.put(META, "first")
    await scene.put(META, "second")
    await scene.click(META)
    event = await scene.service.event("install", user_id="p1")
    assert len(event["deliveries"]) == 2
    await scene.all_settled(2, "delivered")
    assert len({one["key"] for one in scene.simulator(META).received()}) == 2


async def test_two_hundred_webhooks_are_two_hundred_requests(scene: Scene) -> None:
    await scene.put_body(
        {"platform": "webhook", "credentials": {}, "options": {"url": f"{scene.service.sandbox.url}/sink/many"}}, "hook"
    )
    await scene.service.click(user_id="p1")
    await scene.batch([{"name": "level_up", "event_id": f"w{number}", "user_id": "p1"} for number in range(200)])
    await scene.all_settled(200, "delivered")
    received = scene.simulator("webhook").received()
    assert len(received) == len({one["key"] for one in received}) == 200
