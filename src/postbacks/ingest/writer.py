"""Group commit: requests that arrive together share a transaction, and each is answered after its commit.

There is no timer. While one transaction is on its way to the disk, what arrives meanwhile collects and makes the
next one; an idle service answers at once, a busy one in large groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import structlog

from postbacks.catalog import App
from postbacks.ingest.address_book import AddressBook
from postbacks.ingest.parsing import NewEvent
from postbacks.ingest.rematching import Rematcher
from postbacks.ingest.storing import Outcome, Storing
from postbacks.store import upkeep
from postbacks.store.database import OUTAGES, Database

log = structlog.get_logger(__name__)

GROUP = 1_000
"""Events in one transaction, at most (a larger batch of one request stays together)."""

FLUSHERS = 4
"""Transactions under way at the same time: one on its way to the disk, one being prepared."""

CROWD = 200
"""Events that must wait before a second transaction starts beside the first: two small ones cost twice the round
trips of one, and the first ends within milliseconds."""


@dataclass(slots=True)
class _Submission:
    app: App
    events: Sequence[NewEvent]
    done: asyncio.Future[list[Outcome]] = field(repr=False)


class Writer:
    """Takes events and answers when they are committed."""

    def __init__(
        self,
        database: Database,
        addresses: AddressBook,
        rematcher: Rematcher,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._addresses = addresses
        self._rematcher = rematcher
        self._clock = clock
        self._wake = wake
        self._pending: list[_Submission] = []
        self._waiting = 0
        self._flushers: set[asyncio.Task[None]] = set()

    async def submit(self, app: App, events: Sequence[NewEvent]) -> list[Outcome]:
        """Stores events of one app; returns one outcome each, in order, after the commit.

        Raises one of `OUTAGES` when the database is gone; nothing was stored then.
        """
        submission = _Submission(app, events, asyncio.get_running_loop().create_future())
        self._pending.append(submission)
        self._waiting += len(events)
        if not self._flushers or (len(self._flushers) < FLUSHERS and self._waiting >= CROWD):
            task = asyncio.create_task(self._flush())
            self._flushers.add(task)
            task.add_done_callback(self._flushers.discard)
        return await submission.done

    async def drain(self) -> None:
        """Waits until everything submitted is answered."""
        while self._flushers:
            await asyncio.wait(self._flushers)

    async def _flush(self) -> None:
        while self._pending:
            group = self._take()
            by_app: dict[str, list[_Submission]] = {}
            for submission in group:
                by_app.setdefault(submission.app.name, []).append(submission)
            for submissions in by_app.values():
                await self._store(submissions)

    def _take(self) -> list[_Submission]:
        count, total = 0, 0
        for submission in self._pending:
            if count and total + len(submission.events) > GROUP:
                break
            count += 1
            total += len(submission.events)
        group, self._pending = self._pending[:count], self._pending[count:]
        self._waiting -= total
        return group

    async def _store(self, submissions: Sequence[_Submission]) -> None:
        try:
            outcomes = await self._commit(submissions[0].app, [one for sub in submissions for one in sub.events])
        except OUTAGES as outage:
            self._fail(submissions, outage)
            return
        except Exception as error:
            if len(submissions) > 1:
                # One request that the database chokes on must not sink those that share its transaction.
                for submission in submissions:
                    await self._store([submission])
                return
            if not isinstance(error, asyncpg.PostgresError):
                log.exception("ingest.failed", app=submissions[0].app.name)
            self._fail(submissions, error)
            return
        start = 0
        for submission in submissions:
            end = start + len(submission.events)
            if not submission.done.done():
                submission.done.set_result(outcomes[start:end])
            start = end

    @staticmethod
    def _fail(submissions: Sequence[_Submission], error: BaseException) -> None:
        for submission in submissions:
            if not submission.done.done():
                submission.done.set_exception(error)

    async def _commit(self, app: App, events: Sequence[NewEvent]) -> list[Outcome]:
        now = self._clock()
        try:
            return await self._commit_at(now, app, events)
        except asyncpg.CheckViolationError:
            # No partition for today: nobody kept house for a week, or the clock jumped. Make it and go on.
            async with self._database.transaction() as connection:
                await upkeep.make_partitions(connection, now)
            return await self._commit_at(now, app, events)

    async def _commit_at(self, now: datetime, app: App, events: Sequence[NewEvent]) -> list[Outcome]:
        async with self._database.transaction() as connection:
            transaction = Storing(connection, app, now, self._addresses)
            outcomes = await transaction.store(events)
        if transaction.due:
            self._wake()
        if transaction.newly_linked:
            await self._rematcher.players_linked(app, transaction.newly_linked)
        return outcomes
