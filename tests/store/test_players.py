"""The clicks that players are tied to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from postbacks.domain import ids
from postbacks.domain.idempotency import click_key
from postbacks.domain.matching import Confidence
from postbacks.domain.model import Click
from postbacks.store import clicks
from postbacks.store.clicks import PER_VISITOR, Link, NewClick
from postbacks.store.database import Connection

APP = "game"
NOW = datetime.now(UTC)


async def tied(connection: Connection, player: str, amount: int) -> None:
    found = [Click(ids.new_id(NOW), "fbclid", f"{player}-{number}", NOW) for number in range(amount)]
    await clicks.insert(connection, APP, [NewClick(one, click_key(one.type, one.value)) for one in found])
    await clicks.link(connection, APP, [Link(player, one.id, Confidence.HIGH, None) for one in found])


@pytest.mark.parametrize("many", [3, PER_VISITOR + 100])
async def test_a_player_with_many_clicks_takes_none_from_the_others(connection: Connection, many: int) -> None:
    players = {"one": 1, "many": many, "two": 2}
    for player, amount in players.items():
        await tied(connection, player, amount)

    found = await clicks.by_users(connection, APP, [*players, "nobody"])

    assert {player: len(one) for player, one in found.items()} == {
        player: min(amount, PER_VISITOR) for player, amount in players.items()
    }
