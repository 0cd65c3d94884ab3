"""Erasure: of a player who was erased nothing is left in any table, whatever happens at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from postbacks.domain.idempotency import fingerprint
from postbacks.ingest.parsing import parse_event
from postbacks.sandbox.base import Fault
from postbacks.store import personal
from tests.security.dump import dump, tables_with
from tests.support.service import Service, eventually

PLAYER = "erase.me@player.example"
TRACES = (
    PLAYER,
    "visitor-of-the-erased",
    "ErasedClick",
    "ErasedOlder",
    "203.0.113.44",
    "planted-property",
    "Erased/1.0",
)


async def _history(one: Service) -> dict[str, Any]:
    """A player with two clicks, matched, waiting and unsent events, and tries at two platforms."""
    await one.destination("meta")
    await one.destination("webhook")
    assert one.demo("webhook")["options"]["method"] == "GET", "a URL that holds the click ID"
    await one.destination("tiktok", enabled=False)
    visitor = {"visitor_id": "visitor-of-the-erased", "user_agent": "Erased/1.0", "ip": "203.0.113.44"}
    older = {"click_ids": {"fbclid": "ErasedOlder"}, **visitor}
    assert (await one.game.post("/v1/clicks", json=older)).status_code == 202
    click = {"click_ids": {"fbclid": "ErasedClick"}, "user_id": PLAYER, **visitor}
    assert (await one.game.post("/v1/clicks", json=click)).status_code == 202
    sent = await one.event("install", user_id=PLAYER, event_id="i", properties={"note": "planted-property"})
    for delivery in sent["deliveries"]:
        await one.settled(delivery["id"], "delivered")
    await one.admin.post("/v1/apps/game/destinations/meta/pause")
    held = await one.event("purchase", user_id=PLAYER, event_id="p", value=3, currency="EUR")
    return {"sent": sent, "held": held}


async def test_nothing_is_left_in_any_table(running: Service, database_url: str) -> None:
    await _history(running)
    other = await running.event("install", user_id="somebody-else", event_id="other")
    assert {table for table, _ in await tables_with(database_url, *TRACES)} >= {
        "clicks",
        "events",
        "players",
        "deliveries",
        "exchanges",
    }

    export = (await running.game.get(f"/v1/users/{PLAYER}")).json()
    held = [(one["value"], one["linked_at"] is not None) for one in export["clicks"]]
    assert held == [("ErasedClick", True), ("ErasedOlder", False)], "the export has what the erasure takes"
    receipt = (await running.game.delete(f"/v1/users/{PLAYER}")).json()
    assert await tables_with(database_url, *TRACES) == []
    assert receipt["removed"]["events"] == 2
    assert receipt["removed"]["clicks"] == 2, "the visitor's other click goes too"
    assert receipt["cancelled_deliveries"] >= 1
    assert PLAYER not in str(receipt)

    # And nothing comes back with what the game still sends.
    for number in range(3):
        late = await running.event(
            "login", user_id=PLAYER, visitor_id="visitor-of-the-erased", event_id=f"late-{number}", ip="203.0.113.44"
        )
        assert (late["status"], late["deliveries"]) == ("suppressed", [])
    named = {"name": "login", "user_id": PLAYER, "event_id": f"login-of-{PLAYER}"}
    assert [(await running.game.post("/v1/events", json=named)).json()["duplicate"] for _ in range(2)] == [False, True]
    assert (await running.game.get(f"/v1/events/login-of-{PLAYER}")).json()["status"] == "suppressed"
    await running.click(user_id=PLAYER, click_ids={"fbclid": "ErasedClick"}, visitor_id="visitor-of-the-erased")
    assert await tables_with(database_url, *TRACES) == []
    assert (await running.game.get("/v1/events/other")).json()["event_id"] == other["event_id"]


async def test_it_is_idempotent_and_the_receipt_names_nobody(running: Service) -> None:
    await _history(running)
    first = (await running.game.delete(f"/v1/users/{PLAYER}")).json()
    again = (await running.game.delete(f"/v1/users/{PLAYER}")).json()
    assert (again["receipt"], again["erased_at"]) == (first["receipt"], first["erased_at"])
    assert again["removed"] == {"events": 0, "attempts": 0, "clicks": 0}
    assert again["cancelled_deliveries"] == 0


async def test_the_tombstone_is_a_keyed_hash(running: Service, database_url: str) -> None:
    """With the database alone nobody can tell whether a player was erased: the key is sealed."""
    await running.event("install", user_id=PLAYER, event_id="i")
    await running.game.delete(f"/v1/users/{PLAYER}")
    app = running.runtime.catalog.app("game")
    assert app is not None
    rows = await dump(database_url)
    assert str(app.user_key(PLAYER)) in rows["erasures"]
    assert app.secret.hex() not in rows["apps"]
    # The fingerprint of the erased event stays, so that a repeat is still a duplicate; it is keyed as well.
    async with running.runtime.database.connection() as connection:
        kept = await connection.fetchval("SELECT fingerprint FROM event_keys")
    now = running.runtime.ingest.clock()
    parsed = parse_event({"name": "install", "user_id": PLAYER, "event_id": "i"}, now, secret=app.secret)
    assert getattr(parsed, "fingerprint", None) == kept
    other = parse_event({"name": "install", "user_id": PLAYER, "event_id": "i"}, now, secret=b"\0" * 32)
    assert getattr(other, "fingerprint", None) != kept
    assert fingerprint({"a": 1}, b"k") != fingerprint({"a": 1})


async def test_a_click_shared_with_somebody_else_stays(running: Service) -> None:
    for player in (PLAYER, "sibling"):
        await running.game.post(
            "/v1/clicks",
            json={"click_ids": {"fbclid": "FamilyPc"}, "visitor_id": "family", "user_id": player},
        )
    await running.game.post("/v1/clicks", json={"click_ids": {"fbclid": "FamilyOld"}, "visitor_id": "family"})

    async def exported() -> list[str]:
        return [one["value"] for one in (await running.game.get("/v1/users/sibling")).json()["clicks"]]

    assert await exported() == ["FamilyPc"], "what may be somebody else's is not shown"
    removed = (await running.game.delete(f"/v1/users/{PLAYER}")).json()["removed"]
    assert removed["clicks"] == 0
    assert await exported() == ["FamilyPc", "FamilyOld"]


async def test_an_event_that_is_being_stored_at_that_moment_goes_too(running: Service, database_url: str) -> None:
    """Its transaction looked for the tombstone before there was one, and commits after it."""
    blocker = await asyncpg.connect(database_url)
    try:
        # Whoever stores an event waits here, after its look for the tombstone.
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("LOCK TABLE events IN SHARE MODE")
        event = asyncio.create_task(running.event("install", user_id=PLAYER, event_id="i"))

        async def stuck() -> bool:
            return bool(await blocker.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))

        await eventually(stuck)
        erasure = asyncio.create_task(running.game.delete(f"/v1/users/{PLAYER}"))

        async def buried() -> bool:
            async with running.runtime.database.connection() as other:
                return bool(await other.fetchval("SELECT count(*) > 0 FROM erasures"))

        await eventually(buried)
        assert not erasure.done()
        await transaction.rollback()
        await event
        assert (await erasure).json()["removed"]["events"] == 1
    finally:
        await blocker.close()
    assert await tables_with(database_url, PLAYER) == []


async def test_a_transaction_that_never_ends_delays_an_erasure_only_so_long(
    running: Service, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal, "WAIT_SECONDS", 0.2)
    idle = await asyncpg.connect(database_url)
    try:
        async with idle.transaction():
            await idle.fetchval("SELECT pg_current_xact_id()")
            assert (await running.game.delete(f"/v1/users/{PLAYER}")).status_code == 200
    finally:
        await idle.close()


async def test_a_send_under_way_leaves_no_try_behind(running: Service, database_url: str) -> None:
    """The platform answers after the erasure: what it was sent must not be written down now."""
    await running.destination("meta")
    await running.click(click_ids={"fbclid": "ErasedClick"}, user_id=PLAYER)
    running.sandbox.simulators["meta"].add_fault(Fault("slow", seconds=1.0))
    event = await running.event("install", user_id=PLAYER, event_id="i")
    identifier = event["deliveries"][0]["id"]
    await running.settled(identifier, "sending")
    await running.game.delete(f"/v1/users/{PLAYER}")
    assert (await running.delivery(identifier))["status"] == "cancelled"

    async def arrived() -> int:
        return len(running.received("meta"))

    await eventually(arrived)
    other = await running.event("install", user_id="next", event_id="n", click_ids={"fbclid": "NextClick"})
    await running.settled(other["deliveries"][0]["id"], "delivered")
    assert (await running.delivery(identifier))["attempt_log"] == []
    assert await tables_with(database_url, PLAYER, "ErasedClick") == []
