"""Sends one claim: builds requests, reads answers, splits what was refused as a whole, until each item has a verdict.

Nothing is written here. What happened to each item, try by try, is handed to `settling`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import repeat
from operator import is_

import structlog

from postbacks.catalog import Destination
from postbacks.domain.consent import written
from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.outbound.http import Sender
from postbacks.outbound.masking import Mask, hidden
from postbacks.outbound.tokens import Tokens
from postbacks.platforms.base import Answer, Prepared, Request, Response
from postbacks.platforms.sharing import shared_names
from postbacks.store.attempts import AttemptRow, Said
from postbacks.store.outbox import Claimed

log = structlog.get_logger(__name__)

RESENDS = 25
"""Rounds of splitting and re-sending inside one claim. Halving 2,000 events needs 11; the rest goes on later."""

RESEND_LATER = "resend_later"
"""Where halving did not come to an end, too much is bad for it: from then on these are sent one by one, or the same
halves would be tried again and again until the good ones among them are given up with the bad ones."""


LONGEST_CODE = 200
"""Characters of a platform's error code that are kept: it is stored with every delivery of a batch."""


_TAKEN = frozenset({Kind.DELIVERED, Kind.ACCEPTED})
"""The platform took it."""


@dataclass(slots=True)
class Item:
    """One claimed delivery, what it carries, and what happened to it."""

    row: Claimed
    conversion: Conversion
    attempts: list[AttemptRow] = field(default_factory=list)
    verdict: Verdict | None = None
    reference_index: int | None = None
    ambiguous: int = 0

    @property
    def tried(self) -> int:
        return self.row.attempts + len(self.attempts)


@dataclass(slots=True)
class Exchange:
    """One request and its answer as they are logged with each delivery that was in it. Texts are masked already."""

    started_at: datetime
    duration_ms: int
    http_status: int | None
    method: str
    url: str | None
    response: str | None
    _said: dict[tuple[object, ...], tuple[Verdict, Said]] = field(default_factory=dict)
    """By verdict (held on to, so that its `id` stays its own), consent and what was shared."""

    def said(self, verdict: Verdict, consent: Consent, shared: str | None, mask: Mask) -> Said:
        """What the log says of a verdict. Hundreds of deliveries share one."""
        key = (id(verdict), consent.attribution, consent.postbacks, consent.ad_personalization, shared)
        known = self._said.get(key)
        if known is None:
            known = self._said[key] = (verdict, self._new(verdict, consent, shared, mask))
        return known[1]

    def _new(self, verdict: Verdict, consent: Consent, shared: str | None, mask: Mask) -> Said:
        return Said(
            self.started_at,
            self.duration_ms,
            self.http_status,
            verdict.kind.value,
            verdict.code or None,
            mask(verdict.message) or None,
            self.method,
            self.url,
            self.response if verdict.excerpt is None else mask(verdict.excerpt),
            written(consent),
            shared,
        )


@dataclass(slots=True)
class Health:
    """What a claim's answers say of the destination as a whole."""

    answered: bool = False
    """The platform itself answered something (no gateway, no time-out, no throttle)."""
    trouble: Verdict | None = None
    """A request that did not get through."""
    throttle: Verdict | None = None
    hold: Verdict | None = None

    @property
    def stop(self) -> bool:
        """Whether sending more now would only be refused."""
        return self.trouble is not None or self.throttle is not None or self.hold is not None


