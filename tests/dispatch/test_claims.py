"""How much a dispatcher takes at once, and when it begins."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from postbacks.dispatch.dispatcher import claims_at_once
from postbacks.platforms.base import Adapter
from postbacks.platforms.registry import ADAPTERS
from postbacks.sandbox.server import Running
from tests.support import service


@pytest.mark.parametrize("sends", [1, 2, 4, 64])
@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_claims_keep_all_requests_under_way_and_take_no_more_than_that(adapter: Adapter[Any, Any], sends: int) -> None:
    requests = math.ceil(adapter.max_claim / adapter.max_batch)

    claims = claims_at_once(adapter, sends)

    assert claims * requests >= sends
    assert claims >= 2 or sends == 1, "one is prepared while the other is sent"
    assert claims <= 2 or (claims - 1) * requests < sends


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_what_may_count_twice_is_taken_one_request_at_a_time(adapter: Adapter[Any, Any]) -> None:
    assert adapter.max_claim >= adapter.max_batch
    if adapter.counts_repeats:
        assert adapter.max_claim == adapter.max_batch


async def test_a_backlog_that_is_let_go_waits_for_no_companions(database_url: str, sandbox: Running) -> None:
    linger = 6.0
    async with service.running(database_url, sandbox, dispatch=False, batch_linger_ms=linger * 1000) as one:
        for platform in ("meta", "reddit"):
            await one.destination(platform)
        click_ids = {name: service.CLICKS[name] for name in ("fbclid", "rdt_cid")}
        event = await one.event("install", user_id="u", click_ids=click_ids)
        ours = {delivery["destination"]: delivery["id"] for delivery in event["deliveries"]}
        await one.runtime.signals.flush()  # so that nothing but the resume wakes the dispatcher
        await one.admin.post("/v1/apps/game/destinations/meta/pause")
        async with one.runtime.database.connection() as connection:
            await connection.execute("UPDATE outbox SET due = due - interval '1 hour'")
        dispatcher = one.runtime.dispatcher()
        running = asyncio.create_task(dispatcher.run())
        await one.settled(ours["reddit"], "delivered", seconds=linger / 2)  # it has looked once

        await one.admin.post("/v1/apps/game/destinations/meta/resume")

        await one.settled(ours["meta"], "delivered", seconds=linger / 2)
        dispatcher.stop()
        async with asyncio.timeout(linger / 2):  # nor does a stop wait for them
            await running
