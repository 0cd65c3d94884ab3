"""Writes down what became of a claim, if the lease is still ours."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from postbacks.catalog import Destination
from postbacks.dispatch.delivering import RESEND_LATER, Item
from postbacks.domain.delays import buckets
from postbacks.domain.model import Kind, Verdict
from postbacks.domain.retrying import AMBIGUOUS_TRIES, RetryPolicy, Stop, next_try
from postbacks.store import attempts, history, leases, outbox
from postbacks.store import stats as stats_store
from postbacks.store.attempts import AttemptRow
from postbacks.store.database import Connection, Database
from postbacks.store.history import Ended
from postbacks.store.outbox import Postponed
from postbacks.store.stats import Count, minute_of

CONFIRM_SECONDS = 1800.0
"""When a platform that confirms later is asked first, unless its adapter says otherwise."""

_ENDS = {
    Kind.REFUSED: "failed",
    Kind.SPLIT: "failed",
    Kind.SKIPPED: "skipped",
    Kind.EXPIRED: "expired",
}


@dataclass(slots=True)
class Settled:
    """How a claim was settled."""

    stale: int = 0
    """Deliveries that somebody else took over in the meantime; their outcome was not ours to write."""
    delays: Sequence[float] = ()
    """Seconds from planning to the platform's yes, of each that was delivered, in ascending order."""


def outcome(
    item: Item, destination: Destination, policy: RetryPolicy, now: datetime, jitter: Callable[[], float]
) -> Ended | Postponed:
    """What a verdict means for the row. Pure."""
    row, verdict = item.row, item.verdict
    assert verdict is not None  # noqa: S101 - items without a verdict are given back, not settled
    if verdict.kind is Kind.DELIVERED:
        return end_of(item, "delivered", None)
    if verdict.kind is Kind.ACCEPTED:
        wait = timedelta(seconds=CONFIRM_SECONDS if verdict.retry_after is None else verdict.retry_after)
        return _postponed(
            item,
            "accepted",
            None,
            now + wait,
            # What is taken and later refused for a passing reason, again and again, has to end some time as well.
            tried_at=row.tried_at or now,
            reference=verdict.reference,
            reference_index=item.reference_index,
        )
    end = _ENDS.get(verdict.kind)
    if end is not None:
        return end_of(item, end, verdict.code or end)
    if verdict.kind is Kind.HOLD:
        # The schedule starts anew when the destination is released: the wait was not the delivery's fault.
        return _postponed(item, "held", verdict.code or "held", now, tries=0)
    ambiguous = row.ambiguous + item.ambiguous
    if destination.adapter.counts_repeats and ambiguous >= AMBIGUOUS_TRIES:
        return end_of(item, "failed", "outcome_unknown")
    step = next_try(
        policy,
        attempts=row.tries + 1,
        first_try=row.tried_at or now,
        deadline=datetime.fromtimestamp(row.deadline, UTC),
        now=now,
        retry_after=verdict.retry_after,
        jitter=jitter,
    )
    if isinstance(step, Stop):
        if step.expired:
            return end_of(item, "expired", "too_old")
        return end_of(item, "failed", "retries_exhausted")
    return _postponed(
        item,
        "retrying",
        verdict.code or "retry",
        step.at,
        tries=row.tries + 1,
        tried_at=row.tried_at or now,
        alone=row.alone or verdict.code == RESEND_LATER,
    )


def end_of(item: Item, status: str, reason: str | None) -> Ended:
    """The end of a delivery, with the try that ended it."""
    tries = item.attempts
    return Ended(item.row, status, reason, item.row.attempts + len(tries), tries[-1] if tries else None)


def _postponed(
    item: Item,
    status: str,
    reason: str | None,
    due: datetime,
    *,
    tries: int | None = None,
    tried_at: datetime | None = None,
    alone: bool = False,
    reference: str | None = None,
    reference_index: int | None = None,
) -> Postponed:
    return Postponed(
        id=item.row.id,
        status=status,
        reason=reason,
        due=due,
        attempts=item.tried,
        tried_at=tried_at,
        tries=item.row.tries if tries is None else tries,
        ambiguous=item.row.ambiguous + item.ambiguous,
        alone=alone,
        reference=reference,
        reference_index=reference_index,
    )


def _as_it_was(item: Item, now: datetime) -> Postponed:
    """What was tried and came to no verdict, because sending was stopped, is due again."""
    row = item.row
    return _postponed(
        item,
        row.status,
        row.reason,
        now,
        tried_at=row.tried_at,
        alone=row.alone,
        reference=row.reference,
        reference_index=row.reference_index,
    )