class Delivery:
    """Works through the items of one claim."""

    def __init__(
        self,
        destination: Destination,
        *,
        sender: Sender,
        tokens: Tokens,
        clock: Callable[[], datetime],
        slots: asyncio.Semaphore,
        may_send: Callable[[], bool],
        observe: Callable[[str, str, float, int], None],
    ) -> None:
        self._destination = destination
        self._sender = sender
        self._tokens = tokens
        self._clock = clock
        self._slots = slots
        self._may_send = may_send
        self._observe = observe
        self._mask = Mask(destination.target.credentials, destination.target.options)
        self._share = getattr(destination.target.options, "share", ())
        self._refused_token: str | None = None
        self.health = Health()

    async def send(self, items: Sequence[Item]) -> None:
        """Gives every item a verdict, but for those that were not reached: they keep `None` and are given back."""
        groups: deque[list[Item]] = deque()
        together = [item for item in items if not item.row.alone]
        if together:
            groups.append(together)
        groups.extend([item] for item in items if item.row.alone)
        rounds = 0
        while groups and not self.health.stop and self._may_send():
            rounds += 1
            again = await self._round(groups.popleft())
            for group in again:
                if rounds < RESENDS:
                    groups.append(group)
                else:
                    self._later(group)

    async def _round(self, items: list[Item]) -> list[list[Item]]:
        """Sends one group; returns the groups that are to be sent again at once."""
        now = self._clock()
        items = _in_time(items, now)
        if not items:
            return []
        token = await self._tokens.token(self._destination, refused=self._refused_token)
        if isinstance(token, Verdict):
            self._no_token(items, storable(token), now)
            return []
        try:
            built = self._destination.adapter.build(
                self._destination.target, [item.conversion for item in items], now, token
            )
        except Exception as error:
            log.exception("adapter.failed", platform=self._destination.platform, step="build")
            return self._bug(items, error, "build")
        for one in built.unsendable:
            items[one.position].verdict = one.verdict
        results = await asyncio.gather(*(self._request(prepared, items, token) for prepared in built.prepared))
        return [group for groups in results for group in groups]

    async def _request(self, prepared: Prepared, items: Sequence[Item], token: str | None) -> list[list[Item]]:
        adapter = self._destination.adapter
        mine = [items[position] for position in prepared.positions]
        async with self._slots:
            # While this request waited for its turn, the destination may have turned out to be down, or the lease
            # may have run out (a process that was stopped and goes on must not send what others send by now).
            if self.health.stop or not self._may_send():
                return []
            started_at, started = self._clock(), time.perf_counter()
            answer = await self._sender.send(
                prepared.request, seconds=adapter.max_wait.total_seconds(), public_only=adapter.public_only
            )
            seconds = time.perf_counter() - started
        try:
            read = adapter.read(self._destination.target, prepared, answer, self._clock())
            verdicts = _isolated_holds(_all_storable(read))
        except Exception as error:
            log.exception("adapter.failed", platform=self._destination.platform, step="read")
            return self._bug(mine, error, "read")
        kind = verdicts[0].kind.value if verdicts else "none"
        self._observe(self._destination.platform, kind, seconds, len(mine))
        exchange = self.exchange(prepared.request, answer, started_at, seconds)
        for item, verdict, part in zip(mine, verdicts, self._mask.each(prepared.parts), strict=True):
            item.attempts.append(self.attempt(item, exchange, part, verdict))
        self._note_health(answer, _distinct(verdicts))
        return self._sort(mine, verdicts, token)

    def _sort(self, items: Sequence[Item], verdicts: Sequence[Verdict], token: str | None) -> list[list[Item]]:
        """Takes the verdicts that are final for now; returns what is sent again at once."""
        if len(same := _distinct(verdicts)) == 1 and _is_plain(same[0]):
            self._take(items, same[0])
            return []
        again: list[Item] = []
        split: list[Item] = []
        stale = any(verdict.stale_token for verdict in verdicts)
        # Several requests of a claim can be under way with the same token: all of them are told once that it is stale.
        first_time = stale and self._refused_token in (None, token)
        for index, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
            if verdict.ambiguous:
                item.ambiguous += 1
            if verdict.kind is Kind.SPLIT and len(items) > 1:
                split.append(item)
            elif verdict.stale_token and first_time:
                again.append(item)
            elif verdict.stale_token:
                item.verdict = refused_credentials(verdict)
                self.health.hold = item.verdict
            elif verdict.kind is Kind.RETRY and verdict.retry_after == 0 and not verdict.throttled:
                again.append(item)
            else:
                item.verdict = _alone(verdict)
                item.reference_index = index
        if stale:
            self._refused_token = token
        groups = [again] if again else []
        half = (len(split) + 1) // 2
        return [*groups, *(part for part in (split[:half], split[half:]) if part)]

    def _take(self, items: Sequence[Item], verdict: Verdict) -> None:
        """One verdict that is final for now, for all items of a request, as nearly always."""
        for index, item in enumerate(items):
            item.verdict = verdict
            item.reference_index = index

    def _note_health(self, answer: Answer, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.throttled and (
                self.health.throttle is None or (verdict.retry_after or 0) > (self.health.throttle.retry_after or 0)
            ):
                self.health.throttle = verdict
            if verdict.kind is Kind.HOLD:
                self.health.hold = verdict
        failed = not isinstance(answer, Response) or answer.status >= 500
        whole = bool(verdicts) and all(verdict.kind is Kind.RETRY for verdict in verdicts)
        if failed and whole:
            self.health.trouble = verdicts[0]
        elif not self.health.stop:
            self.health.answered = True

    def _bug(self, items: list[Item], error: Exception, step: str) -> list[list[Item]]:
        """An adapter that breaks on one conversion must not keep the others: each is tried alone, and stays visible.

        It is retried, because the next version may do better, until the retries are exhausted.
        """
        if step == "build" and len(items) > 1:
            half = len(items) // 2
            return [items[:half], items[half:]]
        for item in items:
            item.verdict = Verdict(
                Kind.RETRY,
                code="internal_error",
                message=f"Postbacks could not {step} this one: {type(error).__name__}. The log has the details.",
                remedy="Report it with the log; retry the delivery after an upgrade.",
                ambiguous=step == "read",
            )
        return []

    def _no_token(self, items: Iterable[Item], verdict: Verdict, now: datetime) -> None:
        """The token endpoint's answer is a try of every item: the operator sees why nothing went out."""
        message = self._mask(verdict.message)
        said = Said(now, 0, None, verdict.kind.value, verdict.code, message, None, None, None)
        for item in items:
            item.attempts.append(AttemptRow(item.row.id, item.tried + 1, said, None))
            item.verdict = verdict
        if verdict.kind is Kind.HOLD:
            self.health.hold = verdict
        else:
            self.health.trouble = verdict

    def _later(self, items: Iterable[Item]) -> None:
        for item in items:
            item.verdict = Verdict(Kind.RETRY, code=RESEND_LATER, message="Re-sent too often in one go.")

    def exchange(self, request: Request, answer: Answer, started_at: datetime, seconds: float) -> Exchange:
        """What the tries of all deliveries in a request have in common."""
        response = answer.body.decode("utf-8", "replace") if isinstance(answer, Response) else None
        return Exchange(
            started_at,
            round(seconds * 1000),
            answer.status if isinstance(answer, Response) else None,
            request.method,
            self._mask(request.url),
            self._mask(response),
        )

    def attempt(self, item: Item, exchange: Exchange, part: str | None, verdict: Verdict) -> AttemptRow:
        """One try of one item as an operator may read it: without secrets and addresses. `part` is masked already."""
        conversion = item.conversion
        shared = shared_names(conversion, self._share) if self._share else None
        said = exchange.said(verdict, conversion.consent, shared, self._mask)
        if ip := conversion.click.ip:
            part, said = hidden(part, ip), _without(said, ip)
        return AttemptRow(item.row.id, item.tried + 1, said, part)


def _without(said: Said, ip: str) -> Said:
    return replace(said, url=hidden(said.url, ip), message=hidden(said.message, ip), response=hidden(said.response, ip))


def _in_time(items: list[Item], now: datetime) -> list[Item]:
    """The items that a platform still takes; the others have their verdict."""
    moment = now.timestamp()
    late = [item for item in items if item.row.deadline <= moment]
    for item in late:
        item.verdict = Verdict(Kind.EXPIRED, code="too_old", message="Older than the platform takes.")
    return [item for item in items if item.row.deadline > moment] if late else items


def _alone(verdict: Verdict) -> Verdict:
    """A batch of one cannot be split: the reason is its own."""
    if verdict.kind is not Kind.SPLIT:
        return verdict
    return Verdict(Kind.REFUSED, code=verdict.code, message=verdict.message, remedy=verdict.remedy)


def _is_plain(verdict: Verdict) -> bool:
    """The platform took it, and there is nothing else to be said of it."""
    return verdict.kind in _TAKEN and not verdict.ambiguous and not verdict.stale_token


def _distinct(verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    """Each verdict once: one often stands for a whole batch, and is looked at once."""
    if verdicts and all(map(is_, verdicts, repeat(verdicts[0]))):
        return verdicts[:1]
    return list({id(verdict): verdict for verdict in verdicts}.values())


def _all_storable(verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    distinct = _distinct(verdicts)
    if len(distinct) == 1:
        return [storable(distinct[0])] * len(verdicts)
    known = {id(verdict): storable(verdict) for verdict in distinct}
    return [known[id(verdict)] for verdict in verdicts]


def storable(verdict: Verdict) -> Verdict:
    """A verdict whose texts PostgreSQL takes, whatever a platform writes into its answer.

    An outcome that cannot be written down would be sent again for ever. NUL is valid in JSON and in no text column.
    """
    if len(verdict.code) <= LONGEST_CODE and "\0" not in verdict.code + verdict.message + verdict.reference:
        return verdict
    return replace(
        verdict,
        code=verdict.code[:LONGEST_CODE].replace("\0", "\ufffd"),
        message=verdict.message.replace("\0", "\ufffd"),
        reference=verdict.reference.replace("\0", "\ufffd"),
    )


def _isolated_holds(verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    """A complaint about one delivery holds the destination only while nothing else gets through.

    Anybody can put a foreign click ID into a landing page's address; that must not stop everybody's conversions.
    """
    kinds = {verdict.kind for verdict in _distinct(verdicts)}
    if Kind.HOLD not in kinds or not kinds & _TAKEN:
        return verdicts
    return [replace(verdict, kind=Kind.REFUSED) if verdict.kind is Kind.HOLD else verdict for verdict in verdicts]


def refused_credentials(verdict: Verdict) -> Verdict:
    """The hold of a destination whose fresh access token was refused like the one before."""
    return Verdict(
        Kind.HOLD,
        code=verdict.code or "unauthorized",
        message=verdict.message or "The platform refused a fresh access token.",
        remedy=verdict.remedy or "Check the credentials and the rights of their owner, then run `postbacks doctor`.",
    )
