"""What a client may cost before it has said what it wants: bounded heads, bounded time for head and body.

uvicorn bounds neither with its fast parser: a client that dribbles a header a minute would keep its connection, and
one header without an end would grow in memory.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 * 1024
"""Bytes of request line and headers, at most."""

MAX_DRAINED = 16 * 1024 * 1024
"""Bytes that are thrown away after an early answer, so that a client that is still sending gets to read it."""


class HeadTooLargeError(Exception):
    """Raised inside the parser; the client is answered with 431."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. A client that breaks one is told so and disconnected."""

    head_seconds: ClassVar[float] = 15.0
    """From the opening of a connection, or the first byte of a later request, to the end of its headers."""
    body_seconds: ClassVar[float] = 60.0
    """From the end of the headers to the end of the body."""

    _timer: asyncio.TimerHandle | None = None
    _timed = ""
    _part = ""
    """Of a request that has begun to arrive: `head` or `body`; empty between requests."""
    _in_head = False
    _head_bytes = 0
    _head_size = 0
    _drained = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn itself
        super().connection_made(transport)
        self._part = "head"
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_size, self._drained = True, 0, 0
        self._part = "head"
        self._disarm()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._part = "body"
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            self._drained += len(body)
            if self._drained > MAX_DRAINED:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part = ""
        # The next request may stand in the same piece of data; its head is counted from here.
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls it for whatever the parser did not take."""
        if self._head_size > MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST)

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD:
            raise HeadTooLargeError

    def _watch(self) -> None:
        """Sees to it that the part that is arriving has a timer. A request that arrived whole never gets one."""
        if self._part == self._timed or self.transport.is_closing():
            return
        self._disarm()
        if self._part:
            seconds = self.head_seconds if self._part == "head" else self.body_seconds
            self._timer, self._timed = self.loop.call_later(seconds, self._too_slow), self._part

    def _disarm(self) -> None:
        self._timed = ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer, self._timed = None, ""
        if not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answers, unless an answer is under way already, and disconnects."""
        under_way = self.cycle is not None and not self._in_head and self.cycle.response_started
        if not under_way:
            self.transport.write(_ANSWERS[status])
        self._disarm()
        self.transport.close()


def _answer(status: HTTPStatus, detail: str) -> bytes:
    slug = status.phrase.lower().replace(" ", "-")
    body = orjson.dumps(
        {
            "type": f"urn:postbacks:problem:{slug}",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
        }
    )
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


_ANSWERS = {
    status: _answer(status, detail)
    for status, detail in (
        (HTTPStatus.BAD_REQUEST, "This is not a valid HTTP/1.1 request."),
        (HTTPStatus.REQUEST_TIMEOUT, "The request took too long to arrive."),
        (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"Request line and headers have more than {MAX_HEAD} bytes."),
    )
}
