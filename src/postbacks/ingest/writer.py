"""Group commit: requests that arrive together share a transaction, and each is answered after its commit.

There is no timer. While one transaction is on its way to the disk, what arrives meanwhile collects and makes the
next one; an idle service answers at once, a busy one in large groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.consent import may_match
from postbacks.domain.frozen import frozen
from postbacks.domain.idempotency import click_key, match_key
from postbacks.domain.matching import Decision
from postbacks.domain.model import Click
from postbacks.ingest.address_book import AddressBook
from postbacks.ingest.parsing import NewEvent
from postbacks.ingest.recording import Batch, PlannedDelivery, Recorded, record
from postbacks.ingest.rematching import Rematcher
from postbacks.ingest.resolving import Facts, Resolver
from postbacks.privacy.addresses import hashed, parse_address
from postbacks.store import clicks as click_store
from postbacks.store import events as event_store
from postbacks.store import upkeep
from postbacks.store.clicks import NewClick
from postbacks.store.database import OUTAGES, Connection, Database
from postbacks.store.events import EventRow

log = structlog.get_logger(__name__)

GROUP = 1_000
"""Events in one transaction, at most (a larger batch of one request stays together)."""

FLUSHERS = 2
"""Transactions under way at the same time: one on its way to the disk, one being prepared."""

CROWD = 200
"""Events that must wait before a second transaction starts beside the first: two small ones cost twice the round
trips of one, and the first ends within milliseconds."""


@frozen
class Outcome:
    """What became of one event. `conflict`: the same id with other content is already there."""

    event_id: str
    event: UUID
    status: str = ""
    duplicate: bool = False
    conflict: bool = False
    method: str | None = None
    platforms: tuple[str, ...] = ()
    deliveries: Sequence[PlannedDelivery] = ()


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
            transaction = _Transaction(connection, app, now, self._addresses)
            outcomes = await transaction.store(events)
        if transaction.due:
            self._wake()
        if transaction.newly_linked:
            await self._rematcher.players_linked(app, transaction.newly_linked)
        return outcomes


class _Transaction:
    """Everything that happens to a group of events of one app before the commit."""

    def __init__(self, connection: Connection, app: App, now: datetime, addresses: AddressBook) -> None:
        self._connection = connection
        self._app = app
        self._now = now
        self._addresses = addresses
        self.due = False
        self.newly_linked: set[str] = set()

    async def store(self, events: Sequence[NewEvent]) -> list[Outcome]:
        identifiers = [ids.new_id(self._now) for _ in events]
        fresh, outcomes = await self._claim(events, identifiers)
        if fresh:
            await self._store_fresh(fresh, events, identifiers, outcomes)
        return [outcomes[index] for index in range(len(events))]

    async def _claim(
        self, events: Sequence[NewEvent], identifiers: Sequence[UUID]
    ) -> tuple[list[int], dict[int, Outcome]]:
        """Which events are new; the others are duplicates or conflicts of what was there (or came first in here)."""
        first: dict[UUID, int] = {}
        for index, event in enumerate(events):
            first.setdefault(event.key, index)
        unique = list(first.values())
        taken = await event_store.claim_keys(
            self._connection,
            self._app.name,
            [events[index].key for index in unique],
            [identifiers[index] for index in unique],
            [events[index].fingerprint for index in unique],
        )
        fresh = [index for index in unique if events[index].key in taken]
        outcomes: dict[int, Outcome] = {}
        if len(fresh) == len(events):
            return fresh, outcomes
        rest = sorted(set(range(len(events))).difference(fresh))
        there = await event_store.known(self._connection, self._app.name, {events[index].key for index in rest})
        rows = await event_store.by_ids(
            self._connection, self._app.name, {known.event for known in there.values()} - set(identifiers)
        )
        for index in rest:
            known = there[events[index].key]
            row = rows.get(known.event)
            same = known.fingerprint == events[index].fingerprint
            outcomes[index] = Outcome(
                event_id=events[index].event_id,
                event=known.event,
                status=row.status if row else "",
                duplicate=same,
                conflict=not same,
            )
        return fresh, outcomes

    async def _store_fresh(
        self,
        fresh: Sequence[int],
        events: Sequence[NewEvent],
        identifiers: Sequence[UUID],
        outcomes: dict[int, Outcome],
    ) -> None:
        app, connection, now = self._app, self._connection, self._now
        erased = await self._erased([events[index] for index in fresh])
        names = await self._names([index for index in fresh if events[index].user_id not in erased], events)
        usable = [index for index in fresh if events[index].user_id not in erased and may_match(events[index].consent)]
        await self._register_clicks([events[index] for index in usable])
        facts = [await self._facts(events[index]) for index in usable]
        resolver = Resolver(connection, app.name, app.rules)
        decisions = dict(zip(usable, await resolver.resolve(facts), strict=True))
        by_index = dict(zip(usable, facts, strict=True))
        batch = Batch(app, now)
        rows: list[EventRow] = []
        waiting: list[tuple[UUID, UUID]] = []
        for index in fresh:
            event, identifier = events[index], identifiers[index]
            is_erased = event.user_id in erased
            decision = decisions.get(index, Decision())
            keys = waiting_keys(by_index[index]) if index in by_index and not decision.matched else []
            name = names.get(index, event.name)
            recorded = record(
                app,
                name,
                event.occurred_at,
                event.consent,
                decision,
                now,
                may_wait=bool(keys) and app.late_click.total_seconds() > 0,
                erased=is_erased,
            )
            rows.append(_row(identifier, event, name, recorded, erased=is_erased))
            if recorded.status == "waiting":
                waiting.extend((key, identifier) for key in keys)
            outcomes[index] = Outcome(
                event_id=event.event_id,
                event=identifier,
                status=recorded.status,
                method=recorded.method,
                platforms=recorded.platforms,
                deliveries=batch.add(identifier, recorded),
            )
        for index, outcome in list(outcomes.items()):
            # A repeat inside the same request: its first copy was just stored.
            if (outcome.duplicate or outcome.conflict) and not outcome.status:
                first = next((one for one in fresh if identifiers[one] == outcome.event), None)
                if first is not None:
                    outcomes[index] = _as_repeat(outcome, outcomes[first])
        await event_store.insert(connection, app.name, rows)
        await batch.write(connection)
        if waiting:
            await event_store.wait(connection, app.name, waiting)
        if resolver.new_links:
            self.newly_linked = await click_store.link(connection, app.name, resolver.new_links)
        self.due = any(one.due <= now for one in batch.open)

    async def _erased(self, events: Sequence[NewEvent]) -> set[str | None]:
        keys = {self._app.user_key(event.user_id): event.user_id for event in events if event.user_id}
        if not keys:
            return set()
        found = await event_store.erased(self._connection, self._app.name, keys)
        return {keys[key] for key in found}

    async def _names(self, fresh: Sequence[int], events: Sequence[NewEvent]) -> dict[int, str]:
        """The names of events that depend on what came before: a player's first `game_open` is the install."""
        noted = [index for index in fresh if events[index].first_open or events[index].name == "install"]
        keys = {index: self._app.user_key(events[index].user_id or "") for index in noted if events[index].user_id}
        if not keys:
            return {}
        new = await event_store.first_installs(self._connection, self._app.name, keys.values())
        names = {}
        for index, key in keys.items():
            if events[index].first_open and key in new:
                names[index] = "install"
            new.discard(key)
        return names

    async def _register_clicks(self, events: Sequence[NewEvent]) -> None:
        """A click ID that comes with an event counts as a click, first seen at the time of the event."""
        clicks: dict[UUID, NewClick] = {}
        for event in events:
            for name, value in event.click_ids.items():
                click = Click(
                    id=ids.new_id(self._now),
                    type=name,
                    value=value,
                    clicked_at=min(event.occurred_at, self._now),
                    visitor_id=event.visitor_id or "",
                    consent=event.consent,
                )
                key = click_key(name, value)
                if key not in clicks or click.clicked_at < clicks[key].click.clicked_at:
                    clicks[key] = NewClick(click, key)
        if clicks:
            await click_store.insert(self._connection, self._app.name, list(clicks.values()))

    async def _facts(self, event: NewEvent) -> Facts:
        address = parse_address(event.ip) if event.ip else None
        keys = (
            await self._addresses.keys(
                self._connection,
                self._app.name,
                self._now,
                self._app.rules.ip_window + max(self._now - event.occurred_at, timedelta(0)),
            )
            if address is not None
            else []
        )
        return Facts(
            occurred_at=event.occurred_at,
            consent=event.consent,
            user_id=event.user_id,
            visitor_id=event.visitor_id,
            click_keys=tuple(click_key(name, value) for name, value in event.click_ids.items()),
            addresses=tuple(hashed(address, key) for key in keys) if address is not None else (),
        )


