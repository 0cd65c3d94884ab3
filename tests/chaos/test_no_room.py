"""PostgreSQL has no room to write (SQLSTATE 53100): refused with 503, sent again, written down when there is room.

`test_embedded_server.py` fills a real disk where it may mount one; here the table says so itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.processes import Fleet, batch, fleet
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


@asynccontextmanager
async def no_room(one: Fleet, table: str) -> AsyncIterator[None]:
    """Nothing can be added to a table."""
    await one.database.execute(
        "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
    )
    await one.database.execute(
        f"CREATE TRIGGER no_room BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION no_room()"
    )
    yield
    await one.database.execute(f"DROP TRIGGER no_room ON {table}")


async def test_no_room_for_events(database_url: str) -> None:
    async with fleet(database_url, "meta") as one:
        game = one.client(one.secret_key)
        async with no_room(one, "outbox"):
            refused = await game.post("/v1/events", json=batch("e", 0, 100))
            assert (refused.status_code, refused.headers.get("retry-after")) == (503, "2"), refused.text
            assert await one.value("SELECT count(*) FROM events") == 0
        assert (await game.post("/v1/events", json=batch("e", 0, 100))).json()["accepted"] == 100


@pytest.mark.parametrize("table", ["deliveries", "exchanges"])
async def test_no_room_for_outcomes(database_url: str, table: str) -> None:
    """The platform has the events and nobody can write it down: that is tried again, the events are not."""
    async with fleet(database_url, "meta", LEASE_SECONDS=30) as one:
        async with no_room(one, table):
            answer = await one.client(one.secret_key).post("/v1/events", json=batch("e", 0, 100))
            assert answer.json()["accepted"] == 100
            dispatcher = await one.dispatcher()

            async def postponed() -> bool:
                return dispatcher.output.count("dispatch.recording_postponed") >= 2

            await eventually(postponed)
            assert await one.ended() == 0
        await one.drained(20)
        assert await one.ended() == 100
        assert {item["copies"] for item in await one.sandbox.received("meta")} == {1}
