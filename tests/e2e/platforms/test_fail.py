"""What every platform does wrong, and where each delivery ends."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postbacks.platforms.registry import ADAPTERS
from postbacks.sandbox.base import Reply
from tests.e2e.platforms.cases import (
    DEDUPLICATING,
    GOOGLE,
    GOOGLE_ADS,
    META,
    PLATFORM_CASES,
    REDDIT,
    TIKTOK,
    X_BY_OAUTH,
    Case,
    Scene,
    X,
    ids_of,
)
from tests.support.service import eventually

every_platform = pytest.mark.parametrize("case", PLATFORM_CASES, ids=ids_of(PLATFORM_CASES))


@every_platform
async def test_a_429_blocks_the_destination_for_as_long_as_it_asks(scene: Scene, case: Case) -> None:
    await scene.start(case)
    kind, seconds = case.throttles
    scene.fault(case, kind, seconds=float(seconds or 5))
    throttled_at = time.time()
    first = await scene.buy()
    blocked = await eventually(lambda: scene.destination(case), lambda one: one["blocked_until"])
    until = datetime.fromisoformat(blocked["blocked_until"]).timestamp()
    # The block is the destination's: a second event waits with the first.
    second = await scene.buy(value=7)
    assert until >= throttled_at + max(seconds - 1, 0.4)
    assert blocked["blocked_reason"]

    for posted in (first, second):
        await scene.service.settled(posted["id"], "delivered")
    log = (await scene.service.delivery(first["id"]))["attempt_log"]
    assert [one["verdict"] for one in log] == ["retry", *(["accepted"] if case is GOOGLE else []), "delivered"]
    sent = [one["at"] for one in scene.sends(case)]
    assert min(sent[1:]) >= until - 0.1
    assert {one["copies"] for one in scene.simulator(case).received()} == {1}
    recovered = await eventually(lambda: scene.destination(case), lambda one: one["failures_in_a_row"] == 0)
    assert recovered["blocked_until"] is None


async def test_metas_usage_header_blocks_for_its_minutes(scene: Scene) -> None:
    await scene.start(META)
    scene.fault(META, "throttle_80004", seconds=120)
    await scene.buy()
    blocked = await eventually(lambda: scene.destination(META), lambda one: one["blocked_until"])
    until = datetime.fromisoformat(blocked["blocked_until"])
    assert timedelta(seconds=110) < until - datetime.now(UTC) < timedelta(seconds=125)
    assert blocked["blocked_reason"] == "80004"


@every_platform
@pytest.mark.parametrize("fault", ["server_error", "html", "cut_before", "garbage", "empty_503"])
async def test_a_passing_fault_is_tried_again(scene: Scene, case: Case, fault: str) -> None:
    await scene.start(case)
    # A first event fetches the access token, where there is one: the fault is meant for the send.
    await scene.service.settled((await scene.buy(value=1))["id"], "delivered")
    kind, values = {
        "server_error": (case.server_error, {}),
        "empty_503": ("status", {"status": 503}),
        "html": ("html", {"status": 502}),
    }.get(fault, (fault, {}))
    scene.fault(case, kind, **values, match="4.99")
    delivery = await scene.service.settled((await scene.buy())["id"], "delivered")

    first, last = delivery["attempt_log"][0], delivery["attempt_log"][-1]
    assert first["verdict"] == "retry"
    assert first["code"]
    assert last["http_status"] == 200
    stored = [one for one in scene.simulator(case).received() if one["key"] == delivery["idempotency_key"]]
    assert [one["copies"] for one in stored] == [1]


@pytest.mark.parametrize("fault", ["cut_after", "hang"])
@pytest.mark.parametrize("case", DEDUPLICATING, ids=ids_of(DEDUPLICATING))
async def test_a_lost_answer_is_asked_for_again_under_the_same_key(
    scene: Scene, case: Case, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.start(case)
    await scene.service.settled((await scene.buy(value=1))["id"], "delivered")
    monkeypatch.setattr(type(ADAPTERS[case.platform]), "max_wait", timedelta(seconds=0.3))
    scene.fault(case, fault, seconds=1.0, match="4.99")
    delivery = await scene.service.settled((await scene.buy())["id"], "delivered")

    first = delivery["attempt_log"][0]
    assert (first["verdict"], first["http_status"], first["response"]["body"]) == ("retry", None, None)
    assert first["code"] == ("timeout" if fault == "hang" else "reset")
    assert first["duration_ms"] >= (300 if fault == "hang" else 0)
    stored = [one for one in scene.simulator(case).received() if one["key"] == delivery["idempotency_key"]]
    assert [one["copies"] for one in stored] == [2 if fault == "cut_after" else 1]


@pytest.mark.parametrize("case", [X, X_BY_OAUTH], ids=["x", "x_oauth"])
async def test_x_is_asked_twice_at_most_when_answers_get_lost(scene: Scene, case: Case) -> None:
    await scene.start(case)
    scene.fault(case, "cut_after", times=10)
    delivery = await scene.service.settled((await scene.buy())["id"], "failed")
    assert delivery["reason"] == "outcome_unknown"
    assert delivery["attempts"] == len(scene.sends(case)) == 2
    assert [one["copies"] for one in scene.simulator(case).received()] == [2]


async def test_x_is_asked_once_more_after_one_lost_answer(scene: Scene) -> None:
    await scene.start(X)
    scene.fault(X, "cut_after")
    delivery = await scene.service.settled((await scene.buy())["id"], "delivered")
    assert delivery["attempts"] == 2


HOLDS = [
    *((case, "expired") for case in PLATFORM_CASES),
    *((case, "permission") for case in PLATFORM_CASES),
    *((case, "unknown") for case in PLATFORM_CASES),
]


@pytest.mark.parametrize(("case", "cause"), HOLDS, ids=[f"{case.id}-{cause}" for case, cause in HOLDS])
async def test_refused_credentials_hold_the_destination_until_new_ones_come(
    scene: Scene, case: Case, cause: str
) -> None:
    bad = {"merge_credentials": case.bad_credentials} if cause == "unknown" else {}
    if cause != "unknown":
        scene.fault(case, case.expired_token if cause == "expired" else case.wrong_permission, times=50)
    await scene.start(case, **bad)
    first = await scene.buy()
    held = await scene.service.settled(first["id"], "held")
    late = await scene.buy(value=7)
    waiting = await scene.service.settled(late["id"], "held")
    shown = await eventually(lambda: scene.destination(case), lambda one: one["status"] == "held")

    assert shown["held_since"]
    assert shown["held_code"]
    assert shown["held_message"]
    assert len(shown["held_remedy"]) > 20
    assert held["destination_health"]["remedy"] == shown["held_remedy"]
    assert held["reason"]
    assert waiting["attempts"] == 0
    assert held["attempt_log"][0]["verdict"] == "hold"
    assert not scene.simulator(case).received()

    scene.simulator(case).faults.clear()
    if cause == "permission":
        await scene.post(case, "resume")
    else:
        await scene.put(case)
    for posted in (first, late):
        await scene.service.settled(posted["id"], "delivered")
    released = await scene.destination(case)
    assert (released["status"], released["held_since"], released["held_code"]) == ("ok", None, None)
    assert [one["copies"] for one in scene.simulator(case).received()] == [1, 1]


@every_platform
@pytest.mark.parametrize("place", [0, 29, 49])
async def test_one_poisoned_event_of_fifty_fails_alone(scene: Scene, case: Case, place: int) -> None:
    await scene.start(case)
    await scene.post(case, "pause")
    poison = "99999.25"
    scene.simulator(case).set_switches({"poison": poison})
    at = time.time() - 500
    names = ("install", "purchase")
    await scene.batch(
        [
            {
                "name": names[number % 2] if number != place else "purchase",
                "event_id": f"e{number}",
                "user_id": "p1",
                "occurred_at": at + number,
                "value": poison if number == place else 1 + number,
                "currency": "EUR",
            }
            for number in range(50)
        ]
    )
    await scene.all_settled(50, "held")
    await scene.post(case, "resume")
    done = await scene.all_settled(50, "delivered", "failed")

    assert [one["event_id"] for one in done if one["status"] == "failed"] == [f"e{place}"]
    received = scene.simulator(case).received()
    assert Counter(one["copies"] for one in received) == {1: 49}
    (bad,) = (one for one in done if one["status"] == "failed")
    detail = await scene.service.delivery(bad["id"])
    assert detail["reason"]
    assert poison in detail["attempt_log"][-1]["request"]["body"]
    assert detail["attempt_log"][-1]["message"]
    # One bad event is no fault of the destination.
    assert (await scene.destination(case))["status"] == "ok"


AGED = [(META, 8), (TIKTOK, 8), (REDDIT, 8), (X, 31)]


@pytest.mark.parametrize(("case", "days"), AGED, ids=[case.id for case, _ in AGED])
async def test_an_event_that_is_too_old_expires_as_it_is_planned(scene: Scene, case: Case, days: int) -> None:
    await scene.put(case)
    old = time.time() - days * 86400
    await scene.click(case, clicked_at=old - 60)
    posted = await scene.buy(occurred_at=old)
    assert posted["status"] == "expired"
    delivery = await scene.service.delivery(posted["id"])
    assert (delivery["reason"], delivery["attempts"]) == ("too_old", 0)
    assert not scene.sends(case)


@pytest.mark.parametrize(("case", "days"), AGED, ids=[case.id for case, _ in AGED])
async def test_an_event_that_grows_too_old_behind_a_pause_expires(scene: Scene, case: Case, days: int) -> None:
    await scene.put(case)
    limit = {"x": 30 * 86400}.get(case.id, 7 * 86400 - 120)
    old = time.time() - limit + 1.0
    await scene.click(case, clicked_at=old - 60)
    await scene.post(case, "pause")
    posted = await scene.buy(occurred_at=old)
    held = await scene.service.delivery(posted["id"])
    assert held["status"] == "held"
    time_left = datetime.fromisoformat(held["deadline"]) - datetime.now(UTC)
    assert time_left < timedelta(seconds=1.1)
    await eventually(_passed(time.time() + 1.1))
    await scene.post(case, "resume")
    delivery = await scene.service.settled(posted["id"], "expired")
    assert delivery["reason"] == "too_old"
    assert not scene.sends(case)


def _passed(moment: float) -> Any:
    async def probe() -> bool:
        return time.time() > moment

    return probe


@pytest.mark.parametrize(
    ("case", "kind", "code"),
    [(TIKTOK, "partial_20001", None), (X, "processed_zero", "none_processed")],
    ids=["tiktok", "x"],
)
async def test_a_200_that_says_no(scene: Scene, case: Case, kind: str, code: str | None) -> None:
    await scene.start(case)
    scene.fault(case, kind)
    delivery = await scene.service.settled((await scene.buy())["id"], "delivered")
    log = delivery["attempt_log"]
    assert log[0]["http_status"] == 200
    if code is not None:
        assert [(one["verdict"], one["code"]) for one in log][:1] == [("retry", code)]
    assert [one["copies"] for one in scene.simulator(case).received()] == [1]


async def test_an_answer_with_nul_in_it_is_written_down(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON may hold NUL, a text column may not: an outcome that cannot be stored would be sent again for ever."""
    await scene.start(X)
    reply = Reply(400, {"errors": [{"code": "BAD\0CODE" + "x" * 300, "message": "no\0", "parameter": "a\0b"}]})
    monkeypatch.setattr(scene.simulator(X), "answer", lambda seen, fault: reply)
    delivery = await scene.service.settled((await scene.buy())["id"], "failed", "held", "retrying")
    assert len(delivery["attempt_log"]) == 1
    code = delivery["attempt_log"][0]["code"]
    assert code.startswith("BAD") and "\0" not in code and len(code) <= 200


