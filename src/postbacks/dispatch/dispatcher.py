"""The dispatcher: wakes up when there is work, and lets each destination be worked on by itself.

Each destination has its own few workers, so that one that hangs takes nothing from the others. A worker claims a
batch under a lease, sends it, settles it, and goes on until nothing is due.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog

from postbacks.catalog import App, Catalog, Destination
from postbacks.dispatch import confirming, loading
from postbacks.dispatch.delivering import Delivery, Health, Item
from postbacks.dispatch.settling import settle, trouble_wait
from postbacks.domain.retrying import RetryPolicy
from postbacks.metrics import Metrics
from postbacks.outbound.http import Sender
from postbacks.outbound.tokens import Tokens
from postbacks.platforms.base import Adapter
from postbacks.settings import Settings
from postbacks.store import gates, leases, outbox
from postbacks.store.database import OUTAGES, Database
from postbacks.store.history import Ended
from postbacks.store.outbox import Claim, Postponed
from postbacks.vault import Vault

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5
"""How often a dispatcher looks for work that nobody told it of: retries that became due, holds that ended."""

OUTAGE_SECONDS = 1.0
SWEEP_SECONDS = 1.0
"""How often a dispatcher's claims of a destination look for what stands before the leases of others."""

CONNECTIONS_SHARE = 3
"""Of so many connections one is for the work on claims. More at once make each wait longer, and cost a backend each.
The others are for what shares the pool: renewing leases, the housekeeping, ingest (decision 12)."""

PROBATION = 10
"""Deliveries in one claim of a destination that has just failed: a test, not a stampede."""

_Name = tuple[str, str]


def claims_at_once(adapter: Adapter[Any, Any], sends: int) -> int:
    """How many claims of a destination are worked on together, so that up to `sends` requests are under way.

    No more than that takes, but two where two requests may be under way: one is prepared while the other is sent.
    What waits in memory costs others their turn, and after a crash all of it is sent again.
    """
    requests = math.ceil(adapter.max_claim / adapter.max_batch)
    return max(min(2, sends), math.ceil(sends / requests))


@dataclass(slots=True)
class _Lease:
    """The right to work on a claim, as long as it is renewed. `until`: by the monotonic clock of this process."""

    id: UUID
    until: float

    def valid(self) -> bool:
        return time.monotonic() < self.until


