"""The contract, section 6: clicks."""

from __future__ import annotations

import json
import time
from ipaddress import ip_network
from typing import Any

import pytest

from tests.api.game import Game, fields, problem
from tests.support import database, service

URL = "https://game.example/lp?FBclid=IwAR%2Babc&utm_source=x&TTCLID=E.C.P.a-b_c&wbraid=W1"


async def test_click_ids_are_read_from_the_url_and_given_ones_win(game: Game) -> None:
    answer = await game.page.post("/v1/clicks", json={"url": URL, "click_ids": {"ttclid": "given", "other": "x"}})
    assert answer.status_code == 202
    body = answer.json()
    assert body["click_ids"] == {"fbclid": "IwAR+abc", "ttclid": "given", "wbraid": "W1"}
    assert body["visitor_id"]


async def test_a_beacon_needs_no_header(game: Game) -> None:
    body = json.dumps({"key": game.keys["publishable_key"], "url": URL, "visitor_id": "v-1"})
    answer = await game.client(None).post(
        "/v1/clicks",
        content=body,
        headers={"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://game.example"},
    )
    assert answer.status_code == 202, answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json()["visitor_id"] == "v-1"


async def test_other_origins_may_ask_first_and_read_errors(game: Game) -> None:
    stranger = game.client(None)
    asked = await stranger.options(
        "/v1/clicks",
        headers={
            "Origin": "https://game.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert asked.status_code in (200, 204)
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert {"authorization", "content-type"} <= set(asked.headers["access-control-allow-headers"].lower().split(", "))
    refused = await stranger.post("/v1/clicks", json={"url": URL}, headers={"Origin": "https://game.example"})
    problem(refused, 401)
    assert refused.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"visitor_id": "no spaces"}, "visitor_id"),
        ({"visitor_id": "x" * 129}, "visitor_id"),
        ({"clicked_at": "yesterday"}, "clicked_at"),
        ({"clicked_at": time.time() + 3600}, "clicked_at"),
        ({"click_ids": []}, "click_ids"),
        ({"click_ids": {"fbclid": 5}}, "click_ids"),
        ({"consent": {"postbacks": "perhaps"}}, "consent.postbacks"),
        ({"url": 5}, "url"),
    ],
)
async def test_a_wrong_click_names_its_field(game: Game, change: dict[str, Any], field: str) -> None:
    assert fields(await game.page.post("/v1/clicks", json=change)) == {field}


async def test_without_a_click_id_nothing_is_stored(game: Game) -> None:
    answer = await game.page.post("/v1/clicks", json={"url": "https://game.example/", "user_id": "u1"})
    assert answer.status_code == 202
    assert answer.json()["click_ids"] == {}
    assert (await game.game.get("/v1/users/u1")).json()["clicks"] == []


async def test_the_first_sight_of_a_click_id_is_kept(game: Game) -> None:
    first = time.time() - 3600
    await game.click(click_ids={"fbclid": "Once"}, clicked_at=first, url="https://game.example/a")
    await game.click(
        click_ids={"fbclid": "Once"}, url="https://game.example/b", user_id="u1", consent={"postbacks": True}
    )
    clicks = (await game.game.get("/v1/users/u1")).json()["clicks"]
    assert [one["url"] for one in clicks] == ["https://game.example/a"]
    assert clicks[0]["consent"]["postbacks"] is True
    event = await game.event("install", user_id="u1", occurred_at=first + 60)
    assert event["match"] == {"method": "user_id", "platforms": ["meta"]}


@pytest.mark.parametrize("clicked_at", [lambda: int(time.time()) - 60, lambda: "2026-11-01T10:00:00+01:00"])
async def test_times_are_rfc_3339_or_unix_seconds(game: Game, clicked_at: Any) -> None:
    value = clicked_at()
    answer = await game.page.post("/v1/clicks", json={"click_ids": {"fbclid": "T"}, "clicked_at": value})
    assert answer.status_code in (202, 422)
    event = await game.game.post("/v1/events", json={"name": "install", "user_id": "u", "occurred_at": value})
    assert event.status_code == answer.status_code


async def test_identify_ties_a_player_to_the_clicks_of_a_visitor(game: Game) -> None:
    await game.to("meta")
    seen = await game.click(click_ids={"fbclid": "Identified"})
    beacon = {"key": game.keys["publishable_key"], "visitor_id": seen["visitor_id"], "user_id": "player"}
    answer = await game.client(None).post("/v1/clicks", content=json.dumps(beacon))
    assert answer.status_code == 202
    assert answer.json() == {"visitor_id": seen["visitor_id"], "click_ids": {}}

    event = await game.event("install", user_id="player")
    assert event["match"]["method"] == "user_id"
    assert [one["platform"] for one in event["deliveries"]] == ["meta"]


