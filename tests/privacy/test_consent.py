"""Consent: three flags, from click and event to every decision; what is withdrawn is not sent any more."""

from __future__ import annotations

from typing import Any

import pytest

from postbacks.domain.consent import read, written
from postbacks.domain.model import Consent
from postbacks.sandbox.base import Fault
from tests.support.service import CLICKS, Service


async def _paused(one: Service, **click: Any) -> dict[str, Any]:
    """An event whose deliveries wait behind paused destinations."""
    for name in ("meta", "webhook"):
        await one.destination(name)
        await one.admin.post(f"/v1/apps/game/destinations/{name}/pause")
    await one.click(user_id="p", visitor_id="v", **click)
    event = await one.event("install", user_id="p", event_id="e")
    assert len(event["deliveries"]) == 2
    return event


@pytest.mark.parametrize("flag", ["postbacks", "attribution"])
@pytest.mark.parametrize("how", ["the page again", "the banner, which knows the visitor alone"])
async def test_a_withdrawal_cancels_what_is_unsent(running: Service, flag: str, how: str) -> None:
    event = await _paused(running, consent={"postbacks": True, "attribution": True})
    ids = {"click_ids": CLICKS} if how == "the page again" else {"click_ids": {}, "url": "https://game.example/"}
    await running.click(visitor_id="v", consent={flag: False}, **ids)
    for delivery in event["deliveries"]:
        found = await running.delivery(delivery["id"])
        assert (found["status"], found["reason"]) == ("cancelled", "consent_withdrawn")
    # It cannot be undone by trying again, and what comes later is not planned at all.
    for name in ("meta", "webhook"):
        await running.admin.post(f"/v1/apps/game/destinations/{name}/resume")
    for delivery in event["deliveries"]:
        assert (await running.game.post(f"/v1/deliveries/{delivery['id']}/retry")).status_code == 409
    replayed = (await running.game.post("/v1/deliveries/replay", json={"filter": {}})).json()
    assert (replayed["matched"], replayed["requeued"]) == (2, 0)
    later = await running.event("purchase", user_id="p", value=1, currency="EUR", event_id="later")
    assert later["deliveries"] == []
    assert running.received("meta") == [] and running.received("sink") == []


async def test_what_a_refusal_was_the_only_reason_to_keep_goes(running: Service) -> None:
    await running.destination("meta", options={"share": ["ip", "user_agent"]})
    yes = {"attribution": True, "postbacks": True}
    body = {"click_ids": {"fbclid": "c"}, "ip": "2001:db8::7", "user_agent": "Seen/1.0", "consent": yes}
    await running.game.post("/v1/clicks", json=body)

    async def kept() -> dict[str, bool]:
        async with running.runtime.database.connection() as connection:
            row = await connection.fetchrow("SELECT address, network, user_agent, sealed_ip FROM clicks")
        return {name: value is not None for name, value in row.items()}

    assert all((await kept()).values())
    await running.game.post("/v1/clicks", json={**body, "consent": {"postbacks": False}})
    assert await kept() == {"address": True, "network": True, "user_agent": True, "sealed_ip": False}
    await running.game.post("/v1/clicks", json={**body, "consent": {"attribution": False}})
    assert await kept() == {"address": False, "network": False, "user_agent": False, "sealed_ip": False}


@pytest.mark.parametrize("where", ["click", "event"])
@pytest.mark.parametrize("flag", ["postbacks", "attribution"])
async def test_a_refusal_of_either_stops_everything(running: Service, where: str, flag: str) -> None:
    await running.destination("meta")
    refusal = {"consent": {flag: False}}
    await running.click(user_id="p", **(refusal if where == "click" else {}))
    event = await running.event("install", user_id="p", event_id="e", **(refusal if where == "event" else {}))
    assert event["deliveries"] == []
    assert event["status"] in ("suppressed", "waiting", "unmatched")


@pytest.mark.parametrize(
    ("click", "event", "sent"),
    [
        (True, None, "CONSENT_GRANTED"),
        (True, False, "CONSENT_DENIED"),
        (False, True, "CONSENT_DENIED"),
        (None, None, None),
    ],
)
async def test_ad_personalization_is_carried_to_the_platform(
    running: Service, click: bool | None, event: bool | None, sent: str | None
) -> None:
    await running.destination("google")

    def flags(value: bool | None) -> dict[str, Any]:
        return {
            "consent": {"postbacks": True, "ad_personalization": value} if value is not None else {"postbacks": True}
        }

    await running.click(user_id="p", **flags(click))
    stored = await running.event("install", user_id="p", event_id="e", **flags(event))
    delivery = await running.settled(stored["deliveries"][0]["id"], "delivered", "accepted")
    body = delivery["attempt_log"][0]["request"]["body"]
    assert (f'"adPersonalization":"{sent}"' in body) if sent else "adPersonalization" not in body


