"""The contract, section 8: what became of each conversion, and trying again."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.game import Game, fields, problem
from tests.support.service import CLICKS, eventually

DAY = 86400
ITEM = {
    "id", "app", "event_id", "event_name", "destination", "platform", "status", "reason", "attempts", "next_attempt_at",
    "created_at", "updated_at", "delivered_at",
}  # fmt: skip
ATTEMPT = {
    "number", "started_at", "duration_ms", "http_status", "verdict", "code", "message", "request", "response",
}  # fmt: skip


async def gate(game: Game, action: str, name: str = "meta") -> None:
    answer = await game.admin.post(f"/v1/apps/{game.app}/destinations/{name}/{action}")
    assert answer.status_code == 200, answer.text


async def held(game: Game, **event: Any) -> str:
    """A delivery to Meta that waits behind a paused destination."""
    await game.to("meta")
    await gate(game, "pause")
    await game.click(click_ids={"fbclid": "Held"}, user_id="u", clicked_at=time.time() - 60)
    return str((await game.event("install", user_id="u", **event))["deliveries"][0]["id"])


async def test_a_delivery_in_detail(game: Game) -> None:
    await game.to("meta")
    await game.click(user_id="u")
    event = await game.event("install", user_id="u", event_id="e")
    one = await game.settled(event["deliveries"][0]["id"], "delivered")
    assert one.keys() >= ITEM | {"idempotency_key", "match", "attempt_log"}
    assert (one["app"], one["event_id"], one["event_name"], one["platform"]) == (game.app, "e", "install", "meta")
    assert (one["attempts"], one["reason"], one["next_attempt_at"]) == (1, None, None)
    assert one["delivered_at"]
    attempt = one["attempt_log"][0]
    assert attempt.keys() == ATTEMPT
    assert (attempt["number"], attempt["http_status"], attempt["verdict"]) == (1, 200, "delivered")
    assert attempt["request"].keys() == {"method", "url", "body"}
    assert one["idempotency_key"] in attempt["request"]["body"]
    assert CLICKS["fbclid"] in attempt["request"]["body"]
    token = game.demo("meta")["credentials"]["access_token"]
    assert token not in str(one)


async def test_the_list_filters_and_pages(game: Game) -> None:
    await game.to("meta")
    await game.to("webhook", "hook")
    await game.click(user_id="u")
    await game.click(user_id="w")
    await gate(game, "pause")
    for number in range(3):
        await game.event("level_up", user_id="u", event_id=f"level-{number}")
    await game.event("install", user_id="w", event_id="first")
    await eventually(lambda: game.deliveries(status="delivered"), lambda items: len(items) == 4)

    async def found(**filters: str) -> int:
        return len(await game.deliveries(**filters))

    assert await found() == 8
    assert await found(destination="hook") == 4
    assert await found(platform="meta") == 4
    assert await found(status="held") == 4
    assert await found(status="held,delivered") == 8
    assert await found(status="queued") == 0
    assert await found(event_id="level-1") == 2
    assert await found(event_name="install") == 2
    assert await found(user_id="w", destination="meta") == 1
    assert await found(app=game.app, event_name="level_up", platform="webhook") == 3
    assert await found(event_id="nothing") == 0
    middle = (await game.deliveries(event_id="level-1"))[0]["created_at"]
    assert await found(created_after=middle) + await found(created_before=middle) == 8
    assert await found(created_after=str(time.time() + 60)) == 0

    for client in (game.game, game.admin):
        seen: list[str] = []
        cursor = None
        for _ in range(4):
            params = {"app": game.app, "limit": 3, **({"cursor": cursor} if cursor else {})}
            page = (await client.get("/v1/deliveries", params=params)).json()
            seen += [one["id"] for one in page["items"]]
            cursor = page["next_cursor"]
            assert all(one.keys() >= ITEM for one in page["items"])
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 8
        assert seen == sorted(seen, reverse=True)


async def test_a_paused_destination_loses_nothing(game: Game) -> None:
    delivery = await held(game)
    one = await game.delivery(delivery)
    assert (one["status"], one["reason"]) == ("held", "paused")
    again = await game.game.post(f"/v1/deliveries/{delivery}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "held")
    await gate(game, "resume")
    await game.settled(delivery, "delivered")


async def test_a_post_says_at_once_that_a_paused_destination_holds(game: Game) -> None:
    for platform in ("meta", "webhook"):
        await game.to(platform)
    await game.click(click_ids={"fbclid": "Said"}, user_id="u")
    await gate(game, "pause")
    event = await game.event("install", user_id="u")
    assert {one["destination"]: one["status"] for one in event["deliveries"]} == {"meta": "held", "webhook": "queued"}
    await gate(game, "resume")
    event = await game.event("purchase", user_id="u")
    assert {one["status"] for one in event["deliveries"]} == {"queued"}


async def test_new_credentials_release_what_wrong_ones_held(game: Game) -> None:
    await game.to("meta", credentials={"access_token": "EAABwrong"})
    await game.click(user_id="u")
    delivery = (await game.event("install", user_id="u"))["deliveries"][0]["id"]
    one = await game.settled(delivery, "held")
    assert one["reason"].startswith("destination_held")
    destination = (await game.admin.get(f"/v1/apps/{game.app}/destinations/meta")).json()
    assert destination["status"] == "held"
    assert destination["held_since"]
    assert destination["held_message"]
    assert destination["held_remedy"]
    await game.to("meta")
    await game.settled(delivery, "delivered")


async def test_deleting_a_destination_cancels_and_a_new_one_takes_back(game: Game) -> None:
    delivery = await held(game)
    assert (await game.admin.delete(f"/v1/apps/{game.app}/destinations/meta")).status_code == 204
    one = await game.delivery(delivery)
    assert (one["status"], one["platform"]) == ("cancelled", "meta")
    problem(await game.game.post(f"/v1/deliveries/{delivery}/retry"), 409)
    await game.to("meta")
    assert (await game.game.post(f"/v1/deliveries/{delivery}/retry")).status_code == 202
    assert (await game.settled(delivery, "delivered"))["idempotency_key"] == one["idempotency_key"]


async def test_an_event_older_than_the_platform_takes_expires_as_it_is_planned(game: Game) -> None:
    await game.to("meta")
    old = time.time() - 8 * DAY
    await game.click(click_ids={"fbclid": "Aged"}, user_id="u", clicked_at=old - 60)
    event = await game.event("install", user_id="u", occurred_at=old, event_id="e")
    assert [one["status"] for one in event["deliveries"]] == ["expired"]
    one = await game.delivery(event["deliveries"][0]["id"])
    assert (one["status"], one["attempts"], one["attempt_log"]) == ("expired", 0, [])
    assert one["reason"]
    problem(await game.game.post(f"/v1/deliveries/{one['id']}/retry"), 409)
    assert [item["id"] for item in await game.deliveries(status="expired")] == [one["id"]]


async def test_a_young_click_is_held_for_google(game: Game) -> None:
    await game.to("google", options={"hold_hours": 6})
    await game.click(click_ids={"gclid": "Young-1"}, user_id="u")
    event = await game.event("install", user_id="u")
    assert [one["status"] for one in event["deliveries"]] == ["held"]
    one = await game.delivery(event["deliveries"][0]["id"])
    assert (one["status"], one["reason"]) == ("held", "young_click")
    assert one["next_attempt_at"] > one["created_at"]


async def test_an_event_from_a_clock_that_is_ahead_is_held_until_its_time(game: Game) -> None:
    await game.to("webhook")
    await game.click(user_id="u")
    event = await game.event("install", user_id="u", occurred_at=time.time() + 300)
    one = await game.delivery(event["deliveries"][0]["id"])
    assert (one["status"], one["reason"]) == ("held", "early_event")


async def test_retry_of_what_arrived_is_a_conflict_and_of_nothing_not_found(game: Game) -> None:
    await game.to("meta")
    await game.click(user_id="u")
    delivery = (await game.event("install", user_id="u"))["deliveries"][0]["id"]
    await game.settled(delivery, "delivered")
    problem(await game.game.post(f"/v1/deliveries/{delivery}/retry"), 409)
    for unknown in ("dlv_0", "nonsense", f"dlv_{'0' * 32}"):
        problem(await game.game.get(f"/v1/deliveries/{unknown}"), 404)
        problem(await game.game.post(f"/v1/deliveries/{unknown}/retry"), 404)


async def test_replay_counts_first_and_then_sends(game: Game) -> None:
    delivery = await held(game, event_id="e")
    await game.admin.delete(f"/v1/apps/{game.app}/destinations/meta")
    await game.to("meta")

    async def replay(**body: Any) -> dict[str, int]:
        answer = await game.game.post("/v1/deliveries/replay", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    chosen = {"status": "cancelled", "destination": "meta"}
    assert await replay(filter={"status": "failed"}, dry_run=True) == {"matched": 0, "requeued": 0}
    assert await replay(filter=chosen, dry_run=True) == {"matched": 1, "requeued": 0}
    now = {"created_after": time.time() - 60, "created_before": int(time.time()) + 60, "platform": None}
    assert await replay(filter={**chosen, **now}, dry_run=True) == {"matched": 1, "requeued": 0}
    assert (await game.delivery(delivery))["status"] == "cancelled"
    assert await replay(filter={**chosen, "status": ["cancelled", "failed"]}) == {"matched": 1, "requeued": 1}
    await game.settled(delivery, "delivered")
    assert await replay(filter={"event_id": "e"}) == {"matched": 0, "requeued": 0}
    assert await replay(filter={"status": "delivered"}) == {"matched": 0, "requeued": 0}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"filter": []}, "filter"),
        ({"filter": {"stauts": "failed"}}, "filter.stauts"),
        ({"filter": {"status": "lost"}}, "status"),
        ({"dry_run": "yes"}, "dry_run"),
    ],
)
async def test_a_wrong_replay_names_its_field(game: Game, body: dict[str, Any], field: str) -> None:
    assert fields(await game.game.post("/v1/deliveries/replay", json=body)) == {field}


async def test_an_event_is_explained(game: Game) -> None:
    await game.to("meta")
    await game.to("tiktok")
    await game.click(click_ids={"fbclid": "Why"}, user_id="u")
    await game.event("install", user_id="u", event_id="größe 1/2?#", value=1.25, currency="EUR", properties={"a": [1]})
    answer = await game.admin.get("/v1/events/gr%C3%B6%C3%9Fe%201%2F2%3F%23", params={"app": game.app})
    one = answer.json()
    assert (one["event_id"], one["name"], one["status"]) == ("größe 1/2?#", "install", "matched")
    assert (one["value"], one["currency"], one["properties"]) == (1.25, "EUR", {"a": [1]})
    assert [(click["type"], click["value"], click["taken"]) for click in one["clicks"]] == [("fbclid", "Why", True)]
    assert one["clicks"][0]["why"]
    assert [delivery["destination"] for delivery in one["deliveries"]] == ["meta"]
    assert one["not_sent"] == [{"destination": "tiktok", "platform": "tiktok", "reason": "no_click_id"}]
    problem(await game.game.get("/v1/events/unknown"), 404)
    problem(await game.admin.get("/v1/events/unknown", params={"app": game.app}), 404)


async def test_stats_count_per_destination_status_and_bucket(game: Game) -> None:
    await game.to("meta")
    await game.click(user_id="u")
    for name in ("install", "login"):
        await game.event(name, user_id=(name == "install" and "u") or "nobody")
    await eventually(lambda: game.deliveries(status="delivered"), lambda items: len(items) == 1)
    span = {"from": str(time.time() - DAY), "to": str(time.time() + 60)}
    for bucket in ("minute", "hour", "day"):
        stats = (await game.game.get("/v1/stats", params={**span, "bucket": bucket})).json()
        assert [one["counts"]["delivered"] for one in stats["buckets"] if "delivered" in one["counts"]] == [1]
        delays = stats["totals"][0]["delay_ms"]
        assert 0 < delays["p50"] <= delays["p95"] <= delays["p99"]
        assert stats["events"] == {"matched": 1, "waiting": 1}
    assert fields(await game.game.get("/v1/stats", params={"from": span["to"], "to": span["from"]})) == {"to"}
    past = (
        await game.game.get("/v1/stats", params={"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"})
    ).json()
    assert past["buckets"] == []


async def test_cancelled_ones_are_counted_until_they_are_taken_back(game: Game) -> None:
    delivery = await held(game, event_id="e")

    async def counts() -> dict[str, int]:
        totals = (await game.game.get("/v1/stats")).json()["totals"]
        return totals[0]["counts"] if totals else {}

    await game.admin.delete(f"/v1/apps/{game.app}/destinations/meta")
    assert await counts() == {"cancelled": 1}
    await game.to("meta")
    assert (await game.game.post(f"/v1/deliveries/{delivery}/retry")).status_code == 202
    await game.settled(delivery, "delivered")
    assert await counts() == {"delivered": 1}


async def test_health_needs_no_token(game: Game) -> None:
    stranger = game.client(None)
    assert (await stranger.get("/healthz")).json() == {"status": "ok"}
    for path in ("/healthz", "/readyz"):
        head = await stranger.head(path)
        assert (head.status_code, head.content) == (200, b"")
    ready = await stranger.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["dispatchers"]["last_heartbeat_seconds"] >= 0
    metrics = await stranger.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "# TYPE postbacks_events_total counter" in metrics.text
    assert (await stranger.get("/docs")).status_code == 200
    assert (await stranger.get("/", follow_redirects=True)).headers["content-type"].startswith("text/html")
