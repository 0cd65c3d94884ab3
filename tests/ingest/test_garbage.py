"""What a batch leaves behind is freed at once: the cycle collector, which runs seldom here, finds nothing of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support.service import Service, eventually

FEW, MANY = 20, 420


@pytest.fixture
def _collector_off() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def _garbage(running: Service, tag: str, count: int) -> int:
    """Objects in cycles after so many events of as many players were stored, and sent."""
    gc.collect()
    events = [
        {"name": "purchase", "event_id": f"{tag}-{n}", "user_id": f"{tag}-{n}", "click_ids": {"fbclid": f"{tag}-{n}"}}
        for n in range(count)
    ]
    for again in ("first", "again"):  # by the click that comes with the event, then as players who are known
        items = [{**one, "event_id": f"{one['event_id']}-{again}"} for one in events]
        answer = await running.game.post("/v1/events", json={"events": items})
        assert answer.json()["accepted"] == count
        for one in events:
            one.pop("click_ids", None)
    await eventually(lambda: _open(running), lambda there: not there)
    return gc.collect()


async def _open(running: Service) -> int:
    async with running.runtime.database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM outbox"))


@pytest.mark.usefixtures("_collector_off")
async def test_what_a_batch_leaves_behind_does_not_wait_for_the_collector(running: Service) -> None:
    await running.destination("meta")
    await _garbage(running, "warm", FEW)

    few, many = await _garbage(running, "few", FEW), await _garbage(running, "many", MANY)

    assert many - few < MANY - FEW, "each event or delivery is part of a cycle"