@pytest.mark.parametrize("click", [True, None])
@pytest.mark.parametrize("event", [True, None])
async def test_with_require_consent_unknown_is_refused(
    running: Service, click: bool | None, event: bool | None
) -> None:
    await running.admin.patch("/v1/apps/game", json={"require_consent": True})
    await running.destination("meta")

    def flags(value: bool | None) -> dict[str, Any]:
        return {"consent": {"postbacks": value}} if value is not None else {}

    await running.click(user_id="p", **flags(click))
    stored = await running.event("install", user_id="p", event_id="e", **flags(event))
    assert bool(stored["deliveries"]) is bool(click and event)


async def test_the_ledger_tells_what_was_so_when_it_was_sent(running: Service) -> None:
    await running.destination("meta", options={"share": ["user_agent", "ip"]})
    yes = {"attribution": True, "postbacks": True, "ad_personalization": True}
    body = {"click_ids": {"fbclid": "Told"}, "user_id": "p", "ip": "203.0.113.9", "user_agent": "Seen/1.0"}
    await running.game.post("/v1/clicks", json={**body, "consent": yes})
    event = await running.event("install", user_id="p", event_id="e")
    sent = await running.settled(event["deliveries"][0]["id"], "delivered")
    # Then consent is withdrawn, and the destination shares less: the past stays as it was.
    await running.game.post("/v1/clicks", json={**body, "consent": {"postbacks": False}})
    await running.destination("meta", options={"share": []})

    export = (await running.game.get("/v1/users/p")).json()
    (entry,) = export["ledger"]
    assert entry["at"] == sent["attempt_log"][0]["started_at"]
    assert (entry["platform"], entry["destination"], entry["event_id"]) == ("meta", "meta", "e")
    assert entry["identifier"] == {"type": "fbclid", "value": "Told"}
    assert entry["also_shared"] == ["user_agent", "ip"]
    assert (entry["consent"], entry["outcome"]) == (yes, "delivered")
    assert export["clicks"][0]["consent"]["postbacks"] is False
    assert running.received("meta")[0]["raw"]["user_data"]["client_ip_address"] == "203.0.113.9"


async def test_the_ledger_has_every_try_and_nothing_that_was_not_sent(running: Service) -> None:
    await running.destination("meta")
    await running.destination("webhook")
    await running.admin.post("/v1/apps/game/destinations/webhook/pause")
    running.sandbox.simulators["meta"].add_fault(Fault("html", status=502))
    await running.click(user_id="p")
    event = await running.event("install", user_id="p", event_id="e")
    by_name = {one["destination"]: one["id"] for one in event["deliveries"]}
    await running.settled(by_name["meta"], "delivered")
    ledger = (await running.game.get("/v1/users/p")).json()["ledger"]
    assert [(one["destination"], one["try"], one["also_shared"]) for one in ledger] == [
        ("meta", 1, ["user_agent"]),
        ("meta", 2, ["user_agent"]),
    ]
    assert ledger[0]["consent"] == {"attribution": None, "postbacks": None, "ad_personalization": None}


@pytest.mark.parametrize(
    "flags", [(a, b, c) for a in (True, False, None) for b in (True, False, None) for c in (True, None)]
)
def test_flags_survive_being_written(flags: tuple[bool | None, bool | None, bool | None]) -> None:
    assert read(written(Consent(*flags))) == Consent(*flags)
    assert len(written(Consent(*flags))) == 3


@pytest.mark.parametrize("flag", ["postbacks", "attribution"])
async def test_a_refusal_that_comes_after_the_claim_is_caught_before_the_send(running: Service, flag: str) -> None:
    """Planned with consent; what the click says when its turn comes is what counts."""
    await running.destination("meta")
    await running.admin.post("/v1/apps/game/destinations/meta/pause")
    await running.click(user_id="p")
    event = await running.event("install", user_id="p", event_id="e")
    async with running.runtime.database.connection() as connection:
        await connection.execute(f"UPDATE clicks SET consent_{flag} = false")
    await running.admin.post("/v1/apps/game/destinations/meta/resume")
    found = await running.settled(event["deliveries"][0]["id"], "skipped")
    assert (found["reason"], found["attempt_log"]) == ("consent", [])
    assert running.received("meta") == []
