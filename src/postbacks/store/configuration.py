"""Apps, keys and destinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from postbacks.store.database import Connection

CHANGED = "postbacks_changed"
"""Notified when configuration changed, so that every process reads it again at once."""


@dataclass(frozen=True, slots=True)
class AppRow:
    app: str
    settings: Mapping[str, Any]
    secret: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRow:
    app: str
    key_id: str
    publishable_key: str
    secret_prefix: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class DestinationRow:
    app: str
    name: str
    platform: str
    enabled: bool
    credentials: str
    options: Mapping[str, Any]
    events: Mapping[str, Mapping[str, Any]] | None
    version: int
    created_at: datetime
    updated_at: datetime
    paused_at: datetime | None
    held_at: datetime | None
    held_code: str | None
    held_message: str | None
    held_remedy: str | None
    probe_at: datetime | None
    blocked_until: datetime | None
    blocked_reason: str | None
    failures: int


_APP = "app_id AS app, settings, secret, created_at"
_KEY = "app_id AS app, key_id, publishable_key, secret_prefix, created_at, last_used_at, revoked_at"
_DESTINATION = (
    "app_id AS app, name, platform, enabled, credentials, options, events, version, created_at, updated_at, paused_at, "
    "held_at, held_code, held_message, held_remedy, probe_at, blocked_until, blocked_reason, failures"
)


async def notify_changed(connection: Connection) -> None:
    await connection.execute("SELECT pg_notify($1, '')", CHANGED)


# --- apps ---------------------------------------------------------------------------------------------------------


async def apps(connection: Connection) -> list[AppRow]:
    return [AppRow(**row) for row in await connection.fetch(f"SELECT {_APP} FROM apps ORDER BY app_id")]


async def app(connection: Connection, name: str) -> AppRow | None:
    row = await connection.fetchrow(f"SELECT {_APP} FROM apps WHERE app_id = $1", name)
    return AppRow(**row) if row else None


async def insert_app(connection: Connection, name: str, settings: Mapping[str, Any], secret: str) -> bool:
    """Returns whether the name was free."""
    row = await connection.fetchrow(
        "INSERT INTO apps (app_id, settings, secret) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING app_id",
        name,
        settings,
        secret,
    )
    return row is not None


async def update_app(connection: Connection, name: str, settings: Mapping[str, Any]) -> None:
    await connection.execute("UPDATE apps SET settings = $2 WHERE app_id = $1", name, settings)


APP_TABLES = (
    "leases", "outbox", "attempts", "deliveries", "exchanges", "waiting", "events", "event_keys", "clicks", "players", "installs",
    "erasures", "address_keys", "stats", "destinations", "api_keys", "apps",
)  # fmt: skip
"""Every table with rows of an app, in the order in which they are emptied."""


async def delete_app(connection: Connection, name: str) -> bool:
    """Removes an app with all that belongs to it. Returns whether there was one."""
    removed = ""
    for table in APP_TABLES:
        removed = await connection.execute(f"DELETE FROM {table} WHERE app_id = $1", name)
    return removed != "DELETE 0"


# --- keys ---------------------------------------------------------------------------------------------------------


async def insert_key(
    connection: Connection,
    app: str,
    key_id: str,
    *,
    publishable_key: str,
    publishable_hash: bytes,
    secret_prefix: str,
    secret_hash: bytes,
) -> None:
    await connection.execute(
        "INSERT INTO api_keys (app_id, key_id, publishable_key, publishable_hash, secret_prefix, secret_hash) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        app,
        key_id,
        publishable_key,
        publishable_hash,
        secret_prefix,
        secret_hash,
    )


async def keys(connection: Connection, app: str) -> list[KeyRow]:
    rows = await connection.fetch(f"SELECT {_KEY} FROM api_keys WHERE app_id = $1 ORDER BY created_at, key_id", app)
    return [KeyRow(**row) for row in rows]


async def revoke_key(connection: Connection, app: str, key_id: str) -> bool:
    """Returns whether there was such a key; revoking twice changes nothing."""
    row = await connection.fetchrow(
        "UPDATE api_keys SET revoked_at = least(revoked_at, now()) WHERE app_id = $1 AND key_id = $2 RETURNING key_id",
        app,
        key_id,
    )
    return row is not None


async def key_by_hash(connection: Connection, token_hash: bytes, *, secret: bool) -> tuple[str, str] | None:
    """The app and id of a key that is not revoked, found by the hash of the whole key."""
    column = "secret_hash" if secret else "publishable_hash"
    row = await connection.fetchrow(
        f"SELECT app_id, key_id FROM api_keys WHERE {column} = $1 AND revoked_at IS NULL", token_hash
    )
    return (row["app_id"], row["key_id"]) if row else None


async def touch_key(connection: Connection, app: str, key_id: str) -> None:
    """Notes that a key was used; at most once a minute, so that a busy key costs no writes."""
    await connection.execute(
        "UPDATE api_keys SET last_used_at = now() WHERE app_id = $1 AND key_id = $2 "
        "AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
        app,
        key_id,
    )


# --- destinations -------------------------------------------------------------------------------------------------


async def destinations(connection: Connection, app: str | None = None) -> list[DestinationRow]:
    rows = await connection.fetch(
        f"SELECT {_DESTINATION} FROM destinations WHERE $1::text IS NULL OR app_id = $1 ORDER BY app_id, name", app
    )
    return [DestinationRow(**row) for row in rows]


async def destination(connection: Connection, app: str, name: str) -> DestinationRow | None:
    row = await connection.fetchrow(
        f"SELECT {_DESTINATION} FROM destinations WHERE app_id = $1 AND name = $2", app, name
    )
    return DestinationRow(**row) if row else None


async def put_destination(
    connection: Connection,
    app: str,
    name: str,
    *,
    platform: str,
    enabled: bool,
    credentials: str,
    options: Mapping[str, Any],
    events: Mapping[str, Mapping[str, Any]] | None,
) -> bool:
    """Creates or replaces; returns whether it is new. New credentials or options release a hold."""
    row = await connection.fetchrow(
        "INSERT INTO destinations (app_id, name, platform, enabled, credentials, options, events) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) "
        "ON CONFLICT (app_id, name) DO UPDATE SET platform = excluded.platform, enabled = excluded.enabled, "
        "credentials = excluded.credentials, options = excluded.options, events = excluded.events, "
        "version = destinations.version + 1, updated_at = excluded.updated_at, held_at = NULL, held_code = NULL, "
        "held_message = NULL, held_remedy = NULL, probe_at = NULL, blocked_until = NULL, blocked_reason = NULL, "
        "failures = 0 RETURNING version",
        app,
        name,
        platform,
        enabled,
        credentials,
        options,
        events,
    )
    return bool(row["version"] == 1)


async def delete_destination(connection: Connection, app: str, name: str) -> bool:
    """Removes the destination; what was still to be sent to it is removed by the caller."""
    removed: str = await connection.execute("DELETE FROM destinations WHERE app_id = $1 AND name = $2", app, name)
    return removed != "DELETE 0"


async def set_paused(connection: Connection, app: str, name: str, *, paused: bool) -> bool:
    """Pauses or resumes. Resuming also releases a hold and a block: the operator says "try now"."""
    row = await connection.fetchrow(
        "UPDATE destinations SET paused_at = least(paused_at, now()) WHERE app_id = $1 AND name = $2 RETURNING name"
        if paused
        else "UPDATE destinations SET paused_at = NULL, held_at = NULL, held_code = NULL, held_message = NULL, "
        "held_remedy = NULL, probe_at = NULL, blocked_until = NULL, blocked_reason = NULL, failures = 0 "
        "WHERE app_id = $1 AND name = $2 RETURNING name",
        app,
        name,
    )
    return row is not None


async def rotate_secrets(connection: Connection, rotate: Any) -> int:
    """Seals every stored secret anew with `rotate`; returns how many. Must run inside a transaction."""
    count = 0
    columns: Sequence[tuple[str, str, tuple[str, ...]]] = (
        ("apps", "secret", ("app_id",)),
        ("destinations", "credentials", ("app_id", "name")),
        ("address_keys", "secret", ("app_id", "valid_from")),
        ("clicks", "sealed_ip", ("app_id", "id")),
    )
    for table, column, key in columns:
        where = " AND ".join(f"{name} = ${index}" for index, name in enumerate(key, 3))
        for row in await connection.fetch(f"SELECT {', '.join(key)}, {column} FROM {table} WHERE {column} IS NOT NULL"):
            # A secret that was replaced meanwhile is sealed with the first key already.
            await connection.execute(
                f"UPDATE {table} SET {column} = $1 WHERE {column} = $2 AND {where}",
                rotate(row[column]),
                row[column],
                *(row[name] for name in key),
            )
            count += 1
    return count
