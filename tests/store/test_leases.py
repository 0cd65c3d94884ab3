"""Who may work on what: claims of one destination happen one after the other, and a lease that is over is nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from postbacks.store import leases, outbox, reading
from postbacks.store.database import OUTAGES, Connection, Database
from postbacks.store.reading import Filter
from tests.store.test_settling import APP, LEASE, claimed, queued
from tests.support.service import eventually


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Connection]:
    database = await Database.open(database_url, size=1, name="other")
    async with database.connection() as one:
        yield one
    await database.close()


async def _waits(connection: Connection) -> bool:
    return bool(await connection.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))


async def test_a_claim_takes_what_no_other_has(connection: Connection) -> None:
    found = await queued(connection, 30)

    taken = [await claimed(connection, 10, lease=uuid4()) for _ in range(4)]

    assert [len(rows) for rows in taken] == [10, 10, 10, 0]
    assert sorted(row.id for rows in taken for row in rows) == sorted(found)
    listed = await reading.deliveries(connection, APP, Filter(statuses=("sending",)), 50)
    assert {row.id for row in listed} == set(found)


async def test_a_claim_waits_for_the_one_before_and_sees_its_lease(connection: Connection, other: Connection) -> None:
    await queued(connection, 30)
    first = connection.transaction()
    await first.start()
    mine = await outbox.claim(connection, APP, "meta", limit=20, lease=LEASE, seconds=60)

    theirs = asyncio.create_task(claimed(other, 20, lease=uuid4()))
    await eventually(lambda: _waits(connection))
    await first.commit()

    assert len(await theirs) == 10
    assert not {row.id for row in mine.rows} & {row.id for row in await theirs}


async def test_whoever_is_stopped_in_the_middle_of_a_claim_does_not_keep_others_for_long(
    connection: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "IDLE_SECONDS", 1)
    await queued(connection, 10)
    stopped = other.transaction()
    await stopped.start()
    await outbox.claim(other, APP, "meta", limit=10, lease=uuid4(), seconds=60)

    assert len(await asyncio.wait_for(claimed(connection, 10), 10)) == 10

    with pytest.raises(OUTAGES):
        await outbox.destinations_with_work(other)


async def test_what_is_under_a_lease_that_is_over_can_be_claimed_and_its_holder_finds_it_gone(
    connection: Connection,
) -> None:
    found = await queued(connection, 10)
    await claimed(connection, 10, seconds=-1)
    assert await reading.deliveries(connection, APP, Filter(statuses=("sending",)), 50) == []

    assert [row.id for row in await claimed(connection, 10, lease=uuid4())] == found

    assert not await leases.renew(connection, APP, LEASE, 60)
    assert not await leases.end(connection, APP, LEASE)


async def test_a_lease_that_is_renewed_in_time_goes_on(connection: Connection) -> None:
    await queued(connection, 10)
    await claimed(connection, 10, seconds=-1)

    assert await leases.renew(connection, APP, LEASE, 60)

    assert await claimed(connection, 10, lease=uuid4()) == []
    assert await leases.end(connection, APP, LEASE)


async def test_whoever_ends_a_lease_that_is_over_first_has_the_say(connection: Connection, other: Connection) -> None:
    """The claim waits for the outcome that is being written, and does not take what it ended."""
    await queued(connection, 10)
    rows = await claimed(connection, 10, seconds=-1)
    writing = connection.transaction()
    await writing.start()
    assert await outbox.take_out(connection, APP, LEASE, [row.id for row in rows[6:]], 6)

    theirs = asyncio.create_task(claimed(other, 10, lease=uuid4()))
    await eventually(lambda: _waits(connection))
    await writing.commit()

    assert [row.id for row in await theirs] == [row.id for row in rows[6:]]


async def test_a_lease_that_is_narrowed_leaves_the_rest_to_others(connection: Connection) -> None:
    found = await queued(connection, 10)
    await claimed(connection, 10)

    await leases.narrow(connection, APP, LEASE, found[:3])

    assert [row.id for row in await claimed(connection, 10, lease=uuid4())] == found[3:]


async def _due(connection: Connection, found: list[UUID]) -> list[UUID]:
    """Makes deliveries due one after the other, a second apart, the first one the longest."""
    for seconds, identifier in enumerate(reversed(found), 1):
        await connection.execute(
            "UPDATE outbox SET due = now() - $2::interval WHERE id = $1", identifier, timedelta(seconds=seconds)
        )
    return found


@pytest.mark.parametrize("sweep", [True, False])
async def test_claims_in_a_row_take_each_delivery_once_whether_they_sweep_or_not(
    connection: Connection, sweep: bool
) -> None:
    found = await _due(connection, await queued(connection, 30))

    taken = [await claimed(connection, 10, lease=uuid4(), sweep=sweep) for _ in range(4)]

    assert [[row.id for row in rows] for rows in taken] == [found[:10], found[10:20], found[20:], []]


@pytest.mark.parametrize("sweep", [True, False])
async def test_what_is_due_at_the_same_moment_is_taken_once(connection: Connection, sweep: bool) -> None:
    found = await queued(connection, 30)  # all at one time, like the events of a batch

    taken = [await claimed(connection, 10, lease=uuid4(), sweep=sweep) for _ in range(3)]

    assert sorted(row.id for rows in taken for row in rows) == sorted(found)


async def test_a_claim_that_does_not_sweep_begins_behind_the_leases_of_others(connection: Connection) -> None:
    found = await _due(connection, await queued(connection, 30))
    await claimed(connection, 20)
    await leases.narrow(connection, APP, LEASE, found[10:20])  # so that ten before the lease are free again

    assert [row.id for row in await claimed(connection, 5, lease=uuid4(), sweep=False)] == found[20:25]
    # Five are left behind the leases, and that is not enough.
    assert [row.id for row in await claimed(connection, 10, lease=uuid4(), sweep=False)] == [*found[:5], *found[25:]]
    assert [row.id for row in await claimed(connection, 10, lease=uuid4(), sweep=False)] == found[5:10]


async def test_a_claim_that_sweeps_finds_what_came_late(connection: Connection) -> None:
    found = await _due(connection, await queued(connection, 30))
    await claimed(connection, 10)
    (late,) = await queued(connection, 1)
    await connection.execute("UPDATE outbox SET due = now() - interval '1 hour' WHERE id = $1", late)

    assert [row.id for row in await claimed(connection, 5, lease=uuid4(), sweep=False)] == found[10:15]
    assert late in {row.id for row in await claimed(connection, 5, lease=uuid4(), sweep=True)}


async def test_a_lease_of_the_version_before_is_respected(connection: Connection) -> None:
    """It does not say how far it reaches."""
    found = await _due(connection, await queued(connection, 30))
    await claimed(connection, 10, lease=uuid4())
    await claimed(connection, 10)
    await connection.execute("UPDATE leases SET upto = NULL WHERE id = $1", LEASE)

    assert [row.id for row in await claimed(connection, 20, lease=uuid4(), sweep=False)] == found[20:]


@pytest.mark.parametrize(
    "gate", ["enabled = false", "paused_at = now()", "held_at = now()", "blocked_until = 'infinity'"]
)
async def test_a_closed_gate_yields_nothing(connection: Connection, gate: str) -> None:
    await queued(connection, 3)
    await connection.execute(f"UPDATE destinations SET {gate}")

    assert await claimed(connection, 10) == []
    assert await outbox.destinations_with_work(connection) == []


async def test_leases_that_nobody_revokes_are_forgotten(connection: Connection) -> None:
    kept = uuid4()
    for lease, seconds in ((LEASE, -4_000), (kept, -60), (uuid4(), -4_000)):
        await connection.execute(
            "INSERT INTO leases VALUES ($1, $2, 'gone', now() + $3::interval, '{}')",
            APP,
            lease,
            timedelta(seconds=seconds),
        )

    await leases.forget(connection, APP)

    assert [row["id"] for row in await connection.fetch("SELECT id FROM leases")] == [kept]
