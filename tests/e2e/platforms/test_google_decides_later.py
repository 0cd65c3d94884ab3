"""Google Data Manager takes events at once and decides about each of them later."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postbacks.sandbox.google import GoogleSimulator
from tests.e2e.platforms.cases import GOOGLE, GOOGLE_ADS, Case, Scene
from tests.platforms.google_setup import private_key, service_account
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
    # The first question was answered "not yet" at once; the next follows in a second, the one after it in two.
    await eventually(lambda: _polls(scene), lambda count: count >= 2)
    scene.simulator(GOOGLE).set_switches({"processing_seconds": 0.0})
    done = await scene.service.settled(posted["id"], "delivered")
    assert [one["verdict"] for one in done["attempt_log"]] == ["accepted", "delivered"]
    assert len(scene.sends(GOOGLE)) == 1
    asked = [one["at"] for one in scene.simulator(GOOGLE).requests if one["path"].endswith("requestStatus:retrieve")]
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits[0] >= 0.9
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits))


@pytest.mark.parametrize(
    ("fault", "values", "reason"),
    [
        ("html", {"status": 502}, "http_502"),
        ("garbage", {}, "http_200"),
        ("status", {"status": 404}, "http_404"),
        ("quota", {}, "RESOURCE_EXHAUSTED"),
        ("cut_before", {"times": 2}, "reset"),  # the HTTP client repeats a GET once by itself
    ],
)
async def test_a_question_without_an_answer_is_seen_and_asked_again(
    scene: Scene, fault: str, values: dict[str, Any], reason: str
) -> None:
    await _start(scene, processing_seconds=3600.0)
    posted = await scene.buy()
    await eventually(lambda: _polls(scene), lambda count: count >= 1)
    scene.fault(GOOGLE, fault, **values)
    unanswered = await eventually(lambda: scene.service.delivery(posted["id"]), lambda one: one["reason"])
    assert (unanswered["status"], unanswered["reason"]) == ("accepted", reason)
    assert [one["code"] for one in unanswered["attempt_log"]] == [None, reason]
    scene.simulator(GOOGLE).set_switches({"processing_seconds": 0.0})
    await _retry(scene, posted["id"])
    assert (await scene.service.settled(posted["id"], "delivered"))["reason"] is None
    assert len(scene.sends(GOOGLE)) == 1


async def test_throttled_questions_stop_for_everything_that_waits(scene: Scene) -> None:
    await _start(scene, processing_seconds=3600.0, retry_delay_seconds=60.0)
    posted = []
    for _ in range(5):
        posted.append(await scene.buy())
        await scene.service.settled(posted[-1]["id"], "accepted")
    await eventually(lambda: _polls(scene), lambda count: count >= 5)
    before = await _polls(scene)
    scene.fault(GOOGLE, "quota", times=100)
    await eventually(lambda: scene.destination(GOOGLE), lambda one: one["blocked_until"])
    await asyncio.sleep(0.3)
    # Each of the few workers may have met the throttle once; none goes on to the next request.
    assert await _polls(scene) - before <= 2
    assert {one["status"] for one in await scene.service.deliveries()} == {"accepted"}


async def test_a_request_that_google_forgot_is_sent_again_and_counts_once(scene: Scene) -> None:
    await _start(scene, processing_seconds=3600.0)
    posted = await scene.buy()
    await eventually(lambda: _polls(scene), lambda count: count >= 1)
    simulator = scene.simulator(GOOGLE)
    assert isinstance(simulator, GoogleSimulator)
    simulator.state.requests.clear()
    simulator.set_switches({"processing_seconds": 0.0})
    done = await scene.service.settled(posted["id"], "delivered")
    assert [(one["verdict"], one["code"]) for one in done["attempt_log"]] == [
        ("accepted", None),
        ("retry", "INVALID_REQUEST_ID"),
        ("accepted", None),
        ("delivered", "SUCCESS"),
    ]
    first, second = (one["body"] for one in scene.sends(GOOGLE))
    assert first == second
    assert [one["copies"] for one in simulator.received()] == [2]


@pytest.mark.parametrize("reason", ["INVALID_OPERATING_ACCOUNT_FOR_CLICK", "EXTERNAL_ATTRIBUTION_DATA_MISSING"])
async def test_a_reason_of_one_conversion_never_stops_the_destination(scene: Scene, reason: str) -> None:
    await _start(scene, async_outcomes={"Cj-foreign": reason})
    (foreign,) = (await scene.service.event("install", event_id="foreign", click_ids={"gclid": "Cj-foreign"}))[
        "deliveries"
    ]
    failed = await scene.service.settled(foreign["id"], "failed")
    assert failed["reason"] == reason
    await scene.service.settled((await scene.buy())["id"], "delivered")


async def test_what_google_has_is_asked_for_even_when_the_mapping_is_gone(scene: Scene) -> None:
    await _start(scene, processing_seconds=3600.0)
    posted = await scene.buy()
    await eventually(lambda: _polls(scene), lambda count: count >= 1)
    await scene.put(GOOGLE, events={"install": {"conversion_action_id": "55501"}})
    scene.simulator(GOOGLE).set_switches({"processing_seconds": 0.0})
    await scene.service.settled(posted["id"], "delivered")


async def test_a_clock_that_is_ahead_delays_nothing_without_a_hold(scene: Scene) -> None:
    await _start(scene)
    posted = await scene.buy(occurred_at=time.time() + 300)
    await scene.service.settled(posted["id"], "delivered")
    (stored,) = scene.simulator(GOOGLE).received()
    assert stored["occurred_at"] <= stored["received_at"]


@pytest.mark.parametrize("case", [GOOGLE, GOOGLE_ADS], ids=["data_manager", "ads_api"])
async def test_a_service_account_needs_one_token_and_one_more_after_a_401(scene: Scene, case: Case) -> None:
    key = service_account()
    public = private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    accounts = {name: scene.body(case)["credentials"][name] for name in ("operating_account_id", "login_account_id")}
    simulator = scene.simulator(case)
    assert isinstance(simulator, GoogleSimulator)
    simulator.set_switches({"service_accounts": {key["client_email"]: public}})
    await scene.start(case, credentials={**accounts, "service_account": key})
    for _ in range(3):
        await scene.service.settled((await scene.buy())["id"], "delivered")
    assert _fetches(scene) == 1
    simulator.state.tokens.clear()
    await scene.service.settled((await scene.buy())["id"], "delivered")
    assert _fetches(scene) == 2


@pytest.mark.parametrize("case", [GOOGLE, GOOGLE_ADS], ids=["data_manager", "ads_api"])
async def test_doctor_asks_about_the_conversion_actions(scene: Scene, case: Case) -> None:
    good = scene.body(case)["events"]
    await scene.put(case, events={**good, "subscribe": {"conversion_action_id": "99099"}})
    wrong = await scene.post(case, "check")
    assert (wrong["ok"], "99099" in wrong["message"], "conversion_action_id" in wrong["remedy"]) == (False, True, True)
    await scene.put(case, events=good)
    assert (await scene.post(case, "check"))["ok"]
    # A token that was revoked since it was fetched says nothing about the credentials.
    simulator = scene.simulator(case)
    assert isinstance(simulator, GoogleSimulator)
    simulator.state.tokens.clear()
    assert (await scene.post(case, "check"))["ok"]
    assert not simulator.received()


def _fetches(scene: Scene) -> int:
    return sum(one["path"] == "/token" for one in scene.simulator(GOOGLE).requests)


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
