"""All that is held of one player: read for them, or removed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from postbacks.domain import ids
from postbacks.store import history
from postbacks.store.attempts import LAST
from postbacks.store.database import Connection

_AT_ONCE = 1_000

WAIT_SECONDS = 5.0
"""How long an erasure waits for what began before it. Ingest transactions take milliseconds."""


async def event_ids(connection: Connection, app: str, user_id: str) -> list[UUID]:
    """The player's events, oldest first."""
    rows = await connection.fetch("SELECT id FROM events WHERE app_id = $1 AND user_id = $2 ORDER BY id", app, user_id)
    return [row["id"] for row in rows]


_CLICK = (
    "c.id, c.type, c.value, c.visitor_id, c.clicked_at, c.url, c.referrer, c.utm, c.user_agent, c.consent_attribution, "
    "c.consent_postbacks, c.consent_ad_personalization"
)


async def links(connection: Connection, app: str, user_id: str) -> list[Mapping[str, Any]]:
    """The clicks the player is tied to, and the others that an erasure would take (`linked_at` is NULL for them)."""
    tied = await connection.fetch("SELECT click FROM players WHERE app_id = $1 AND user_id = $2", app, user_id)
    clicks = {row["click"] for row in tied}
    clicks.update(await _own_clicks(connection, app, user_id, clicks))
    rows: list[Mapping[str, Any]] = await connection.fetch(
        f"SELECT {_CLICK}, p.confidence, p.linked_at FROM clicks c LEFT JOIN players p ON p.app_id = $1 "
        "AND p.user_id = $2 AND p.click = c.id WHERE c.app_id = $1 AND c.id = ANY($3::uuid[]) "
        "ORDER BY p.linked_at, c.clicked_at",
        app,
        user_id,
        list(clicks),
    )
    return rows


async def sent(connection: Connection, app: str, deliveries: Sequence[UUID]) -> list[Mapping[str, Any]]:
    """Which tries of these deliveries went to a platform: the privacy ledger."""
    if not deliveries:
        return []
    rows: list[Mapping[str, Any]] = await connection.fetch(
        "SELECT delivery, number, started_at, verdict, consent, shared FROM attempts WHERE app_id = $1 "
        "AND delivery = ANY($2::uuid[]) AND delivery BETWEEN $3 AND $4 AND url IS NOT NULL UNION ALL "
        "SELECT d.id, d.attempts, x.started_at, x.verdict, x.consent, x.shared FROM deliveries d "
        f"{LAST} WHERE d.app_id = $1 AND d.id = ANY($2::uuid[]) AND d.id BETWEEN $3 AND $4 AND x.url IS NOT NULL ORDER BY started_at",
        app,
        list(deliveries),
        min(deliveries),
        max(deliveries),
    )
    return rows


async def erased_at(connection: Connection, app: str, user_key: UUID) -> datetime | None:
    """When the player was erased."""
    value: datetime | None = await connection.fetchval(
        "SELECT erased_at FROM erasures WHERE app_id = $1 AND user_key = $2", app, user_key
    )
    return value


async def remember_erasure(connection: Connection, app: str, user_key: UUID) -> datetime:
    """Refuses the player from now on; returns since when (the first time counts)."""
    value: datetime = await connection.fetchval(
        "INSERT INTO erasures AS e (app_id, user_key) VALUES ($1, $2) "
        "ON CONFLICT (app_id, user_key) DO UPDATE SET erased_at = e.erased_at RETURNING erased_at",
        app,
        user_key,
    )
    return value


