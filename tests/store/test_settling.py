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
from postbacks.store import attempts, history, leases, outbox, reading
from postbacks.store.attempts import SAID, AttemptRow, Said
from postbacks.store.database import Connection
from postbacks.store.history import Ended
from postbacks.store.outbox import Claimed, Postponed

APP = "game"
NOW = datetime.now(UTC)
LEASE = uuid4()
FULL = Said(NOW, 70_000, 200, "delivered", "100", "Ümläut", "POST", "https://a.example", '{"a":1}', "y-n", "ip")
BARE = Said(datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC), 0, None, "retry", None, None, None, None, None)


async def queued(connection: Connection, amount: int) -> list[UUID]:
    """Deliveries in the outbox, all due."""
    found = [ids.delivery_id(event, 1) for event in ids.new_ids(NOW, amount)]
    click = Click(uuid4(), "fbclid", "IwAR0", NOW)
    planned = Planned("meta", "meta", click, NOW, NOW + timedelta(days=6), held="", expired=False)
    await outbox.insert(connection, APP, [(one, planned) for one in found], NOW, timedelta(0))
    await connection.execute(
        "INSERT INTO destinations (app_id, name, platform, credentials) VALUES ($1, 'meta', 'meta', '') "
        "ON CONFLICT DO NOTHING",
        APP,
    )
    return found


async def claimed(
    connection: Connection, limit: int, *, lease: UUID = LEASE, seconds: float = 60, sweep: bool = True
) -> list[Claimed]:
    async with connection.transaction():
        claim = await outbox.claim(connection, APP, "meta", limit=limit, lease=lease, seconds=seconds, sweep=sweep)
    return sorted(claim.rows, key=lambda row: row.id)


async def leased(connection: Connection, amount: int) -> list[Claimed]:
    """Deliveries in the outbox, all under our lease."""
    await queued(connection, amount)
    return await claimed(connection, amount)


async def cancelled(connection: Connection, identifiers: Sequence[UUID]) -> None:
    await outbox.cancel(connection, APP, "by_operator", {"meta": "meta"}, identifiers=identifiers)


def postponed(identifier: UUID, place: int) -> Postponed:
    return Postponed(identifier, "accepted", None, NOW + timedelta(hours=1), 1, NOW, 0, 0, False, "request-1", place)


async def end(connection: Connection, ended: Sequence[Ended], staying: Sequence[UUID] = ()) -> set[UUID]:
    """As the dispatcher does it; those that were gone already."""
    async with connection.transaction():
        taken = await outbox.take_out(connection, APP, LEASE, staying, len(ended))
        assert taken is not None
        now, found = taken
        lost = set() if found is None else {one.id for one in ended}.difference(found)
        await history.insert(connection, APP, "meta", "meta", [one for one in ended if one.id not in lost], now)
    return lost


async def test_what_stays_is_not_taken_out(connection: Connection) -> None:
    claim = await leased(connection, 20)
    staying = [row.id for row in claim[:5]]

    assert await end(connection, [Ended(row, "delivered", None, 1, None) for row in claim[5:]], staying) == set()

    assert {row["id"] for row in await connection.fetch("SELECT id FROM outbox")} == set(staying)
    assert await connection.fetchval("SELECT count(*) FROM leases") == 0
    async with connection.transaction():
        assert await outbox.take_out(connection, APP, LEASE, [], 0) is None, "the lease is gone"


async def test_all_of_a_claim_ends_each_with_its_last_try(connection: Connection) -> None:
    claim = await leased(connection, 20)
    ways = [("delivered", None), ("failed", "100/2804003")]
    said = [FULL, BARE]
    ended = [
        Ended(row, *ways[place % 2], 1, AttemptRow(row.id, 1, said[place % 2], f"part {place}"))
        for place, row in enumerate(claim)
    ]

    assert await end(connection, ended) == set()
    rows = await connection.fetch(
        "SELECT d.*, now() AS now FROM deliveries d WHERE app_id = $1 AND destination = 'meta' AND platform = 'meta'",
        APP,
    )
    assert {(row["id"], row["status"], row["reason"], row["attempts"], row["click"]) for row in rows} == {
        (one.id, one.status, one.reason, 1, one.row.click) for one in ended
    }
    assert {row["created_at"] for row in rows} == {NOW}
    assert all(timedelta(0) < row["now"] - row["updated_at"] < timedelta(minutes=1) for row in rows)
    assert await connection.fetchval("SELECT array_agg(deliveries) FROM exchanges") == [10, 10], "each once"
    for one in (ended[0], ended[1]):
        assert one.last is not None
        (logged,) = await reading.attempts(connection, APP, one.id)
        assert (logged["number"], logged["request"]) == (1, one.last.request)
        assert Said(*(logged[name] for name in SAID)) == one.last.said
    assert not await connection.fetchval("SELECT count(*) FROM outbox WHERE app_id = $1", APP)


async def test_a_delivery_without_an_outcome_is_not_taken_out(connection: Connection) -> None:
    claim = await leased(connection, 20)

    with pytest.raises(RuntimeError, match="20 deliveries were under the lease, and 19 have ended"):
        await end(connection, [Ended(row, "delivered", None, 1, None) for row in claim[1:]])

    assert await connection.fetchval("SELECT count(*) FROM outbox") == 20


