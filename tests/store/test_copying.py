"""Rows that are written in PostgreSQL's own form come back as they were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postbacks.store import copying
from postbacks.store.codecs import encode_moment
from postbacks.store.database import Connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = ("words", "number", "id", "at")

Row = tuple[str | None, int, UUID | None, datetime]

rows = st.lists(
    st.tuples(
        st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40),
        st.integers(-(2**15), 2**15 - 1),
        st.none() | st.uuids(),
        st.integers(0, 4_000_000_000_000_000).map(lambda us: EPOCH + timedelta(microseconds=us)),
    ),
    max_size=20,
)


async def _copied(connection: Connection, given_rows: list[Row]) -> list[Row]:
    async with connection.transaction():
        await connection.execute("CREATE TEMP TABLE t (n serial, words text, number int2, id uuid, at timestamptz)")
        begin = copying.row_of(COLUMNS)
        parts = [
            piece
            for words, number, identifier, at in given_rows
            for piece in (
                *(begin, copying.text(words), copying.smallint(number), copying.uuid(identifier)),
                *(copying.TIME_FOLLOWS, encode_moment(at)),
            )
        ]
        await copying.copy(connection, "t", COLUMNS, parts)
        found = await connection.fetch("SELECT words, number, id, at FROM t ORDER BY n")
        await connection.execute("DROP TABLE t")
    return [tuple(row) for row in found]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
async def test_rows_come_back(connection: Connection, drawn: list[Row]) -> None:
    assert await _copied(connection, drawn) == drawn


async def test_a_time_may_be_given_as_it_was_read(connection: Connection) -> None:
    at = datetime(2026, 11, 26, 12, 0, 0, 1, tzinfo=UTC)
    await connection.execute("CREATE TEMP TABLE t (id uuid, at timestamptz)")
    columns, identifier = ("id", "at"), uuid4()

    await copying.copy(
        connection, "t", columns, [copying.row_of(columns), copying.uuid(identifier), copying.time(at.timestamp())]
    )

    assert tuple(await connection.fetchrow("SELECT id, at FROM t")) == (identifier, at)
