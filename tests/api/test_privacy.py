"""The contract, section 7: erasure and export of a player."""

from __future__ import annotations

from tests.api.game import Game, problem

PLAYER = "steam/76561 é"
PATH = "/v1/users/steam%2F76561%20%C3%A9"


async def test_a_player_is_exported_erased_and_refused(game: Game) -> None:
    await game.to("meta")
    await game.to("webhook")
    await game.admin.post(f"/v1/apps/{game.app}/destinations/meta/pause")
    visitor = (await game.click(click_ids={"fbclid": "Forget"}, user_id=PLAYER))["visitor_id"]
    body = {"name": "install", "user_id": PLAYER, "event_id": "e"}
    event = (await game.game.post("/v1/events", json=body)).json()
    by_name = {one["destination"]: one["id"] for one in event["deliveries"]}
    await game.settled(by_name["webhook"], "delivered")

    export = (await game.game.get(PATH)).json()
    assert export["user_id"] == PLAYER
    assert [one["value"] for one in export["clicks"]] == ["Forget"]
    assert [one["event_id"] for one in export["events"]] == ["e"]
    assert [(one["platform"], one["identifier"]["value"]) for one in export["ledger"]] == [("webhook", "Forget")]

    receipt = await game.game.delete(PATH)
    assert receipt.status_code == 200
    assert receipt.json()["cancelled_deliveries"] == 1
    assert (await game.delivery(by_name["meta"]))["status"] == "cancelled"
    assert (await game.delivery(by_name["webhook"]))["status"] == "delivered"
    problem(await game.game.get("/v1/events/e"), 404)
    problem(await game.game.post(f"/v1/deliveries/{by_name['meta']}/retry"), 409)
    assert await game.deliveries(user_id=PLAYER) == []

    again = (await game.game.post("/v1/events", json=body)).json()
    assert (again["status"], again["duplicate"]) == ("suppressed", True)
    later = await game.event("purchase", user_id=PLAYER, visitor_id=visitor, value=1, currency="EUR", event_id="later")
    assert (later["status"], later["deliveries"]) == ("suppressed", [])
    assert (await game.explain("later"))["user_id"] is None
    await game.click(click_ids={"fbclid": "Again"}, user_id=PLAYER)
    assert (await game.event("login", click_ids={"fbclid": "Forget"}, user_id=PLAYER))["status"] == "suppressed"

    after = (await game.game.get(PATH)).json()
    assert (after["clicks"], after["events"], after["deliveries"], after["ledger"]) == ([], [], [], [])
    assert after["erased_at"] == receipt.json()["erased_at"]
    assert (await game.game.delete(PATH)).json()["erased_at"] == after["erased_at"]


async def test_the_admin_names_the_app(game: Game) -> None:
    problem(await game.admin.delete("/v1/users/u"), 400)
    assert (await game.admin.delete("/v1/users/u", params={"app": game.app})).status_code == 200
    assert (await game.event("install", user_id="u"))["status"] == "suppressed"
    assert (await game.event("install", user_id="v"))["status"] == "waiting"
