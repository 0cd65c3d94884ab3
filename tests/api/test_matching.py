"""The contract, section 7: which click an event belongs to, and what is said of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.game import Game, fields
from tests.support.service import eventually

HOUR = 3600
ADDRESS = "203.0.113.50"


async def seen(game: Game, click_id: str, *, ago: float = 60, **more: Any) -> str:
    """A click on Meta that a backend registered; returns its visitor."""
    body = {"click_ids": {"fbclid": click_id}, "clicked_at": time.time() - ago, **more}
    answer = await game.game.post("/v1/clicks", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["visitor_id"])


@pytest.mark.parametrize("method", ["click_id", "visitor_id", "user_id", "ip"])
async def test_each_tier_is_named(game: Game, method: str) -> None:
    await game.to("meta")
    visitor = await seen(game, "Tier", user_id="u", ip=ADDRESS)
    facts = {"click_id": {"click_ids": {"fbclid": "Tier"}}, "visitor_id": {"visitor_id": visitor}}
    facts |= {"user_id": {"user_id": "u"}, "ip": {"ip": ADDRESS}}
    event = await game.event("install", **facts[method])
    assert (event["status"], event["match"]) == ("matched", {"method": method, "platforms": ["meta"]})
    delivery = await game.delivery(event["deliveries"][0]["id"])
    assert delivery["match"]["method"] == method
    assert delivery["match"]["confidence"] == ("medium" if method == "ip" else "high")
    assert delivery["match"]["clicked_at"]


async def test_the_best_tier_wins_and_the_others_are_explained(game: Game) -> None:
    visitor = await seen(game, "OfVisitor", ago=300, ip=ADDRESS)
    await seen(game, "OfPlayer", ago=200, user_id="u")
    event = await game.event(
        "install", event_id="e", user_id="u", visitor_id=visitor, click_ids={"fbclid": "OfEvent"}, ip=ADDRESS
    )
    assert event["match"]["method"] == "click_id"
    taken = [(one["value"], one["taken"]) for one in (await game.explain("e"))["clicks"]]
    assert ("OfEvent", True) in taken
    event = await game.event("login", user_id="u2", visitor_id=visitor, ip=ADDRESS)
    assert event["match"]["method"] == "visitor_id"


async def test_a_click_ID_that_comes_with_an_event_counts_as_a_click(game: Game) -> None:
    await game.to("meta")
    event = await game.event("install", user_id="u", click_ids={"FBCLID": "Fresh"})
    assert event["match"] == {"method": "click_id", "platforms": ["meta"]}
    assert (await game.event("login", user_id="u"))["match"]["method"] == "user_id"


async def test_a_later_click_never_matches_and_an_older_one_leaves_the_window(game: Game) -> None:
    await game.rules(click_window_days=7)
    await seen(game, "Later", ago=10, user_id="u")
    await seen(game, "Old", ago=8 * 24 * HOUR, user_id="u")
    event = await game.event("install", user_id="u", occurred_at=time.time() - 60, event_id="e")
    assert event["status"] in ("waiting", "unmatched")
    why = {one["value"]: one["why"] for one in (await game.explain("e"))["clicks"]}
    assert "later than the event" in why["Later"]
    assert "7 days" in why["Old"]


async def test_an_event_in_whole_seconds_finds_the_click_of_its_second(game: Game) -> None:
    await game.to("google", options={"hold_hours": 0})
    now = time.time()
    if now % 1 > 0.8:
        now += 0.3
    await game.game.post(
        "/v1/clicks", json={"click_ids": {"gclid": "Quick-1"}, "user_id": "u", "clicked_at": int(now) - 60 + 0.5}
    )
    event = await game.event("install", user_id="u", occurred_at=int(now) - 60)
    assert event["status"] == "matched"
    await game.settled(event["deliveries"][0]["id"], "accepted", "delivered")
    assert (await game.event("login", user_id="u", occurred_at=int(now) - 60 + 0.25))["status"] == "waiting"


@pytest.mark.parametrize("key", ["visitor_id", "user_id", "ip"])
async def test_a_click_that_arrives_late_still_matches(game: Game, key: str) -> None:
    await game.to("meta")
    value = {"visitor_id": "v-late", "user_id": "u", "ip": ADDRESS}[key]
    event = await game.event("install", event_id="e", **{key: value})
    assert (event["status"], event["deliveries"]) == ("waiting", [])
    assert (await game.explain("e"))["not_sent"] == [
        {"destination": "meta", "platform": "meta", "reason": "no_click_id"}
    ]
    await seen(game, "Late", **{key: value})
    after = await eventually(lambda: game.explain("e"), lambda one: one["status"] == "matched")
    assert after["match"]["method"] == key
    assert after["not_sent"] == []
    await game.settled(after["deliveries"][0]["id"], "delivered")
    stats = (await game.game.get("/v1/stats")).json()
    assert stats["events"] == {"matched": 1}
    assert stats["not_sent"] == []


async def test_waiting_ends_after_late_click_hours(game: Game) -> None:
    await game.rules(late_click_hours=0.0002)
    body = {"name": "install", "user_id": "u", "event_id": "e"}
    assert (await game.game.post("/v1/events", json=body)).json()["status"] == "waiting"
    await eventually(lambda: game.explain("e"), lambda one: one["status"] == "unmatched")
    await seen(game, "TooLate", user_id="u")
    assert (await game.explain("e"))["status"] == "unmatched"
    assert (await game.game.post("/v1/events", json=body)).json()["status"] == "unmatched"
    batch = (await game.game.post("/v1/events", json={"events": [body]})).json()
    assert batch["results"] == [{"event_id": "e", "status": "unmatched", "duplicate": True}]
    await game.rules(late_click_hours=0)
    assert (await game.event("install", user_id="nobody"))["status"] == "unmatched"


async def test_later_events_inherit_the_match_of_the_install(game: Game) -> None:
    await game.rules(ip_window_hours=1, install_inheritance_days=3)
    await seen(game, "Inherited", ago=4 * 24 * HOUR + HOUR / 2, ip=ADDRESS)
    start = time.time() - 4 * 24 * HOUR
    assert (await game.event("install", user_id="u", ip=ADDRESS, occurred_at=start))["match"]["method"] == "ip"
    inside = await game.event(
        "purchase", user_id="u", occurred_at=start + 2 * 24 * HOUR, value=1, currency="EUR", event_id="in"
    )
    assert inside["match"]["method"] == "user_id"
    assert "inherited" in (await game.explain("in"))["clicks"][0]["why"]


async def test_visitors_on_one_address(game: Game) -> None:
    await game.rules(ip_shared_threshold=3)
    await game.to("meta")
    await seen(game, "First", ago=120, ip=ADDRESS)
    await seen(game, "Second", ago=60, ip=ADDRESS)
    event = await game.event("install", ip=ADDRESS, event_id="two")
    delivery = await game.delivery(event["deliveries"][0]["id"])
    assert delivery["match"]["confidence"] == "ambiguous"
    assert [one["value"] for one in (await game.explain("two"))["clicks"] if one["taken"]] == ["Second"]

    await seen(game, "Third", ago=30, ip=ADDRESS)
    assert (await game.event("install", ip=ADDRESS, event_id="three"))["match"]["method"] is None
    assert (await game.explain("three"))["match"]["method"] is None
    assert {one["taken"] for one in (await game.explain("three"))["clicks"]} == {False}


async def test_ipv6_matches_by_its_64(game: Game) -> None:
    await seen(game, "Six", ip="2001:db8:1:2::aaaa")
    assert (await game.event("install", ip="2001:db8:1:2:ffff::1"))["match"]["method"] == "ip"
    assert (await game.event("install", ip="2001:db8:1:3::aaaa"))["match"]["method"] is None
    await seen(game, "Four", ip="::ffff:198.51.100.7")
    assert (await game.event("install", ip="198.51.100.7"))["match"]["method"] == "ip"


async def test_the_address_window(game: Game) -> None:
    await game.rules(ip_window_hours=1)
    await seen(game, "Hours", ago=2 * HOUR, ip=ADDRESS)
    assert (await game.event("install", ip=ADDRESS))["match"]["method"] is None
    assert (await game.event("login", ip=ADDRESS, occurred_at=time.time() - 1.5 * HOUR))["match"]["method"] == "ip"


@pytest.mark.parametrize(
    ("send_to", "platforms"), [("every_matched_platform", ["meta", "tiktok"]), ("last_click", ["tiktok"])]
)
async def test_send_to(game: Game, send_to: str, platforms: list[str]) -> None:
    await game.rules(send_to=send_to)
    for platform in ("meta", "tiktok", "webhook"):
        await game.to(platform)
    await seen(game, "Earlier", ago=600, user_id="u")
    await seen(game, "", ago=60, user_id="u", click_ids={"ttclid": "E.C.P.last"})
    event = await game.event("install", user_id="u")
    assert event["match"]["platforms"] == platforms
    assert [one["platform"] for one in event["deliveries"]] == [*platforms, "webhook"]


@pytest.mark.parametrize(
    ("required", "click", "event", "status"),
    [
        (False, {}, {}, "matched"),
        (False, {"postbacks": False}, {}, "suppressed"),
        (False, {}, {"postbacks": False}, "suppressed"),
        (False, {"postbacks": True}, {"postbacks": False}, "suppressed"),
        (False, {"attribution": False, "postbacks": True}, {}, "waiting"),
        (False, {"postbacks": True}, {"attribution": False}, "suppressed"),
        (True, {}, {}, "suppressed"),
        (True, {"postbacks": True}, {}, "suppressed"),
        (True, {}, {"postbacks": True}, "suppressed"),
        (True, {"postbacks": True}, {"postbacks": True}, "matched"),
    ],
)
async def test_consent(game: Game, required: bool, click: dict[str, bool], event: dict[str, bool], status: str) -> None:
    await game.admin.patch(f"/v1/apps/{game.app}", json={"require_consent": required})
    await game.to("meta")
    await seen(game, "Consent", user_id="u", consent=click)
    answer = await game.event("install", user_id="u", consent=event, event_id="e")
    assert answer["status"] == status
    assert len(answer["deliveries"]) == (status == "matched")
    reasons = {one["reason"] for one in (await game.explain("e"))["not_sent"]}
    assert reasons == {"matched": set(), "suppressed": {"consent"}, "waiting": {"no_click_id"}}[status]


async def test_each_reason_not_to_send_is_named_and_counted(game: Game) -> None:
    await game.to("meta", "unmapped", events={"purchase": {"name": "Purchase"}})
    await game.to("meta", "off", enabled=False)
    await game.to("tiktok")
    await game.to("meta", "consenting")
    await seen(game, "Reasons", user_id="u", consent={"postbacks": False})
    await game.event("install", user_id="u", event_id="e")
    expected = {"unmapped": "unmapped", "off": "destination_disabled", "tiktok": "no_click_id", "consenting": "consent"}
    assert {one["destination"]: one["reason"] for one in (await game.explain("e"))["not_sent"]} == expected
    counted = (await game.game.get("/v1/stats")).json()["not_sent"]
    assert {one["destination"]: (one["reason"], one["count"]) for one in counted} == {
        name: (reason, 1) for name, reason in expected.items()
    }
    assert fields(await game.game.post("/v1/events", json={"name": "install"})) == {"user_id"}
