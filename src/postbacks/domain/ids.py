"""Time-ordered identifiers (UUIDv7).

An event's id ends in a zero byte; its deliveries have the same id with that byte set to 1…255. So the deliveries
of an event are a short range of their primary key, and the event of a delivery needs no look-up.
"""

from __future__ import annotations

import os
import re
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg.pgproto import pgproto  # for its UUID, a plain value; nothing here opens a connection

MAX_SLOTS = 255
"""Destinations that one event can go to."""

_VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)
_RANDOM = (1 << 54) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEX = re.compile(r"[0-9a-f]{32}")


class _Sequence:
    """Keeps ids of one process in order inside a millisecond: the 12 bits after the time count up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def take(self, milliseconds: int, amount: int) -> range:
        """So many places in a row, each `(milliseconds << 12) | count`."""
        with self._lock:
            first = max(milliseconds << 12, self._next)
            self._next = first + amount
            return range(first, self._next)


_sequence = _Sequence()


def new_id(now: datetime) -> UUID:
    """A fresh id whose first 48 bits are `now` in milliseconds and whose last byte is zero."""
    return new_ids(now, 1)[0]


def new_ids(now: datetime, amount: int) -> list[UUID]:
    """So many fresh ids, in order."""
    places = _sequence.take(_milliseconds(now), amount)
    noise = os.urandom(8 * amount)
    return [
        uuid_of(
            (place >> 12 << 80)
            | _VERSION_AND_VARIANT
            | ((place & 0xFFF) << 64)
            | ((int.from_bytes(noise[8 * index : 8 * index + 7]) & _RANDOM) << 8)
        )
        for index, place in enumerate(places)
    ]


def uuid_of(number: int) -> UUID:
    """The UUID of a number of 128 bits."""
    return uuid_from(number.to_bytes(16))


def uuid_from(raw: bytes) -> UUID:
    """The UUID of 16 bytes, in the driver's own type: a `uuid.UUID` that is made in a tenth of the time."""
    made: UUID = pgproto.UUID(raw)
    return made


def delivery_id(event: UUID, slot: int) -> UUID:
    """The id of an event's delivery number `slot` (1…255). Raises `ValueError` outside that range."""
    if not 1 <= slot <= MAX_SLOTS:
        raise ValueError(f"an event goes to at most {MAX_SLOTS} destinations")
    return uuid_of(event.int | slot)


def event_of(delivery: UUID) -> UUID:
    """The id of the event that a delivery belongs to."""
    return uuid_from(delivery.bytes[:15] + b"\0")


def last_delivery(event: UUID) -> UUID:
    """The upper end (inclusive) of the range in which an event's deliveries lie."""
    return uuid_of(event.int | 0xFF)


def floor(moment: datetime) -> UUID:
    """The smallest id of a moment: `id >= floor(t)` holds for everything created at or after `t`."""
    return UUID(int=(max(0, _milliseconds(moment)) << 80))


def created_at(identifier: UUID) -> datetime:
    """The moment an id was made, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=identifier.int >> 80)


def public(prefix: str, identifier: UUID) -> str:
    """`dlv_0198f…`: what a user sees."""
    return f"{prefix}_{identifier.hex}"


def parse_public(prefix: str, text: str) -> UUID | None:
    """The id behind a public one, or `None` for anything else."""
    head, _, tail = text.partition("_")
    return UUID(hex=tail) if head == prefix and _HEX.fullmatch(tail) else None


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
