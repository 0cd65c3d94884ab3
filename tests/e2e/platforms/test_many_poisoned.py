"""A batch in which many events are refused without being named: the good ones go out, the bad ones fail, and it ends."""

from __future__ import annotations

import time

import pytest

from tests.e2e.platforms.cases import META, TIKTOK, Case, Scene

EVENTS = 120


@pytest.mark.parametrize("case", [META, TIKTOK], ids=["meta", "tiktok"])
async def test_many_poisoned_events_keep_no_good_one(scene: Scene, case: Case) -> None:
    await scene.start(case)
    await scene.post(case, "pause")
    scene.simulator(case).set_switches({"poison": "99999.25"})
    at = time.time() - 500
    bad = {f"e{number}" for number in range(EVENTS) if number % 3}
    await scene.batch(
        [
            {
                "name": "purchase",
                "event_id": f"e{number}",
                "user_id": "p1",
                "occurred_at": at + number,
                "value": "99999.25" if f"e{number}" in bad else 1 + number,
                "currency": "EUR",
            }
            for number in range(EVENTS)
        ]
    )
    await scene.all_settled(EVENTS, "held")
    await scene.post(case, "resume")
    done = await scene.all_settled(EVENTS, "delivered", "failed")

    assert {one["event_id"] for one in done if one["status"] == "failed"} == bad
    assert {one["reason"] for one in done if one["status"] == "failed"} == {"100" if case is META else "40002"}
    received = scene.simulator(case).received()
    assert len(received) == EVENTS - len(bad)
    assert {one["copies"] for one in received} == {1}
    # Halving alone would take more than the number of events; past that each is asked about once, by itself.
    assert len(scene.sends(case)) <= EVENTS + 60
    assert (await scene.destination(case))["status"] == "ok"
