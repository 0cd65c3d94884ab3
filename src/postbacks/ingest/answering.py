"""What a game backend is told of an event."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.ingest.storing import Outcome
from postbacks.store import events as event_store
from postbacks.store import reading
from postbacks.store.database import Database


def event_answer(app: App, outcome: Outcome) -> dict[str, Any]:
    """The body for an event that was just stored."""
    recorded = outcome.recorded
    return {
        "event_id": outcome.event_id,
        "status": outcome.status,
        "duplicate": outcome.duplicate,
        "match": {
            "method": recorded.method if recorded else None,
            "platforms": recorded.platforms if recorded else (),
        },
        "deliveries": [
            {
                "id": ids.public("dlv", ids.delivery_id(outcome.event, slot)),
                "destination": one.destination,
                "platform": one.platform,
                "status": "held" if one.destination in app.paused and one.status == "queued" else one.status,
            }
            for slot, one in enumerate(recorded.deliveries if recorded else (), 1)
        ],
    }


async def current_outcome(database: Database, app: App, event_id: str, event: UUID, now: datetime) -> dict[str, Any]:
    """The body for an event that was there before: as it stands now."""
    async with database.connection() as connection:
        row = (await event_store.by_ids(connection, app.name, [event])).get(event)
        deliveries = await reading.deliveries(connection, app.name, reading.Filter(event=event), ids.MAX_SLOTS)
    match = orjson.loads(row.match) if row and row.match else {}
    return {
        "event_id": event_id,
        "status": current_status(row.status if row else "", event, app.late_click, now),
        "duplicate": True,
        "match": {"method": match.get("method"), "platforms": match.get("platforms", [])},
        "deliveries": [
            {
                "id": ids.public("dlv", one.id),
                "destination": one.destination,
                "platform": one.platform,
                "status": one.status,
            }
            for one in sorted(deliveries, key=lambda one: one.id)
        ],
    }


def current_status(status: str, event: UUID, late_click: timedelta, now: datetime) -> str:
    """Waiting ends by itself: after `late_click_hours` no click can match any more.

    An event that is known and no longer there (an empty status) went with its erased player.
    """
    if not status:
        return "suppressed"
    if status == "waiting" and now - ids.created_at(event) > late_click:
        return "unmatched"
    return status