def waiting_keys(facts: Facts) -> list[UUID]:
    """Under what a click that arrives later can find the event."""
    keys = []
    if facts.visitor_id:
        keys.append(match_key("visitor", facts.visitor_id))
    if facts.user_id:
        keys.append(match_key("user", facts.user_id))
    if facts.addresses:
        keys.append(facts.addresses[0].match)
    return keys


def _as_repeat(outcome: Outcome, first: Outcome) -> Outcome:
    return Outcome(
        event_id=outcome.event_id,
        event=outcome.event,
        status=first.status,
        duplicate=outcome.duplicate,
        conflict=outcome.conflict,
        method=first.method,
        platforms=first.platforms,
        deliveries=first.deliveries,
    )


def _row(identifier: UUID, event: NewEvent, name: str, recorded: Recorded, *, erased: bool) -> EventRow:
    """Of an erased player nothing is kept but that an event was refused."""
    return EventRow(
        id=identifier,
        event_id=event.event_id,
        name=name,
        occurred_at=event.occurred_at,
        user_id=None if erased else event.user_id,
        visitor_id=None if erased else event.visitor_id,
        value=None if erased else event.value,
        currency=None if erased else event.currency,
        platform=None if erased else event.platform,
        storefront=None if erased else event.storefront,
        properties=None if erased else event.properties,
        consent=event.consent,
        status=recorded.status,
        match=recorded.match,
        not_sent=recorded.not_sent,
    )
