"""What a cluster that is sharded by app asks of the schema, read from the catalogue of a migrated database.

Citus refuses a unique constraint that does not hold the distribution column, and a foreign key that leaves the shard
(decision 7). Partitions are looked at like every other table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from postbacks.store.schema import PARTITIONED, metadata

OURS = "c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'"


@pytest.fixture
async def catalogue(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_every_table_begins_with_the_app(catalogue: asyncpg.Connection) -> None:
    rows = await catalogue.fetch(
        "SELECT c.relname AS name, a.attname AS first, a.attnotnull AS needed, format_type(a.atttypid, -1) AS type "
        f"FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 WHERE {OURS} "
        "AND c.relkind IN ('r', 'p')"
    )
    assert {row["name"] for row in rows} > set(metadata.tables), "the partitions of today are there as well"
    assert {(row["first"], row["needed"], row["type"]) for row in rows} == {("app_id", True, "text")}


async def test_every_key_and_unique_index_leads_with_the_app(catalogue: asyncpg.Connection) -> None:
    rows = await catalogue.fetch(
        "SELECT c.relname AS name, i.indexrelid::regclass::text AS index, i.indisprimary AS is_primary, "
        "(SELECT attname FROM pg_attribute WHERE attrelid = i.indrelid AND attnum = i.indkey[0]) AS first "
        f"FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE {OURS} AND (i.indisunique OR i.indisexclusion)"
    )
    assert [row["index"] for row in rows if row["first"] != "app_id"] == []
    tables = await catalogue.fetch(f"SELECT relname FROM pg_class c WHERE {OURS} AND relkind IN ('r', 'p')")
    with_key = {row["name"] for row in rows if row["is_primary"]}
    assert {row["relname"] for row in tables} - with_key == set(), "every table and partition has a primary key"


async def test_only_known_constraints(catalogue: asyncpg.Connection) -> None:
    """No foreign keys at all; nothing else that a shard could not decide by itself."""
    kinds = await catalogue.fetch(
        f"SELECT DISTINCT contype::text AS kind FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE {OURS}"
    )
    # p: primary key, n: not null (a constraint of its own since PostgreSQL 18), u: unique.
    assert {row["kind"] for row in kinds} <= {"p", "n", "u"}
    triggers = await catalogue.fetchval(
        f"SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE {OURS}"
    )
    assert triggers == 0


async def test_no_sequence_numbers_rows_across_apps(catalogue: asyncpg.Connection) -> None:
    assert await catalogue.fetchval(f"SELECT count(*) FROM pg_class c WHERE {OURS} AND relkind = 'S'") == 0


async def test_partitions_are_ranges_of_ids_and_never_of_the_app(catalogue: asyncpg.Connection) -> None:
    rows = await catalogue.fetch(
        "SELECT c.relname AS name, p.partstrat::text AS how, array_length(p.partattrs::int2[], 1) AS columns, "
        "(SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = p.partattrs[0]) AS by "
        f"FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid WHERE {OURS}"
    )
    assert {row["name"]: row["by"] for row in rows} == PARTITIONED
    assert {row["how"] for row in rows} == {"r"}
