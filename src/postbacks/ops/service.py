"""What the operators' endpoints work with; put together once by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from postbacks.catalog import App, Catalog
from postbacks.errors import Forbidden, NotFound
from postbacks.metrics import Metrics
from postbacks.settings import Settings
from postbacks.store.database import Database
from postbacks.web.auth import Keyring, Principal, Scope, bearer, require


@dataclass(frozen=True, slots=True)
class Ops:
    """Handed to the routes as `app.state.ops`."""

    settings: Settings
    database: Database
    catalog: Catalog
    keyring: Keyring
    metrics: Metrics
    clock: Callable[[], datetime]
    wake: Callable[[], None]

    def apps_of(self, principal: Principal, named: str | None) -> list[App]:
        """The apps that a caller asks about: their own, the one named, or (for the admin) all.

        Raises `Forbidden` or `NotFound`.
        """
        if principal.scope is not Scope.ADMIN:
            if named is not None and named != principal.app:
                raise Forbidden("This key belongs to another app.")
            named = principal.app
        if named is None:
            return list(self.catalog.apps())
        app = self.catalog.app(named)
        if app is None:
            raise NotFound(f"There is no app {named!r}.")
        return [app]


async def caller_of(request: Request) -> tuple[Ops, Principal]:
    """The service and who calls: a secret key or the admin. Raises `Unauthorized` or `Forbidden`."""
    service: Ops = request.app.state.ops
    principal = await service.keyring.principal(bearer(request.headers.get("authorization")) or "")
    require(principal, Scope.SECRET)
    return service, principal


Caller: TypeAlias = Annotated[tuple[Ops, Principal], Depends(caller_of)]
"""A parameter of a route that has others: who calls is asked before what they ask for is checked."""
