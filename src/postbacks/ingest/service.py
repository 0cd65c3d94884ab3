"""What the ingest endpoints work with; put together once by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from postbacks.catalog import App, Catalog
from postbacks.errors import BadRequest, Forbidden, NotFound
from postbacks.ingest.address_book import AddressBook
from postbacks.ingest.rematching import Rematcher
from postbacks.ingest.writer import Writer
from postbacks.metrics import Metrics
from postbacks.settings import Settings
from postbacks.store.database import Database
from postbacks.vault import Vault
from postbacks.web.auth import Keyring, Principal, Scope
from postbacks.web.limits import RateLimit


@dataclass(frozen=True, slots=True)
class Ingest:
    """Handed to the routes as `app.state.ingest`."""

    settings: Settings
    database: Database
    catalog: Catalog
    keyring: Keyring
    vault: Vault
    addresses: AddressBook
    writer: Writer
    rematcher: Rematcher
    metrics: Metrics
    clock: Callable[[], datetime]
    per_address: RateLimit
    per_key: RateLimit


def ingest_of(request: Request) -> Ingest:
    service: Ingest = request.app.state.ingest
    return service


def app_of(service: Ingest, principal: Principal, named: str | None) -> App:
    """The app that a request is about: the key's own, or the one that the admin names with `?app=`.

    Raises `BadRequest`, `Forbidden` or `NotFound`.
    """
    if principal.scope is not Scope.ADMIN:
        if named is not None and named != principal.app:
            raise Forbidden("This key belongs to another app.")
        app = service.catalog.app(principal.app)
    elif named is None:
        raise BadRequest("The admin token serves all apps: name one with ?app=….")
    else:
        app = service.catalog.app(named)
    if app is None:
        raise NotFound(f"There is no app {named or principal.app!r}.")
    return app
