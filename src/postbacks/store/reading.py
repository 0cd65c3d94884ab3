"""What operators ask: lists of deliveries, one delivery with its tries, one event with its clicks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from postbacks.domain import ids
from postbacks.store.attempts import LAST, SAID
from postbacks.store.database import Connection
from postbacks.store.leases import UNDER_LEASE

OPEN = ("queued", "sending", "retrying", "held", "accepted")
ENDED = ("delivered", "failed", "expired", "skipped", "cancelled")


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery, open or ended, as it stands now."""

    app: str
    id: UUID
    destination: str
    platform: str
    status: str
    reason: str | None
    attempts: int
    click: UUID
    created_at: datetime
    updated_at: datetime | None
    next_attempt_at: datetime | None
    deadline: datetime | None
    delivered_at: datetime | None
    event_id: str | None
    event_name: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """What `GET /v1/deliveries` filters by; `None` and empty mean "any"."""

    destination: str | None = None
    platform: str | None = None
    statuses: Sequence[str] = ()
    event: UUID | None = None
    event_name: str | None = None
    user_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before: UUID | None = None
    only: Sequence[UUID] = field(default=())


# The status of an open delivery depends on its destination: behind one that is paused, held or switched off, it is held.
_OPEN = f"""
    SELECT o.app_id, o.id, o.destination, d.platform,
        CASE WHEN {UNDER_LEASE} THEN 'sending'
             WHEN d.paused_at IS NOT NULL OR d.held_at IS NOT NULL OR NOT d.enabled THEN 'held'
             ELSE o.status END AS status,
        CASE WHEN {UNDER_LEASE} THEN o.reason
             WHEN d.paused_at IS NOT NULL THEN 'paused'
             WHEN d.held_at IS NOT NULL THEN coalesce('destination_held: ' || nullif(d.held_code, ''), 'destination_held')
             WHEN NOT d.enabled THEN 'destination_disabled'
             ELSE o.reason END AS reason,
        o.attempts, o.click, o.created_at, NULL::timestamptz AS updated_at, o.due AS next_attempt_at, o.deadline,
        NULL::timestamptz AS delivered_at
    FROM outbox o LEFT JOIN destinations d ON d.app_id = $1 AND d.name = o.destination
    WHERE o.app_id = $1"""

_ENDED = """
    SELECT h.app_id, h.id, h.destination, h.platform, h.status, h.reason, h.attempts, h.click, h.created_at, h.updated_at,
        NULL::timestamptz AS next_attempt_at, NULL::timestamptz AS deadline,
        CASE WHEN h.status = 'delivered' THEN h.updated_at END AS delivered_at
    FROM deliveries h WHERE h.app_id = $1"""

_EVENT_OF = "overlay({id}::text placing '00' from 35)::uuid"


async def deliveries(connection: Connection, app: str, wanted: Filter, limit: int) -> list[DeliveryRow]:
    """The newest deliveries of an app that fit, at most `limit`, newest first."""
    parts = []
    arguments = _Arguments(app)
    if not wanted.statuses or set(wanted.statuses) & set(OPEN):
        parts.append(_part(_OPEN, "o", wanted, arguments, limit, ended=False))
    if not wanted.statuses or set(wanted.statuses) & set(ENDED):
        parts.append(_part(_ENDED, "h", wanted, arguments, limit, ended=True))
    if not parts:
        return []
    sql = (
        f"WITH page AS (SELECT * FROM ({' UNION ALL '.join(parts)}) u ORDER BY id DESC LIMIT {int(limit)}) "
        "SELECT page.*, e.event_id, e.name AS event_name FROM page "
        # One look-up for each row of the page: a plain join may read all events of the app instead.
        "LEFT JOIN LATERAL (SELECT f.event_id, f.name FROM events f WHERE f.app_id = $1 "
        f"AND f.id = {_EVENT_OF.format(id='page.id')} LIMIT 1) e ON true ORDER BY page.id DESC"
    )
    return [_row(row) for row in await connection.fetch(sql, *arguments.values)]


