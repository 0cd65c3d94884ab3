"""Finds the clicks that events may belong to, tier by tier, and has the pure core decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from postbacks.domain.frozen import frozen
from postbacks.domain.matching import Candidate, Decision, Inheritance, Method, Rules, decide
from postbacks.domain.model import Click, Consent
from postbacks.platforms.registry import ADAPTERS, CLICK_ID_PLATFORM
from postbacks.privacy.addresses import AddressHashes
from postbacks.store import clicks as store
from postbacks.store.clicks import Link
from postbacks.store.database import Connection

_NO_MATCH = Decision()

PREFERENCE: Mapping[str, int] = {
    click_id_type: rank for adapter in ADAPTERS.values() for rank, click_id_type in enumerate(adapter.click_id_types)
}


class Matchable(Protocol):
    """What a match may use of one event. `addresses`: hashes of its address under every live key."""

    @property
    def occurred_at(self) -> datetime: ...
    @property
    def consent(self) -> Consent: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def visitor_id(self) -> str | None: ...
    @property
    def click_keys(self) -> Sequence[UUID]: ...
    @property
    def addresses(self) -> Sequence[AddressHashes]: ...


@frozen
class Facts:
    """`Matchable`, put together of what is known elsewhere."""

    occurred_at: datetime
    consent: Consent
    user_id: str | None
    visitor_id: str | None
    click_keys: tuple[UUID, ...] = ()
    addresses: tuple[AddressHashes, ...] = ()


class Resolver:
    """Matches the events of one app that are handled together, in one transaction."""

    def __init__(self, connection: Connection, app: str, rules: Rules) -> None:
        self._connection = connection
        self._app = app
        self._rules = rules
        self._candidates: dict[int, Sequence[Candidate]] = {}
        """By the index of the event; only of those that have any."""
        self._links: dict[str, list[Candidate]] = {}
        """By player; the events of a player share them."""
        self.new_links: list[Link] = []

    async def resolve(self, facts: Sequence[Matchable]) -> list[Decision]:
        """One decision per event. An event inherits from an earlier one of the same call, too."""
        decisions: list[Decision] = [_NO_MATCH] * len(facts)
        times = [one.occurred_at for one in facts]
        pending = sorted(range(len(facts)), key=times.__getitem__)
        self._candidates = {}
        # Each adds candidates and returns whether there may be any. (Kept in no attribute: an object that holds its own
        # methods is a cycle, and with it everything that was read here would wait for the cycle collector.)
        tiers = (
            (Method.CLICK_ID, self._by_click_id),
            (Method.VISITOR_ID, self._by_visitor),
            (Method.USER_ID, self._by_user),
            (Method.IP, self._by_address),
        )
        for method, find in tiers:
            if not pending:
                break
            if not await find(facts, pending):
                continue
            unmatched = []
            for index in pending:
                if method is Method.USER_ID:
                    self._add_links(index, facts[index])
                candidates = self._candidates.get(index)
                if candidates is not None:
                    decisions[index] = decision = self._decide(facts[index], candidates)
                    if decision.matched:
                        continue
                unmatched.append(index)
            pending = unmatched
        for index in pending:
            if facts[index].user_id in self._links:
                self._add_links(index, facts[index])
                decisions[index] = self._decide(facts[index], self._candidates.get(index, ()))
        return decisions

    def _decide(self, facts: Matchable, candidates: Sequence[Candidate]) -> Decision:
        decision = decide(facts.occurred_at, facts.consent, candidates, self._rules, CLICK_ID_PLATFORM, PREFERENCE)
        self._note_links(facts, decision)
        return decision

    def _add_links(self, index: int, facts: Matchable) -> None:
        links = self._links.get(facts.user_id or "")
        if not links:
            return
        candidates = self._candidates.setdefault(index, links)
        if candidates is not links:
            known = {one.click.id for one in candidates if one.method is Method.USER_ID}
            self._add(index, [one for one in links if one.click.id not in known])

    def _note_links(self, facts: Matchable, decision: Decision) -> None:
        """A matched event ties its player to the clicks, so that later events inherit the match."""
        user_id, confidence = facts.user_id, decision.confidence
        if user_id is None or confidence is None:
            return
        known = self._links.setdefault(user_id, [])
        passed_on: Inheritance | None = None
        for clicks in (decision.clicks, decision.refused):
            for click in clicks.values():
                if _is_passed_on(click, known):
                    continue
                passed_on = passed_on or Inheritance(
                    until=facts.occurred_at + self._rules.install_inheritance,
                    confidence=confidence,
                    since=facts.occurred_at,
                )
                known.append(Candidate(click, Method.USER_ID, passed_on))
                self.new_links.append(Link(user_id, click.id, confidence, passed_on))

    async def _by_click_id(self, facts: Sequence[Matchable], pending: Sequence[int]) -> bool:
        wanted = {key for index in pending for key in facts[index].click_keys}
        if not wanted:
            return False
        found = await store.by_keys(self._connection, self._app, wanted)
        for index in pending:
            keys = facts[index].click_keys
            self._add(index, [Candidate(found[key], Method.CLICK_ID) for key in keys if key in found])
        return bool(found)

    def _add(self, index: int, candidates: Sequence[Candidate]) -> None:
        if candidates:
            self._candidates[index] = [*self._candidates.get(index, ()), *candidates]

    async def _by_visitor(self, facts: Sequence[Matchable], pending: Sequence[int]) -> bool:
        wanted = {facts[index].visitor_id for index in pending if facts[index].visitor_id}
        if not wanted:
            return False
        found = await store.by_visitors(self._connection, self._app, [one for one in wanted if one])
        for index in pending:
            clicks = found.get(facts[index].visitor_id or "", ())
            self._add(index, [Candidate(click, Method.VISITOR_ID) for click in clicks])
        return bool(found)

    async def _by_user(self, facts: Sequence[Matchable], pending: Sequence[int]) -> bool:
        wanted = {facts[index].user_id or "" for index in pending} - {""}
        if not wanted:
            return False
        found = await store.by_users(self._connection, self._app, wanted)
        for user, links in found.items():
            # What this call learned about a click comes first: it was read from the same database, and it is newer.
            learned = self._links.setdefault(user, links)
            if learned is not links:
                known = {one.click.id for one in learned}
                learned.extend([one for one in links if one.click.id not in known])
        return bool(self._links)

    async def _by_address(self, facts: Sequence[Matchable], pending: Sequence[int]) -> bool:
        since = min((facts[index].occurred_at for index in pending), default=None)
        hashes = {one for index in pending for one in facts[index].addresses}
        if since is None or not hashes:
            return False
        oldest = since - self._rules.ip_window
        found: dict[UUID, list[tuple[Click, UUID | None]]] = {}
        for network in (False, True):
            wanted = {one.match for one in hashes if (one.network is not None) is network}
            if wanted:
                found |= await store.by_addresses(self._connection, self._app, wanted, network=network, since=oldest)
        for index in pending:
            for one in facts[index].addresses:
                self._add(
                    index,
                    [
                        Candidate(click, Method.IP, same_address=address == one.address)
                        for click, address in found.get(one.match, ())
                    ],
                )
        return bool(found)


def _is_passed_on(click: Click, links: Sequence[Candidate]) -> bool:
    """Whether an earlier match of the player passes the click on. (A loop: this is asked for every event.)"""
    for one in links:  # noqa: SIM110
        if one.inheritance is not None and (one.click is click or one.click.id == click.id):
            return True
    return False
