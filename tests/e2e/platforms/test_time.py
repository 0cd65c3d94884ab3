"""What passes with time: retries that run out, held destinations that are probed, age behind a hold."""

from __future__ import annotations

import time

import pytest

from tests.e2e.platforms.cases import (
    GOOGLE,
    META,
    PLATFORM_CASES,
    REDDIT,
    TIKTOK,
    Case,
    Scene,
    X,
    ids_of,
)

SETTINGS = {"give_up_after_hours": 1.0 / 3600, "probe_minutes": 0.3 / 60}
every_platform = pytest.mark.parametrize("case", PLATFORM_CASES, ids=ids_of(PLATFORM_CASES))


@every_platform
async def test_an_answer_that_nobody_knows_is_retried_and_then_given_up(scene: Scene, case: Case) -> None:
    await scene.start(case)
    scene.fault(case, "html", status=418, times=1000, match="4.99")
    posted = await scene.buy()
    other = await scene.buy(value=7)
    delivery = await scene.service.settled(posted["id"], "failed")

    assert delivery["reason"] == "retries_exhausted"
    assert 2 <= delivery["attempts"] <= 12
    assert delivery["attempts"] == len(delivery["attempt_log"])
    assert {(one["verdict"], one["http_status"]) for one in delivery["attempt_log"]} == {("retry", 418)}
    assert all(one["code"] and one["message"] for one in delivery["attempt_log"])
    assert (await scene.destination(case))["status"] == "ok"
    await scene.service.settled(other["id"], "delivered", "failed")

    scene.simulator(case).faults.clear()
    answer = await scene.service.game.post(f"/v1/deliveries/{posted['id']}/retry")
    assert answer.status_code == 202
    await scene.service.settled(posted["id"], "delivered")


@every_platform
async def test_a_held_destination_is_probed_and_released_by_itself(scene: Scene, case: Case) -> None:
    scene.fault(case, case.expired_token, times=1000)
    await scene.start(case)
    posted = await scene.buy()
    await scene.service.settled(posted["id"], "held")
    assert (await scene.destination(case))["next_probe_at"]
    sends = len(scene.simulator(case).requests)

    scene.simulator(case).faults.clear()
    delivery = await scene.service.settled(posted["id"], "delivered")
    assert (await scene.destination(case))["status"] == "ok"
    # The wait was not the delivery's fault: it is not given up although it took longer than the retries may.
    assert delivery["attempt_log"][0]["verdict"] == "hold"
    assert len(scene.simulator(case).requests) > sends
    assert [one["copies"] for one in scene.simulator(case).received()] == [1]


AGED = [(META, 7 * 86400 - 120), (TIKTOK, 7 * 86400 - 120), (REDDIT, 7 * 86400 - 120), (X, 30 * 86400)]


@pytest.mark.parametrize(("case", "limit"), AGED, ids=[case.id for case, _ in AGED])
async def test_what_grows_too_old_behind_a_held_destination_expires(scene: Scene, case: Case, limit: int) -> None:
    scene.fault(case, case.expired_token, times=1000)
    await scene.put(case)
    old = time.time() - limit + 1.5
    await scene.click(case, clicked_at=old - 60)
    posted = await scene.buy(occurred_at=old)
    await scene.service.settled(posted["id"], "held")
    delivery = await scene.service.settled(posted["id"], "expired")
    assert delivery["reason"] == "too_old"
    assert not scene.simulator(case).received()


async def test_a_passing_refusal_that_google_repeats_in_its_outcomes_ends_some_time(scene: Scene) -> None:
    await scene.start(GOOGLE)
    scene.simulator(GOOGLE).set_switches({"async_outcomes": {GOOGLE.click_id: "INTERNAL_ERROR"}})
    delivery = await scene.service.settled((await scene.buy())["id"], "failed")
    assert delivery["reason"] == "retries_exhausted"
    assert {one["verdict"] for one in delivery["attempt_log"]} == {"accepted", "retry"}
