"""How values travel to PostgreSQL and back, where the driver's own way is dear.

Each event writes four times and an amount, and reads three times. The driver takes 0.7 µs to write a time and 1.1 µs to
write an amount (Python 3.11); what stands here takes 0.1 µs for a time and 0.2 for an amount that it has just written
(the time of a transaction, a price). What is read costs as much as with the driver.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson
from asyncpg.introspection import INTRO_LOOKUP_TYPES

from postbacks.domain.ids import uuid_from

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL counts microseconds from here."""
_EPOCH_SECONDS: Final = _EPOCH.timestamp()
_INT64: Final = struct.Struct("!q")


_UUID: Final = 2950
_UUIDS: Final = 2951
_ARRAYS: Final = (1000, 1005, 1007, 1016, 1022, 1185, 1187, 1231, 3807, _UUIDS)
"""PostgreSQL's numbers for arrays of bool, int2, int4, int8, float8, timestamptz, interval, numeric, jsonb and uuid. They
never change."""

_known_arrays: list[asyncpg.Record] = []


async def install(connection: asyncpg.Connection) -> None:
    """Prepares a new connection."""
    for name, encoder, decoder in (
        ("jsonb", _encode_json, _decode_json),
        ("timestamptz", encode_moment, decode_time),
        ("numeric", encode_amount, decode_amount),
    ):
        await connection.set_type_codec(name, schema="pg_catalog", format="binary", encoder=encoder, decoder=decoder)
    await _introduce_arrays(connection)


async def _introduce_arrays(connection: asyncpg.Connection) -> None:
    """Tells the driver how arrays are built. It would ask the catalogue, on each connection and for each statement with
    another type of array: 7 ms each, which makes a burst on new connections wait. We ask once in a process."""
    if not _known_arrays:
        _known_arrays[:] = await connection.fetch(INTRO_LOOKUP_TYPES, _ARRAYS)
    settings = connection._protocol.get_settings()
    # `set_type_codec` takes no arrays. (First: a codec of ours makes the driver forget what it knows of others.)
    settings.add_python_codec(_UUIDS, "_uuid", "pg_catalog", [], "scalar", encode_uuids, decode_uuids, "binary")
    settings.register_data_types(_known_arrays)


_ARRAY: Final = struct.Struct("!iiiii")
"""Dimensions, whether there may be NULLs, type of the elements, how many, the first one's number."""
NULL: Final = struct.pack("!i", -1)
UUID_FOLLOWS: Final = struct.pack("!i", 16)
"""What stands before the 16 bytes of a `uuid`, in an array as in a row."""


def encode_uuids(values: Sequence[UUID | None]) -> bytes:
    """An array of ids. The driver asks of each element whether it is an array itself: 0.4 µs more for the three of an event."""
    head = _ARRAY.pack(1, 1, _UUID, len(values), 1)
    try:
        ids = [value.bytes for value in values]  # type: ignore[union-attr]
    except AttributeError:
        return head + b"".join([NULL if value is None else UUID_FOLLOWS + value.bytes for value in values])
    return head + UUID_FOLLOWS + UUID_FOLLOWS.join(ids) if ids else _ARRAY.pack(0, 0, _UUID, 0, 0)[:12]


def decode_uuids(raw: bytes) -> list[UUID | None]:
    """Raises `ValueError` for an array of arrays."""
    dimensions, _, _ = struct.unpack_from("!iii", raw)
    if dimensions > 1:
        raise ValueError("an array of arrays")
    found: list[UUID | None] = []
    at = _ARRAY.size
    while at < len(raw):
        if raw.startswith(NULL, at):
            found.append(None)
            at += len(NULL)
        else:
            found.append(uuid_from(raw[at + 4 : at + 20]))
            at += 20
    return found


def _encode_json(value: Any) -> bytes:
    return b"\x01" + orjson.dumps(value)


def _decode_json(raw: bytes) -> Any:
    return orjson.loads(raw[1:])


def encode_moment(moment: datetime | float) -> bytes:
    """A time, or Unix seconds as they were read: those hold every microsecond until 2106."""
    if isinstance(moment, float):
        return _INT64.pack(round((moment - _EPOCH_SECONDS) * 1e6))
    return encode_time(moment)


@lru_cache(maxsize=1024)
def encode_time(moment: datetime) -> bytes:
    """Raises `TypeError` for a time without a zone."""
    since = moment - _EPOCH
    return _INT64.pack((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def decode_time(raw: bytes) -> datetime:
    return _EPOCH + timedelta(0, 0, _INT64.unpack(raw)[0])


_HEAD: Final = struct.Struct("!HhHH")
_NEGATIVE: Final = 0x4000


def encode_amount(amount: Decimal) -> bytes:
    # By its text: 4.9 and 4.90 are equal, but not written alike.
    return _encode_amount(str(amount))


@lru_cache(maxsize=4096)
def _encode_amount(written: str) -> bytes:
    """PostgreSQL's form of a finite number: groups of four decimal digits around the point, their count, the weight of
    the first, the sign, and how many decimals are shown."""
    sign, digits, exponent = Decimal(written).as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - ingest takes no NaN and no infinity
    text = "".join(map(str, digits))
    whole, decimals = (text + "0" * exponent, "") if exponent >= 0 else _cut(text, -exponent)
    whole = "0" * (-len(whole) % 4) + whole
    padded = whole + decimals + "0" * (-len(decimals) % 4)
    groups = [int(padded[start : start + 4]) for start in range(0, len(padded), 4)]
    weight = len(whole) // 4 - 1
    while groups and not groups[0]:
        del groups[0]
        weight -= 1
    while groups and not groups[-1]:
        del groups[-1]
    head = _HEAD.pack(len(groups), weight if groups else 0, _NEGATIVE if sign and groups else 0, len(decimals))
    return head + struct.pack(f"!{len(groups)}H", *groups)


def _cut(digits: str, decimals: int) -> tuple[str, str]:
    padded = digits.rjust(decimals, "0")
    return padded[:-decimals], padded[-decimals:]


@lru_cache(maxsize=4096)
def decode_amount(raw: bytes) -> Decimal:
    """The number with as many decimals as PostgreSQL shows. Raises `ValueError` for NaN and infinities."""
    count, weight, sign, decimals = _HEAD.unpack_from(raw)
    if sign not in (0, _NEGATIVE):
        raise ValueError("not a finite number")
    digits = "".join([f"{group:04}" for group in struct.unpack_from(f"!{count}H", raw, _HEAD.size)]) or "0"
    # The groups end where only zeros follow, and the last one may hold more decimals than are shown.
    shift = 4 * (weight + 1 - count) + decimals
    digits = digits + "0" * shift if shift >= 0 else digits[:shift]
    return Decimal(f"{'-' if sign else ''}{digits or '0'}E-{decimals}")
