"""Brings the database to the newest schema (Alembic), and spreads it over a Citus cluster on request."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from postbacks.errors import SettingError
from postbacks.store import partitions
from postbacks.store.schema import metadata

ROOT = Path(__file__).resolve().parents[3]
"""The checkout (or the image's directory) that holds `alembic.ini` and `migrations/`."""

LOCK_SECONDS = 2
"""How long a migration waits for a table."""

LOCK_PATIENCE = 300.0
"""Seconds after which it gives up: a query that holds a table for so long should be looked at by a person."""

DISTRIBUTED_FIRST = ("apps",)
"""The table that the others are co-located with."""


def _locked_out(error: BaseException) -> bool:
    """Whether a migration was refused a table that somebody else works with."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in ("55P03", "40P01")


def config(url: str) -> Config:
    """Alembic's configuration for one database."""
    if not (ROOT / "alembic.ini").exists():
        raise SettingError(f"No alembic.ini in {ROOT}: install Postbacks from its checkout (pip install --editable .).")
    settings = Config(str(ROOT / "alembic.ini"))
    settings.attributes["url"] = url
    return settings


@cache
def newest() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(config("")).get_current_head()
    if head is None:
        raise SettingError("There are no migrations.")
    return head


async def migrate(url: str) -> None:
    """Brings the schema to the newest revision and makes the partitions of the coming days.

    Raises `SettingError` where the database cannot be reached or refuses a statement.
    """
    connection = await connect(url)
    try:
        await asyncio.to_thread(upgrade, config(url))
    except (DBAPIError, CommandError) as error:
        await connection.close()
        cause = error.orig or error if isinstance(error, DBAPIError) else error
        raise SettingError(f"The migration failed, and nothing of it stays: {_words(cause)}.") from None
    try:
        async with connection.transaction():
            await partitions.ensure(connection, datetime.now(UTC))
    finally:
        await connection.close()


async def connect(url: str) -> asyncpg.Connection:
    """A connection outside of the pool, for a command. Raises `SettingError` where the database cannot be reached."""
    try:
        return await asyncpg.connect(url)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SettingError(f"The database cannot be reached: {_words(error)}. Check POSTBACKS_DATABASE_URL.") from None


def _words(error: BaseException) -> str:
    """What an error says, on one line."""
    return str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__


@retry(
    retry=retry_if_exception(_locked_out),
    stop=stop_after_delay(LOCK_PATIENCE),
    wait=wait_random(0.5, 1.5),
    reraise=True,
)
def upgrade(settings: Config) -> None:
    """Runs what is missing, in one transaction.

    Whoever waits for a table in a migration makes everybody else wait behind him. So he waits `LOCK_SECONDS` at most
    and begins anew: the service goes on while it is being upgraded.
    """
    command.upgrade(settings, "head")


async def current(connection: asyncpg.Connection) -> str | None:
    """The revision of the database, or `None` before the first migration."""
    try:
        version: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return version


async def distribute(url: str) -> list[str]:
    """Distributes every table by app on a Citus coordinator; a repeat changes nothing.

    Returns the tables that were distributed now. Raises `SettingError` where Citus is missing.
    """
    connection = await connect(url)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'citus'"):
            raise SettingError(
                "This database has no Citus extension: run CREATE EXTENSION citus on the coordinator, or leave "
                "--distribute out."
            )
        rows = await connection.fetch("SELECT logicalrelid::text AS name FROM pg_dist_partition")
        done = {row["name"] for row in rows}
        distributed = []
        others = sorted(name for name in metadata.tables if name not in DISTRIBUTED_FIRST)
        for name in [*DISTRIBUTED_FIRST, *others]:
            if name in done:
                continue
            beside = "none" if name in DISTRIBUTED_FIRST else DISTRIBUTED_FIRST[0]
            await connection.execute(
                f"SELECT create_distributed_table('{name}', 'app_id', colocate_with => '{beside}')"
            )
            distributed.append(name)
        return distributed
    finally:
        await connection.close()
