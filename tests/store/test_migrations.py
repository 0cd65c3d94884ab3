"""Every migration on a filled database; the models and the migrations say the same (`alembic check`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from postbacks.domain import ids
from postbacks.store import migrating, partitions
from postbacks.store.schema import PARTITIONED
from tests.support import database
from tests.support.service import eventually

SCRIPTS = list(reversed(list(ScriptDirectory.from_config(migrating.config("")).walk_revisions())))
REVISIONS = [(one.revision, one.down_revision) for one in SCRIPTS]
ROWS = 2_000


@pytest.fixture
async def empty(postgres: str) -> AsyncIterator[str]:
    """A database without any table."""
    url = await database.fresh(postgres, template="template0")
    yield url
    await database.drop(url)


async def _to(url: str, revision: str) -> None:
    await asyncio.to_thread(command.upgrade, migrating.config(url), revision)


def test_the_history_is_one_line() -> None:
    assert [down for _, down in REVISIONS] == [None, *(revision for revision, _ in REVISIONS[:-1])]
    assert REVISIONS[-1][0] == migrating.newest()


async def test_alembic_check(database_url: str) -> None:
    """The newest migration leads to exactly the models. Raises with the differences otherwise."""
    await asyncio.to_thread(command.check, migrating.config(database_url))


@pytest.mark.parametrize(("revision", "before"), REVISIONS, ids=[revision for revision, _ in REVISIONS])
async def test_each_migration_on_a_filled_database(empty: str, revision: str, before: str | None) -> None:
    """Up, down and up again, with rows in every table; no row gets lost on the way up."""
    if before is not None:
        await _to(empty, before)
    connection = await asyncpg.connect(empty)
    try:
        rows = await _filled(connection)
        await _to(empty, revision)
        kept = await _counts(connection)
        assert {name: kept[name] for name in rows if name in kept} == {
            name: rows[name] for name in rows if name in kept
        }
        assert len(kept) > 1
        rows = await _filled(connection)
        assert all(rows.values())

        await asyncio.to_thread(command.downgrade, migrating.config(empty), before or "base")
        left = await _counts(connection)
        assert left == {name: rows[name] for name in left}
        await _to(empty, revision)
        again = await _counts(connection)
        assert {name: again[name] for name in left} == left
        assert await migrating.current(connection) == revision
    finally:
        await connection.close()


async def test_migrating_again_changes_nothing(empty: str) -> None:
    """What `postbacks serve` does at each start."""
    await migrating.migrate(empty)
    connection = await asyncpg.connect(empty)
    try:
        rows = await _filled(connection)
        await migrating.migrate(empty)
        assert await _counts(connection) == rows
    finally:
        await connection.close()


async def test_a_migration_does_not_wait_for_a_lock_with_everybody_behind_it(database_url: str, tmp_path: Any) -> None:
    """A long query holds the outbox; a migration that wants it steps back again and again, and ends after the query."""
    reader, other = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        config = database.next_revision(database_url, tmp_path, "op.execute('ALTER TABLE outbox ADD COLUMN later int')")
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT * FROM outbox")
        upgrade = asyncio.create_task(asyncio.to_thread(migrating.upgrade, config))
        await eventually(lambda: _waits_for_lock(other))
        # Behind the waiting ALTER even a look at the table would wait for as long as the query takes.
        await asyncio.wait_for(other.fetch("SELECT * FROM outbox"), migrating.LOCK_SECONDS + 5)
        assert not upgrade.done()
        await transaction.rollback()
        await asyncio.wait_for(upgrade, 20)
        assert await migrating.current(other) == "next"
    finally:
        await reader.close()
        await other.close()


async def _waits_for_lock(connection: asyncpg.Connection) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%later%' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    )


async def _tables(connection: asyncpg.Connection) -> list[str]:
    """All of ours, without partitions."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
        "AND NOT relispartition AND relname <> 'alembic_version' ORDER BY relname"
    )
    return [row["relname"] for row in rows]


async def _counts(connection: asyncpg.Connection) -> dict[str, int]:
    return {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in await _tables(connection)}


async def _filled(connection: asyncpg.Connection) -> dict[str, int]:
    """Fills every empty table with rows that differ in each column; returns the rows of each."""
    tables = await _tables(connection)
    there = {name: column for name, column in PARTITIONED.items() if name in tables}
    with patch.object(partitions, "PARTITIONED", there):
        async with connection.transaction():
            await partitions.ensure(connection, datetime.now(UTC))
    for name in tables:
        if not await connection.fetchval(f"SELECT count(*) FROM {name}"):
            await _fill(connection, name)
    return await _counts(connection)


async def _fill(connection: asyncpg.Connection, table: str) -> None:
    columns = await connection.fetch(
        "SELECT column_name AS name, data_type AS type FROM information_schema.columns WHERE table_schema = 'public' "
        "AND table_name = $1 AND is_generated = 'NEVER' ORDER BY ordinal_position",
        table,
    )
    now = datetime.now(UTC)
    rows = [tuple(_value(column["type"], number, now) for column in columns) for number in range(ROWS)]
    await connection.copy_records_to_table(table, records=rows, columns=[column["name"] for column in columns])


def _value(kind: str, number: int, now: datetime) -> Any:
    moment = now - timedelta(milliseconds=number)
    identifier = UUID(int=ids.floor(moment).int | (number << 8))
    return {
        "uuid": identifier,
        "text": f"text {number}",
        "bytea": number.to_bytes(32),
        "boolean": number % 2 == 0,
        "smallint": number % 1_000,
        "integer": number,
        "bigint": number,
        "numeric": number,
        "timestamp with time zone": moment,
        "jsonb": "{}",
        "ARRAY": [identifier],
    }[kind]


async def test_what_a_dispatcher_of_the_version_before_works_on_is_left_alone(empty: str) -> None:
    """Migration 0005 takes its leases over, and the way back returns them."""
    await _to(empty, "0004")
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute(
            "INSERT INTO outbox (app_id, id, destination, due, deadline, created_at, click, status, lease, lease_until) "
            "SELECT 'game', md5('id' || n)::uuid, 'meta', now(), now(), now(), md5('click')::uuid, 'queued', "
            "md5('lease' || n % 2)::uuid, now() + (n % 2 - 0.5) * interval '1 hour' FROM generate_series(1, 10) AS n"
        )
        before = await connection.fetch("SELECT id, lease, lease_until FROM outbox WHERE lease_until > now()")
        assert len(before) == 5

        await _to(empty, "0005")
        (lease,) = await connection.fetch("SELECT * FROM leases")
        assert set(lease["deliveries"]) == {row["id"] for row in before}
        assert {(lease["id"], lease["until"])} == {(row["lease"], row["lease_until"]) for row in before}
        await asyncio.to_thread(command.downgrade, migrating.config(empty), "0004")

        after = await connection.fetch("SELECT id, lease, lease_until FROM outbox WHERE lease_until > now()")
        assert set(map(tuple, after)) == set(map(tuple, before))
    finally:
        await connection.close()
