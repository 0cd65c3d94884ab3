"""An upgrade: the schema changes under running dispatchers, and data of the schema before is delivered after it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from postbacks.store import migrating
from tests.chaos.test_api_kills import Load
from tests.support import database
from tests.support.processes import batch, figures, fleet, scaled
from tests.support.service import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

CHANGES = (
    "op.execute('ALTER TABLE outbox ADD COLUMN extra int NOT NULL DEFAULT 0')",
    "op.execute('ALTER TABLE deliveries ADD COLUMN extra text')",
    "op.execute('ALTER TABLE attempts ADD COLUMN extra text')",
    "op.execute('ALTER TABLE events ADD COLUMN extra text')",
    "op.execute('ALTER TABLE destinations ADD COLUMN extra text')",
    "op.execute('CREATE INDEX outbox_by_extra ON outbox (app_id, extra)')",
)
"""What a next version may do to the tables that everybody works with."""


async def test_the_schema_changes_while_everybody_works(database_url: str, tmp_path: Path) -> None:
    """The version that runs is the previous one, as seen from the schema it is given."""
    # A lease as in production: longer than a migration keeps a table.
    async with fleet(database_url, "meta", "tiktok", LEASE_SECONDS=30) as one:
        dispatchers = [await one.dispatcher(), await one.dispatcher()]
        load = Load(one, seed=8)
        sending = asyncio.create_task(load.run())
        try:
            await _grows(load, scaled(500, 3_000))
            config = database.next_revision(database_url, tmp_path, *CHANGES)
            await asyncio.to_thread(migrating.upgrade, config)
            assert await one.value("SELECT version_num FROM alembic_version") == "next"
            await _grows(load, scaled(500, 3_000))
            ready = await one.client("none").get("/readyz")
            assert ready.status_code == 200, ready.text
        finally:
            load.stop = True
        await sending
        await one.drained(60)
        assert await one.value("SELECT count(*) FROM events") == len(load.accepted)
        for platform in ("meta", "tiktok"):
            stored = await one.sandbox.received(platform)
            assert (len(stored), {item["copies"] for item in stored}) == (len(load.accepted), {1})
        for process in (*dispatchers, one.processes[1]):
            assert process.running
            assert "Traceback" not in process.output, process.output[-3000:]
        figures(events=len(load.accepted), requests_sent_again=load.resent, lost=0, sent_twice=0)


async def _grows(load: Load, by: int) -> None:
    goal = len(load.accepted) + by

    async def grown() -> bool:
        return len(load.accepted) >= goal

    await eventually(grown, seconds=60)


async def test_data_of_the_previous_schema_is_delivered_by_the_newest(database_url: str) -> None:
    """With work of every kind open. Nobody starts on the old schema; two that migrate at once do it once."""
    newest = migrating.newest()
    before = ScriptDirectory.from_config(migrating.config("")).get_revision(newest).down_revision
    assert isinstance(before, str)
    async with fleet(database_url, "meta", "tiktok", "reddit") as one:
        events = scaled(500, 10_000)
        game = one.client(one.secret_key)
        await one.sandbox.fault("meta", "token_expired", times=1_000)
        await one.sandbox.fault("tiktok", "status", status=503, times=1_000_000)
        await one.database.execute("UPDATE destinations SET paused_at = now() WHERE platform = 'reddit'")
        dispatcher = await one.dispatcher()
        for start in range(0, events, 500):
            assert (await game.post("/v1/events", json=batch("e", start, 500))).json()["accepted"] == 500
        await eventually(lambda: one.value("SELECT count(*) FROM outbox WHERE status = 'retrying'"))
        await eventually(lambda: one.value("SELECT count(*) FROM destinations WHERE held_at IS NOT NULL"))
        for process in (dispatcher, one.processes[1]):
            assert await process.terminate() == 0
        await asyncio.to_thread(command.downgrade, migrating.config(database_url), before)

        refused = one.spawn("dispatch")
        assert await refused.ends() == 2
        assert f"The database has schema {before}, this version needs {newest}" in refused.output
        for process in [one.spawn("migrate") for _ in range(2)]:
            assert await process.ends() == 0, process.output
        for platform in ("meta", "tiktok"):
            await one.sandbox.clear(platform)
        await one.api()
        await one.dispatcher()
        await one.destination("meta")  # new credentials
        await one.database.execute("UPDATE destinations SET paused_at = NULL")
        await one.drained(90)
        for platform in ("meta", "tiktok", "reddit"):
            stored = await one.sandbox.received(platform)
            assert (len(stored), {item["copies"] for item in stored}) == (events, {1})
