"""A real PostgreSQL for the tests: one embedded server per test process, a fresh database per service."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

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


async def fresh(template: str) -> str:
    """A new database like the template; returns its URL."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(template.replace(f"/{DATABASE}?", "/postgres?", 1))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE}")
    finally:
        await connection.close()
    return template.replace(f"/{DATABASE}?", f"/{name}?", 1)


async def drop(url: str) -> None:
    """Removes a database made by `fresh`, whoever is still connected."""
    name = url.rpartition("?")[0].rpartition("/")[2]
    connection = await asyncpg.connect(url.replace(f"/{name}?", "/postgres?", 1))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()
