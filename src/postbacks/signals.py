"""Word between processes, over LISTEN/NOTIFY: "there is work", "the configuration changed".

It is a courtesy: every listener also looks by itself, so that a lost word costs a moment, never an event. Words are
sent outside of transactions and put together, because PostgreSQL lets commits that carry one wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import structlog

from postbacks.store import configuration, outbox
from postbacks.store.database import OUTAGES, Database

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.01
"""At most one word about work in this time."""

RELOAD_SECONDS = 10.0
"""How old the configuration of a process that missed a word can be."""

RECONNECT_SECONDS = 1.0


class Signals:
    """One listening connection per process."""

    def __init__(self, database: Database, reload: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._reload = reload
        self._listeners: list[Callable[[], None]] = []
        self._sending: asyncio.Task[None] | None = None
        self._again = False
        self._changed = asyncio.Event()

    def on_work(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever something may be due."""
        self._listeners.append(listener)

    def work(self) -> None:
        """Tells this process at once and the others soon."""
        for listener in self._listeners:
            listener()
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        else:
            self._again = True

    async def flush(self) -> None:
        """Waits until the last word is out."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def run(self) -> None:
        """Listens until cancelled; reconnects for as long as it takes."""
        while True:
            try:
                await self._listen()
            except (*OUTAGES, asyncpg.PostgresError) as error:
                log.warning("signals.disconnected", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)
            except Exception:
                # A configuration that cannot be read must not leave this process deaf to the one that mends it.
                log.exception("signals.failed")
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _send(self) -> None:
        while True:
            self._again = False
            try:
                async with self._database.connection() as connection:
                    await outbox.notify_work(connection)
            except OUTAGES:
                return  # dispatchers look by themselves
            await asyncio.sleep(GATHER_SECONDS)
            if not self._again:
                return

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._database.url, server_settings={"application_name": "postbacks listen"})
        try:
            # A connection that breaks is noticed at once, not at the next word.
            connection.add_termination_listener(self._on_changed)
            await connection.add_listener(outbox.WORK, self._on_work)
            await connection.add_listener(configuration.CHANGED, self._on_changed)
            self._changed.set()  # what was said while nobody listened
            while not connection.is_closed():
                try:
                    # Not `wait_for`: before Python 3.12 that swallows a cancellation which comes with the word.
                    async with asyncio.timeout(RELOAD_SECONDS):
                        await self._changed.wait()
                except TimeoutError:
                    await connection.fetchval("SELECT 1")  # notices a connection that died silently
                self._changed.clear()
                if connection.is_closed():
                    log.warning("signals.disconnected", error="the connection was closed")
                    return
                await self._reload()
        finally:
            await connection.close(timeout=2)

    def _on_work(self, *_: Any) -> None:
        for listener in self._listeners:
            listener()

    def _on_changed(self, *_: Any) -> None:
        self._changed.set()
