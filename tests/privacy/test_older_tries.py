"""Migration 0002 on a filled database: tries from before it are kept, and the ledger shows them without consent."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx
from alembic import command

from postbacks.sandbox.server import Running
from postbacks.store import migrating
from tests.support import database, service
from tests.support.service import Service


async def test_tries_from_before_are_kept(postgres: str, sandbox: Running) -> None:
    url = await database.fresh(postgres)
    try:
        async with service.running(url, sandbox) as one:
            await one.destination("meta")
            await one.click(user_id="p")
            event = await one.event("install", user_id="p", event_id="e")
            await one.settled(event["deliveries"][0]["id"], "delivered")
            key = one.keys["secret_key"]
        await asyncio.to_thread(command.downgrade, migrating.config(url), "0001")
        await asyncio.to_thread(command.upgrade, migrating.config(url), "0002")
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT consent IS NULL AND shared IS NULL FROM attempts")
        await connection.close()
        await migrating.migrate(url)
        async with service.running(url, sandbox, app=False) as one, one.client(key) as game:
            await _both_kinds(one, game)
    finally:
        await database.drop(url)


async def _both_kinds(one: Service, game: httpx.AsyncClient) -> None:
    one.game = game
    event = await one.event("purchase", user_id="p", event_id="f", value=1, currency="EUR")
    await one.settled(event["deliveries"][0]["id"], "delivered")
    for event_id in ("e", "f"):
        (listed,) = await one.deliveries(event_id=event_id)
        tries = (await one.delivery(listed["id"]))["attempt_log"]
        assert [(found["number"], found["verdict"]) for found in tries] == [(1, "delivered")]
    ledger = {entry["event_id"]: entry for entry in (await one.game.get("/v1/users/p")).json()["ledger"]}
    assert ledger["e"]["consent"] is None
    assert ledger["e"]["also_shared"] == []
    assert ledger["f"]["consent"] == {"attribution": None, "postbacks": None, "ad_personalization": None}
    assert ledger["f"]["also_shared"] == ["user_agent"]
