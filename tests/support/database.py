"""A real PostgreSQL for the tests: one embedded server per test process, a fresh database per service."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from alembic.config import Config

from postbacks.store import migrating
from postbacks.store.embedded import DATABASE, embedded_database, ensure_database

_numbers = itertools.count(1)


@contextmanager
def server() -> Iterator[str]:
    """The URL of the template database, migrated."""
    directory = Path(tempfile.mkdtemp(prefix="postbacks-test-"))
    try:
        with embedded_database(directory) as url:
            yield url
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def prepare(url: str) -> None:
    """Creates and migrates the template."""
    await ensure_database(url)
    await migrating.migrate(url)


async def fresh(server: str, template: str = DATABASE) -> str:
    """A new database like the template (`template0`: an empty one); returns its URL."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(server.replace(f"/{DATABASE}?", "/postgres?", 1))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await connection.close()
    return server.replace(f"/{DATABASE}?", f"/{name}?", 1)


async def drop(url: str) -> None:
    """Removes a database made by `fresh`, whoever is still connected."""
    name = url.rpartition("?")[0].rpartition("/")[2]
    connection = await asyncpg.connect(url.replace(f"/{name}?", "/postgres?", 1))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()


def next_revision(url: str, directory: Path, *statements: str) -> Config:
    """Alembic's configuration with one revision more than there is: what an upgrade to the next version will bring."""
    body = "".join(f"    {statement}\n" for statement in statements)
    (directory / "next_version.py").write_text(
        f"from alembic import op\n\nrevision = 'next'\ndown_revision = {migrating.newest()!r}\n\n\n"
        f"def upgrade() -> None:\n{body}\n\ndef downgrade() -> None:\n    raise NotImplementedError\n"
    )
    config = migrating.config(url)
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", f"{migrating.ROOT / 'migrations' / 'versions'}:{directory}")
    return config
