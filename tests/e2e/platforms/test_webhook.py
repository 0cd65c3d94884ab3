"""A webhook from the event to the endpoint: what it is sent, and what becomes of each of its answers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from tests.e2e.platforms.cases import Scene
from tests.support.service import eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def start(scene: Scene, *, credentials: dict[str, str] | None = None, **options: Any) -> None:
    url = f"{scene.service.sandbox.url}/sink/in"
    body = {"platform": "webhook", "credentials": credentials or {}, "options": {"url": url} | options}
    await scene.put_body(body, "hook")
    await scene.service.click(user_id="p1", clicked_at=time.time() - 600)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"url": "https://h.example/?c={klick_id}"}, "options.url"),
        ({"url": "https://h.example/", "headers": {"X-Click": "{klick_id}"}}, "options.headers"),
        ({"url": "https://h.example/", "body": {"click": "{klick_id}"}}, "options.body"),
        ({"url": "https://h.example/", "method": "GET", "body": "x"}, "options.body"),
        ({"url": "https://2130706433/"}, "options.url"),
        ({"url": "https://h.example/", "redirects": True}, "options.redirects"),
    ],
)
async def test_what_cannot_work_is_refused_when_saved(scene: Scene, options: dict[str, Any], field: str) -> None:
    answer = await scene.service.admin.put(
        f"/v1/apps/{scene.app}/destinations/hook", json={"platform": "webhook", "options": options}
    )

    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]


async def test_every_try_has_the_same_key_and_a_signature_that_verifies(scene: Scene) -> None:
    await start(scene, credentials={"signing_secret": SECRET})
    scene.fault("webhook", "status", status=500)
    delivery = await scene.service.settled((await scene.buy())["id"], "delivered")

    first, second = scene.sends("webhook")
    for one in (first, second):
        Verifier(SECRET).verify(one["body"], one["headers"])
        assert one["headers"]["webhook-id"] == delivery["idempotency_key"]
    assert first["body"] == second["body"]


async def test_the_last_matched_click_counts_whatever_its_platform(scene: Scene) -> None:
    await start(scene, method="GET", url=f"{scene.service.sandbox.url}/sink/in?c={{click_id}}&t={{click_id_type}}")
    for age, kind in ((500, "ttclid"), (300, "twclid"), (400, "gclid")):
        await scene.service.click(
            user_id="p1", clicked_at=time.time() - age, click_ids={kind: f"{kind}-0123456789abcdef"}
        )
    await scene.service.settled((await scene.buy(occurred_at=time.time() - 60))["id"], "delivered")

    (sent,) = scene.sends("webhook")
    assert sent["query"] == {"c": "twclid-0123456789abcdef", "t": "twclid"}


@pytest.mark.parametrize("kind", ["throttle", "unavailable"])
async def test_retry_after_pauses_the_whole_destination(scene: Scene, kind: str) -> None:
    await start(scene)
    scene.fault("webhook", kind, seconds=2)
    asked_at = time.time()
    first = await scene.buy()
    blocked = await eventually(lambda: scene.destination("hook"), lambda one: one["blocked_until"])
    second = await scene.buy(value=7)
    for posted in (first, second):
        await scene.service.settled(posted["id"], "delivered")

    assert datetime.fromisoformat(blocked["blocked_until"]) > datetime.fromtimestamp(asked_at + 1.5, UTC)
    assert min(one["at"] for one in scene.sends("webhook")[1:]) >= asked_at + 1.9


async def test_a_redirect_is_not_followed_and_its_address_asked_for(scene: Scene) -> None:
    await start(scene)
    scene.fault("webhook", "redirect")
    delivery = await scene.service.settled((await scene.buy())["id"], "failed")

    assert delivery["reason"] == "http_302"
    assert [one["path"] for one in scene.sends("webhook")] == ["/in"]


async def test_an_endpoint_that_is_gone_holds_the_destination(scene: Scene) -> None:
    await start(scene)
    scene.fault("webhook", "gone")
    posted = await scene.buy()
    await scene.service.settled(posted["id"], "held")
    shown = await eventually(lambda: scene.destination("hook"), lambda one: one["status"] == "held")
    assert (shown["held_code"], bool(shown["held_remedy"])) == ("http_410", True)

    await start(scene, url=f"{scene.service.sandbox.url}/sink/new")
    await scene.service.settled(posted["id"], "delivered")
    assert [one["path"] for one in scene.sends("webhook")] == ["/in", "/new"]


async def test_an_address_of_the_own_network_is_never_called(scene: Scene) -> None:
    """`127.0.0.0/8` is allowed here, the metadata service is not."""
    await start(scene, url="http://169.254.169.254/latest/meta-data?c={click_id}")
    result = await scene.post("hook", "check")
    held = await scene.service.settled((await scene.buy())["id"], "held")

    assert (result["ok"], result["code"]) == (False, "refused_address")
    assert "refused_address" in held["reason"]
    assert (held["attempt_log"][0]["code"], held["attempt_log"][0]["http_status"]) == ("refused_address", None)


async def test_the_check_reaches_the_endpoint_and_sends_it_nothing(scene: Scene) -> None:
    await start(scene)
    result = await scene.post("hook", "check")

    assert (result["ok"], result["code"]) == (True, "reachable")
    assert not scene.simulator("webhook").requests
