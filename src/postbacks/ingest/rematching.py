"""A click that arrives after its event still finds it.

An event and a click that are stored at the same moment cannot see each other. Therefore the click (or a player's
new tie to one) looks for waiting events after its own commit, and once more a moment later. A process that dies in
between leaves the second look to the sweep, which the housekeeping makes for whatever arrived lately.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.idempotency import match_key
from postbacks.domain.matching import Decision
from postbacks.ingest.recording import Batch, Routes, record
from postbacks.ingest.resolving import Facts, Resolver
from postbacks.privacy.addresses import AddressHashes
from postbacks.store import clicks as click_store
from postbacks.store import events as event_store
from postbacks.store import outbox
from postbacks.store.database import OUTAGES, Database
from postbacks.store.events import EventRow

log = structlog.get_logger(__name__)

CHUNK = 500
"""Waiting events that are matched in one transaction."""

KEYS_AT_ONCE = 1_000
"""Match keys that the sweep looks for together."""

SECOND_LOOK = timedelta(seconds=2)
"""Longer than a transaction of the writer takes."""


class Rematcher:
    """Matches waiting events to what just arrived."""

    def __init__(self, database: Database, clock: Callable[[], datetime], wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._hurry = asyncio.Event()
        self._later: set[asyncio.Task[None]] = set()

    async def click_arrived(
        self, app: App, *, visitor_id: str | None, user_id: str | None, addresses: Sequence[AddressHashes]
    ) -> None:
        """Looks for the events that waited for a click. Raises one of `OUTAGES`."""
        keys = {one.match for one in addresses}
        if visitor_id:
            keys.add(match_key("visitor", visitor_id))
        if user_id:
            keys.add(match_key("user", user_id))
        await self._look(app, keys, {one.match: one for one in addresses})
        self._look_again(app, keys, {one.match: one for one in addresses})

    async def players_linked(self, app: App, users: Iterable[str]) -> None:
        """Looks for the events of players who are tied to a click since now."""
        keys = {match_key("user", user) for user in users}
        try:
            await self._look(app, keys, {})
        except OUTAGES:
            log.warning("rematch.postponed", app=app.name)  # the second look makes up for it
        self._look_again(app, keys, {})

    async def sweep(self, app: App, since: datetime) -> None:
        """Looks for the events of everything that arrived since a time. Raises one of `OUTAGES`."""
        if not app.late_click:
            return
        async with self._database.connection() as connection:
            arrived = await click_store.arrivals(connection, app.name, since)
        addresses = {one.match: one for one in arrived.addresses}
        keys = [
            *(match_key("visitor", visitor) for visitor in arrived.visitors),
            *(match_key("user", user) for user in arrived.players),
            *addresses,
        ]
        for start in range(0, len(keys), KEYS_AT_ONCE):
            await self._look(app, set(keys[start : start + KEYS_AT_ONCE]), addresses)

    async def drain(self) -> None:
        """Takes the second looks that are due later now, and waits for them."""
        self._hurry.set()
        while self._later:
            await asyncio.wait(self._later)

    def _look_again(self, app: App, keys: set[UUID], addresses: dict[UUID, AddressHashes]) -> None:
        async def later() -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), SECOND_LOOK.total_seconds())
            try:
                await self._look(app, keys, addresses)
            except OUTAGES:
                log.warning("rematch.postponed", app=app.name)  # to the sweep

        if app.late_click:
            task = asyncio.create_task(later())
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def _look(self, app: App, keys: set[UUID], addresses: dict[UUID, AddressHashes]) -> None:
        seen: set[UUID] = set()
        while keys - seen and app.late_click:
            round_keys = keys - seen
            seen |= round_keys
            after = ids.floor(self._clock() - app.late_click)
            while True:
                async with self._database.connection() as connection:
                    found = await event_store.waiting_for(connection, app.name, round_keys, after=after, limit=CHUNK)
                if not found:
                    break
                if len(found) == CHUNK:
                    # The last event may wait under further keys; it comes whole with the next page.
                    found = [one for one in found if one[1] != found[-1][1]] or found
                after = found[-1][1]
                keys |= {match_key("user", user) for user in await self._rematch(app, found, addresses)}

    async def _rematch(
        self, app: App, found: Sequence[tuple[UUID, UUID]], addresses: dict[UUID, AddressHashes]
    ) -> set[str]:
        """Returns the players who are tied to a click since now."""
        now = self._clock()
        by_event: dict[UUID, list[AddressHashes]] = {}
        for key, identifier in found:
            by_event.setdefault(identifier, [])
            if key in addresses:
                by_event[identifier].append(addresses[key])
        async with self._database.transaction() as connection:
            events = await event_store.lock_waiting(connection, app.name, list(by_event))
            facts = [
                Facts(event.occurred_at, event.consent, event.user_id, event.visitor_id, (), tuple(by_event[event.id]))
                for event in events
            ]
            resolver = Resolver(connection, app.name, app.rules)
            decisions = await resolver.resolve(facts)
            batch = Batch(app, now)
            routes = Routes(app)
            matched: list[EventRow] = []
            for event, decision in zip(events, decisions, strict=True):
                if not decision.matched:
                    continue
                facts_of = (event.name, event.occurred_at, event.consent)
                recorded = record(routes, app.rules, *facts_of, decision, now, may_wait=False)
                batch.add(event.id, recorded)
                # What was counted when the event began to wait.
                batch.take_back(record(routes, app.rules, *facts_of, Decision(), now, may_wait=True))
                await event_store.settle_match(
                    connection,
                    app.name,
                    event.id,
                    status=recorded.status,
                    match=recorded.match,
                    not_sent=recorded.not_sent,
                )
                matched.append(event)
            if matched:
                await event_store.stop_waiting(connection, app.name, [event.id for event in matched])
                await batch.write(connection, await outbox.database_now(connection))
            linked = await click_store.link(connection, app.name, resolver.new_links) if resolver.new_links else set()
        if batch.open:
            self._wake()
        return linked
