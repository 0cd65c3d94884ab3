"""Keys under which the same thing is recognised as the same."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

import orjson

from postbacks.domain.ids import uuid_from


def digest(*parts: str) -> UUID:
    """16 bytes that stand for the parts, in the shape that the database stores compactly.

    Each part is preceded by its length, so that no two lists of parts collide by where they are cut.
    """
    return uuid_from(_digest(*parts))


def _digest(*parts: str) -> bytes:
    return blake2b(b"".join([_framed(part) for part in parts]), digest_size=16).digest()


def _framed(part: str) -> bytes:
    raw = part.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(4) + raw


def delivery_key(app: str, event_id: str, destination: str) -> str:
    """The idempotency key that a platform sees: the same for every try, and after a restored backup too.

    36 characters of `[a-z0-9_]`, which every platform's de-duplication field takes (sheets: meta 6, tiktok 6,
    google 2.5, reddit 6, x 6).
    """
    return "pbk_" + _finished(_begun(app), _framed(event_id) + _ending(destination)).hex()


@lru_cache(maxsize=1_024)
def _begun(app: str) -> blake2b:
    """The hash of what all delivery keys of an app begin with; to be copied, never updated."""
    return blake2b(_framed("delivery") + _framed(app), digest_size=16)


@lru_cache(maxsize=4_096)
def _ending(destination: str) -> bytes:
    return _framed(destination)


def derived_event_id(name: str, who: str, occurred_at: datetime) -> str:
    """An `event_id` for a client that sends none: an exact repeat derives the same one.

    Led by the event's time so that it sorts like every other id.
    """
    milliseconds = int(occurred_at.timestamp() * 1000)
    tail = _digest("event", name, who, occurred_at.isoformat()).hex()[:20]
    return f"evt_{milliseconds:012x}{tail}"


def event_key(event_id: str) -> UUID:
    """What the uniqueness of an `event_id` inside its app is checked on."""
    return uuid_from(_finished(_EVENT_ID, _framed(event_id)))


def click_key(click_id_type: str, value: str) -> UUID:
    """What the uniqueness of a click ID inside its app is checked on."""
    return digest("click", click_id_type, value)


def match_key(kind: str, value: str) -> UUID:
    """What a waiting event is found by when a click arrives: `visitor`, `user` or `ip` and its value."""
    return digest("match", kind, value)


def fingerprint(content: object, secret: bytes = b"") -> UUID:
    """Tells "the same event again" from "the same id with other content". The order of keys inside does not count.

    With the app's `secret` nobody who has the database alone can try out whose event it was: the fingerprint
    outlives the erasure of its player. `secret` has at most 64 bytes.
    """
    return uuid_from(_finished(_keyed(secret), orjson.dumps(content, option=orjson.OPT_SORT_KEYS)))


def _finished(begun: blake2b, rest: bytes) -> bytes:
    """The digest of what was begun and the rest: a copy saves a third of making a keyed one anew."""
    whole = begun.copy()
    whole.update(rest)
    return whole.digest()


@lru_cache(maxsize=256)
def _keyed(secret: bytes) -> blake2b:
    return blake2b(digest_size=16, key=secret)


_EVENT_ID = blake2b(_framed("event_id"), digest_size=16)
