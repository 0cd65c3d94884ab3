"""`doctor`, `…/check` and `…/preview` against every simulator, and where secrets must not turn up."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import orjson
import pytest

from postbacks.admin.doctor import examine
from postbacks.platforms.registry import ADAPTERS
from tests.e2e.platforms.cases import PLATFORM_CASES, Case, Scene, ids_of

every_platform = pytest.mark.parametrize("case", PLATFORM_CASES, ids=ids_of(PLATFORM_CASES))


async def _doctor(scene: Scene) -> tuple[bool, str]:
    said: list[str] = []
    well = await examine(scene.service.runtime.admin, scene.app, None, said.append)
    return well, "\n".join(said)


@every_platform
async def test_good_credentials_pass_and_record_nothing(scene: Scene, case: Case) -> None:
    await scene.put(case)
    result = await scene.post(case, "check")
    assert (result["ok"], result["remedy"]) == (True, None)
    assert await _doctor(scene) == (True, (await _doctor(scene))[1])
    assert scene.simulator(case).requests
    assert not scene.simulator(case).received()


@every_platform
@pytest.mark.parametrize("fault", ["bad_token", "wrong_id", "hang", "expired", "permission", "gateway"])
async def test_a_check_that_fails_names_cause_and_remedy(
    scene: Scene, case: Case, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {}
    if fault == "bad_token":
        changes = {"merge_credentials": case.bad_credentials}
    if fault == "wrong_id":
        changes = {"merge_credentials": case.wrong_id}
    await scene.put(case, **changes)
    monkeypatch.setattr(type(ADAPTERS[case.platform]), "max_wait", timedelta(seconds=0.2))
    kind = {
        "hang": "hang",
        "expired": case.expired_token,
        "permission": case.wrong_permission,
        "gateway": "html",
    }.get(fault)
    if kind:
        scene.fault(case, kind, seconds=1.0, times=3)
    result = await scene.post(case, "check")
    assert result["ok"] is False, result
    assert result["code"]
    assert result["message"]
    assert len(result["remedy"] or "") > 10, result
    if fault == "hang":
        assert result["code"] == "timeout"
    for one in scene.simulator(case).faults:
        one.times = 3
    well, said = await _doctor(scene)
    assert not well
    assert "FAIL" in said
    assert "remedy:" in said
    assert (await scene.destination(case))["status"] == "ok"


@every_platform
async def test_a_preview_is_what_is_sent_then(scene: Scene, case: Case) -> None:
    await scene.start(case)
    event = {
        "name": "purchase",
        "event_id": "order-1",
        "user_id": "p1",
        "value": 4.99,
        "currency": "EUR",
        "occurred_at": time.time() - 60,
    }
    shown = await scene.post(case, "preview", event)
    assert shown["would_send"] is True, shown
    assert not scene.sends(case)
    posted = (await scene.service.event(**event))["deliveries"][0]
    await scene.service.settled(posted["id"], "delivered")
    (sent,) = scene.sends(case)
    assert shown["idempotency_key"] in sent["body"]
    assert orjson.loads(shown["request"]["body"]) | {"jobId": 0} == orjson.loads(sent["body"]) | {"jobId": 0}
    assert shown["request"]["url"].endswith(sent["path"])

    for change, reason in (
        ({"name": "never_mapped"}, "unmapped"),
        ({"occurred_at": time.time() - 89 * 86400}, "no_click_id"),
        ({"user_id": "stranger"}, "no_click_id"),
    ):
        refused = await scene.post(case, "preview", {**event, "event_id": "order-2", **change})
        assert (refused["would_send"], refused["reason"]) == (False, reason)


PLANTED = (
    "sandbox-meta-token",
    "planted-app-secret-0001",
    "sandbox-client-secret",
    "sandbox-refresh-token",
    "ya29.sandbox",
    "sandbox-tiktok-token",
    "sandbox-reddit-token",
    "sandbox-x-token",
    "sandbox-x-consumer",
    "sandbox-x-access",
    "planted-hook-query-0002",
    "planted-hook-header-0003",
    "planted-hook-body-0004",
    "cGxhbnRlZC1ob29rLXNpZ25pbmcwMDA1",
    "oauth_signature=",
)


async def test_no_secret_is_in_any_answer(scene: Scene) -> None:
    for case in PLATFORM_CASES:
        await scene.start(case, **({"merge_credentials": {"app_secret": PLANTED[1]}} if case.id == "meta" else {}))
        scene.fault(case, case.server_error)
    hook = f"{scene.service.sandbox.url}/sink/hook?api_token={PLANTED[10]}&c={{click_id}}"
    await scene.put_body(
        {
            "platform": "webhook",
            "credentials": {"signing_secret": f"whsec_{PLANTED[13]}"},
            "options": {
                "url": hook,
                "headers": {"Authorization": f"Bearer {PLANTED[11]}"},
                "body": {"api_key": PLANTED[12], "event": "{event_name}"},
            },
        },
        "hook",
    )
    scene.fault("webhook", "status", status=500)
    event = await scene.service.event("purchase", user_id="p1", value=4.99, currency="EUR", event_id="order-1")
    done = await scene.all_settled(len(PLATFORM_CASES) + 1, "delivered")
    answers: list[str] = []
    admin, app = scene.service.admin, scene.app
    for delivery in done:
        detail = await scene.service.delivery(delivery["id"])
        answers.append(str(detail))
        for one in detail["attempt_log"]:
            assert one["request"]["method"] in ("GET", "POST")
            assert one["request"]["url"].startswith("http")
            assert one["duration_ms"] >= 0
            assert one["started_at"]
        last = detail["attempt_log"][-1]
        assert [one["number"] for one in detail["attempt_log"]] == list(range(1, detail["attempts"] + 1))
        assert last["request"]["body"] is not None
    for path in (
        f"/v1/apps/{app}",
        "/v1/apps",
        f"/v1/apps/{app}/destinations",
        f"/v1/deliveries?app={app}",
        f"/v1/events/{event['event_id']}?app={app}",
        f"/v1/stats?app={app}",
        "/metrics",
        "/readyz",
        "/",
        "/openapi.json",
        *(f"/v1/apps/{app}/destinations/{name}" for name in (*ids_of(PLATFORM_CASES), "hook")),
    ):
        answers.append((await admin.get(path)).text)
    for name in (*ids_of(PLATFORM_CASES), "hook"):
        answers.append(str(await scene.post(name, "check")))
        answers.append(str(await scene.post(name, "preview", {"name": "purchase", "user_id": "p1"})))
    for answer in answers:
        for secret in PLANTED:
            assert secret not in answer, answer[max(0, answer.index(secret) - 300) :][:600]
