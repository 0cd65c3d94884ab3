"""One running service for all contract tests; each test has an app of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support import database, service
from tests.support.service import Service

_numbers = itertools.count(1)


@dataclass
class Game(Service):
    """A client of the shared service with an app that no other test knows."""

    app: str = ""

    async def to(self, platform: str, name: str | None = None, **changes: Any) -> None:
        """Puts a destination of this app."""
        await self.destination(platform, name, app=self.app, **changes)

    async def explain(self, event_id: str) -> dict[str, Any]:
        answer = await self.game.get(f"/v1/events/{event_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def rules(self, **attribution: Any) -> None:
        answer = await self.admin.patch(f"/v1/apps/{self.app}", json={"attribution": attribution})
        assert answer.status_code == 200, answer.text


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, once its form is what RFC 9457 and the contract say."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert document["status"] == status
    assert all(one.keys() == {"field", "message"} for one in document.get("errors", []))
    return document


def fields(answer: httpx.Response, status: int = 422) -> set[str]:
    """The fields that a problem document names."""
    return {one["field"] for one in problem(answer, status)["errors"]}


@pytest.fixture(scope="session")
async def shared(postgres: str) -> AsyncIterator[Service]:
    url = await database.fresh(postgres)
    async with service.simulators() as simulators, service.running(url, simulators, app=False) as one:
        yield one
    await database.drop(url)


@pytest.fixture
async def game(shared: Service) -> AsyncIterator[Game]:
    one = Game(shared.url, shared.runtime, shared.sandbox, shared.admin, app=f"game-{next(_numbers)}")
    await one.create_app(one.app)
    yield one
    await one.game.aclose()
    await one.page.aclose()


__all__ = ["Game", "fields", "game", "problem", "shared"]
