"""Rows in PostgreSQL's binary COPY format, for tables whose rows share most of their columns.

The driver encodes each column of each row, 1.8 µs for the nine of a delivery with what sends them. Where a batch has the
same app, destination and times, those are written once and put before each row: 1.2 µs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from postbacks.store.codecs import NULL, UUID_FOLLOWS, encode_moment
from postbacks.store.database import Connection

_COUNT = struct.Struct("!h")
_LENGTH = struct.Struct("!i")
_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = _COUNT.pack(-1)

TIME_FOLLOWS = _LENGTH.pack(8)
"""What stands before the 8 bytes of a `timestamptz` (see `codecs.encode_moment`)."""


def row_of(columns: Sequence[str]) -> bytes:
    """What each row begins with."""
    return _COUNT.pack(len(columns))


def text(value: str | None) -> bytes:
    if value is None:
        return NULL
    raw = value.encode()
    return _LENGTH.pack(len(raw)) + raw


def smallint(value: int) -> bytes:
    return _LENGTH.pack(2) + _COUNT.pack(value)


def uuid(value: UUID | None) -> bytes:
    return NULL if value is None else UUID_FOLLOWS + value.bytes


def time(value: datetime | float) -> bytes:
    return TIME_FOLLOWS + encode_moment(value)


async def copy(connection: Connection, table: str, columns: Sequence[str], parts: Iterable[bytes]) -> None:
    """Adds rows. `parts`: their bytes in the order of `columns`, in pieces of any size."""
    await connection.copy_to_table(
        table, source=memoryview(b"".join((_BEGIN, *parts, _END))), columns=columns, format="binary"
    )