@pytest.mark.parametrize("lost", [1, 20])
async def test_what_was_cancelled_meanwhile_does_not_end_again(connection: Connection, lost: int) -> None:
    claim = await leased(connection, 20)
    await cancelled(connection, [row.id for row in claim[:lost]])

    others = await end(connection, [Ended(row, "delivered", None, 1, None) for row in claim])

    assert others == {row.id for row in claim[:lost]}
    rows = await connection.fetch("SELECT id FROM deliveries WHERE app_id = $1 AND status = 'cancelled'", APP)
    assert {row["id"] for row in rows} == others
    assert await connection.fetchval("SELECT count(*) FROM deliveries WHERE app_id = $1", APP) == 20


async def test_a_delivery_that_is_taken_back_keeps_the_try_that_ended_it(connection: Connection) -> None:
    first, second = await leased(connection, 2)
    await end(
        connection, [Ended(row, "failed", "x", 3, AttemptRow(row.id, 3, FULL, "part")) for row in (first, second)]
    )
    deadline = NOW + timedelta(days=1)

    for row, left in ((first, [1]), (second, [])):
        before = await reading.attempts(connection, APP, row.id)
        async with connection.transaction():
            assert await history.reopen(connection, APP, [(row.id, deadline)]) == [row.id]
        after = await reading.attempts(connection, APP, row.id)
        assert [dict(one) for one in after] == [dict(one) for one in before]
        assert len(after) == 1
        kept = await connection.fetch("SELECT deliveries FROM exchanges")
        assert [one["deliveries"] for one in kept] == left, "an exchange goes with the last that refers to it"
    assert await connection.fetchval("SELECT count(*) FROM outbox WHERE status = 'queued' AND attempts = 3") == 2


async def test_what_was_said_to_many_names_no_erased_click(connection: Connection) -> None:
    claim = await leased(connection, 4)
    echo = replace(FULL, response='{"bad": ["IwAR-erased"]}', message="IwAR-erased is bad")
    last = [AttemptRow(row.id, 1, (echo, FULL)[place % 2], "part") for place, row in enumerate(claim)]
    await end(connection, [Ended(row, "delivered", None, 1, one) for row, one in zip(claim, last, strict=True)])

    async with connection.transaction():
        left = await history.strip(connection, APP, [ids.event_of(row.id) for row in claim[:2]])
        await history.redact(connection, APP, left, ["IwAR-erased"])

    assert [await reading.attempts(connection, APP, row.id) for row in claim[:2]] == [[], []]
    (echoed,), (other,) = [await reading.attempts(connection, APP, row.id) for row in claim[2:]]
    assert (echoed["response"], echoed["message"], echoed["url"]) == (None, None, FULL.url)
    assert (other["response"], other["message"]) == (FULL.response, FULL.message)


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("lost", [0, 1, 20])
async def test_what_goes_on_is_postponed_unless_it_was_cancelled(
    connection: Connection, lost: int, *, alike: bool
) -> None:
    claim = [row.id for row in await leased(connection, 20)]
    await cancelled(connection, claim[:lost])
    rows = [postponed(one, place) for place, one in enumerate(claim)]
    if not alike:
        rows = [replace(row, due=row.due + timedelta(seconds=place)) for place, row in enumerate(rows)]

    async with connection.transaction():
        now = await outbox.database_now(connection)
        assert await outbox.postpone(connection, APP, rows, now) == set(claim[:lost])

    names = ", ".join(field.name for field in fields(Postponed))
    stored = await connection.fetch(f"SELECT {names} FROM outbox WHERE app_id = $1", APP)
    assert {Postponed(*row) for row in stored} == set(rows[lost:])


async def test_a_claim_knows_what_has_happened_before(connection: Connection) -> None:
    await queued(connection, 3)
    (plain, held, tried) = await claimed(connection, 3)
    assert (plain.status, plain.reason, plain.attempts, plain.tried_at, plain.reference_index) == (
        "queued",
        None,
        0,
        None,
        None,
    )
    before = [
        Postponed(held.id, "held", "paused", NOW, 0, None, 0, 0, False, None, None),
        Postponed(tried.id, "accepted", "later", NOW, 3, NOW - timedelta(hours=2), 2, 1, True, "request-1", 7),
    ]

    async with connection.transaction():
        await leases.end(connection, APP, LEASE)
        await outbox.postpone(connection, APP, before, await outbox.database_now(connection))
    after = await claimed(connection, 3)

    assert after[0] == plain
    for row, was in zip(after[1:], before, strict=True):
        assert {name.name: getattr(row, name.name) for name in fields(Postponed) if name.name != "due"} == {
            name.name: getattr(was, name.name) for name in fields(Postponed) if name.name != "due"
        }


async def test_the_log_is_stored_as_it_was_said(connection: Connection) -> None:
    claim = [row.id for row in await leased(connection, 5)]
    rows = [
        AttemptRow(one, place + 1, (FULL, BARE)[place % 2], ('{"x":"✓"}', None)[place % 2])
        for place, one in enumerate(claim)
    ]

    await attempts.record(connection, APP, rows)

    stored = await connection.fetch(
        f"SELECT delivery, number, request, {', '.join(SAID)} FROM attempts WHERE app_id = $1", APP
    )
    assert {AttemptRow(row[0], row[1], Said(*row[3:]), row[2]) for row in stored} == set(rows)