async def older_are_over(connection: Connection, number: int) -> None:
    """Waits until the transactions that began before the transaction `number` have ended, for `WAIT_SECONDS` at most.

    They did not see its tombstone, and we would not see what they are about to store.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8 > $1", number):
            return
        await asyncio.sleep(0.01)


async def transaction_number(connection: Connection) -> int:
    """The number of the transaction that the connection is in."""
    number: int = await connection.fetchval("SELECT pg_current_xact_id()::text::int8")
    return number


async def remove(
    connection: Connection, app: str, user_id: str, user_key: UUID, events: Sequence[UUID]
) -> dict[str, int]:
    """Removes events, tries, match keys, links, and clicks. Returns how many of each.

    Clicks: those that the player is tied to and nobody else is, and the others of the same visitors, unless somebody
    else came by one of them. Deliveries stay as bare facts (that something went to a platform at a time); they name
    no player and no click ID.
    """
    counts = {"events": 0, "attempts": 0, "clicks": 0}
    exchanges: Counter[UUID] = Counter()
    for start in range(0, len(events), _AT_ONCE):
        chunk = list(events[start : start + _AT_ONCE])
        low, high = min(chunk), max(chunk)
        for table, column in (("waiting", "event"), ("events", "id")):
            status = await connection.execute(
                f"DELETE FROM {table} WHERE app_id = $1 AND {column} = ANY($2::uuid[]) AND {column} BETWEEN $3 AND $4",
                app,
                chunk,
                low,
                high,
            )
            if table == "events":
                counts["events"] += int(status.rpartition(" ")[2])
        status = await connection.execute(
            "DELETE FROM attempts a USING unnest($2::uuid[], $3::uuid[]) AS e(first, last) WHERE a.app_id = $1 "
            "AND a.delivery BETWEEN e.first AND e.last AND a.delivery BETWEEN $4 AND $5",
            app,
            chunk,
            [ids.last_delivery(event) for event in chunk],
            low,
            ids.last_delivery(high),
        )
        counts["attempts"] += int(status.rpartition(" ")[2])
        exchanges += await history.strip(connection, app, chunk)
    counts["attempts"] += exchanges.total()
    removed = await connection.fetch(
        "DELETE FROM players WHERE app_id = $1 AND user_id = $2 RETURNING click", app, user_id
    )
    clicks = await connection.fetch(
        "DELETE FROM clicks WHERE app_id = $1 AND id = ANY($2::uuid[]) RETURNING value",
        app,
        await _own_clicks(connection, app, user_id, {row["click"] for row in removed}),
    )
    counts["clicks"] = len(clicks)
    # Others were in the same request: what the platform told all of them may name this player's click.
    await history.redact(connection, app, exchanges, [row["value"] for row in clicks])
    await connection.execute("DELETE FROM installs WHERE app_id = $1 AND user_key = $2", app, user_key)
    return counts


async def _own_clicks(connection: Connection, app: str, user_id: str, tied: set[UUID]) -> list[UUID]:
    """Of the clicks that a player is tied to, and of those of the same visitors, the ones that are nobody else's."""
    rows = await connection.fetch(
        "SELECT id, visitor_id FROM clicks WHERE app_id = $1 AND (id = ANY($2::uuid[]) OR visitor_id = ANY(ARRAY("
        "SELECT visitor_id FROM clicks WHERE app_id = $1 AND id = ANY($2::uuid[]) AND visitor_id <> '')))",
        app,
        list(tied),
    )
    visitors = {row["id"]: row["visitor_id"] for row in rows}
    found = await connection.fetch(
        "SELECT DISTINCT click FROM players WHERE app_id = $1 AND click = ANY($2::uuid[]) AND user_id <> $3",
        app,
        list(visitors),
        user_id,
    )
    others = {row["click"] for row in found}
    shared = {visitors[click] for click in others}
    return [click for click, name in visitors.items() if click not in others and (click in tied or name not in shared)]


async def click_facts(connection: Connection, app: str, clicks: set[UUID]) -> dict[UUID, Mapping[str, Any]]:
    """Type and value of clicks."""
    rows = await connection.fetch(
        "SELECT id, type, value FROM clicks WHERE app_id = $1 AND id = ANY($2::uuid[])",
        app,
        list(clicks),
    )
    return {row["id"]: row for row in rows}
