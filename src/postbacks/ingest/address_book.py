"""The keys with which addresses are hashed: made on a schedule, shared by all processes through the database."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from postbacks.privacy.addresses import AddressKey
from postbacks.store import clicks as store
from postbacks.store.database import Connection
from postbacks.vault import Vault


class AddressBook:
    """Keys by app, newest first. A period's key is made by whoever needs it first."""

    def __init__(self, vault: Vault, period: timedelta) -> None:
        self._vault = vault
        self._period = period
        self._keys: dict[str, list[AddressKey]] = {}

    async def keys(self, connection: Connection, app: str, now: datetime, window: timedelta) -> list[AddressKey]:
        """The current key first, then those under which something inside `window` may have been hashed."""
        start = self._start(now)
        known = self._keys.get(app)
        if not known or known[0].valid_from < start:
            known = await self._load(connection, app, start)
        oldest = now - window - self._period
        return [key for key in known if oldest < key.valid_from <= now] or known[:1]

    def forget(self, app: str) -> None:
        self._keys.pop(app, None)

    async def _load(self, connection: Connection, app: str, start: datetime) -> list[AddressKey]:
        await store.add_address_key(connection, app, start, self._vault.seal(secrets.token_bytes(32)))
        # Read back: another process may have been faster, and all must use the same.
        rows = await store.address_keys(connection, app)
        self._keys[app] = [AddressKey(valid_from, self._vault.open(sealed)) for valid_from, sealed in rows]
        return self._keys[app]

    def _start(self, now: datetime) -> datetime:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return epoch + ((now - epoch) // self._period) * self._period
