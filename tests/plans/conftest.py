"""One filled database; its statistics are set back and forth, so that it is filled once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from postbacks.store import upkeep
from tests.plans import filling
from tests.plans.explaining import Explaining, explaining
from tests.support import database

_Connection = asyncpg.Connection


async def _never(connection: _Connection) -> None:
    """No ANALYZE yet: a new installation, a restored backup."""
    await filling.forget(connection)


async def _while_empty(connection: _Connection) -> None:
    """ANALYZE came while the tables were new and empty, then came the rows."""
    await filling.forget(connection)
    await filling.pretend(connection, rows=0, pages=0)


async def _unnoticed(connection: _Connection) -> None:
    """The same in the seconds before the housekeeping notices."""
    await filling.forget(connection)
    await filling.pretend(connection, rows=0, pages=3_000, tables="outbox")


async def _remembered(connection: _Connection) -> None:
    """The same, and what is known of the columns is from a backlog before."""
    await filling.analyze(connection)
    await filling.pretend(connection, rows=0, pages=3_000, tables="outbox")


async def _drained(connection: _Connection) -> None:
    """ANALYZE came when the outbox had grown and was empty again, as it is most of the time: many pages, no row. The
    housekeeping notices."""
    await _unnoticed(connection)
    assert await upkeep.refresh_statistics(connection)
    assert not await upkeep.refresh_statistics(connection)


async def _few(_: _Connection) -> None:
    """ANALYZE saw a few rows, none of them due: how the database was filled, so this one comes first."""


async def _fresh(connection: _Connection) -> None:
    await filling.analyze(connection)


STATES: dict[str, Callable[[_Connection], Awaitable[None]]] = {
    "analyzed with a few rows": _few,
    "never analyzed": _never,
    "analyzed while new": _while_empty,
    "drained and unnoticed": _unnoticed,
    "drained after a backlog": _remembered,
    "analyzed while drained": _drained,
    "fresh": _fresh,
}


UNNOTICED = ("drained and unnoticed", "drained after a backlog")
"""States that the housekeeping mends within seconds. Claims and what settles them stand them without it."""


@pytest.fixture
async def noticed(request: pytest.FixtureRequest, grown: str) -> AsyncIterator[None]:
    """The housekeeping has been there, for what relies on it in those states; the next test finds the state as it was."""
    state = request.node.callspec.params["grown"]
    if state not in UNNOTICED:
        yield
        return
    connection = await asyncpg.connect(grown)
    try:
        assert await upkeep.refresh_statistics(connection)
        yield
        await STATES[state](connection)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def filled(postgres: str) -> AsyncIterator[str]:
    """The URL of a database with 200,000 rows in each big table, all of the outbox due."""
    url = await database.fresh(postgres)
    connection = await asyncpg.connect(url)
    try:
        await filling.prepare(connection)
        await filling.fill(connection, 0, 60, due="now() + interval '1 day'")
        await filling.analyze(connection)
        await filling.empty(connection)
        await filling.fill(connection, 0, filling.ROWS - 1, due="now() - (n || ' ms')::interval")
    finally:
        await connection.close()
    yield url
    await database.drop(url)


@pytest.fixture(scope="module", params=STATES)
async def grown(request: pytest.FixtureRequest, filled: str) -> str:
    """The same database with each state of its statistics."""
    connection = await asyncpg.connect(filled)
    try:
        await STATES[request.param](connection)
    finally:
        await connection.close()
    return filled


@pytest.fixture(params=[False, True], ids=["custom", "generic"])
async def asked(request: pytest.FixtureRequest, grown: str) -> AsyncIterator[Explaining]:
    """A connection on which nothing stays that a test does."""
    async with explaining(grown, generic=request.param) as one:
        transaction = one.connection.transaction()
        await transaction.start()
        yield one
        await transaction.rollback()
