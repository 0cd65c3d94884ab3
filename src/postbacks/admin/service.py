"""What the administration works with; put together once by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from postbacks.catalog import App, Catalog, Destination
from postbacks.errors import NotFound
from postbacks.outbound.http import Sender
from postbacks.outbound.tokens import Tokens
from postbacks.store.database import Database
from postbacks.vault import Vault
from postbacks.web.auth import Keyring, Scope, bearer, require


@dataclass(frozen=True, slots=True)
class Admin:
    """Handed to the routes as `app.state.admin`. `changed` makes every process read the configuration again."""

    database: Database
    catalog: Catalog
    vault: Vault
    keyring: Keyring
    sender: Sender
    tokens: Tokens
    clock: Callable[[], datetime]
    changed: Callable[[], Awaitable[None]]
    wake: Callable[[], None]

    def app(self, name: str) -> App:
        """Raises `NotFound`."""
        app = self.catalog.app(name)
        if app is None:
            raise NotFound(f"There is no app {name!r}.")
        return app

    def destination(self, app: str, name: str) -> Destination:
        """Raises `NotFound`."""
        destination = self.app(app).destinations.get(name)
        if destination is None:
            raise NotFound(f"App {app!r} has no destination {name!r}.")
        return destination


async def admin_of(request: Request) -> Admin:
    """The service, for the admin alone. Raises `Unauthorized` or `Forbidden`."""
    service: Admin = request.app.state.admin
    principal = await service.keyring.principal(bearer(request.headers.get("authorization")) or "")
    require(principal, Scope.ADMIN)
    return service
