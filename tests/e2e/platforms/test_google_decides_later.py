"""Google Data Manager takes events at once and decides about each of them later."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.platforms.cases import GOOGLE, Scene
from tests.support.service import eventually

REASONS = {
    "Cj-unreadable": "INVALID_GCLID",
    "Cj-novelty": "PROCESSING_ERROR_REASON_BRAND_NEW_IN_2027",
    "Cj-known": "DUPLICATE_GCLID",
    "Cj-young": "TOO_RECENT_CLICK",
}
OUTCOMES = {
    "Cj-unreadable": ("failed", "INVALID_GCLID"),
    "Cj-novelty": ("failed", "BRAND_NEW_IN_2027"),
    "Cj-known": ("delivered", None),
    "Cj-young": ("retrying", "TOO_RECENT_CLICK"),
    "Cj-good-1": ("delivered", None),
    "Cj-good-2": ("delivered", None),
    "Cj-good-3": ("delivered", None),
}


async def _start(scene: Scene, **switches: Any) -> None:
    await scene.start(GOOGLE)
    scene.simulator(GOOGLE).set_switches(switches)


async def _retry(scene: Scene, identifier: str) -> None:
    answer = await scene.service.game.post(f"/v1/deliveries/{identifier}/retry")
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("indices", [True, "text", False])
async def test_each_event_has_an_outcome_of_its_own(scene: Scene, indices: bool | str) -> None:
    await _start(scene, async_outcomes=REASONS, record_indices=indices)
    await scene.post(GOOGLE, "pause")
    await scene.batch([{"name": "install", "event_id": click, "click_ids": {"gclid": click}} for click in OUTCOMES])
    await scene.all_settled(len(OUTCOMES), "held")
    await scene.post(GOOGLE, "resume")

    async def outcomes() -> dict[str, tuple[str, str | None]]:
        return {one["event_id"]: (one["status"], one["reason"]) for one in await scene.service.deliveries()}

    await eventually(outcomes, lambda found: found == OUTCOMES)
    stored = scene.simulator(GOOGLE).received()
    assert {one["click_id"] for one in stored} == {click for click in OUTCOMES if "good" in click}
    (young,) = list(await scene.service.deliveries(status="retrying"))
    assert datetime.fromisoformat(young["next_attempt_at"]) - datetime.now(UTC) > timedelta(hours=5.9)
    for one in await scene.service.deliveries(status="failed"):
        assert "reasons" in (await scene.service.delivery(one["id"]))["attempt_log"][-1]["response"]["body"] or (
            indices is False
        )


async def test_accepted_until_google_has_decided(scene: Scene) -> None:
    await _start(scene, processing_seconds=3600.0)
    posted = await scene.buy()
    accepted = await scene.service.settled(posted["id"], "accepted")
    assert [one["verdict"] for one in accepted["attempt_log"]] == ["accepted"]
    scene.simulator(GOOGLE).set_switches({"processing_seconds": 0.0})
    # The first question was answered "not yet" at once; the operator asks again instead of waiting for a minute.
    await eventually(lambda: _polls(scene), lambda count: count >= 1)
    await eventually(lambda: _retried(scene, posted["id"]))
    await scene.service.settled(posted["id"], "delivered")
    assert len(scene.sends(GOOGLE)) == 1


async def _polls(scene: Scene) -> int:
    return sum(one["path"].endswith("requestStatus:retrieve") for one in scene.simulator(GOOGLE).requests)


async def _retried(scene: Scene, identifier: str) -> bool:
    """Whether the retry met the delivery between two questions, not during one."""
    before = await _polls(scene)
    await _retry(scene, identifier)
    return bool(await eventually(lambda: _polls(scene), lambda count: count > before))


@pytest.mark.parametrize("times", [1, 1000])
async def test_a_refused_token_while_asking_keeps_the_delivery(scene: Scene, times: int) -> None:
    await _start(scene, processing_seconds=3600.0)
    posted = await scene.buy()
    await scene.service.settled(posted["id"], "accepted")
    await eventually(lambda: _polls(scene), lambda count: count >= 1)
    scene.fault(GOOGLE, "unauthenticated", times=times)
    scene.simulator(GOOGLE).set_switches({"processing_seconds": 0.0})
    await _retry(scene, posted["id"])
    if times > 1:
        await eventually(lambda: scene.destination(GOOGLE), lambda one: one["status"] == "held")
        scene.simulator(GOOGLE).faults.clear()
        await scene.put(GOOGLE)
        await _retry(scene, posted["id"])
    await scene.service.settled(posted["id"], "delivered")
    assert len(scene.sends(GOOGLE)) == 1


async def test_a_young_click_waits_for_its_hours(scene: Scene) -> None:
    await scene.put(GOOGLE, merge_options={"hold_hours": 6})
    clicked = time.time() - 6 * 3600 + 1.5
    await scene.click(GOOGLE, clicked_at=clicked)
    posted = await scene.buy(occurred_at=clicked + 0.2)
    held = await scene.service.delivery(posted["id"])
    assert (posted["status"], held["status"]) == ("held", "held")
    due = datetime.fromisoformat(held["next_attempt_at"]).timestamp()
    assert due == pytest.approx(clicked + 6 * 3600, abs=0.01)
    assert not scene.simulator(GOOGLE).requests
    await scene.service.settled(posted["id"], "delivered")
    assert scene.sends(GOOGLE)[0]["at"] >= due


async def test_a_partial_success_without_reasons_is_asked_for_one_by_one(scene: Scene) -> None:
    await _start(scene, async_outcomes={"Cj-unreadable": "INVALID_GCLID"}, error_info=False)
    await scene.post(GOOGLE, "pause")
    clicks = ["Cj-good-1", "Cj-unreadable", "Cj-good-2"]
    await scene.batch([{"name": "install", "event_id": click, "click_ids": {"gclid": click}} for click in clicks])
    await scene.post(GOOGLE, "resume")

    async def outcomes() -> dict[str, str]:
        return {one["event_id"]: one["status"] for one in await scene.service.deliveries()}

    await eventually(outcomes, lambda found: found.get("Cj-good-1") == found.get("Cj-good-2") == "delivered")
    assert (await outcomes())["Cj-unreadable"] not in ("delivered", "failed")