async def test_a_withdrawal_of_consent_cancels_what_is_not_sent(game: Game) -> None:
    await game.to("meta")
    await game.admin.post(f"/v1/apps/{game.app}/destinations/meta/pause")
    seen = await game.click(click_ids={"fbclid": "Withdrawn"}, consent={"postbacks": True})
    event = await game.event("install", visitor_id=seen["visitor_id"], user_id="u")
    delivery = event["deliveries"][0]["id"]
    assert (await game.delivery(delivery))["status"] == "held"

    withdrawal = {
        "key": game.keys["publishable_key"],
        "visitor_id": seen["visitor_id"],
        "consent": {"postbacks": False},
    }
    assert (await game.client(None).post("/v1/clicks", json=withdrawal)).status_code == 202
    ended = await game.delivery(delivery)
    assert (ended["status"], ended["reason"]) == ("cancelled", "consent_withdrawn")
    later = await game.event("purchase", user_id="u", value=1, currency="EUR")
    assert later["status"] == "suppressed"
    assert later["deliveries"] == []
    problem(await game.game.post(f"/v1/deliveries/{delivery}/retry"), 409)


async def test_an_address_is_believed_from_a_secret_key_only(game: Game) -> None:
    claimed = "203.0.113.77"
    await game.click(click_ids={"fbclid": "Liar"}, ip=claimed)
    assert (await game.event("install", ip=claimed))["status"] == "waiting"
    answer = await game.game.post("/v1/clicks", json={"click_ids": {"fbclid": "Backend"}, "ip": claimed})
    assert answer.status_code == 202
    assert (await game.event("install", ip=claimed, event_id="second"))["match"]["method"] == "ip"


async def test_a_forwarded_address_is_believed_from_trusted_proxies_only(game: Game, postgres: str) -> None:
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    await game.page.post("/v1/clicks", json={"click_ids": {"fbclid": "Direct"}}, headers=forwarded)
    assert (await game.event("install", ip="203.0.113.9"))["status"] == "waiting"

    url = await database.fresh(postgres)
    trusted = {"trusted_proxies": (ip_network("127.0.0.0/8"),), "dispatch": False}
    async with service.running(url, game.sandbox, **trusted) as behind:
        await behind.page.post("/v1/clicks", json={"click_ids": {"fbclid": "Proxied"}}, headers=forwarded)
        assert (await behind.event("install", ip="203.0.113.9"))["match"]["method"] == "ip"
        assert (await behind.event("install", ip="198.51.100.1"))["status"] == "waiting"
    await database.drop(url)


@pytest.mark.parametrize("path", ["/v1/collect", "/collect"])
@pytest.mark.parametrize("form", [False, True])
async def test_tracks_page_visits(game: Game, path: str, form: bool) -> None:
    visit = {
        "event_name": "web_visit",
        "timestamp": "2026-11-23T10:00:00Z",
        "page_url" if form else "url": f"https://game.example/?fbclid=Visit{form}{len(path)}",
        "clientId": "c-1",
        "source": "meta",
        "user_id": "visitor",
    }
    visit["timestamp"] = str(int(time.time()) - 5)
    sent = {"data": visit} if form else {"json": visit}
    answer = await game.game.post(path, **sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["click_ids"] == {"fbclid": f"Visit{form}{len(path)}"}
    answer = await game.game.post(
        path.replace("collect", "measure"), json={"user_id": "visitor", "event_name": "game_open"}
    )
    assert answer.json()["status"] == "matched"


@pytest.mark.parametrize(
    ("consent", "postbacks"), [(False, False), ("denied", False), (True, True), ("true", True), ("", None)]
)
@pytest.mark.parametrize("form", [False, True])
async def test_tracks_one_consent_flag_decides_about_postbacks(
    game: Game, consent: bool | str, postbacks: bool | None, form: bool
) -> None:
    await game.to("meta")
    visit = {"page_url": "https://game.example/?fbclid=Flagged", "user_id": "p1", "consent": consent}
    sent = {"data": {**visit, "consent": str(consent)}} if form else {"json": visit}
    assert (await game.game.post("/collect", **sent)).status_code == 200

    [click] = (await game.game.get("/v1/users/p1")).json()["clicks"]
    assert click["consent"]["postbacks"] is postbacks
    opened = {"user_id": "p1", "event_name": "game_open"}
    event = (await game.game.post("/measure", json=opened)).json()
    assert (event["status"] == "suppressed") is (postbacks is False)
    refused = await game.game.post("/measure", data={**opened, "consent": "false"})
    assert refused.json()["status"] == "suppressed"
