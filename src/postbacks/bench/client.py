"""A game backend that POSTs events as fast as it is answered, in a process of its own.

    python -m postbacks.bench.client '{"ports": [8000], "key": "sk_…", "clients": 64, "batch": 0, "seconds": 5, …}'

prints what was answered as JSON. It speaks HTTP over plain sockets, because a full client would cost as much as
what is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import orjson

from postbacks.bench.sink import content_length


@dataclass
class Load:
    """What to send. `batch` 0: single events. `rate`: events per second at most, 0 for no limit.

    `ports`: of one API process each; the clients take turns."""

    ports: list[int]
    key: str
    tag: str
    clients: int
    batch: int
    seconds: float
    players: int
    rate: float = 0.0
    stop_at: float = 0.0
    events: int = 0
    refused: int = 0
    waits: list[float] = field(default_factory=list)


def event(tag: str, number: int, players: int) -> bytes:
    """A purchase of one of the prepared players."""
    return b'{"name":"purchase","event_id":"%s-%d","user_id":"p-%d","value":4.99,"currency":"EUR","platform":"pc"}' % (
        tag.encode(),
        number,
        number % players,
    )


def bodies(load: Load, numbers: Iterator[int]) -> Iterator[bytes]:
    """Request bodies without end."""
    while True:
        if load.batch:
            items = b",".join(event(load.tag, next(numbers), load.players) for _ in range(load.batch))
            yield b'{"events":[' + items + b"]}"
        else:
            yield event(load.tag, next(numbers), load.players)


class Client(asyncio.Protocol):
    """One keep-alive connection; the next request leaves when the last is answered (or later, under a rate)."""

    def __init__(self, load: Load, source: Iterator[bytes], finished: asyncio.Future[None]) -> None:
        self._load = load
        self._source = source
        self._finished = finished
        self._buffer = b""
        self._sent_at = 0.0
        self._next_at = time.perf_counter()
        self._head = (
            f"POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {load.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or len(self._buffer) < end + 4 + content_length(self._buffer[:end]):
            return
        if self._buffer[9:12] == b"202":
            self._load.events += self._load.batch or 1
            self._load.waits.append(time.perf_counter() - self._sent_at)
        else:
            self._load.refused += 1
        self._buffer = b""
        pause = self._next_at - time.perf_counter()
        if self._load.rate and pause > 0:
            asyncio.get_running_loop().call_later(pause, self._send)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _send(self) -> None:
        if time.perf_counter() >= self._load.stop_at:
            self._transport.close()
            self._end()
            return
        if self._load.rate:
            self._next_at += self._load.clients * (self._load.batch or 1) / self._load.rate
        body = next(self._source)
        self._sent_at = time.perf_counter()
        self._transport.write(self._head + b"%d\r\n\r\n" % len(body) + body)

    def _end(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)


async def _run(load: Load) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    source = bodies(load, itertools.count())
    started = time.perf_counter()
    load.stop_at = started + load.seconds
    finished: list[asyncio.Future[None]] = []
    for number in range(load.clients):
        done = loop.create_future()
        finished.append(done)
        port = load.ports[number % len(load.ports)]
        await loop.create_connection(partial(Client, load, source, done), "127.0.0.1", port)
    await asyncio.gather(*finished)
    seconds = time.perf_counter() - started
    waits = sorted(load.waits) or [0.0]
    return {
        "events": load.events,
        "refused": load.refused,
        "seconds": seconds,
        "events_per_second": load.events / seconds,
        "requests_per_second": len(load.waits) / seconds,
        "p50_ms": waits[len(waits) // 2] * 1000,
        "p99_ms": waits[int(len(waits) * 0.99)] * 1000,
    }


if __name__ == "__main__":
    import uvloop

    print(orjson.dumps(uvloop.run(_run(Load(**orjson.loads(sys.argv[1]))))).decode())  # noqa: T201 - the parent process reads it
