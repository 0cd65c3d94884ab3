"""Our forms of times and amounts, against PostgreSQL itself and the driver's own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks import store
from postbacks.domain import ids
from postbacks.store import codecs
from postbacks.store.codecs import decode_amount, decode_time, encode_amount, encode_time

SAMPLES = [
    *("0", "-0", "0.000001", "4.99", "1.10", "9999", "10000", "9999.9999", "10000.0001", "1E+3", "1E+12", "0E-6"),
    *("-0.5", "-12345.678", "100000000", "1000000000000", "999999999999.999999", "0.0001", "0.00010", "120000.00"),
]


@pytest.fixture
async def plain(postgres: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres)
    yield connection
    await connection.close()


@pytest.fixture
async def ours(postgres: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres)
    await codecs.install(connection)
    yield connection
    await connection.close()


def amounts() -> list[Decimal]:
    random = Random(7)
    drawn = [Decimal(random.randrange(-(10**18), 10**18)).scaleb(-random.randrange(19)) for _ in range(3_000)]
    small = [Decimal(random.randrange(100_000)).scaleb(-random.randrange(7)) for _ in range(3_000)]
    return [*map(Decimal, SAMPLES), *drawn, *small]


async def test_an_amount_arrives_as_the_driver_itself_would_write_it(
    ours: asyncpg.Connection, plain: asyncpg.Connection
) -> None:
    query = "SELECT v::text AS text, v FROM unnest($1::numeric[]) AS v"

    got, wanted = await ours.fetch(query, amounts()), await plain.fetch(query, amounts())

    assert [row["text"] for row in got] == [row["text"] for row in wanted]
    assert [f"{row['v']:f}" for row in got] == [row["text"] for row in got]
    assert [row["v"] for row in got] == amounts()


async def test_what_postgresql_reckons_is_read_as_it_is_written(ours: asyncpg.Connection) -> None:
    rows = await ours.fetch(
        "SELECT v, v::text AS text FROM (VALUES (1::numeric / 3), (2::numeric ^ 100), (-1::numeric / 70000), "
        "(0.00005::numeric(9, 3)), (123456.789::numeric(9, 1)), (extract(epoch FROM '2026-11-26'::timestamptz))) AS t(v)"
    )

    assert [f"{row['v']:f}" for row in rows] == [row["text"] for row in rows]


@given(st.decimals(-(10**12), 10**12, places=6))
def test_an_amount_comes_back(amount: Decimal) -> None:
    assert decode_amount(encode_amount(amount)) == amount


@pytest.mark.parametrize("special", [b"\x00\x00\x00\x00\xc0\x00\x00\x00", b"\x00\x00\x00\x00\xd0\x00\x00\x20"])
def test_what_is_no_finite_number_is_refused(special: bytes) -> None:
    with pytest.raises(ValueError, match="finite"):
        decode_amount(special)


async def test_a_time_arrives_as_the_driver_itself_would_write_it(
    ours: asyncpg.Connection, plain: asyncpg.Connection
) -> None:
    random = Random(7)
    start = datetime(1990, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(microseconds=random.randrange(2 * 10**15)) for _ in range(2_000)]
    query = "SELECT v::text AS text, v FROM unnest($1::timestamptz[]) AS v"

    got, wanted = await ours.fetch(query, moments), await plain.fetch(query, moments)

    assert [tuple(row) for row in got] == [tuple(row) for row in wanted]
    assert [row["v"] for row in got] == moments


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back_to_the_microsecond(moment: datetime) -> None:
    assert decode_time(encode_time(moment)) == moment


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_time(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is tested


async def test_seconds_hold_every_microsecond_until_2106(plain: asyncpg.Connection) -> None:
    random = Random(7)
    moments = [
        datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=random.randrange(3_600 * 10**12))
        for _ in range(5_000)
    ]

    rows = await plain.fetch("SELECT date_part('epoch', v) AS s FROM unnest($1::timestamptz[]) AS v", moments)

    assert [datetime.fromtimestamp(row["s"], UTC) for row in rows] == moments


async def test_nothing_stays_nothing(ours: asyncpg.Connection) -> None:
    row = await ours.fetchrow("SELECT $1::numeric AS amount, $2::timestamptz AS moment", None, None)

    assert tuple(row) == (None, None)


@pytest.mark.parametrize("amount", [0, 1, 2, 1_000])
@pytest.mark.parametrize("nulls", [(), (0,), (0, 1)])
async def test_ids_arrive_and_come_back(
    ours: asyncpg.Connection, plain: asyncpg.Connection, amount: int, nulls: tuple[int, ...]
) -> None:
    drawn: list[UUID | None] = [None if number in nulls else uuid4() for number in range(amount)]
    query = (
        "SELECT $1::uuid[]::text AS text, $1::uuid[] AS ids, cardinality($1::uuid[]) AS n, $1::uuid[] = '{}' AS none"
    )

    got, wanted = await ours.fetchrow(query, drawn), await plain.fetchrow(query, drawn)

    assert tuple(got) == tuple(wanted)
    assert got["ids"] == drawn


async def test_ids_of_both_kinds_and_none_at_all(ours: asyncpg.Connection) -> None:
    drawn = uuid4()

    assert await ours.fetchval("SELECT $1::uuid[]", (drawn, ids.uuid_from(drawn.bytes))) == [drawn, drawn]
    assert await ours.fetchval("SELECT $1::uuid[]", None) is None
    with pytest.raises(ValueError, match="arrays"):
        await ours.fetchval("SELECT ARRAY[$1::uuid[], $1::uuid[]]", [drawn])


async def test_a_connection_asks_the_catalogue_about_no_array_that_our_statements_use(ours: asyncpg.Connection) -> None:
    written = "".join(path.read_text() for path in Path(store.__file__).parent.glob("*.py"))
    used = set(re.findall(r"::(\w+)\[\]", written))
    asked: list[str] = []
    ours.add_query_logger(lambda one: asked.append(one.query))

    for name in used:
        await ours.prepare(f"SELECT $1::{name}[]")

    assert {"uuid", "text", "timestamptz"} <= used
    assert not asked
