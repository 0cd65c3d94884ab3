"""What is written of a claim: only what is still ours, and every value of the log as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from postbacks.domain import ids
from postbacks.domain.model import Click
from postbacks.domain.planning import Planned
from postbacks.store import attempts, outbox
from postbacks.store.attempts import AttemptRow, Said
from postbacks.store.database import Connection
from postbacks.store.outbox import Ended, Postponed

APP = "game"
NOW = datetime.now(UTC)
LEASE = uuid4()


async def leased(connection: Connection, amount: int) -> list[UUID]:
    """Deliveries in the outbox, all under our lease."""
    found = [ids.delivery_id(event, 1) for event in ids.new_ids(NOW, amount)]
    click = Click(uuid4(), "fbclid", "IwAR0", NOW)
    planned = Planned("meta", "meta", click, NOW, NOW + timedelta(days=6), held="", expired=False)
    await outbox.insert(connection, APP, [(one, planned) for one in found], NOW, timedelta(0))
    await connection.execute("UPDATE outbox SET lease = $2 WHERE app_id = $1", APP, LEASE)
    return found


async def taken_over(connection: Connection, identifiers: Sequence[UUID]) -> None:
    await connection.execute(
        "UPDATE outbox SET lease = $3 WHERE app_id = $1 AND id = ANY($2::uuid[])", APP, identifiers, uuid4()
    )


def postponed(identifier: UUID, place: int) -> Postponed:
    return Postponed(identifier, "accepted", None, NOW + timedelta(hours=1), 1, NOW, 0, 0, False, "request-1", place)


async def test_all_of_a_claim_ends(connection: Connection) -> None:
    claim = await leased(connection, 20)
    ways = [("delivered", None), ("failed", "100/2804003")]
    ended = [Ended(one, *ways[place % 2], 1) for place, one in enumerate(claim)]

    assert await outbox.end(connection, APP, "meta", LEASE, ended) == set()
    rows = await connection.fetch("SELECT id, status, reason, delivered_at FROM deliveries WHERE app_id = $1", APP)
    assert {(row["id"], row["status"], row["reason"]) for row in rows} == {
        (one.id, one.status, one.reason) for one in ended
    }
    assert all((row["delivered_at"] is not None) is (row["status"] == "delivered") for row in rows)
    assert not await connection.fetchval("SELECT count(*) FROM outbox WHERE app_id = $1", APP)


@pytest.mark.parametrize("lost", [1, 20])
async def test_what_others_took_over_is_not_ended(connection: Connection, lost: int) -> None:
    claim = await leased(connection, 20)
    await taken_over(connection, claim[:lost])

    others = await outbox.end(connection, APP, "meta", LEASE, [Ended(one, "delivered", None, 1) for one in claim])

    assert others == set(claim[:lost])
    assert await connection.fetchval("SELECT count(*) FROM deliveries WHERE app_id = $1", APP) == 20 - lost


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("lost", [0, 1, 20])
async def test_what_goes_on_is_postponed_unless_others_took_it_over(
    connection: Connection, lost: int, *, alike: bool
) -> None:
    claim = await leased(connection, 20)
    await taken_over(connection, claim[:lost])
    rows = [postponed(one, place) for place, one in enumerate(claim)]
    if not alike:
        rows = [replace(row, due=row.due + timedelta(seconds=place)) for place, row in enumerate(rows)]

    async with connection.transaction():
        now = await outbox.database_now(connection)
        assert await outbox.postpone(connection, APP, LEASE, rows, now) == set(claim[:lost])

    names = ", ".join(field.name for field in fields(Postponed))
    stored = await connection.fetch(f"SELECT {names} FROM outbox WHERE app_id = $1 AND lease IS NULL", APP)
    assert {Postponed(*row) for row in stored} == set(rows[lost:])


async def test_the_log_is_stored_as_it_was_said(connection: Connection) -> None:
    claim = await leased(connection, 5)
    full = Said(NOW, 70_000, 200, "delivered", "100", "Ümläut", "POST", "https://a.example", '{"a":1}', "y-n", "ip")
    bare = Said(datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC), 0, None, "retry", None, None, None, None, None)
    rows = [
        AttemptRow(one, place + 1, (full, bare)[place % 2], ('{"x":"✓"}', None)[place % 2])
        for place, one in enumerate(claim)
    ]

    await attempts.record(connection, APP, rows)

    names = ", ".join(field.name for field in fields(Said))
    stored = await connection.fetch(f"SELECT delivery, number, request, {names} FROM attempts WHERE app_id = $1", APP)
    assert {AttemptRow(row[0], row[1], Said(*row[3:]), row[2]) for row in stored} == set(rows)
