"""A process that dies between its commit and its look for waiting events loses nothing: the housekeeping looks, too."""

from __future__ import annotations

import time
from typing import Any

import pytest

from postbacks.ingest.rematching import Rematcher
from tests.api.game import Game
from tests.support.service import eventually


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process does after its commit does not happen any more."""

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Rematcher, "click_arrived", nothing)
    monkeypatch.setattr(Rematcher, "players_linked", nothing)


async def _swept(game: Game, event_id: str) -> str:
    assert (await game.explain(event_id))["status"] == "waiting"

    async def status() -> str:
        # Another process may hold the job's lock at this moment.
        await game.runtime.housekeeping().frequent()
        return str((await game.explain(event_id))["status"])

    return await eventually(status, lambda found: found == "matched")


@pytest.mark.usefixtures("dead")
@pytest.mark.parametrize(
    ("event", "click"),
    [
        ({"visitor_id": "v1"}, {"visitor_id": "v1"}),
        ({"user_id": "p1"}, {"user_id": "p1"}),
        ({"ip": "198.51.100.7"}, {"ip": "198.51.100.7"}),
        ({"ip": "2001:db8:7::1"}, {"ip": "2001:db8:7::2"}),
    ],
    ids=["visitor", "player", "address", "network"],
)
async def test_a_late_click_whose_process_died(game: Game, event: dict[str, str], click: dict[str, str]) -> None:
    await game.to("meta")
    at = time.time()
    await game.event("install", event_id="e1", occurred_at=at, **event)
    body = {"click_ids": {"fbclid": f"Sweep{game.app}"}, "clicked_at": at - 60, **click}
    assert (await game.game.post("/v1/clicks", json=body)).status_code == 202

    await _swept(game, "e1")
    assert [one["destination"] for one in (await game.explain("e1"))["deliveries"]] == ["meta"]


@pytest.mark.usefixtures("dead")
async def test_a_player_tied_to_a_click_by_a_process_that_died(game: Game) -> None:
    await game.to("meta")
    at = time.time()
    body = {"click_ids": {"fbclid": f"Tied{game.app}"}, "clicked_at": at - 60, "visitor_id": "v2"}
    assert (await game.game.post("/v1/clicks", json=body)).status_code == 202
    await game.event("purchase", event_id="bought", occurred_at=at, user_id="p2", value=1, currency="EUR")
    await game.event("install", event_id="installed", occurred_at=at - 30, user_id="p2", visitor_id="v2")

    await _swept(game, "bought")
