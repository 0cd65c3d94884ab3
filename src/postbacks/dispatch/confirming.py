"""Asks for the outcome of what a platform took and promised to decide later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from postbacks.catalog import Destination
from postbacks.dispatch.delivering import Delivery, Item, confirm_wait, refused_credentials
from postbacks.dispatch.settling import outcome
from postbacks.domain.model import Kind, Verdict
from postbacks.domain.retrying import RetryPolicy
from postbacks.outbound.http import Sender
from postbacks.outbound.tokens import Tokens
from postbacks.platforms.base import Response
from postbacks.store.outbox import Ended, Postponed

GIVE_UP = timedelta(days=49)
"""Google keeps a request's status for about 50 days (sheet google, 2.4)."""


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
    """One outcome per item; items of one accepted request are asked for together."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.row.reference or "", []).append(item)
    outcomes: dict[int, Ended | Postponed] = {}
    for reference, group in groups.items():
        verdicts = await _ask(destination, reference, group, sender, tokens, clock, delivery)
        now = clock()
        for item, verdict in zip(group, verdicts, strict=True):
            outcomes[id(item)] = _outcome(item, verdict, destination, policy, now)
    return [outcomes[id(item)] for item in items]


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
            if token.kind is Kind.HOLD:
                delivery.health.hold = token
            return [replace(token, kind=Kind.ACCEPTED)] * len(group)
        request = destination.adapter.confirm_request(destination.target, reference, token)
        started_at = clock()
        answer = await sender.send(request, seconds=destination.adapter.max_wait.total_seconds())
        verdicts = destination.adapter.read_confirmation(
            destination.target, answer, [item.row.reference_index or 0 for item in group], clock()
        )
        if not (refused is None and any(verdict.stale_token for verdict in verdicts)):
            break
        refused = token
    hold = next((verdict for verdict in verdicts if verdict.kind is Kind.HOLD), None)
    stale = next((verdict for verdict in verdicts if verdict.stale_token), None)
    if stale is not None:
        # A fresh token was refused as well: nothing will be answered until a person looks at the credentials.
        hold = refused_credentials(stale)
    if hold is not None:
        delivery.health.hold = hold
        if not (isinstance(answer, Response) and answer.status == 200):
            # The question was refused, not the events: they stay accepted and are asked for when it works again.
            verdicts = [replace(verdict, kind=Kind.ACCEPTED) for verdict in verdicts]
    for item, verdict in zip(group, verdicts, strict=True):
        # "Ask again later" is no news for the log; an outcome is.
        if verdict.kind is not Kind.ACCEPTED:
            seconds = (clock() - started_at).total_seconds()
            item.attempts.append(delivery.attempt(item, request, "", answer, verdict, started_at, seconds))
    return verdicts


def _outcome(
    item: Item, verdict: Verdict, destination: Destination, policy: RetryPolicy, now: datetime
) -> Ended | Postponed:
    row = item.row
    if verdict.kind is Kind.ACCEPTED:
        if now - row.created_at > GIVE_UP:
            return Ended(row.id, "failed", "never_confirmed", item.tried)
        wait = confirm_wait(row.tries, verdict.retry_after or 0)
        return Postponed(
            id=row.id,
            status="accepted",
            reason=None,
            due=now + wait,
            attempts=item.tried,
            tried_at=row.tried_at,
            tries=row.tries + 1,
            ambiguous=row.ambiguous,
            alone=row.alone,
            reference=row.reference,
            reference_index=row.reference_index,
        )
    if verdict.kind is Kind.SPLIT:
        # The answer does not say which of the batch it means: each is sent again by itself, under the same key.
        return Postponed(
            id=row.id,
            status="retrying",
            reason=verdict.code or "split",
            due=now,
            attempts=item.tried,
            tried_at=row.tried_at,
            tries=row.tries,
            ambiguous=row.ambiguous,
            alone=True,
            reference=None,
            reference_index=None,
        )
    item.verdict = verdict
    return outcome(item, destination, policy, now, lambda: 1.0)
