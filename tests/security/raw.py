"""A client that speaks bytes, for requests that no HTTP library would send."""

from __future__ import annotations

import asyncio
from types import TracebackType
from urllib.parse import urlsplit


class Raw:
    """One TCP connection to the service."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    async def __aenter__(self) -> Raw:
        self._reader, self._writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    @staticmethod
    def head(method: str, path: str, token: str, length: int | None, content_type: str = "application/json") -> bytes:
        """The head of a request; `length` `None` announces chunks."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        lines = (f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", size)
        return "\r\n".join((*lines, f"Content-Type: {content_type}", "", "")).encode()

    async def send(self, data: bytes) -> None:
        """Raises `ConnectionError` where the other side has hung up."""
        self._writer.write(data)
        await self._writer.drain()

    async def read_some(self, seconds: float = 5.0) -> bytes:
        return await asyncio.wait_for(self._reader.read(65536), seconds)

    async def read_to_end(self, seconds: float = 5.0) -> bytes:
        """Everything until the other side hangs up; what a reset swallowed is missing."""
        received = b""
        try:
            async with asyncio.timeout(seconds):
                while piece := await self._reader.read(65536):
                    received += piece
        except ConnectionError:
            pass
        return received

    async def dribble(self, data: bytes, *, every: float, seconds: float = 5.0) -> bytes:
        """Sends a byte at a time, again and again, until the other side hangs up; returns what it said."""

        async def drip() -> None:
            while data:
                for byte in data:
                    self._writer.write(bytes([byte]))
                    await asyncio.sleep(every)

        dripping = asyncio.create_task(drip())
        try:
            return await self.read_to_end(seconds)
        finally:
            dripping.cancel()
