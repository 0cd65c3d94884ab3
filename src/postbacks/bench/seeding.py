"""Fills the bench's database: players with clicks, a backlog, a history; in SQL, because it is millions of rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from postbacks.store import outbox, partitions

APP = "bench"
PLATFORMS = ("meta", "google", "tiktok", "reddit", "x")
CLICK_IDS = {
    "meta": ("fbclid", "IwAR0benchClick"),
    "google": ("gclid", "Bench-Gclid_AAA"),
    "tiktok": ("ttclid", "E.C.P.benchClick"),
    "reddit": ("rdt_cid", "41002003004005"),
    "x": ("twclid", "2-4k1zq8benchxx0w7p3m5n9"),
}
"""Platform → type and beginning of its click IDs."""

PLAYERS = 10_000
"""Each with one click; player number i clicked on platform i modulo 5."""

HISTORY_DAYS = 10

_CHUNK = 500_000

_IN_A_REQUEST = 500


def _id(milliseconds: str, number: str, slot: str = "00") -> str:
    """SQL for an id as `postbacks.domain.ids` makes them, unique by its number."""
    return f"(lpad(to_hex({milliseconds}), 12, '0') || '70008000' || lpad(to_hex({number}), 10, '0') || '{slot}')::uuid"


def _platform(number: str, texts: list[str]) -> str:
    listed = ", ".join(f"'{text}'" for text in texts)
    return f"(ARRAY[{listed}])[{number} % 5 + 1]"


_TYPES = [CLICK_IDS[platform][0] for platform in PLATFORMS]
_VALUES = [CLICK_IDS[platform][1] for platform in PLATFORMS]
_CLICK = _id("$3::bigint", "n % $4")


class Seeder:
    """Fills one database. Numbers go on counting, so that every id is used once."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._next = 0
        self._players_ms = 0

    async def players(self) -> None:
        """The players, each with a click of an hour ago and an install that was matched to it."""
        self._players_ms = int(datetime.now(UTC).timestamp() * 1000) - 3_600_000
        await self._connection.execute(
            "INSERT INTO clicks (app_id, id, click_key, type, value, visitor_id, clicked_at, url, user_agent) "
            f"SELECT $1, {_id('$2::bigint', 'n')}, md5('click' || n)::uuid, {_platform('n', _TYPES)}, "
            f"{_platform('n', _VALUES)} || lpad(n::text, 6, '0'), 'v-' || n, now() - interval '1 hour', "
            "'https://game.example/lp', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36' "
            "FROM generate_series(0, $3::bigint - 1) AS n",
            APP,
            self._players_ms,
            PLAYERS,
        )
        await self._connection.execute(
            "INSERT INTO players (app_id, user_id, click, confidence, since, until) "
            f"SELECT $1, 'p-' || n, {_id('$2::bigint', 'n')}, 'high', now() - interval '50 minutes', "
            "now() + interval '29 days' FROM generate_series(0, $3::bigint - 1) AS n",
            APP,
            self._players_ms,
            PLAYERS,
        )
        await self._connection.execute("ANALYZE clicks, players")

    async def backlog(self, count: int, *, without: str = "", due: bool = True) -> float:
        """Queues so many deliveries, one event each, in turn for each platform. Returns the time of the commit.

        `without`: a platform that gets none.
        """
        first, self._next = self._next, self._next + count
        now = int(datetime.now(UTC).timestamp() * 1000)
        skip = f"AND {_platform('n', list(PLATFORMS))} <> '{without}'" if without else ""
        async with self._connection.transaction():
            for start in range(first, first + count, _CHUNK):
                end = min(start + _CHUNK, first + count)
                await self._connection.execute(
                    "INSERT INTO events (app_id, id, event_id, name, occurred_at, user_id, value, currency, platform, "
                    f"status, match) SELECT $1, {_id('$2::bigint', 'n')}, 'backlog-' || n, 'purchase', "
                    "now() - interval '1 minute', 'p-' || n % $5, 4.99, 'EUR', 'pc', 'matched', "
                    '\'{"method":"user_id","confidence":"high"}\' '
                    f"FROM generate_series($3::bigint, $4::bigint - 1) AS n WHERE true {skip}",
                    APP,
                    now,
                    start,
                    end,
                    PLAYERS,
                )
                await self._connection.execute(
                    "INSERT INTO outbox (app_id, id, destination, due, deadline, created_at, click, status) "
                    f"SELECT $1, {_id('$2::bigint', 'n', '01')}, {_platform('n', list(PLATFORMS))}, "
                    "clock_timestamp() + $7::interval, now() + interval '6 days', clock_timestamp(), "
                    f"{_CLICK}, 'queued' FROM generate_series($5::bigint, $6::bigint - 1) AS n WHERE true {skip}",
                    APP,
                    now,
                    self._players_ms,
                    PLAYERS,
                    start,
                    end,
                    timedelta(0) if due else timedelta(days=1),
                )
        return datetime.now(UTC).timestamp()

    async def history(self, count: int) -> None:
        """Finished deliveries with one try each, spread over the last days, and as well kept as rows of that age are:
        otherwise the autovacuum that millions of new rows call for would run beside what is measured."""
        now = datetime.now(UTC)
        async with self._connection.transaction():
            await partitions.ensure(self._connection, now, behind=HISTORY_DAYS + 1)
        first, self._next = self._next, self._next + count
        newest = int(now.timestamp() * 1000) - 3_600_000
        when = f"$2::bigint - (({{n}} - $3::bigint) * {HISTORY_DAYS * 86_400_000} / $6::bigint)"
        moment = f"to_timestamp(({when.format(n='n')}) / 1000.0)"
        first_of_its_request = f"(n - n % {_IN_A_REQUEST})"
        exchange = _id(when.format(n=first_of_its_request), first_of_its_request)
        for start in range(first, first + count, _CHUNK):
            end = min(start + _CHUNK, first + count)
            for statement in (
                "INSERT INTO deliveries (app_id, id, destination, platform, status, attempts, click, created_at, "
                f"updated_at, exchange, request) SELECT $1, {_id(when.format(n='n'), 'n', '01')}, "
                f"{_platform('n', list(PLATFORMS))}, {_platform('n', list(PLATFORMS))}, 'delivered', 1, "
                f"md5('h' || n)::uuid, {moment}, {moment}, {exchange}, repeat('x', 300) "
                "FROM generate_series($4::bigint, $5::bigint - 1) AS n",
                "INSERT INTO exchanges (app_id, id, deliveries, started_at, duration_ms, http_status, verdict, method, "
                f"url, response) SELECT $1, {exchange}, {_IN_A_REQUEST}, {moment}, 120, 200, 'delivered', 'POST', "
                "'https://platform.example/events', '{\"ok\":true}' "
                f"FROM generate_series($4::bigint, $5::bigint - 1) AS n WHERE n % {_IN_A_REQUEST} = 0",
            ):
                await self._connection.execute(statement, APP, newest, first, start, end, max(count, 1))
        await self._connection.execute("VACUUM (ANALYZE) deliveries, exchanges")
        await self._connection.execute("CHECKPOINT")

    async def empty(self) -> None:
        """Removes all work and all history, so that the next measurement starts like the first."""
        await self._connection.execute(
            "TRUNCATE leases, outbox, events, event_keys, waiting, deliveries, exchanges, attempts, stats"
        )
        await self._connection.execute("CHECKPOINT")

    async def wake(self) -> None:
        """Tells dispatchers that there is work."""
        await outbox.notify_work(self._connection)