class Dispatcher:
    """Sends what is due. Any number of them may run against one database."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        catalog: Catalog,
        vault: Vault,
        sender: Sender,
        tokens: Tokens,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self._vault = vault
        self._sender = sender
        self._tokens = tokens
        self._metrics = metrics
        self._clock = clock
        self._policy = RetryPolicy(
            schedule=settings.retry_schedule, give_up_after=timedelta(hours=settings.give_up_after_hours)
        )
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._workers: dict[_Name, set[asyncio.Task[None]]] = {}
        self._slots: dict[_Name, asyncio.Semaphore] = {}
        self._claiming: dict[_Name, asyncio.Lock] = {}
        self._swept: dict[_Name, float] = {}
        self._at_work = asyncio.Semaphore(max(1, settings.database_pool // CONNECTIONS_SHARE))
        self._in_flight: dict[str, asyncio.Semaphore] = {}

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Works until `stop`. What is under way then is finished."""
        woken = False
        while not self._stopping.is_set():
            try:
                if woken:
                    await self._linger()
                await self._look()
            except OUTAGES as outage:
                log.warning("dispatch.database_unavailable", error=type(outage).__name__)
                woken = await self._sleep(OUTAGE_SECONDS)
                continue
            except Exception:
                log.exception("dispatch.failed")
                woken = await self._sleep(OUTAGE_SECONDS)
                continue
            woken = await self._sleep(POLL_SECONDS)
        while any(self._workers.values()):
            await asyncio.wait([task for tasks in self._workers.values() for task in tasks])

    def stop(self) -> None:
        """Takes no new work."""
        self._stopping.set()
        self._wake.set()

    async def _sleep(self, seconds: float) -> bool:
        """Until woken, or until it is time to look anyway. Returns whether it was woken."""
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return False
        self._heard()
        return True

    def _heard(self) -> None:
        if not self._stopping.is_set():
            self._wake.clear()

    async def _linger(self) -> None:
        """Gives what became due just now time for companions. A backlog that was let go has waited long enough."""
        seconds = self._settings.batch_linger_ms / 1000
        if not seconds:
            return
        await self._look(timedelta(seconds=seconds))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        self._heard()

    async def _look(self, waited: timedelta = timedelta(0)) -> None:
        """Starts work on what has been due for so long."""
        async with self._database.connection() as connection:
            due = await outbox.destinations_with_work(connection, waited)
        for name in due:
            self._start_worker(name)

    def _start_worker(self, name: _Name) -> None:
        known = self._known(name)
        if known is None or self._stopping.is_set():
            return
        workers = self._workers.setdefault(name, set())
        if len(workers) >= claims_at_once(known[1].adapter, self._settings.sends_per_destination):
            return
        task = asyncio.create_task(self._work(name))
        workers.add(task)
        task.add_done_callback(workers.discard)

    async def _work(self, name: _Name) -> None:
        try:
            while not self._stopping.is_set():
                known = self._known(name)
                if known is None or not await self._one_claim(*known):
                    return
        except OUTAGES as outage:
            # The leases run out by themselves; nothing is lost.
            log.warning("dispatch.interrupted", app=name[0], destination=name[1], error=type(outage).__name__)
            await asyncio.sleep(OUTAGE_SECONDS)
        except Exception:
            log.exception("dispatch.failed", app=name[0], destination=name[1])
            await asyncio.sleep(OUTAGE_SECONDS)

    def _known(self, name: _Name) -> tuple[App, Destination] | None:
        """A destination that may be used; `None` where this process has not heard of it yet, or not any more."""
        app = self._catalog.app(name[0])
        destination = app.destinations.get(name[1]) if app else None
        return (app, destination) if app and destination and destination.enabled else None

    async def _one_claim(self, app: App, destination: Destination) -> bool:
        """Claims, sends and settles once. Returns whether there may be more to do at once."""
        name = (destination.app, destination.name)
        alone = len(self._workers.get(name, ())) <= 1
        limit = destination.adapter.max_claim
        lease = _Lease(uuid4(), time.monotonic() + self._settings.lease_seconds * 0.9)
        sweep = self._is_time_to_sweep(name)
        # PostgreSQL lets one claim of a destination wait for another; here they wait without a connection.
        async with (
            self._claiming.setdefault(name, asyncio.Lock()),
            self._at_work,
            self._database.transaction() as connection,
        ):
            claim = await outbox.claim(
                connection,
                destination.app,
                destination.name,
                limit=limit,
                lease=lease.id,
                seconds=self._settings.lease_seconds,
                sweep=sweep,
            )
        if not claim.rows:
            return False
        if claim.failures:
            claim = await self._on_probation(name, claim, lease, alone=alone)
            if not claim.rows:
                return False
        elif len(claim.rows) >= limit:
            self._start_worker(name)
        health = await self._handle(app, destination, claim, lease)
        return not health.stop and len(claim.rows) >= min(limit, PROBATION)

    def _is_time_to_sweep(self, name: _Name) -> bool:
        now = time.monotonic()
        if now - self._swept.get(name, -math.inf) < SWEEP_SECONDS:
            return False
        self._swept[name] = now
        return True

    async def _on_probation(self, name: _Name, claim: Claim, lease: _Lease, *, alone: bool) -> Claim:
        """A destination that failed gets one small request at a time until it answers."""
        keep = claim.rows[:PROBATION] if alone else ()
        if len(keep) < len(claim.rows):
            async with self._database.connection() as connection:
                if keep:
                    await leases.narrow(connection, name[0], lease.id, [row.id for row in keep])
                else:
                    await leases.end(connection, name[0], lease.id)
        return Claim(keep, claim.failures)

    async def _handle(self, app: App, destination: Destination, claim: Claim, lease: _Lease) -> Health:
        beat = asyncio.create_task(self._keep_lease(destination.app, lease))
        try:
            async with self._at_work, self._database.connection() as connection:
                ready, done = await loading.load(connection, self._vault, app, destination, claim.rows)
            delivery = self._delivery(destination, lease)
            accepted = [item for item in ready if item.row.status == "accepted"]
            to_send = [item for item in ready if item.row.status != "accepted"]
            if to_send:
                async with self._room(destination):
                    await delivery.send(to_send)
            outcomes = (
                await confirming.confirm(
                    destination,
                    accepted,
                    sender=self._sender,
                    tokens=self._tokens,
                    clock=self._clock,
                    policy=self._policy,
                    delivery=delivery,
                )
                if accepted
                else []
            )
            noted = False
            while True:
                try:
                    if not noted:
                        # First, so that nobody claims what is due again before the destination's gate is shut.
                        await self._note_health(destination, delivery.health, claim.failures)
                        noted = True
                    await self._record(destination, lease, to_send, done, accepted, outcomes)
                    return delivery.health
                except OUTAGES as outage:
                    # What is not written down is sent again, and not every platform drops a repeat.
                    if not lease.valid():
                        raise
                    log.warning("dispatch.recording_postponed", app=app.name, error=type(outage).__name__)
                    await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            beat.cancel()

    async def _record(
        self,
        destination: Destination,
        lease: _Lease,
        to_send: list[Item],
        done: list[Item],
        accepted: list[Item],
        outcomes: Sequence[Ended | Postponed],
    ) -> None:
        """Writes down what became of a claim, and gives it back. A repeat changes nothing: then the lease is gone."""
        items = [*to_send, *done]
        async with self._at_work:
            result = await settle(
                self._database,
                destination,
                lease.id,
                items,
                list(zip(accepted, outcomes, strict=True)),
                self._policy,
                self._clock(),
            )
        self._metrics.settled(destination, [*items, *accepted], result.stale, result.delays)

    def _delivery(self, destination: Destination, lease: _Lease) -> Delivery:
        name = (destination.app, destination.name)
        slots = self._slots.setdefault(name, asyncio.Semaphore(self._settings.sends_per_destination))
        return Delivery(
            destination,
            sender=self._sender,
            tokens=self._tokens,
            clock=self._clock,
            slots=slots,
            may_send=lease.valid,
            observe=self._metrics.sent,
        )

    def _room(self, destination: Destination) -> asyncio.Semaphore:
        """Bounds the claims under way to one platform, or to one webhook: one that hangs takes nothing from others."""
        own = destination.adapter.public_only
        key = f"{destination.app}/{destination.name}" if own else destination.platform
        return self._in_flight.setdefault(key, asyncio.Semaphore(self._settings.sends_in_flight))

    async def _keep_lease(self, app: str, lease: _Lease) -> None:
        """Renews the lease while the claim is being worked on; without it, sending stops in time."""
        seconds = self._settings.lease_seconds
        while True:
            await asyncio.sleep(seconds / 3)
            asked = time.monotonic()
            try:
                async with self._database.connection() as connection:
                    held = await leases.renew(connection, app, lease.id, seconds)
            except OUTAGES:
                continue
            if held and lease.valid():
                lease.until = asked + seconds * 0.9

    async def _note_health(self, destination: Destination, health: Health, failures: int) -> None:
        """Tells all dispatchers what this claim learned of the destination."""
        app, name = destination.app, destination.name
        verdict = health.throttle or health.trouble
        if health.hold is None and verdict is None and not (failures and health.answered):
            return
        async with self._database.transaction() as connection:
            if health.hold is not None:
                log.warning("destination.held", app=app, destination=name, code=health.hold.code)
                await gates.hold(
                    connection,
                    app,
                    name,
                    version=destination.version,
                    code=health.hold.code,
                    message=health.hold.message,
                    remedy=health.hold.remedy,
                    probe=timedelta(minutes=self._settings.probe_minutes),
                )
            elif verdict is not None:
                wait = trouble_wait(failures, verdict)
                if wait is None:
                    await gates.failed(connection, app, name)
                else:
                    await gates.block(connection, app, name, wait=wait, reason=verdict.code)
            else:
                await gates.recovered(connection, app, name)
