"""The listening connection of a process."""

from __future__ import annotations

import asyncio

from postbacks.signals import Signals
from postbacks.store.database import Database


async def test_it_stops_even_when_word_comes_at_the_same_moment(database_url: str) -> None:
    """Otherwise a command that has just changed something never ends."""
    database = await Database.open(database_url, size=2, name="test")
    listening = asyncio.Event()

    async def reload() -> None:
        listening.set()

    try:
        for _ in range(3):
            listening.clear()
            signals = Signals(database, reload)
            task = asyncio.create_task(signals.run())
            await listening.wait()
            await asyncio.sleep(0)
            signals._on_changed()
            await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=2)
            assert done and task.cancelled()
    finally:
        await database.close()
