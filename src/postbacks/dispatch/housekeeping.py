"""What has to happen by itself: heartbeats, probes of held destinations, partitions, forgetting, merging counts.

Every dispatcher runs it; an advisory lock gives each round of the slow jobs to one of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from postbacks.catalog import Catalog
from postbacks.ingest.rematching import Rematcher
from postbacks.outbound.checking import check
from postbacks.outbound.http import Sender
from postbacks.outbound.tokens import Tokens
from postbacks.settings import Settings
from postbacks.store import gates, outbox, upkeep
from postbacks.store.database import OUTAGES, Database

log = structlog.get_logger(__name__)

BEAT = timedelta(seconds=5)
FREQUENT = timedelta(seconds=15)
HOURLY = timedelta(minutes=30)
EXPIRE_AT_ONCE = 5_000
SWEEP_AT_FIRST = timedelta(minutes=10)
"""How far the first sweep of a process reaches back: longer than a restart of the whole service takes."""
SWEEP_OVERLAP = timedelta(seconds=60)
"""A statement may take so long, and a click is dated when its request began."""


class Housekeeping:
    """Runs beside the dispatcher."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        catalog: Catalog,
        sender: Sender,
        tokens: Tokens,
        rematcher: Rematcher,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self._sender = sender
        self._tokens = tokens
        self._rematcher = rematcher
        self._clock = clock
        self._wake = wake
        self._id = uuid4()
        self._swept: datetime | None = None

    async def run(self) -> None:
        """Until cancelled."""
        frequent = hourly = -math.inf
        try:
            while True:
                try:
                    await self.beat()
                    now = time.monotonic()
                    if now - frequent >= FREQUENT.total_seconds():
                        frequent = now
                        await self.frequent()
                    if now - hourly >= HOURLY.total_seconds():
                        hourly = now
                        await self.hourly()
                except OUTAGES as outage:
                    log.warning("housekeeping.postponed", error=type(outage).__name__)
                except Exception:
                    log.exception("housekeeping.failed")
                await asyncio.sleep(BEAT.total_seconds())
        finally:
            await self._sign_off()

    async def beat(self) -> None:
        """Says that this dispatcher lives, keeps the planner from believing that a backlog is empty, and asks about
        held destinations whose time has come."""
        async with self._database.connection() as connection:
            await upkeep.heartbeat(connection, self._id)
            if await upkeep.refresh_statistics(connection):
                log.info("outbox.analyzed")
            probes = await gates.due_probes(connection, timedelta(minutes=self._settings.probe_minutes))
        for app, name in probes:
            await self.probe(app, name)

    async def probe(self, app: str, name: str) -> None:
        """Tries the credentials of a held destination; releases it when they work again."""
        owner = self._catalog.app(app)
        destination = owner.destinations.get(name) if owner else None
        if destination is None or destination.broken:
            return
        result = await check(destination, sender=self._sender, tokens=self._tokens, clock=self._clock)
        log.info("destination.probed", app=app, destination=name, ok=result.ok, code=result.code)
        if result.ok:
            async with self._database.connection() as connection:
                await gates.unhold(connection, app, name)
            self._wake()

    async def frequent(self) -> None:
        """Ends what grew too old behind a closed gate; adds up the counts of the minutes that are over; sweeps up
        waiting events whose click has come."""
        async with self._database.connection() as connection:
            blocked = await gates.blocked_destinations(connection)
        for app, name, platform in blocked:
            more = True
            while more:
                async with self._database.transaction() as connection:
                    ended = await outbox.expire_blocked(connection, app, name, platform, EXPIRE_AT_ONCE)
                more = ended == EXPIRE_AT_ONCE
        await self._alone("merge", self._merge)
        await self._alone("sweep", self._sweep)

    async def hourly(self) -> None:
        """Makes tomorrow's partitions, drops what is older than it may be kept."""
        await self._alone("retention", self._forget)

    async def _merge(self) -> None:
        before = (self._clock() - timedelta(minutes=2)).replace(second=0, microsecond=0)
        for app in list(self._catalog.apps()):
            async with self._database.transaction() as connection:
                await upkeep.merge_stats(connection, app.name, before)

    async def _sweep(self) -> None:
        """From the last sweep on, with an overlap for transactions that were under way; who takes the job over begins
        a little earlier."""
        now = self._clock()
        since = (self._swept or now - SWEEP_AT_FIRST) - SWEEP_OVERLAP
        for app in list(self._catalog.apps()):
            await self._rematcher.sweep(app, since)
        self._swept = now

    async def _forget(self) -> None:
        now = self._clock()
        async with self._database.transaction() as connection:
            await upkeep.make_partitions(connection, now)
        for app in list(self._catalog.apps()):
            longest = max(app.rules.ip_window, app.late_click) + timedelta(hours=2 * self._settings.address_key_hours)
            async with self._database.connection() as connection:
                await upkeep.forget_app(connection, app.name, now, self._settings.retention_days, longest)
        latest = max((app.late_click for app in self._catalog.apps()), default=timedelta(days=1))
        dropped = await upkeep.drop_partitions(self._database, now, self._settings.retention_days, latest)
        if dropped:
            log.info("retention.dropped", tables=dropped)

    async def _alone(self, job: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs a job unless another dispatcher is at it."""
        async with self._database.connection() as connection:
            if not await upkeep.try_lock(connection, job):
                return
            try:
                await work()
            finally:
                await upkeep.unlock(connection, job)

    async def _sign_off(self) -> None:
        try:
            async with self._database.connection() as connection:
                await upkeep.sign_off(connection, self._id)
        except OUTAGES:
            pass  # the heartbeat grows old by itself
