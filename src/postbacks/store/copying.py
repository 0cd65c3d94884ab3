"""COPY in PostgreSQL's binary format, for rows that share most of their values: those are encoded once.

The driver encodes every value of every row, which for a log entry of fifteen columns takes five times as long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""From where PostgreSQL counts microseconds."""

ROWS_AT_ONCE = 1_000


async def chunks(rows: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The rows as a source for `copy_to_table`, in pieces, so that a large log does not stand in memory twice."""
    left = iter(rows)
    piece = _HEAD
    while some := b"".join(islice(left, ROWS_AT_ONCE)):
        yield piece + some
        piece = b""
    yield piece + _END


def begin(columns: int) -> bytes:
    """What a row of so many values begins with."""
    return columns.to_bytes(2)


def text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    raw = value.encode()
    return len(raw).to_bytes(4) + raw


def uuid(value: UUID) -> bytes:
    return b"\0\0\0\x10" + value.bytes


def int2(value: int | None) -> bytes:
    return _NULL if value is None else b"\0\0\0\2" + value.to_bytes(2, signed=True)


def int4(value: int) -> bytes:
    return b"\0\0\0\4" + value.to_bytes(4, signed=True)


def moment(value: datetime) -> bytes:
    """A `timestamptz`."""
    return b"\0\0\0\x08" + ((value - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, signed=True)
