"""Who is calling, and what they may do."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from postbacks.errors import Forbidden, Unauthorized
from postbacks.store import configuration
from postbacks.store.database import Database
from postbacks.vault import token_hash

CACHE_SECONDS = 5.0
"""How long a key is believed without asking the database; a revocation is told to all processes at once."""

CACHE_SIZE = 10_000


class Scope(StrEnum):
    ADMIN = "admin"
    SECRET = "secret"  # noqa: S105 - the name of a scope
    PUBLISHABLE = "publishable"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who called. `app` is set for keys, and empty for the admin."""

    scope: Scope
    app: str = ""
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A fresh pair; the secret key is shown once and kept as a hash."""

    key_id: str
    publishable_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"KeyPair({self.key_id})"


def new_key_pair() -> KeyPair:
    """256 random bits each."""
    return KeyPair(
        key_id=f"key_{secrets.token_hex(8)}",
        publishable_key=f"pk_{secrets.token_urlsafe(32)}",
        secret_key=f"sk_{secrets.token_urlsafe(32)}",
    )


class Keyring:
    """Finds out who a token belongs to."""

    def __init__(self, database: Database, admin_token: str) -> None:
        self._database = database
        # An empty setting must never make everybody the admin: no token has no hash.
        self._admin_hash = token_hash(admin_token) if admin_token else b""
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._changes = 0

    def forget(self) -> None:
        """Drops what was cached: some key or app changed."""
        self._changes += 1
        self._known.clear()

    def is_admin(self, token: str) -> bool:
        return hmac.compare_digest(token_hash(token), self._admin_hash)

    async def principal(self, token: str) -> Principal:
        """Raises `Unauthorized` for a token that is not known or was revoked."""
        if not token:
            raise Unauthorized("Send a token: Authorization: Bearer <token>.")
        digest = token_hash(token)
        if hmac.compare_digest(digest, self._admin_hash):
            return Principal(Scope.ADMIN)
        if not token.startswith(("pk_", "sk_")) or len(token) > 200:
            raise Unauthorized("The token is not known.")
        cached = self._known.get(digest)
        if cached is not None and cached[0] > time.monotonic():
            return cached[1]
        scope = Scope.SECRET if token.startswith("sk_") else Scope.PUBLISHABLE
        changes = self._changes
        async with self._database.connection() as connection:
            found = await configuration.key_by_hash(connection, digest, secret=scope is Scope.SECRET)
            if found is None:
                self._known.pop(digest, None)
                raise Unauthorized("The token is not known or was revoked.")
            await configuration.touch_key(connection, *found)
        principal = Principal(scope, *found)
        if changes != self._changes:
            # Something changed while we looked, perhaps this very key: do not believe it a second time.
            return principal
        self._known[digest] = (time.monotonic() + CACHE_SECONDS, principal)
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return principal


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization` header, or `None` where there is no such header.

    Raises `Unauthorized` for a header of another kind.
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("The Authorization header must read: Bearer <token>.")
    return token.strip()


def require(principal: Principal, *scopes: Scope) -> None:
    """Raises `Forbidden` unless the caller has one of the scopes; the admin may do everything."""
    if principal.scope is Scope.ADMIN or principal.scope in scopes:
        return
    raise Forbidden(f"A {principal.scope.value} key may not do this; it needs {_words(scopes)}.")


def _words(scopes: tuple[Scope, ...]) -> str:
    names = [f"a {scope.value} key" for scope in scopes if scope is not Scope.ADMIN]
    return " or ".join([*names, "the admin token"])
