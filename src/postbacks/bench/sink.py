"""The platforms of the bench: a process that counts conversions and answers with each platform's success.

It is not the simulators: it validates nothing, so that what is measured is the sender.

    python -m postbacks.bench.sink   prints its port

`GET /_sink` tells what arrived; `GET /_sink/slow/meta/2` lets a platform answer after 2 seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import orjson

KEY = b'"pbk_'
"""How the idempotency key of a conversion begins in every platform's body."""


def platform_of(path: str) -> str:
    """Whose endpoint a path is."""
    if path.startswith("/open_api/"):
        return "tiktok"
    if path.startswith("/api/v3/pixels/"):
        return "reddit"
    if "/measurement/conversions/" in path:
        return "x"
    if path == "/token" or path.startswith(("/v1/events:ingest", "/v1/requestStatus")):
        return "google"
    return "meta"


def answer_for(path: str, events: int) -> bytes:
    """The body with which the platform says yes to so many conversions."""
    if path == "/token":
        return b'{"access_token":"bench","expires_in":3600,"token_type":"Bearer"}'
    return {
        "meta": b'{"events_received":%d,"messages":[],"fbtrace_id":"bench"}' % events,
        "tiktok": b'{"code":0,"message":"OK","request_id":"bench"}',
        "reddit": b'{"data":{"message":"Successfully processed %d conversion events."}}' % events,
        "x": b'{"request":{},"data":{"conversions_processed":%d,"debug_id":"bench"}}' % events,
        "google": b'{"requestId":"bench-%d"}' % time.monotonic_ns(),
    }[platform_of(path)]


class State:
    """What arrived, and who is slow."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.last: dict[str, float] = {}
        self.slow: dict[str, float] = {}

    def handle(self, path: str, body: bytes) -> tuple[bytes, float]:
        """The answer, and after how many seconds it is given."""
        parts = urlsplit(path).path.strip("/").split("/")
        if parts[0] == "_sink":
            if parts[1:2] == ["slow"]:
                self.slow[parts[2]] = float(parts[3])
            return orjson.dumps({"received": self.received, "last": self.last}), 0.0
        platform, events = platform_of(path), body.count(KEY)
        if events:
            self.received[platform] += events
            # The clock that all processes of a machine share.
            self.last[platform] = time.time()
        return answer_for(path, events), self.slow.get(platform, 0.0)


class Connection(asyncio.Protocol):
    """As little HTTP/1.1 as a client needs that sends one request at a time."""

    def __init__(self, handle: Callable[[str, bytes], tuple[bytes, float]]) -> None:
        self._handle = handle
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            total = end + 4 + content_length(head)
            if len(self._buffer) < total:
                return
            body = bytes(self._buffer[end + 4 : total])
            del self._buffer[:total]
            answer, seconds = self._handle(head.split(b" ", 2)[1].decode(), body)
            if seconds:
                asyncio.get_running_loop().call_later(seconds, self._write, answer)
            else:
                self._write(answer)

    def _write(self, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )


def content_length(head: bytes) -> int:
    """The length of the body that a head announces, in bytes."""
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def _serve() -> None:
    state = State()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state.handle), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the parent process reads it
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve())
