"""Takes ended deliveries back into the outbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.consent import may_match, may_send, narrower
from postbacks.errors import Conflict
from postbacks.ops.service import Ops
from postbacks.store import clicks as click_store
from postbacks.store import events as event_store
from postbacks.store import history, outbox, reading, stats
from postbacks.store.database import Connection
from postbacks.store.reading import OPEN, DeliveryRow, Filter
from postbacks.store.stats import Count, minute_of

REPLAY_LIMIT = 10_000
_PAGE = 500
_REPLAYED = ("failed", "expired", "skipped", "cancelled", "retrying", "held")
"""What a replay without a status means: everything that did not get through. Delivered is never sent again."""


async def retry_one(service: Ops, app: App, row: DeliveryRow) -> None:
    """Makes a delivery due now. Raises `Conflict` where it cannot be sent (again)."""
    if row.status == "delivered":
        raise Conflict("The delivery has arrived; sending it again could only count it twice.")
    async with service.database.transaction() as connection:
        if row.status in OPEN:
            await outbox.hurry(connection, app.name, [row.id])
        else:
            sendable = await _sendable(connection, app, [row], service.clock())
            if not sendable:
                raise Conflict(
                    "The delivery cannot be sent any more: its event or destination is gone, consent is missing, "
                    "or it is too old."
                )
            await _reopen(connection, app, [row], sendable)
    service.wake()


async def replay(service: Ops, app: App, wanted: Filter, *, dry_run: bool, limit: int) -> tuple[int, int]:
    """(matched, requeued). Works in pages, so that no transaction is long."""
    statuses = [one for one in (wanted.statuses or _REPLAYED) if one != "delivered"]
    if not statuses:
        return 0, 0
    wanted = replace(wanted, statuses=tuple(statuses))
    matched = requeued = 0
    while matched < limit:
        async with service.database.transaction() as connection:
            rows = await reading.deliveries(connection, app.name, wanted, min(_PAGE, limit - matched))
            if not rows:
                break
            matched += len(rows)
            now = service.clock()
            open_ids = [row.id for row in rows if row.status in OPEN]
            ended = [row for row in rows if row.status not in OPEN]
            sendable = await _sendable(connection, app, ended, now)
            if not dry_run:
                requeued += len(await outbox.hurry(connection, app.name, open_ids)) if open_ids else 0
                requeued += await _reopen(connection, app, ended, sendable)
            wanted = replace(wanted, before=min(row.id for row in rows))
    if requeued:
        service.wake()
    return matched, requeued


async def _sendable(
    connection: Connection, app: App, rows: Sequence[DeliveryRow], now: datetime
) -> dict[UUID, datetime]:
    """Delivery → deadline, of those that a platform could still take."""
    events = await event_store.by_ids(connection, app.name, {ids.event_of(row.id) for row in rows})
    clicks = await click_store.by_ids(connection, app.name, {row.click for row in rows})
    found: dict[UUID, datetime] = {}
    for row in rows:
        event = events.get(ids.event_of(row.id))
        click = clicks.get(row.click)
        destination = app.destinations.get(row.destination)
        if event is None or click is None or destination is None or destination.broken:
            continue
        consent = narrower(click[0].consent, event.consent)
        if not may_match(consent) or not may_send(consent, require_consent=app.rules.require_consent):
            continue
        deadline = destination.timing.deadline(event.occurred_at, click[0].clicked_at)
        if deadline > now:
            found[row.id] = deadline
    return found


async def _reopen(connection: Connection, app: App, rows: Sequence[DeliveryRow], sendable: dict[UUID, datetime]) -> int:
    if not sendable:
        return 0
    moved = set(await history.reopen(connection, app.name, list(sendable.items())))
    counts: Counter[Count] = Counter()
    for row in rows:
        if row.id in moved and row.updated_at is not None:
            # Counted where it ended; what becomes of it now is counted anew.
            counts[Count(minute_of(row.updated_at), row.destination, row.status, row.reason or "")] -= 1
    await stats.add(connection, app.name, counts)
    return len(moved)
