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
from postbacks.domain.matching import Decision
from postbacks.domain.model import Consent
from postbacks.domain.planning import NotSent, Plan, plan
from postbacks.store import outbox
from postbacks.store import stats as stats_store
from postbacks.store.database import Connection
from postbacks.store.outbox import Ended, OpenDelivery
from postbacks.store.stats import EVENTS, Count, minute_of

TOO_OLD = "too_old"


@frozen
class PlannedDelivery:
    """What the answer to the game backend says of a delivery."""

    id: UUID
    destination: str
    platform: str
    status: str


@frozen
class Recorded:
    """One event's outcome, ready to be written and to be answered."""

    status: str
    match: str | None
    not_sent: str | None
    plan: Plan
    method: str | None
    platforms: tuple[str, ...]


@dataclass(slots=True)
class Batch:
    """Rows of several events of one app."""

    app: App
    now: datetime
    open: list[OpenDelivery] = field(default_factory=list)
    ended: list[tuple[OpenDelivery, str, Ended]] = field(default_factory=list)
    counts: Counter[Count] = field(default_factory=Counter)
    not_sent: Counter[tuple[str, NotSent]] = field(default_factory=Counter)
    """By destination and reason; apart from `counts`, because every event adds to it several times."""

    def add(self, event: UUID, recorded: Recorded) -> list[PlannedDelivery]:
        """Adds an event's deliveries; returns them for the answer."""
        minute = minute_of(self.now)
        planned = []
        for slot, one in enumerate(recorded.plan.deliveries, 1):
            paused = one.held
            row = OpenDelivery(
                id=ids.delivery_id(event, slot),
                destination=one.destination,
                due=one.due,
                deadline=one.deadline,
                created_at=self.now,
                click=one.click.id,
                status="held" if paused else "queued",
                reason="young_click" if paused else None,
            )
            status = "expired" if one.expired else row.status
            if one.expired:
                self.ended.append((row, one.platform, Ended(row.id, "expired", TOO_OLD, 0)))
                self.counts[Count(minute, one.destination, "expired", TOO_OLD)] += 1
            else:
                self.open.append(row)
            planned.append(PlannedDelivery(row.id, one.destination, one.platform, status))
        self.count_not_sent(recorded.plan, 1)
        self.counts[Count(minute, EVENTS, recorded.status)] += 1
        return planned

    def count_not_sent(self, omitted: Plan, n: int) -> None:
        for one in omitted.not_sent:
            self.not_sent[one.destination, one.reason] += n

    async def write(self, connection: Connection) -> None:
        if self.open:
            await outbox.insert(connection, self.app.name, self.open, self.now)
        if self.ended:
            await outbox.insert_ended(connection, self.app.name, self.ended, self.now)
        minute = minute_of(self.now)
        omitted = {Count(minute, name, "not_sent", reason.value): n for (name, reason), n in self.not_sent.items()}
        await stats_store.add(connection, self.app.name, {**self.counts, **omitted})


def record(
    app: App,
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
    refused = erased or not may_match(consent) or not may_send(consent, require_consent=app.rules.require_consent)
    planned = plan(event_name, occurred_at, decision, app.destinations.values(), now, consent_refused=refused)
    if refused or (decision.refused and not decision.clicks):
        status = "suppressed"
    elif decision.clicks:
        status = "matched"
    else:
        status = "waiting" if may_wait else "unmatched"
    platforms = tuple(sorted({*decision.clicks, *decision.refused}))
    return Recorded(
        status=status,
        match=_match_json(decision, platforms, "erased_user" if erased else None),
        not_sent=_not_sent_json(planned),
        plan=planned,
        method=decision.method.value if decision.method else None,
        platforms=platforms,
    )


def _match_json(decision: Decision, platforms: Sequence[str], suppressed: str | None) -> str | None:
    if not decision.considered and suppressed is None:
        return None
    body: dict[str, object] = {
        "method": decision.method.value if decision.method else None,
        "confidence": decision.confidence.value if decision.confidence else None,
        "platforms": platforms,
        "considered": [
            {
                "click": one.click.id.hex,
                "type": one.click.type,
                "clicked_at": one.click.clicked_at,
                "method": one.method.value,
                "taken": one.taken,
                "why": one.why,
            }
            for one in decision.considered
        ],
    }
    if suppressed:
        body["suppressed"] = suppressed
    return orjson.dumps(body).decode()


def _not_sent_json(planned: Plan) -> str | None:
    if not planned.not_sent:
        return None
    return orjson.dumps([(one.destination, one.platform, one.reason) for one in planned.not_sent]).decode()
