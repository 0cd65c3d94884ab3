"""Retention by moving the clock: partitions are dropped, the rest is deleted, by the job that runs by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from postbacks.dispatch.housekeeping import Housekeeping
from tests.security.dump import dump, tables_with
from tests.support.service import Service, eventually

PERSONAL = (
    "events", "event_keys", "deliveries", "exchanges", "outbox", "waiting", "clicks", "players", "address_keys",
)  # fmt: skip


def housekeeping(one: Service, clock: Callable[[], datetime]) -> Housekeeping:
    runtime = one.runtime
    return Housekeeping(
        runtime.settings,
        runtime.database,
        runtime.catalog,
        runtime.sender,
        runtime.tokens,
        runtime.ingest.rematcher,
        clock,
        runtime.signals.work,
    )


async def after(one: Service, days: float) -> dict[str, str]:
    """What stands in the database after the housekeeping of a day that is yet to come."""
    moved = datetime.now(UTC) + timedelta(days=days)
    # Statistics and retention take turns under one lock each; ours may find it taken by the service's own.
    job = housekeeping(one, lambda: moved)
    await job._forget()
    return await dump(one.runtime.database.url)


async def _history(one: Service) -> None:
    await one.destination("meta")
    await one.destination("webhook")
    body = {"click_ids": {"fbclid": "OldClick"}, "user_id": "old-player", "ip": "203.0.113.5"}
    assert (await one.game.post("/v1/clicks", json=body)).status_code == 202
    event = await one.event("install", user_id="old-player", event_id="old-event")
    for delivery in event["deliveries"]:
        await one.settled(delivery["id"], "delivered")
    await one.event("install", user_id="nobody", event_id="waiting-event", ip="203.0.113.6")


async def test_each_kind_goes_when_its_time_is_over(running: Service) -> None:
    await _history(running)
    rows = await after(running, 1)
    assert [table for table in PERSONAL if not rows[table]] == ["outbox"], "nothing goes before its time"

    # The day's partition goes when the whole day is older than the window; the keys that hash addresses before.
    rows = await after(running, 4.1)
    assert not rows["waiting"]
    assert "OldClick" in rows["clicks"] and rows["events"]
    assert not rows["address_keys"], "nobody can tell any more which address a hash stood for"

    rows = await after(running, 29)
    kept = ("events", "exchanges", "deliveries", "event_keys")
    assert all(rows[table] for table in kept)
    rows = await after(running, 31.1)
    assert [table for table in kept if rows[table]] == []
    assert "OldClick" in rows["clicks"] and "old-player" in rows["players"]

    rows = await after(running, 89)
    assert "OldClick" in rows["clicks"]
    rows = await after(running, 90.1)
    assert await tables_with(running.runtime.database.url, "OldClick", "old-player", "nobody", "old-event") == []
    assert rows["stats"], "counts name nobody and stay"
    assert not (await after(running, 401))["stats"]


async def test_it_drops_tables_and_does_not_delete_row_by_row(running: Service) -> None:
    await _history(running)
    today = f"{datetime.now(UTC):%Y%m%d}"

    async def partitions() -> set[str]:
        async with running.runtime.database.connection() as connection:
            rows = await connection.fetch("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
            return {row["relname"] for row in rows}

    assert {f"{table}_{today}" for table in ("events", "exchanges", "attempts", "deliveries")} <= await partitions()
    await after(running, 31.1)
    left = await partitions()
    assert not {f"{table}_{today}" for table in ("events", "exchanges", "attempts", "deliveries", "waiting")} & left
    later = datetime.now(UTC) + timedelta(days=31.1 + 7)
    assert f"events_{later:%Y%m%d}" in left, "and made those of the days to come"


async def test_what_is_still_to_be_sent_keeps_its_event(running: Service) -> None:
    await _history(running)
    await running.admin.post("/v1/apps/game/destinations/meta/pause")
    held = await running.event("purchase", user_id="old-player", event_id="held-event", value=1, currency="EUR")
    assert held["deliveries"]
    rows = await after(running, 31.1)
    assert "held-event" in rows["events"] and rows["outbox"]


async def test_it_runs_by_itself(running: Service) -> None:
    """The first round of a dispatcher that starts includes it; nobody has to call anything."""
    await _history(running)
    moved = datetime.now(UTC) + timedelta(days=91)
    job = asyncio.create_task(housekeeping(running, lambda: moved).run())
    try:

        async def forgotten() -> bool:
            return not await tables_with(running.runtime.database.url, "OldClick", "old-player")

        await eventually(forgotten)
    finally:
        job.cancel()


async def test_an_event_key_is_free_again_after_the_retention(running: Service) -> None:
    first = await running.event("install", user_id="p", event_id="again")
    assert (await running.event("install", user_id="p", event_id="again"))["duplicate"]
    await after(running, 31.1)
    second = await running.event("install", user_id="p", event_id="again")
    assert (first["duplicate"], second["duplicate"]) == (False, False)