async def test_a_webhook_that_is_down_is_tried_again(scene: Scene) -> None:
    body = {"platform": "webhook", "credentials": {}, "options": {"url": f"{scene.service.sandbox.url}/sink/x"}}
    await scene.put_body(body, "hook")
    await scene.service.click(user_id="p1", clicked_at=time.time() - 600)
    for kind, status, verdict in (
        ("status", 500, "retry"),
        ("status", 429, "retry"),
        ("cut_after", 0, "retry"),
    ):
        scene.fault("webhook", kind, status=status)
        delivery = await scene.service.settled((await scene.buy(value=status + 1))["id"], "delivered")
        assert [one["verdict"] for one in delivery["attempt_log"]] == [verdict, "delivered"]
    scene.fault("webhook", "status", status=401)
    held = await scene.service.settled((await scene.buy(value=9))["id"], "held")
    await scene.post("hook", "resume")
    await scene.service.settled(held["id"], "delivered")
    scene.fault("webhook", "status", status=400)
    failed = await scene.service.settled((await scene.buy(value=10))["id"], "failed")
    assert failed["reason"] == "http_400"


async def test_an_expired_token_is_fetched_again_once(scene: Scene) -> None:
    """Both conversion actions go out at the same time, each in a request of its own, and both are told 401."""
    for case in (GOOGLE, GOOGLE_ADS):
        await scene.start(case)
        await scene.post(case, "pause")
    await scene.service.event("install", user_id="p1")
    await scene.service.event("purchase", user_id="p1", value=4.99, currency="EUR")
    for case in (GOOGLE, GOOGLE_ADS):
        scene.fault(case, "unauthenticated", times=2)
        await scene.post(case, "resume")
        await eventually(lambda: scene.service.deliveries(destination=case.id), _all_delivered)
        assert (await scene.destination(case))["status"] == "ok"


def _all_delivered(items: list[dict[str, Any]]) -> bool:
    return len(items) == 2 and all(one["status"] == "delivered" for one in items)


@pytest.mark.parametrize("case", [GOOGLE, GOOGLE_ADS], ids=["google", "google_ads"])
async def test_a_token_that_stays_refused_holds_the_destination(scene: Scene, case: Case) -> None:
    await scene.start(case)
    scene.fault(case, "unauthenticated", times=50)
    await scene.service.settled((await scene.buy())["id"], "held")
    assert len(scene.sends(case)) == 2
