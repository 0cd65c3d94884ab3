"""`postbacks migrate --distribute`, as far as it can be tested without a cluster.

The stand-in is a schema of plain SQL that writes down what it is told. A real cluster is another matter:
docs/scaling.md.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from postbacks.errors import SettingError
from postbacks.store import migrating, partitions
from postbacks.store.schema import PARTITIONED, metadata
from tests.support.processes import COMMAND
from tests.support.service import ADMIN, KEY

STAND_IN = """
    CREATE TABLE pg_dist_partition (logicalrelid regclass PRIMARY KEY, beside text NOT NULL, place serial);
    CREATE FUNCTION create_distributed_table(relation regclass, by text, colocate_with text) RETURNS void
    LANGUAGE plpgsql AS $$
    BEGIN
        IF by <> 'app_id' THEN RAISE 'distributed by %', by; END IF;
        IF (SELECT relispartition FROM pg_class WHERE oid = relation) THEN RAISE 'a partition follows its parent'; END IF;
        IF colocate_with <> 'none' AND NOT EXISTS (
            SELECT 1 FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass
        ) THEN RAISE '% is not distributed', colocate_with; END IF;
        INSERT INTO pg_dist_partition (logicalrelid, beside) VALUES (relation, colocate_with);
    END $$;
    -- Where the catalogue stands after our schema, this one is found first.
    CREATE TABLE cluster.pg_extension (extname name);
    INSERT INTO cluster.pg_extension VALUES ('citus');
"""


async def _stand_in(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE SCHEMA cluster; SET search_path = cluster, public; " + STAND_IN)
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET search_path = cluster, public, pg_catalog")
    finally:
        await connection.close()


async def _distributed(url: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT logicalrelid::text AS name, beside FROM pg_dist_partition ORDER BY place")
        return [(row["name"], row["beside"]) for row in rows]
    finally:
        await connection.close()


async def test_without_the_extension_it_says_so(database_url: str) -> None:
    with pytest.raises(SettingError, match="no Citus extension: run CREATE EXTENSION citus on the coordinator"):
        await migrating.distribute(database_url)


def test_the_command_prints_one_line_and_exits_with_2(database_url: str, tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "POSTBACKS_DATABASE_URL": database_url,
        "POSTBACKS_ADMIN_TOKEN": ADMIN,
        "POSTBACKS_ENCRYPTION_KEYS": KEY,
    }
    done = subprocess.run(
        [COMMAND, "migrate", "--distribute"],
        check=False,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("postbacks: This database has no Citus extension")
    assert done.stderr.count("\n") == 1


async def test_every_table_once_beside_apps(database_url: str) -> None:
    await _stand_in(database_url)

    tables = await migrating.distribute(database_url)

    assert tables[0] == "apps", "the others are placed beside it"
    assert sorted(tables) == sorted(metadata.tables)
    told = await _distributed(database_url)
    assert [name for name, _ in told] == tables
    assert {beside for name, beside in told if name != "apps"} == {"apps"}
    assert set(PARTITIONED) < set(tables), "a partitioned table is distributed as a whole, not by its days"


async def test_a_repeat_does_nothing(database_url: str) -> None:
    await _stand_in(database_url)
    first = await migrating.distribute(database_url)

    assert await migrating.distribute(database_url) == []
    assert len(await _distributed(database_url)) == len(first)


async def test_one_that_was_cut_short_is_completed(database_url: str) -> None:
    await _stand_in(database_url)
    connection = await asyncpg.connect(database_url)
    await connection.execute("SELECT create_distributed_table('apps', 'app_id', 'none')")
    await connection.execute("SELECT create_distributed_table('events', 'app_id', 'apps')")
    await connection.close()

    rest = await migrating.distribute(database_url)

    assert sorted(rest) == sorted(set(metadata.tables) - {"apps", "events"})


async def test_days_to_come_are_partitions_of_the_distributed_tables(database_url: str) -> None:
    """Citus distributes a partition that is created under a distributed table, in that statement. So new days must be
    made by nothing else, and by a name that says which table they belong to."""
    connection = await asyncpg.connect(database_url)
    try:
        later = datetime.now(UTC) + timedelta(days=40)
        async with connection.transaction():
            await partitions.ensure(connection, later, behind=0, ahead=0)
        rows = await connection.fetch(
            "SELECT child.relname AS name, parent.relname AS of FROM pg_inherits "
            "JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent "
            "WHERE child.relname LIKE '%' || $1 AND child.relkind = 'r'",
            f"{later:%Y%m%d}",
        )
        assert {row["of"]: row["name"] for row in rows} == {name: f"{name}_{later:%Y%m%d}" for name in PARTITIONED}
    finally:
        await connection.close()
