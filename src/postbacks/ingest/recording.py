"""From a decision to rows: the event, its deliveries, what it waits for, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.consent import may_match, may_send
from postbacks.domain.frozen import frozen
from postbacks.domain.matching import Decision, Rules
from postbacks.domain.model import Consent
from postbacks.domain.planning import Omitted, Planned, Route, plan, route
from postbacks.store import history, outbox
from postbacks.store import stats as stats_store
from postbacks.store.database import Connection
from postbacks.store.stats import EVENTS, Count, minute_of

TOO_OLD = "too_old"


@frozen
class Routed:
    """A route with its omissions as the JSON that is stored with each event that takes it."""

    route: Route
    not_sent: str | None
    platforms: tuple[str, ...]
    """Of the clicks that matched, those that lack consent included."""


class Routes:
    """The routes of one app's events, each worked out once: the events of a batch take the same few."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._known: dict[tuple[str | bool, ...], Routed] = {}
        """By what decides it: event, consent, platforms of the clicks, an empty name, those of refused clicks."""

    def of(self, event_name: str, decision: Decision, *, consent_refused: bool) -> Routed:
        """Where an event with this decision goes."""
        key: tuple[str | bool, ...] = (event_name, consent_refused, *decision.clicks, "", *decision.refused)
        known = self._known.get(key)
        if known is None:
            found = route(
                event_name,
                decision.clicks,
                decision.refused,
                self._app.destinations.values(),
                consent_refused=consent_refused,
            )
            platforms = tuple(sorted({*decision.clicks, *decision.refused}))
            known = self._known[key] = Routed(found, _not_sent_json(found.not_sent), platforms)
        return known


@frozen
class Recorded:
    """One event's outcome, ready to be written and to be answered."""

    status: str
    match: str | None
    not_sent: str | None
    deliveries: tuple[Planned, ...]
    method: str | None
    platforms: tuple[str, ...]


@dataclass(slots=True)
class Batch:
    """Rows of several events of one app."""

    app: App
    now: datetime
    open: list[tuple[UUID, Planned]] = field(default_factory=list)
    ended: list[tuple[UUID, Planned]] = field(default_factory=list)
    """Too old for the platform as they are planned."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Events by status; a negative number takes back what was counted before."""
    not_sent: Counter[str] = field(default_factory=Counter)
    """Events by the JSON of their omissions: thousands share a few texts."""

    def add(self, event: UUID, recorded: Recorded) -> None:
        """Adds an event's deliveries."""
        self.statuses[recorded.status] += 1
        if recorded.not_sent is not None:
            self.not_sent[recorded.not_sent] += 1
        for slot, one in enumerate(recorded.deliveries, 1):
            (self.ended if one.expired else self.open).append((ids.delivery_id(event, slot), one))

    def take_back(self, recorded: Recorded) -> None:
        """An event that was counted like this before is counted anew."""
        self.statuses[recorded.status] -= 1
        if recorded.not_sent is not None:
            self.not_sent[recorded.not_sent] -= 1

    async def write(self, connection: Connection, database_now: datetime) -> None:
        """Writes all of it. `database_now`: the transaction's time by PostgreSQL's clock."""
        if self.open:
            await outbox.insert(connection, self.app.name, self.open, self.now, self.now - database_now)
        if self.ended:
            await history.insert_unsent(connection, self.app.name, self.ended, TOO_OLD, self.now)
        await stats_store.add(connection, self.app.name, self._counts())

    def _counts(self) -> Counter[Count]:
        minute = minute_of(self.now)
        counts: Counter[Count] = Counter()
        for _, one in self.ended:
            counts[Count(minute, one.destination, "expired", TOO_OLD)] += 1
        for status, n in self.statuses.items():
            counts[Count(minute, EVENTS, status)] += n
        for text, n in self.not_sent.items():
            for destination, _, reason in orjson.loads(text):
                counts[Count(minute, destination, "not_sent", reason)] += n
        return counts


def refuses(consent: Consent, rules: Rules) -> bool:
    """Whether an event's own consent keeps it from every destination."""
    return not may_match(consent) or not may_send(consent, require_consent=rules.require_consent)


def record(
    routes: Routes,
    rules: Rules,
    event_name: str,
    occurred_at: datetime,
    consent: Consent,
    decision: Decision,
    now: datetime,
    *,
    may_wait: bool,
    erased: bool = False,
) -> Recorded:
    """What a decision means for one event. `may_wait`: a click could still arrive for it."""
    refused = erased or refuses(consent, rules)
    routed = routes.of(event_name, decision, consent_refused=refused)
    if refused or (decision.refused and not decision.clicks):
        status = "suppressed"
    elif decision.clicks:
        status = "matched"
    else:
        status = "waiting" if may_wait else "unmatched"
    return Recorded(
        status,
        _match_json(decision, routed.platforms, "erased_user" if erased else None),
        routed.not_sent,
        plan(routed.route, occurred_at, decision.clicks, now) if routed.route.to else (),
        decision.method,
        routed.platforms,
    )


def _match_json(decision: Decision, platforms: Sequence[str], suppressed: str | None) -> str | None:
    if not decision.considered and suppressed is None:
        return None
    body: dict[str, object] = {
        "method": decision.method,
        "confidence": decision.confidence,
        "platforms": platforms,
        "considered": [
            {
                "click": one.click.id.hex,
                "type": one.click.type,
                "clicked_at": one.click.clicked_at,
                "method": one.method,
                "taken": one.taken,
                "why": one.why,
            }
            for one in decision.considered
        ],
    }
    if suppressed:
        body["suppressed"] = suppressed
    return orjson.dumps(body).decode()


def _not_sent_json(omitted: Sequence[Omitted]) -> str | None:
    if not omitted:
        return None
    return orjson.dumps([(one.destination, one.platform, one.reason) for one in omitted]).decode()
