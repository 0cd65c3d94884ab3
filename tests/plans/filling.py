"""A database that has grown: 200,000 rows in each of the big tables, of two apps, over several days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from postbacks.store import partitions

APPS = ("game", "other")
DESTINATIONS = ("meta", "google", "tiktok", "reddit", "x")
TABLES = (
    "leases",
    "outbox",
    "events",
    "deliveries",
    "exchanges",
    "attempts",
    "waiting",
    "event_keys",
    "clicks",
    "players",
    "destinations",
)
ROWS = 200_000
PLAYERS = 20_000
DAYS = 5

BASE = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
"""In the morning, so that the rows' first and last day are no scraps of a few minutes, whenever the test runs."""
"""The time of the first event. Row number n follows it by an equal share of the days."""

STEP_MS = (DAYS - 1) * 86_400_000 // ROWS


def app_of(number: int) -> str:
    """Nine of ten rows belong to the first app."""
    return APPS[number % 10 == 9]


def event_id(number: int) -> UUID:
    """The id of event `number`, as `postbacks.domain.ids` makes them."""
    milliseconds = int(BASE.timestamp() * 1000) + number * STEP_MS
    return UUID(f"{milliseconds:012x}70008000{number:010x}00")


def delivery_id(number: int) -> UUID:
    return UUID(int=event_id(number).int | 1)


def click_id(number: int) -> UUID:
    return UUID(f"{int(BASE.timestamp() * 1000) - 1:012x}70008000{number % PLAYERS:010x}00")


def _sql_id(number: str, slot: str = "00", milliseconds: str | None = None) -> str:
    when = milliseconds or f"{int(BASE.timestamp() * 1000)}::bigint + {number} * {STEP_MS}"
    return f"(lpad(to_hex({when}), 12, '0') || '70008000' || lpad(to_hex({number}), 10, '0') || '{slot}')::uuid"


_APP = f"CASE WHEN n % 10 = 9 THEN '{APPS[1]}' ELSE '{APPS[0]}' END"
_DESTINATION = "(ARRAY['" + "','".join(DESTINATIONS) + "'])[n / 10 % 5 + 1]"
_CLICK = _sql_id(f"(n % {PLAYERS})", milliseconds=f"{int(BASE.timestamp() * 1000) - 1}::bigint")