class _Arguments:
    """Values of a statement, and the `$n` under which each is known in it."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)

    def add(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


def _part(select: str, alias: str, wanted: Filter, arguments: _Arguments, limit: int, *, ended: bool) -> str:
    body = select + "".join(f" AND {one}" for one in _conditions(alias, wanted, arguments))
    # Computed columns can only be filtered from outside.
    outer = []
    if wanted.platform is not None:
        outer.append(f"platform = {arguments.add(wanted.platform)}")
    if wanted.statuses and ended:
        body += _ended_as(alias, [one for one in wanted.statuses if one in ENDED], arguments)
    elif wanted.statuses:
        outer.append(f"status = ANY({arguments.add([one for one in wanted.statuses if one in OPEN])}::text[])")
    if not outer:
        return f"({body} ORDER BY {alias}.id DESC LIMIT {int(limit)})"
    return f"(SELECT * FROM ({body}) s WHERE {' AND '.join(outer)} ORDER BY id DESC LIMIT {int(limit)})"


def _ended_as(alias: str, statuses: Sequence[str], arguments: _Arguments) -> str:
    """Said so that the index of what was not delivered fits for every value, and for one status is in order."""
    undelivered = "" if "delivered" in statuses else f" AND {alias}.status <> 'delivered'"
    if len(statuses) == 1:
        return f"{undelivered} AND {alias}.status = {arguments.add(statuses[0])}"
    return f"{undelivered} AND {alias}.status = ANY({arguments.add(list(statuses))}::text[])"


def _conditions(alias: str, wanted: Filter, arguments: _Arguments) -> Iterator[str]:
    if wanted.destination is not None:
        yield f"{alias}.destination = {arguments.add(wanted.destination)}"
    if wanted.event is not None:
        yield f"{alias}.id > {arguments.add(wanted.event)}"
        yield f"{alias}.id <= {arguments.add(ids.last_delivery(wanted.event))}"
    if wanted.only:
        yield f"{alias}.id = ANY({arguments.add(list(wanted.only))}::uuid[])"
        yield f"{alias}.id BETWEEN {arguments.add(min(wanted.only))} AND {arguments.add(max(wanted.only))}"
    if wanted.before is not None:
        yield f"{alias}.id < {arguments.add(wanted.before)}"
    if wanted.created_after is not None:
        yield f"{alias}.created_at >= {arguments.add(wanted.created_after)}"
    if wanted.created_before is not None:
        yield f"{alias}.created_at < {arguments.add(wanted.created_before)}"
        # A delivery is never created before its event: the id bounds the partitions that are looked into.
        yield f"{alias}.id < {arguments.add(ids.floor(wanted.created_before))}"
    of_event = [
        f"f.{column} = {arguments.add(value)}"
        for column, value in (("name", wanted.event_name), ("user_id", wanted.user_id))
        if value is not None
    ]
    if of_event:
        event = _EVENT_OF.format(id=f"{alias}.id")
        yield f"EXISTS (SELECT 1 FROM events f WHERE f.app_id = $1 AND f.id = {event} AND {' AND '.join(of_event)})"


async def delivery(connection: Connection, app: str, identifier: UUID) -> DeliveryRow | None:
    """One delivery."""
    rows = await deliveries(connection, app, Filter(only=(identifier,)), 1)
    return rows[0] if rows else None


async def app_of_delivery(connection: Connection, identifier: UUID) -> str | None:
    """Which app a delivery belongs to (for the operator, who may see all)."""
    row = await connection.fetchrow(
        "SELECT app_id FROM outbox WHERE id = $1 UNION ALL SELECT app_id FROM deliveries WHERE id = $1 LIMIT 1",
        identifier,
    )
    return row["app_id"] if row else None


async def attempts(connection: Connection, app: str, identifier: UUID) -> list[Mapping[str, Any]]:
    """All tries of a delivery, the first first: those after which it went on, and the one that ended it."""
    said = ", ".join(SAID)
    rows: list[Mapping[str, Any]] = await connection.fetch(
        f"SELECT number, request, {said} FROM attempts WHERE app_id = $1 AND delivery = $2 "
        f"UNION ALL SELECT d.attempts, d.request, {', '.join(f'x.{name}' for name in SAID)} FROM deliveries d "
        f"{LAST} WHERE d.app_id = $1 AND d.id = $2 "
        "ORDER BY number",
        app,
        identifier,
    )
    return rows


def _row(row: Mapping[str, Any]) -> DeliveryRow:
    return DeliveryRow(
        app=row["app_id"],
        id=row["id"],
        destination=row["destination"],
        platform=row["platform"] or "",
        status=row["status"],
        reason=row["reason"],
        attempts=row["attempts"],
        click=row["click"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        next_attempt_at=row["next_attempt_at"],
        deadline=row["deadline"],
        delivered_at=row["delivered_at"],
        event_id=row["event_id"],
        event_name=row["event_name"],
    )
