"""Finds the clicks that events may belong to, tier by tier, and has the pure core decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
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


@frozen
class Facts:
    """What a match may use of one event. `addresses`: hashes of its address under every live key."""

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
        self._candidates: dict[int, list[Candidate]] = {}
        self._links: dict[str, list[tuple[Click, Inheritance | None]]] = {}
        self._tiers = (
            (Method.CLICK_ID, self._by_click_id),
            (Method.VISITOR_ID, self._by_visitor),
            (Method.USER_ID, self._by_user),
            (Method.IP, self._by_address),
        )
        """Each adds candidates and returns whether there may be any."""
        self.new_links: list[Link] = []

    async def resolve(self, facts: Sequence[Facts]) -> list[Decision]:
        """One decision per event. An event inherits from an earlier one of the same call, too."""
        decisions: list[Decision] = [_NO_MATCH] * len(facts)
        order = sorted(range(len(facts)), key=lambda index: facts[index].occurred_at)
        self._candidates = {index: [] for index in order}
        pending = order
        for method, find in self._tiers:
            if not pending:
                break
            if not await find(facts, pending):
                continue
            for index in pending:
                if method is Method.USER_ID:
                    self._add_links(index, facts[index])
                if self._candidates[index]:
                    decisions[index] = self._decide(facts[index], self._candidates[index])
                    self._note_links(facts[index], decisions[index])
            pending = [index for index in pending if not decisions[index].matched]
        for index in pending:
            user = facts[index].user_id
            if user in self._links:
                self._add_links(index, facts[index])
                decisions[index] = self._decide(facts[index], self._candidates[index])
                self._note_links(facts[index], decisions[index])
        return decisions

    def _decide(self, facts: Facts, candidates: Sequence[Candidate]) -> Decision:
        return decide(facts.occurred_at, facts.consent, candidates, self._rules, CLICK_ID_PLATFORM, PREFERENCE)

    def _add_links(self, index: int, facts: Facts) -> None:
        links = self._links.get(facts.user_id or "")
        if not links:
            return
        candidates = self._candidates[index]
        known = {one.click.id for one in candidates if one.method is Method.USER_ID} if candidates else ()
        for click, inheritance in links:
            if click.id not in known:
                candidates.append(Candidate(click, Method.USER_ID, inheritance))

    def _note_links(self, facts: Facts, decision: Decision) -> None:
        """A matched event ties its player to the clicks, so that later events inherit the match."""
        if facts.user_id is None or decision.confidence is None:
            return
        known = self._links.setdefault(facts.user_id, [])
        passed_on: Inheritance | None = None
        for click in (*decision.clicks.values(), *decision.refused.values()):
            if any(inheritance is not None and other.id == click.id for other, inheritance in known):
                continue
            passed_on = passed_on or Inheritance(
                until=facts.occurred_at + self._rules.install_inheritance,
                confidence=decision.confidence,
                since=facts.occurred_at,
            )
            known.append((click, passed_on))
            self.new_links.append(Link(facts.user_id, click.id, decision.confidence, passed_on))

    async def _by_click_id(self, facts: Sequence[Facts], pending: Sequence[int]) -> bool:
        wanted = {key for index in pending for key in facts[index].click_keys}
        if not wanted:
            return False
        found = await store.by_keys(self._connection, self._app, wanted)
        for index in pending:
            self._candidates[index].extend(
                Candidate(found[key], Method.CLICK_ID) for key in facts[index].click_keys if key in found
            )
        return bool(found)

    async def _by_visitor(self, facts: Sequence[Facts], pending: Sequence[int]) -> bool:
        wanted = {facts[index].visitor_id for index in pending if facts[index].visitor_id}
        if not wanted:
            return False
        found = await store.by_visitors(self._connection, self._app, [one for one in wanted if one])
        for index in pending:
            clicks = found.get(facts[index].visitor_id or "", ())
            self._candidates[index].extend(Candidate(click, Method.VISITOR_ID) for click in clicks)
        return bool(found)

    async def _by_user(self, facts: Sequence[Facts], pending: Sequence[int]) -> bool:
        wanted = {facts[index].user_id for index in pending if facts[index].user_id}
        if not wanted:
            return False
        found = await store.by_users(self._connection, self._app, [one for one in wanted if one])
        for user, links in found.items():
            # What this call learned about a click comes first: it was read from the same database, and it is newer.
            learned = self._links.setdefault(user, links)
            if learned is not links:
                known = {click.id for click, _ in learned}
                learned.extend(link for link in links if link[0].id not in known)
        return bool(self._links)

    async def _by_address(self, facts: Sequence[Facts], pending: Sequence[int]) -> bool:
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
                self._candidates[index].extend(
                    Candidate(click, Method.IP, same_address=address == one.address)
                    for click, address in found.get(one.match, ())
                )
        return bool(found)
