"""Fixtures that every test may use. `service` is the whole product over loopback with a fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from postbacks.sandbox.server import Running
from tests.support import database, service


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """One embedded PostgreSQL per test process: the URL of its migrated template database."""
    import asyncio

    with database.server() as url:
        asyncio.run(database.prepare(url))
        yield url


@pytest.fixture
async def database_url(postgres: str) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    url = await database.fresh(postgres)
    yield url
    await database.drop(url)


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    """Fresh simulators of all platforms."""
    async with service.simulators() as running:
        yield running


@pytest.fixture
async def running(database_url: str, sandbox: Running) -> AsyncIterator[service.Service]:
    """The service with API and dispatcher, one app `game`, no destinations yet."""
    async with service.running(database_url, sandbox) as one:
        yield one
