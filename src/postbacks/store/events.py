"""Events: stored once, found again by what a late click has in common with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from postbacks.domain.frozen import frozen
from postbacks.domain.model import Consent
from postbacks.store.clicks import consent_from, consent_of
from postbacks.store.database import Connection


@frozen
class EventRow:
    """An event as it stands in the database. `properties`, `match` and `not_sent` are JSON texts."""

    id: UUID
    event_id: str
    name: str
    occurred_at: datetime
    user_id: str | None
    visitor_id: str | None
    value: Decimal | None
    currency: str | None
    platform: str | None
    storefront: str | None
    properties: str | None
    consent: Consent
    status: str
    match: str | None
    not_sent: str | None


@frozen
class Known:
    """What is known under an idempotency key."""

    event: UUID
    fingerprint: UUID


@frozen
class Sent:
    """What a platform may be told of an event. `properties` is a JSON text."""

    event_id: str
    name: str
    occurred_at: datetime
    value: Decimal | None
    currency: str | None
    properties: str | None
    consent: Consent


_COLUMNS = (
    "id, event_id, name, occurred_at, user_id, visitor_id, value, currency, platform, storefront, properties, "
    "consent_attribution, consent_postbacks, consent_ad_personalization, status, match, not_sent"
)


_STORED = ("app_id", *_COLUMNS.split(", "))


def event_from(row: Mapping[str, Any]) -> EventRow:
    return EventRow(
        row["id"],
        row["event_id"],
        row["name"],
        row["occurred_at"],
        row["user_id"],
        row["visitor_id"],
        row["value"],
        row["currency"],
        row["platform"],
        row["storefront"],
        row["properties"],
        consent_from(row),
        row["status"],
        row["match"],
        row["not_sent"],
    )


async def claim_keys(
    connection: Connection, app: str, keys: Sequence[tuple[UUID, UUID, UUID]]
) -> tuple[bool, datetime]:
    """Takes the idempotency keys that are free: (key, event, fingerprint).

    Returns whether all of them were, and the time of the transaction by PostgreSQL's clock. The keys are taken in
    their order, so that two transactions that want the same ones do not lock each other out.
    """
    ordered = sorted(keys, key=lambda one: one[0].bytes)
    row = await connection.fetchrow(
        "WITH mine AS (INSERT INTO event_keys (app_id, key, event, fingerprint) "
        "SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[]) ON CONFLICT DO NOTHING RETURNING 1) "
        "SELECT count(*) AS taken, now() AS now FROM mine",
        app,
        *zip(*ordered, strict=True),
    )
    return row["taken"] == len(ordered), row["now"]


async def known(connection: Connection, app: str, keys: Iterable[UUID]) -> dict[UUID, Known]:
    """What stands under idempotency keys."""
    rows = await connection.fetch(
        "SELECT key, event, fingerprint FROM event_keys WHERE app_id = $1 AND key = ANY($2::uuid[])", app, list(keys)
    )
    return {row["key"]: Known(row["event"], row["fingerprint"]) for row in rows}


class Content(Protocol):
    """What an event says of itself."""

    @property
    def event_id(self) -> str: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def visitor_id(self) -> str | None: ...
    @property
    def value(self) -> Decimal | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def platform(self) -> str | None: ...
    @property
    def storefront(self) -> str | None: ...
    @property
    def properties(self) -> str | None: ...
    @property
    def consent(self) -> Consent: ...


NewRow = tuple[UUID, str, Content, str, str | None, str | None]
"""Id, name, content, status, match and not_sent of an event to be stored."""


async def insert(connection: Connection, app: str, rows: Sequence[NewRow]) -> None:
    """Stores events whose keys were claimed in the same transaction.

    COPY, because it costs half of what an INSERT of arrays costs, here and in the server.
    """
    await connection.copy_records_to_table(
        "events",
        columns=_STORED,
        records=[
            (
                app,
                identifier,
                event.event_id,
                name,
                event.occurred_at,
                event.user_id,
                event.visitor_id,
                event.value,
                event.currency,
                event.platform,
                event.storefront,
                event.properties,
                event.consent.attribution,
                event.consent.postbacks,
                event.consent.ad_personalization,
                status,
                match,
                not_sent,
            )
            for identifier, name, event, status, match, not_sent in rows
        ],
    )


async def wait(connection: Connection, app: str, keys: Sequence[tuple[UUID, UUID]]) -> None:
    """Notes under which keys (key, event) an event without a click can be found."""
    await connection.execute(
        "INSERT INTO waiting (app_id, key, event) SELECT $1, * FROM unnest($2::uuid[], $3::uuid[]) ON CONFLICT DO NOTHING",
        app,
        [key for key, _ in keys],
        [event for _, event in keys],
    )


async def waiting_for(
    connection: Connection, app: str, keys: Iterable[UUID], *, after: UUID, limit: int
) -> list[tuple[UUID, UUID]]:
    """(key, event) of the events behind an id (so: received since a time) that wait under one of the keys, oldest
    first."""
    rows = await connection.fetch(
        "SELECT key, event FROM waiting WHERE app_id = $1 AND key = ANY($2::uuid[]) AND event > $3 "
        "ORDER BY event LIMIT $4",
        app,
        list(keys),
        after,
        limit,
    )
    return [(row["key"], row["event"]) for row in rows]


async def lock_waiting(connection: Connection, app: str, identifiers: Sequence[UUID]) -> list[EventRow]:
    """The events that are still waiting, locked against a second late click, oldest first."""
    if not identifiers:
        return []
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM events WHERE app_id = $1 AND id = ANY($2::uuid[]) AND id BETWEEN $3 AND $4 "
        "AND status = 'waiting' ORDER BY id FOR UPDATE",
        app,
        list(identifiers),
        min(identifiers),
        max(identifiers),
    )
    return [event_from(row) for row in rows]


async def stop_waiting(connection: Connection, app: str, identifiers: Sequence[UUID]) -> None:
    """Forgets the match keys of events that found their click."""
    await connection.execute(
        "DELETE FROM waiting WHERE app_id = $1 AND event = ANY($2::uuid[]) AND event BETWEEN $3 AND $4",
        app,
        list(identifiers),
        min(identifiers),
        max(identifiers),
    )


async def settle_match(
    connection: Connection, app: str, event: UUID, *, status: str, match: str | None, not_sent: str | None
) -> None:
    """Writes what a late click changed."""
    await connection.execute(
        "UPDATE events SET status = $3, match = $4, not_sent = $5 WHERE app_id = $1 AND id = $2",
        app,
        event,
        status,
        match,
        not_sent,
    )


async def by_ids(connection: Connection, app: str, identifiers: Iterable[UUID]) -> dict[UUID, EventRow]:
    """Events by id; the range of the ids tells PostgreSQL which partitions to look into."""
    wanted = list(identifiers)
    if not wanted:
        return {}
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM events WHERE app_id = $1 AND id = ANY($2::uuid[]) AND id BETWEEN $3 AND $4",
        app,
        wanted,
        min(wanted),
        max(wanted),
    )
    return {row["id"]: event_from(row) for row in rows}


async def to_send(connection: Connection, app: str, identifiers: Sequence[UUID]) -> dict[bytes, Sent]:
    """Events by the bytes of their id, whose hash takes a tenth of what the id's takes.

    Numbers come as the driver reads them fastest: 0.35 µs for a time of seconds instead of 0.7 for a `timestamptz`,
    and prices, which repeat, as text.
    """
    rows = await connection.fetch(
        "SELECT id, event_id, name, date_part('epoch', occurred_at), value::text, currency, properties, "
        "consent_attribution, consent_postbacks, consent_ad_personalization FROM events "
        "WHERE app_id = $1 AND id = ANY($2::uuid[]) AND id BETWEEN $3 AND $4",
        app,
        identifiers,
        min(identifiers),
        max(identifiers),
    )
    moment, amount, consent = datetime.fromtimestamp, _amount, consent_of
    return {
        identifier.bytes: Sent(
            event_id, name, moment(seconds, UTC), value and amount(value), currency, properties, consent(a, b, c)
        )
        for identifier, event_id, name, seconds, value, currency, properties, a, b, c in rows
    }


_amount = lru_cache(maxsize=4_096)(Decimal)


async def any_erased(connection: Connection, app: str) -> bool:
    """Whether the app has erased players at all. Few have, and then nobody asks about each player of each event.

    To be asked after the transaction has written something: an erasure waits for the transactions that have (see
    `store.personal`), and what begins to write later sees it.
    """
    there: bool = await connection.fetchval("SELECT EXISTS (SELECT 1 FROM erasures WHERE app_id = $1)", app)
    return there


async def erased(connection: Connection, app: str, user_keys: Iterable[UUID]) -> set[UUID]:
    """Those of the (hashed) players whose data was erased and who are refused since."""
    rows = await connection.fetch(
        "SELECT user_key FROM erasures WHERE app_id = $1 AND user_key = ANY($2::uuid[])", app, list(user_keys)
    )
    return {row["user_key"] for row in rows}


async def first_installs(connection: Connection, app: str, user_keys: Iterable[UUID]) -> set[UUID]:
    """Notes installs of (hashed) players; returns those that had none before."""
    rows = await connection.fetch(
        "INSERT INTO installs (app_id, user_key) SELECT $1, * FROM unnest($2::uuid[]) ON CONFLICT DO NOTHING "
        "RETURNING user_key",
        app,
        sorted(set(user_keys)),
    )
    return {row["user_key"] for row in rows}
