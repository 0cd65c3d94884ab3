"""Connections: one pool per process, and what it means when PostgreSQL does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from postbacks.errors import Unavailable
from postbacks.store import codecs

Connection: TypeAlias = asyncpg.Connection

ACQUIRE_SECONDS = 10.0
"""How long a request may wait for a free connection before it is told to come back."""

OUTAGES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.OperatorInterventionError,  # shutting down, starting up, terminated by an administrator
    asyncpg.exceptions.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a standby that is not promoted yet
    asyncpg.exceptions.DeadlockDetectedError,
    asyncpg.exceptions.SerializationError,
    asyncpg.exceptions.InternalClientError,
)
"""What a caller may try again later; nothing was stored."""


class Database:
    """A pool of connections. Every statement of the service goes through one of these."""

    def __init__(self, pool: asyncpg.Pool, url: str) -> None:
        self._pool = pool
        self.url = url

    @classmethod
    async def open(cls, url: str, *, size: int, name: str) -> Database:
        """Connects. Raises one of `OUTAGES` or `asyncpg.PostgresError` where that is impossible.

        `name` is what `pg_stat_activity` shows.
        """
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            command_timeout=60,
            init=codecs.install,
            reset=_keep,
            max_inactive_connection_lifetime=300,
            server_settings={
                "application_name": name,
                # The claim picks from a table that is nearly empty one moment and huge the next; what the planner
                # would save on compiling is not worth its pauses.
                "jit": "off",
                # A claim has to see, in its second statement, what was committed while its first one waited.
                "default_transaction_isolation": "read committed",
                "idle_in_transaction_session_timeout": "60s",
                "statement_timeout": "60s",
                "timezone": "UTC",
            },
        )
        return cls(pool, url)

    async def close(self) -> None:
        """Waits for the statements under way, at most 5 seconds."""
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection without a transaction. Raises one of `OUTAGES`."""
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits at the end. Raises one of `OUTAGES`."""
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection, connection.transaction():
            yield connection


@asynccontextmanager
async def available() -> AsyncIterator[None]:
    """Turns an outage of the database into the 503 that a client can act on."""
    try:
        yield
    except OUTAGES as outage:
        raise Unavailable("The database cannot be reached. Nothing was stored; send the request again.") from outage


async def _keep(_: Connection) -> None:
    """Given back as it is: nobody changes a connection's settings, and a reset is one more round trip for each use.
    (asyncpg itself refuses a connection that comes back inside a transaction.)"""