def _statements(due: str) -> Sequence[str]:
    """One for each table; `due` is the SQL for when a delivery in the outbox is due."""
    return (
        "INSERT INTO outbox (app_id, id, destination, due, deadline, created_at, click, status) "
        f"SELECT {_APP}, {_sql_id('n', '01')}, {_DESTINATION}, {due}, now() + interval '6 days', now(), {_CLICK}, "
        "'queued' FROM generate_series($1::bigint, $2::bigint) AS n",
        "INSERT INTO events (app_id, id, event_id, name, occurred_at, user_id, status, match) "
        f"SELECT {_APP}, {_sql_id('n')}, 'e-' || n, 'purchase', now(), 'p-' || n % {PLAYERS}, "
        "CASE WHEN n % 4 = 0 THEN 'waiting' ELSE 'matched' END, repeat('m', 100) "
        "FROM generate_series($1::bigint, $2::bigint) AS n",
        "INSERT INTO deliveries (app_id, id, destination, platform, status, attempts, click, created_at, exchange) "
        f"SELECT {_APP}, {_sql_id('n', '02')}, {_DESTINATION}, {_DESTINATION}, "
        f"CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'delivered' END, 1, {_CLICK}, now(), "
        f"{_sql_id('n - n % 100')} FROM generate_series($1::bigint, $2::bigint) AS n",
        "INSERT INTO exchanges (app_id, id, deliveries, started_at, duration_ms, verdict) "
        f"SELECT a, {_sql_id('n')}, 100, now(), 5, 'delivered' FROM generate_series($1::bigint, $2::bigint) AS n, "
        f"unnest(ARRAY['{APPS[0]}', '{APPS[1]}']) AS a WHERE n % 100 = 0",
        "INSERT INTO attempts (app_id, delivery, number, started_at, duration_ms, verdict) "
        f"SELECT {_APP}, {_sql_id('n', '02')}, 1, now(), 5, 'delivered' "
        "FROM generate_series($1::bigint, $2::bigint) AS n",
        f"INSERT INTO waiting (app_id, key, event) SELECT {_APP}, md5('key' || n % {PLAYERS})::uuid, {_sql_id('n')} "
        "FROM generate_series($1::bigint, $2::bigint) AS n",
        f"INSERT INTO event_keys (app_id, key, event, fingerprint) SELECT {_APP}, md5('e-' || n)::uuid, {_sql_id('n')}, "
        "md5('f')::uuid FROM generate_series($1::bigint, $2::bigint) AS n",
        "INSERT INTO clicks (app_id, id, click_key, type, value, visitor_id, clicked_at, address, network) "
        f"SELECT a, {_CLICK}, md5('c-' || n)::uuid, 'fbclid', 'c-' || n, 'v-' || n / 2, now() - n * interval '1 s', "
        "md5('a-' || n / 2)::uuid, md5('n-' || n / 2)::uuid FROM generate_series($1::bigint, $2::bigint) AS n, "
        f"unnest(ARRAY['{APPS[0]}', '{APPS[1]}']) AS a WHERE n < {PLAYERS}",
        "INSERT INTO players (app_id, user_id, click, confidence) "
        f"SELECT a, 'p-' || n, {_CLICK}, 'high' FROM generate_series($1::bigint, $2::bigint) AS n, "
        f"unnest(ARRAY['{APPS[0]}', '{APPS[1]}']) AS a WHERE n < {PLAYERS}",
    )


async def prepare(connection: asyncpg.Connection) -> None:
    """Partitions and destinations; statistics change from here on only when a test says so."""
    async with connection.transaction():
        await partitions.ensure(connection, datetime.now(UTC), behind=DAYS + 1)
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for row in rows:
        await connection.execute(f"ALTER TABLE {row['relname']} SET (autovacuum_enabled = false)")
    await connection.executemany(
        "INSERT INTO destinations (app_id, name, platform, credentials) VALUES ($1, $2, $2, '')",
        [(app, name) for app in APPS for name in DESTINATIONS],
    )


async def fill(connection: asyncpg.Connection, first: int, last: int, *, due: str) -> None:
    """Rows `first` to `last` in every table."""
    for statement in _statements(due):
        await connection.execute(statement, first, last)


async def empty(connection: asyncpg.Connection) -> None:
    """Removes the rows and leaves the statistics, as deliveries leave the outbox."""
    for table in TABLES[:-1]:
        await connection.execute(f"DELETE FROM {table}")


async def analyze(connection: asyncpg.Connection) -> None:
    await connection.execute(f"ANALYZE {', '.join(TABLES)}")


async def forget(connection: asyncpg.Connection) -> None:
    """All statistics of the big tables and their partitions go: as if ANALYZE had never run."""
    await connection.execute(
        "SELECT pg_clear_attribute_stats('public', relname, attname, inherited) FROM pg_class "
        "JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped, unnest(ARRAY[true, false]) AS inherited "
        f"WHERE {_OURS}"
    )
    await connection.execute(f"SELECT pg_clear_relation_stats('public', relname) FROM pg_class WHERE {_OURS}")


async def pretend(connection: asyncpg.Connection, *, rows: int, pages: int, tables: str = "") -> None:
    """What VACUUM and ANALYZE noted last about the size of each big table (of `tables` and their partitions)."""
    await connection.execute(
        "SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', relname::text, "
        f"'relpages', {pages}::integer, 'reltuples', {rows}::real) FROM pg_class WHERE {_OURS} AND relkind = 'r' AND relname ~ '^{tables}'"
    )


_OURS = (
    f"relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname ~ '^({'|'.join(TABLES)})(_[0-9]+)?$'"
)
