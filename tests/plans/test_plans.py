"""The plans of the hot statements, whatever the statistics say, with values and without.

Statistics of an outbox are always wrong: it is empty one moment and huge the next. A plan that follows them reads the
whole table for a handful of rows. Each test runs the store's own function over a connection of the service, and looks
at what PostgreSQL really did. What uses `noticed` relies on the housekeeping where it is due within seconds; claims and what
settles them do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from postbacks.domain import ids
from postbacks.store import clicks, events, outbox, reading
from postbacks.store.outbox import Claim, Postponed
from postbacks.store.reading import Filter
from tests.plans import filling
from tests.plans.explaining import Explaining, Plan

CLAIM = 500
PAGE = 51
APP = filling.APPS[0]
USERS = [f"p-{number}" for number in range(CLAIM)]


async def plan_of(asked: Explaining, work: Awaitable[Any], reading: tuple[str, ...] = filling.TABLES) -> Plan:
    """The plan of the one statement that `work` sends to our tables (to those of `reading`)."""
    asked.plans.clear()
    await work
    # The server tells a plan when the next statement closes this one's portal; asyncpg in the next round of the loop.
    await asked.connection.execute("SELECT 1")
    await asyncio.sleep(0)
    ours = [plan for plan in asked.plans if any(node.relation.startswith(reading) for node in plan.nodes)]
    assert len(ours) == 1, [plan.query for plan in ours]
    return ours[0]


async def claimed(asked: Explaining, lease: UUID, *, sweep: bool = True) -> Claim:
    claim = await outbox.claim(asked.connection, APP, "meta", limit=CLAIM, lease=lease, seconds=60, sweep=sweep)
    assert len(claim.rows) == CLAIM
    return claim


def reads_no_more_than(plan: Plan, table: str, rows: int) -> None:
    """No step reads a table from end to end, nor more rows of it than asked for."""
    scans = plan.scans(table)
    assert scans, plan.text
    for node in scans:
        assert node.kind != "Seq Scan" or node.rows + node.removed == 0, plan.text
        assert node.rows + node.removed <= rows, plan.text


# --- dispatch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sweep", [True, False])
async def test_the_claim_walks_the_index_of_what_is_due(asked: Explaining, sweep: bool) -> None:
    plan = await plan_of(asked, claimed(asked, uuid4(), sweep=sweep), reading=("outbox",))

    assert plan.indexes("outbox") == {"outbox_due"}
    assert not plan.kinds & {"Sort", "Incremental Sort", "Bitmap Heap Scan", "Hash Join", "Merge Join"}, plan.text
    reads_no_more_than(plan, "outbox", CLAIM)
    assert plan.buffers < CLAIM * 2, plan.text


async def test_a_claim_begins_behind_what_others_lease(asked: Explaining) -> None:
    """The ten thousand oldest are under lease. Nobody looks at them, or at the leases but the last one."""
    for _ in range(20):
        await claimed(asked, uuid4())
    plan = await plan_of(asked, claimed(asked, uuid4(), sweep=False), reading=("outbox",))

    assert plan.indexes("outbox") == {"outbox_due"}
    assert not plan.kinds & {"Sort", "Incremental Sort", "Bitmap Heap Scan"}, plan.text
    reads_no_more_than(plan, "outbox", CLAIM + 1)
    assert plan.buffers < CLAIM * 2, plan.text


async def test_a_claim_that_sweeps_reads_past_what_others_lease(asked: Explaining) -> None:
    """It passes them in the index, and sorts nothing."""
    for _ in range(20):
        await claimed(asked, uuid4())
    plan = await plan_of(asked, claimed(asked, uuid4()), reading=("outbox",))

    assert plan.indexes("outbox") == {"outbox_due"}
    assert not plan.kinds & {"Sort", "Incremental Sort", "Bitmap Heap Scan"}, plan.text
    reads_no_more_than(plan, "outbox", CLAIM * 21)


@pytest.mark.usefixtures("noticed")
async def test_whoever_looks_for_work_looks_once_for_each_destination(asked: Explaining) -> None:
    plan = await plan_of(asked, outbox.destinations_with_work(asked.connection))

    assert plan.indexes("outbox") == {"outbox_due"}
    reads_no_more_than(plan, "outbox", len(filling.APPS) * len(filling.DESTINATIONS))


async def test_events_of_a_claim_come_from_their_day_by_key(asked: Explaining) -> None:
    claim = await claimed(asked, uuid4())
    wanted = {ids.event_of(row.id) for row in claim.rows}
    days = {f"events_{ids.created_at(identifier):%Y%m%d}" for identifier in wanted}
    plan = await plan_of(asked, events.to_send(asked.connection, APP, list(wanted)))

    assert plan.partitions("events") <= days, plan.text
    assert plan.indexes("events") == {f"{day}_pkey" for day in days}
    reads_no_more_than(plan, "events", CLAIM)


async def test_clicks_of_a_claim_come_by_key(asked: Explaining) -> None:
    claim = await claimed(asked, uuid4())
    plan = await plan_of(asked, clicks.to_send(asked.connection, APP, {row.click for row in claim.rows}))

    assert plan.indexes("clicks") == {"clicks_pkey"}
    reads_no_more_than(plan, "clicks", CLAIM)


@pytest.mark.parametrize("what", ["take out", "postpone", "postpone each"])
async def test_settling_touches_what_was_claimed(asked: Explaining, what: str) -> None:
    lease = uuid4()
    rows = (await claimed(asked, lease)).rows
    wanted = [row.id for row in rows]
    now = datetime.now(UTC)
    connection = asked.connection
    later = [Postponed(one, "retrying", "x", now, 1, now, 1, 0, False, None, None) for one in wanted]
    differing = [replace(row, due=now + timedelta(seconds=place)) for place, row in enumerate(later)]
    work: dict[str, Any] = {
        "take out": lambda: outbox.take_out(connection, APP, lease, [], CLAIM),
        "postpone": lambda: outbox.postpone(connection, APP, later, now),
        "postpone each": lambda: outbox.postpone(connection, APP, differing, now),
    }
    plan = await plan_of(asked, work[what]())

    assert plan.indexes("outbox") == {"outbox_pkey"}, plan.text
    reads_no_more_than(plan, "outbox", CLAIM)
    # A planner without statistics would run through a list of values for each row of the claim: thousands times thousands.
    assert "Function Scan" not in plan.text, plan.text


# --- ingest -------------------------------------------------------------------------------------------------------


async def test_players_are_looked_up_by_key(asked: Explaining) -> None:
    plan = await plan_of(asked, clicks.by_users(asked.connection, APP, USERS))

    assert plan.indexes("players") == {"players_pkey"}
    assert plan.indexes("clicks") == {"clicks_pkey"}
    reads_no_more_than(plan, "players", CLAIM)
    reads_no_more_than(plan, "clicks", CLAIM)


async def test_clicks_of_visitors_are_looked_up_by_visitor(asked: Explaining) -> None:
    plan = await plan_of(asked, clicks.by_visitors(asked.connection, APP, [f"v-{number}" for number in range(100)]))

    assert plan.indexes("clicks") == {"clicks_by_visitor"}
    reads_no_more_than(plan, "clicks", 200)


async def test_a_click_finds_who_waits_for_it_by_key(asked: Explaining) -> None:
    keys = [await asked.connection.fetchval("SELECT md5('key7')::uuid")]
    since = datetime.now(UTC) - timedelta(days=1)
    plan = await plan_of(asked, events.waiting_for(asked.connection, APP, keys, after=ids.floor(since), limit=2_000))

    days = {f"waiting_{since + timedelta(days=offset):%Y%m%d}" for offset in range(10)}
    assert plan.partitions("waiting") <= days, "days before are not looked into"
    reads_no_more_than(plan, "waiting", 20)


async def test_an_event_that_was_sent_again_is_found_by_key(asked: Explaining) -> None:
    keys = [await asked.connection.fetchval("SELECT md5('e-' || $1::text)::uuid", str(number)) for number in range(50)]
    plan = await plan_of(asked, events.known(asked.connection, APP, keys))

    assert plan.indexes("event_keys") == {"event_keys_pkey"}
    reads_no_more_than(plan, "event_keys", 50)


# --- what operators ask ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(before=filling.delivery_id(filling.ROWS // 2)),
        Filter(statuses=("failed",)),
        Filter(statuses=("failed", "expired", "cancelled")),
    ],
    ids=["newest", "further", "failed", "several"],
)
@pytest.mark.usefixtures("noticed")
async def test_a_page_of_deliveries_is_read_from_its_end(asked: Explaining, wanted: Filter) -> None:
    plan = await plan_of(asked, reading.deliveries(asked.connection, APP, wanted, PAGE))

    # What did not arrive may be sorted: it is little.
    undelivered = filling.ROWS // 500
    most = undelivered if wanted.statuses else PAGE
    reads_no_more_than(plan, "deliveries", most)
    reads_no_more_than(plan, "events", PAGE)
    if not wanted.statuses:
        reads_no_more_than(plan, "outbox", PAGE)
        assert plan.indexes("outbox") == {"outbox_pkey"}


async def test_deliveries_of_an_event_come_from_its_day(asked: Explaining) -> None:
    event = filling.event_id(filling.ROWS // 2)
    plan = await plan_of(asked, reading.deliveries(asked.connection, APP, Filter(event=event), PAGE))

    day = f"{ids.created_at(event):%Y%m%d}"
    assert plan.partitions("deliveries") == {f"deliveries_{day}"}
    assert plan.partitions("events") == {f"events_{day}"}
    for table in ("outbox", "deliveries", "events"):
        reads_no_more_than(plan, table, 2)


async def test_tries_of_a_delivery_come_from_its_day(asked: Explaining) -> None:
    delivery = UUID(int=filling.event_id(filling.ROWS // 2).int | 2)
    plan = await plan_of(asked, reading.attempts(asked.connection, APP, delivery))

    assert plan.partitions("attempts") == {f"attempts_{ids.created_at(delivery):%Y%m%d}"}
    assert plan.partitions("deliveries") == {f"deliveries_{ids.created_at(delivery):%Y%m%d}"}
    for table in ("attempts", "deliveries", "exchanges"):
        reads_no_more_than(plan, table, 1)