async def settle(
    database: Database,
    destination: Destination,
    lease: UUID,
    items: Sequence[Item],
    asked: Sequence[tuple[Item, Ended | Postponed]],
    policy: RetryPolicy,
    now: datetime,
) -> Settled:
    """Writes outcomes, tries and counts and ends the lease, in one transaction; nothing if the lease is ours no more.

    `items`: what was to be sent. `asked`: what a platform was asked for, with the outcome.
    """
    over = [item for item in items if item.verdict is not None]
    tried = [item for item in items if item.verdict is None and item.attempts]
    untouched = [item.row.id for item in items if item.verdict is None and not item.attempts]
    written = [*over, *(item for item, _ in asked), *tried]
    outcomes = [
        *(outcome(item, destination, policy, now, _jitter) for item in over),
        *(one for _, one in asked),
        *(_as_it_was(item, now) for item in tried),
    ]
    ended = [one for one in outcomes if isinstance(one, Ended)]
    postponed = [one for one in outcomes if isinstance(one, Postponed)]
    async with database.transaction() as connection:
        lost = await _end(connection, destination, lease, ended, [*(one.id for one in postponed), *untouched])
        if lost is None:
            return Settled(len(written))
        lost |= await outbox.postpone(connection, destination.app, postponed, now)
        if lost:
            written, outcomes = _ours(written, outcomes, lost)
        await attempts.record(connection, destination.app, _earlier(written, outcomes))
        delays = _delays(written, outcomes, now)
        await stats_store.add(connection, destination.app, _counts(destination.name, outcomes, delays, now))
    return Settled(len(lost), delays)


async def _end(
    connection: Connection, destination: Destination, lease: UUID, ended: Sequence[Ended], staying: Sequence[UUID]
) -> set[UUID] | None:
    """Ends the lease, and moves what ended into the history. Returns what was gone already; `None`: the lease was."""
    app = destination.app
    if not ended:
        return set() if await leases.end(connection, app, lease) else None
    taken = await outbox.take_out(connection, app, lease, staying, len(ended))
    if taken is None:
        return None
    database_now, found = taken
    lost = set() if found is None else {one.id for one in ended}.difference(found)
    ours = [one for one in ended if one.id not in lost] if lost else ended
    await history.insert(connection, app, destination.name, destination.platform, ours, database_now)
    return lost


def _earlier(items: Sequence[Item], outcomes: Sequence[Ended | Postponed]) -> list[AttemptRow]:
    """The tries after which a delivery went on: all but the one that ended it."""
    earlier: list[AttemptRow] = []
    for item, one in zip(items, outcomes, strict=True):
        if not isinstance(one, Ended):
            earlier += item.attempts
        elif len(item.attempts) > 1:
            earlier += item.attempts[:-1]
    return earlier


def _ours(
    items: Sequence[Item], outcomes: Sequence[Ended | Postponed], lost: Collection[UUID]
) -> tuple[list[Item], list[Ended | Postponed]]:
    left = [index for index, one in enumerate(outcomes) if one.id not in lost]
    return [items[index] for index in left], [outcomes[index] for index in left]


def _delays(items: Sequence[Item], outcomes: Sequence[Ended | Postponed], now: datetime) -> list[float]:
    seconds = now.timestamp()
    return sorted(
        [seconds - item.row.created_at for item, one in zip(items, outcomes, strict=True) if one.status == "delivered"]
    )


def _counts(
    destination: str, outcomes: Sequence[Ended | Postponed], delays: Sequence[float], now: datetime
) -> Counter[Count]:
    minute = minute_of(now)
    counts = Counter({Count(minute, destination, "delivered", "", delay): n for delay, n in buckets(delays).items()})
    for one in outcomes:
        if isinstance(one, Ended) and one.status != "delivered":
            counts[Count(minute, destination, one.status, one.reason or "")] += 1
    return counts


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, guards nothing


def trouble_wait(failures: int, verdict: Verdict) -> timedelta | None:
    """How long everybody keeps away from a destination after its `failures`-th refusal in a row; `None` for not yet.

    A throttle blocks at once, for as long as the platform asks, else for longer and longer; other faults open the
    breaker at the fifth in a row.
    """
    if verdict.throttled:
        asked = verdict.retry_after or 0.0
        return timedelta(seconds=max(asked, min(60.0, 0.5 * 2 ** min(failures, 10))))
    if failures + 1 < BREAKER_OPENS_AT:
        return None
    return timedelta(seconds=min(60.0, 2.0 ** (failures + 1 - BREAKER_OPENS_AT)) * _jitter())


BREAKER_OPENS_AT = 5
