"""What happens to a group of events of one app between BEGIN and COMMIT: recognised, matched, planned, stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.consent import may_match
from postbacks.domain.frozen import frozen
from postbacks.domain.idempotency import match_key
from postbacks.domain.matching import Decision
from postbacks.domain.model import Click
from postbacks.ingest.address_book import AddressBook
from postbacks.ingest.parsing import NewEvent
from postbacks.ingest.recording import Batch, Recorded, Routes, record
from postbacks.ingest.resolving import Facts, Matchable, Resolver
from postbacks.privacy.addresses import AddressHashes, hashed, parse_address
from postbacks.store import clicks as click_store
from postbacks.store import events as event_store
from postbacks.store.clicks import NewClick
from postbacks.store.database import Connection
from postbacks.store.events import NewRow

_NO_MATCH = Decision()


@frozen
class Outcome:
    """What became of one event. `conflict`: the same id with other content is already there."""

    event_id: str
    event: UUID
    status: str = ""
    duplicate: bool = False
    conflict: bool = False
    recorded: Recorded | None = None
    """Of an event that this call stored."""


class Storing:
    """One transaction's worth of work."""

    def __init__(self, connection: Connection, app: App, now: datetime, addresses: AddressBook) -> None:
        self._connection = connection
        self._app = app
        self._now = now
        self._addresses = addresses
        self._database_now = now
        self.due = False
        """Whether something can be sent at once."""
        self.newly_linked: set[str] = set()
        """Players who are tied to a click since now: their waiting events may match."""

    async def store(self, events: Sequence[NewEvent]) -> list[Outcome]:
        """Stores what is new; returns one outcome per event, in order."""
        identifiers = ids.new_ids(self._now, len(events))
        fresh, outcomes = await self._claim(events, identifiers)
        if fresh:
            await self._store_fresh(fresh, events, identifiers, outcomes)
        if len(fresh) == len(events):
            return list(outcomes.values())
        return [outcomes[index] for index in range(len(events))]

    async def _claim(
        self, events: Sequence[NewEvent], identifiers: Sequence[UUID]
    ) -> tuple[list[int], dict[int, Outcome]]:
        """Which events are new; the others are duplicates or conflicts of what was there (or came first in here)."""
        first: dict[UUID, int] = {}
        for index, event in enumerate(events):
            first.setdefault(event.key, index)
        all_free, self._database_now = await event_store.claim_keys(
            self._connection,
            self._app.name,
            [(events[index].key, identifiers[index], events[index].fingerprint) for index in first.values()],
        )
        outcomes: dict[int, Outcome] = {}
        if all_free and len(first) == len(events):
            return list(range(len(events))), outcomes
        there = await event_store.known(self._connection, self._app.name, first)
        fresh = [index for key, index in first.items() if there[key].event == identifiers[index]]
        rows = await event_store.by_ids(
            self._connection, self._app.name, {known.event for known in there.values()} - set(identifiers)
        )
        for index in sorted(set(range(len(events))).difference(fresh)):
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
        new = [events[index] for index in fresh]
        erased = await self._erased(new)
        names = await self._names([place for place, event in enumerate(new) if event.user_id not in erased], new)
        usable = [
            place
            for place, event in enumerate(new)
            if event.user_id not in erased and may_match(event.consent)  # what is refused is not looked at
        ]
        await self._register_clicks([new[place] for place in usable])
        facts = [await self._facts(new[place]) if new[place].ip is not None else new[place] for place in usable]
        resolver = Resolver(connection, app.name, app.rules)
        decisions = [_NO_MATCH] * len(new)
        keys: dict[int, Sequence[UUID]] = {}
        for place, decision, fact in zip(usable, await resolver.resolve(facts), facts, strict=True):
            decisions[place] = decision
            if not decision.matched and app.late_click:
                keys[place] = waiting_keys(fact)
        batch, routes = Batch(app, now), Routes(app)
        rows: list[NewRow] = []
        waiting: list[tuple[UUID, UUID]] = []
        for place, (index, event, decision) in enumerate(zip(fresh, new, decisions, strict=True)):
            identifier, name = identifiers[index], names.get(place, event.name)
            is_erased = event.user_id in erased
            recorded = record(
                routes,
                app.rules,
                name,
                event.occurred_at,
                event.consent,
                decision,
                now,
                may_wait=bool(keys.get(place)),
                erased=is_erased,
            )
            content = _anonymous(event) if is_erased else event
            rows.append((identifier, name, content, recorded.status, recorded.match, recorded.not_sent))
            if recorded.status == "waiting":
                waiting.extend([(key, identifier) for key in keys[place]])
            outcomes[index] = Outcome(event.event_id, identifier, recorded.status, False, False, recorded)
            batch.add(identifier, recorded)
        if len(outcomes) > len(fresh):
            _answer_repeats(outcomes, {identifiers[index]: outcomes[index] for index in fresh})
        await event_store.insert(connection, app.name, rows)
        await batch.write(connection, self._database_now)
        if waiting:
            await event_store.wait(connection, app.name, waiting)
        if resolver.new_links:
            self.newly_linked = await click_store.link(connection, app.name, resolver.new_links)
        self.due = any(one.due <= now for _, one in batch.open)

    async def _erased(self, events: Sequence[NewEvent]) -> set[str | None]:
        if not await event_store.any_erased(self._connection, self._app.name):
            return set()
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
            if not event.click_keys:
                continue
            for (name, value), key in zip(event.click_ids.items(), event.click_keys, strict=True):
                click = Click(
                    id=ids.new_id(self._now),
                    type=name,
                    value=value,
                    clicked_at=min(event.occurred_at, self._now),
                    visitor_id=event.visitor_id or "",
                    consent=event.consent,
                )
                if key not in clicks or click.clicked_at < clicks[key].click.clicked_at:
                    clicks[key] = NewClick(click, key)
        if clicks:
            await click_store.insert(self._connection, self._app.name, list(clicks.values()))

    async def _facts(self, event: NewEvent) -> Matchable:
        """What the match may use of an event with an address. (Others are matched as they are.)"""
        hashes = await self._hashes(event)
        return Facts(event.occurred_at, event.consent, event.user_id, event.visitor_id, event.click_keys, hashes)

    async def _hashes(self, event: NewEvent) -> tuple[AddressHashes, ...]:
        """The event's address under every key that a click inside the window may have been hashed with."""
        address = parse_address(event.ip) if event.ip else None
        if address is None:
            return ()
        age = max(self._now - event.occurred_at, timedelta(0))
        window = self._app.rules.ip_window + age
        keys = await self._addresses.keys(self._connection, self._app.name, self._now, window)
        return tuple(hashed(address, key) for key in keys)


