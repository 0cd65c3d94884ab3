"""A connection as the service opens it, to a fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from postbacks.store.database import Connection, Database


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    database = await Database.open(database_url, size=1, name="tests")
    async with database.connection() as one:
        yield one
    await database.close()
