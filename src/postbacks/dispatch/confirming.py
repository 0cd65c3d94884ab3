"""Asks for the outcome of what a platform took and promised to decide later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postbacks.catalog import Destination
from postbacks.dispatch.delivering import Delivery, Health, Item, refused_credentials, storable
from postbacks.dispatch.settling import end_of, outcome
from postbacks.domain.model import Kind, Verdict
from postbacks.domain.retrying import RetryPolicy
from postbacks.outbound.http import Sender
from postbacks.outbound.tokens import Tokens
from postbacks.platforms.base import Answer, Response
from postbacks.store.history import Ended
from postbacks.store.outbox import Claimed, Postponed

GIVE_UP = timedelta(days=49)
"""Google keeps a request's status for about 50 days (sheet google, 2.4)."""

LONGEST_WAIT = 6 * 3600.0
"""Seconds between two questions, at most."""


async def confirm(
    destination: Destination,
    items: Sequence[Item],
    *,
    sender: Sender,
    tokens: Tokens,
    clock: Callable[[], datetime],
    policy: RetryPolicy,
    delivery: Delivery,
) -> list[Ended | Postponed]:
    """One outcome per item; items of one accepted request are asked for together.

    Once the platform wants no more questions (throttled, down, credentials refused) the rest is not asked.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.row.reference or "", []).append(item)
    outcomes: dict[int, Ended | Postponed] = {}
    for reference, group in groups.items():
        asked = not delivery.health.stop
        verdicts = await _ask(destination, reference, group, sender, tokens, clock, delivery) if asked else ()
        now = clock()
        for place, item in enumerate(group):
            outcomes[id(item)] = (
                answered(item, verdicts[place], destination, policy, now) if asked else _unasked(item, now)
            )
    return [outcomes[id(item)] for item in items]


def confirm_wait(tries: int, first: float) -> timedelta:
    """How long to wait before asking again: `first` seconds, then each time twice as long, up to `LONGEST_WAIT`."""
    return timedelta(seconds=min(max(first, 1.0) * 2 ** min(tries, 15), LONGEST_WAIT))


async def _ask(
    destination: Destination,
    reference: str,
    group: Sequence[Item],
    sender: Sender,
    tokens: Tokens,
    clock: Callable[[], datetime],
    delivery: Delivery,
) -> Sequence[Verdict]:
    refused: str | None = None
    while True:
        token = await tokens.token(destination, refused=refused)
        if isinstance(token, Verdict):
            token = storable(token)
            if token.kind is Kind.HOLD:
                delivery.health.hold = token
            else:
                delivery.health.trouble = token
            return [replace(token, kind=Kind.ACCEPTED)] * len(group)
        request = destination.adapter.confirm_request(destination.target, reference, token)
        started_at = clock()
        answer = await sender.send(request, seconds=destination.adapter.max_wait.total_seconds())
        read = destination.adapter.read_confirmation(
            destination.target, answer, [item.row.reference_index or 0 for item in group], clock()
        )
        verdicts = [storable(verdict) for verdict in read]
        if not (refused is None and any(verdict.stale_token for verdict in verdicts)):
            break
        refused = token
    _note_health(delivery.health, answer, verdicts)
    if not (isinstance(answer, Response) and answer.status == 200):
        # The question was refused, not the events: they stay accepted and are asked for when it works again.
        verdicts = [
            replace(verdict, kind=Kind.ACCEPTED) if verdict.kind is Kind.HOLD else verdict for verdict in verdicts
        ]
    exchange = delivery.exchange(request, answer, started_at, (clock() - started_at).total_seconds())
    for item, verdict in zip(group, verdicts, strict=True):
        if _is_news(item.row, verdict):
            item.attempts.append(delivery.attempt(item, exchange, "", verdict))
    return verdicts


def _note_health(health: Health, answer: Answer, verdicts: Sequence[Verdict]) -> None:
    """What an answer about some events says of the destination as a whole."""
    stale = next((verdict for verdict in verdicts if verdict.stale_token), None)
    hold = next((verdict for verdict in verdicts if verdict.kind is Kind.HOLD), None)
    if stale is not None:
        # A fresh token was refused as well: nothing will be answered until a person looks at the credentials.
        hold = refused_credentials(stale)
    if hold is not None:
        health.hold = hold
        return
    throttle = next((verdict for verdict in verdicts if verdict.throttled), None)
    if throttle is not None:
        health.throttle = throttle
    elif not isinstance(answer, Response) or answer.status >= 500:
        health.trouble = verdicts[0]
    else:
        health.answered = True


def _is_news(row: Claimed, verdict: Verdict) -> bool:
    """An outcome is news for the log; "ask again later" only where it has a cause, and that one is new."""
    return verdict.kind is not Kind.ACCEPTED or (bool(verdict.code) and verdict.code != row.reason)


def answered(
    item: Item, verdict: Verdict, destination: Destination, policy: RetryPolicy, now: datetime
) -> Ended | Postponed:
    """What the answer to a question means for the row."""
    row = item.row
    if verdict.kind is Kind.ACCEPTED:
        # Counted from the first send: before that, the delivery may have been held for as long as it liked.
        if now - (row.tried_at or datetime.fromtimestamp(row.created_at, UTC)) > GIVE_UP:
            return end_of(item, "failed", "never_confirmed")
        wait = confirm_wait(row.tries, verdict.retry_after or 0)
        return replace(_unasked(item, now + wait), reason=verdict.code or None, tries=row.tries + 1)
    if verdict.kind is Kind.SPLIT and not row.alone:
        # The answer does not say which of the batch it means: each is sent again by itself, under the same key.
        return replace(
            _unasked(item, now),
            status="retrying",
            reason=verdict.code or "split",
            alone=True,
            reference=None,
            reference_index=None,
        )
    if verdict.kind is Kind.SPLIT:
        # It was alone already. Whatever the platform means by that, it is not asked without a pause.
        verdict = replace(verdict, kind=Kind.RETRY, retry_after=None)
    item.verdict = verdict
    # Questions were counted as tries too, for the sake of their waits. A round of sending and asking leaves two entries
    # in the log, and makes one step of the schedule. Patience is counted from the first refusal: until then it was
    # Google, or a paused destination, that took its time.
    rounds = min(row.tries, (item.tried - 1) // 2)
    item.row = replace(row, tries=rounds, tried_at=row.tried_at if rounds else now)
    return outcome(item, destination, policy, now, lambda: 1.0)


def _unasked(item: Item, due: datetime) -> Postponed:
    """The delivery as it is, to be asked for at `due`."""
    row = item.row
    return Postponed(
        id=row.id,
        status="accepted",
        reason=row.reason,
        due=due,
        attempts=item.tried,
        tried_at=row.tried_at,
        tries=row.tries,
        ambiguous=row.ambiguous,
        alone=row.alone,
        reference=row.reference,
        reference_index=row.reference_index,
    )
