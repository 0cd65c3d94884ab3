"""The composition root: everything that a process needs, put together once and taken apart in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from postbacks.admin.service import Admin
from postbacks.catalog import Catalog
from postbacks.dispatch.dispatcher import Dispatcher
from postbacks.dispatch.housekeeping import Housekeeping
from postbacks.errors import SettingError
from postbacks.ingest.address_book import AddressBook
from postbacks.ingest.rematching import Rematcher
from postbacks.ingest.service import Ingest
from postbacks.ingest.writer import Writer
from postbacks.metrics import Metrics
from postbacks.ops.service import Ops
from postbacks.outbound.http import Sender
from postbacks.outbound.tokens import Tokens
from postbacks.settings import Settings
from postbacks.signals import Signals
from postbacks.store import configuration
from postbacks.store.database import OUTAGES, Database
from postbacks.vault import Vault
from postbacks.web.auth import Keyring
from postbacks.web.limits import RateLimit

log = structlog.get_logger(__name__)


def clock() -> datetime:
    """The service's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a process works with."""

    settings: Settings
    database: Database
    vault: Vault
    catalog: Catalog
    keyring: Keyring
    metrics: Metrics
    sender: Sender
    tokens: Tokens
    signals: Signals
    ingest: Ingest
    ops: Ops
    admin: Admin

    def dispatcher(self) -> Dispatcher:
        """A dispatcher that is woken by this process and by others."""
        dispatcher = Dispatcher(
            settings=self.settings,
            database=self.database,
            catalog=self.catalog,
            vault=self.vault,
            sender=self.sender,
            tokens=self.tokens,
            metrics=self.metrics,
            clock=clock,
        )
        self.signals.on_work(dispatcher.wake)
        return dispatcher

    def housekeeping(self) -> Housekeeping:
        return Housekeeping(
            self.settings,
            self.database,
            self.catalog,
            self.sender,
            self.tokens,
            self.ingest.rematcher,
            clock,
            self.signals.work,
        )


@asynccontextmanager
async def open_runtime(settings: Settings, url: str, name: str) -> AsyncIterator[Runtime]:
    """Connects and reads the configuration. Raises `SettingError` where the database cannot be reached.

    `settings` must be complete (`with_secrets`); `name` is what `pg_stat_activity` shows.
    """
    try:
        database = await Database.open(url, size=settings.database_pool, name=f"postbacks {name}")
    except (*OUTAGES, asyncpg.PostgresError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingError(f"The database cannot be reached: {words}. Check POSTBACKS_DATABASE_URL.") from None
    vault = Vault(settings.encryption_keys)
    catalog = Catalog(vault, settings)
    keyring = Keyring(database, settings.admin_token or "")
    sender = Sender(settings.webhook_allow_networks, settings.sends_in_flight)
    tokens = Tokens(sender, clock)
    metrics = Metrics()

    one_at_a_time = asyncio.Lock()

    async def reload() -> None:
        # Otherwise a slow one that began before a change could put the old state over what a fast one has read.
        async with one_at_a_time:
            async with database.connection() as connection:
                apps, destinations = await configuration.apps(connection), await configuration.destinations(connection)
            catalog.replace(apps, destinations)
            keyring.forget()

    signals = Signals(database, reload)
    addresses = AddressBook(vault, timedelta(hours=settings.address_key_hours))
    rematcher = Rematcher(database, clock, signals.work)
    writer = Writer(database, addresses, rematcher, clock, signals.work)
    runtime = Runtime(
        settings=settings,
        database=database,
        vault=vault,
        catalog=catalog,
        keyring=keyring,
        metrics=metrics,
        sender=sender,
        tokens=tokens,
        signals=signals,
        ingest=Ingest(
            settings=settings,
            database=database,
            catalog=catalog,
            keyring=keyring,
            vault=vault,
            addresses=addresses,
            writer=writer,
            rematcher=rematcher,
            metrics=metrics,
            clock=clock,
            per_address=RateLimit(settings.clicks_per_minute),
            per_key=RateLimit(settings.key_clicks_per_minute),
        ),
        ops=Ops(settings, database, catalog, keyring, metrics, clock, signals.work),
        admin=Admin(database, catalog, vault, keyring, sender, tokens, clock, reload, signals.work),
    )
    listening = asyncio.create_task(signals.run())
    try:
        await reload()
        yield runtime
    finally:
        await writer.drain()
        await rematcher.drain()
        await signals.flush()
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        await sender.close()
        await database.close()
