"""Request bodies put together from the exact JSON text of their events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from postbacks.platforms.base import Prepared, Request

MAX_BODY_BYTES: Final = 1_000_000
"""Neither Meta nor TikTok publishes a limit; integrators assume about 1 MB (sheet meta, 7; sheet tiktok, 7)."""

Part = tuple[int, bytes]
"""A conversion's position and its event as JSON."""


def prepare(
    parts: Sequence[Part], *, max_parts: int, envelope: Mapping[str, Any], request: Callable[[bytes], Request]
) -> list[Prepared]:
    """Requests of the shape `{"data": [events], …envelope}`, each within `max_parts` and `MAX_BODY_BYTES`.

    The events stand in the body byte for byte as in `Prepared.parts`, so that the attempt log shows what was sent.
    """
    return [
        Prepared(
            request=request(_body([text for _, text in group], envelope)),
            positions=tuple(position for position, _ in group),
            parts=tuple(text.decode() for _, text in group),
        )
        for group in _groups(parts, max_parts)
    ]


def _groups(parts: Sequence[Part], max_parts: int) -> Iterator[list[Part]]:
    group: list[Part] = []
    size = 0
    for part in parts:
        length = len(part[1]) + 1
        if group and (len(group) == max_parts or size + length > MAX_BODY_BYTES):
            yield group
            group, size = [], 0
        group.append(part)
        size += length
    if group:
        yield group


def _body(events: Sequence[bytes], envelope: Mapping[str, Any]) -> bytes:
    tail = b"," + orjson.dumps(envelope)[1:] if envelope else b"}"
    return b'{"data":[' + b",".join(events) + b"]" + tail
