"""One service for a whole module of platform tests; each test has an app of its own and fresh simulators."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from postbacks.dispatch import dispatcher, housekeeping
from tests.e2e.platforms.cases import Scene
from tests.support import database, service

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def platform_service(postgres: str, request: pytest.FixtureRequest) -> AsyncIterator[service.Service]:
    """A service whose dispatcher looks for due work 20 times a second; a module may set `SETTINGS`."""
    overrides = getattr(request.module, "SETTINGS", {})
    url = await database.fresh(postgres)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatcher, "POLL_SECONDS", 0.05)
        patch.setattr(housekeeping, "BEAT", housekeeping.BEAT / 50)
        patch.setattr(housekeeping, "FREQUENT", housekeeping.FREQUENT / 50)
        async with service.simulators() as sandbox, service.running(url, sandbox, app=False, **overrides) as one:
            yield one
    await database.drop(url)


@pytest.fixture
async def scene(platform_service: service.Service) -> AsyncIterator[Scene]:
    """A fresh app on the module's service."""
    app = f"game-{next(_numbers)}"
    await platform_service.create_app(app)
    stage = Scene(platform_service, app)
    try:
        yield stage
    finally:
        await stage.close()
        await platform_service.game.aclose()
        await platform_service.page.aclose()