def waiting_keys(facts: Matchable) -> Sequence[UUID]:
    """Under what a click that arrives later can find the event."""
    keys = []
    if facts.visitor_id:
        keys.append(match_key("visitor", facts.visitor_id))
    if facts.user_id:
        keys.append(match_key("user", facts.user_id))
    if facts.addresses:
        keys.append(facts.addresses[0].match)
    return keys


def _answer_repeats(outcomes: dict[int, Outcome], stored: Mapping[UUID, Outcome]) -> None:
    """A repeat inside the same group: its first copy was just stored."""
    for index, outcome in outcomes.items():
        first = stored.get(outcome.event)
        if first is not None and first is not outcome:
            outcomes[index] = _as_repeat(outcome, first)


def _as_repeat(outcome: Outcome, first: Outcome) -> Outcome:
    return Outcome(
        event_id=outcome.event_id,
        event=outcome.event,
        status=first.status,
        duplicate=outcome.duplicate,
        conflict=outcome.conflict,
        recorded=first.recorded,
    )


def _nameless(event: NewEvent) -> str:
    """The `event_id`, unless the game has put the player into it; it is found by its key all the same."""
    named = event.user_id is not None and event.user_id in event.event_id
    return f"evt_{event.key.hex}" if named else event.event_id


def _anonymous(event: NewEvent) -> NewEvent:
    """Of an erased player nothing is kept but that an event was refused."""
    return replace(
        event,
        event_id=_nameless(event),
        user_id=None,
        visitor_id=None,
        value=None,
        currency=None,
        platform=None,
        storefront=None,
        properties=None,
    )
