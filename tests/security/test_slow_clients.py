"""Clients that say what they want slowly, endlessly, or not at all are cut off, and others do not notice."""

from __future__ import annotations

import asyncio
import time

import pytest

from postbacks.web.bodies import MAX_BODY
from postbacks.web.protocol import MAX_DRAINED, MAX_HEAD, GuardedProtocol
from tests.security.raw import Raw
from tests.support.service import Service

SECONDS = 0.6


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedProtocol, "head_seconds", SECONDS)
    monkeypatch.setattr(GuardedProtocol, "body_seconds", SECONDS)


async def test_the_defaults_are_bounded() -> None:
    assert GuardedProtocol.head_seconds <= 30
    assert GuardedProtocol.body_seconds <= 120


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("start", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_dribbles_in_is_cut_off(running: Service, start: bytes) -> None:
    async with Raw(running.url) as raw:
        begun = time.monotonic()
        await raw.send(start)
        answer = await raw.dribble(b"X-Slow: 1\r\n" if b"\n" in start else b"", every=0.1)
        assert time.monotonic() - begun < SECONDS + 2
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert (await running.admin.get("/healthz")).status_code == 200


@pytest.mark.usefixtures("hurried")
async def test_a_body_that_dribbles_in_is_cut_off_and_nothing_is_stored(running: Service) -> None:
    async with Raw(running.url) as raw:
        await raw.send(raw.head("POST", "/v1/events", running.keys["secret_key"], 1000))
        begun = time.monotonic()
        answer = await raw.dribble(b'{"name":"install","user_id":"slow"}', every=0.1)
        assert time.monotonic() - begun < SECONDS + 2
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert await running.deliveries() == []


@pytest.mark.usefixtures("hurried")
async def test_a_second_request_on_the_connection_is_bounded_too(running: Service) -> None:
    async with Raw(running.url) as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await raw.read_some()).startswith(b"HTTP/1.1 200 ")
        await raw.send(b"GET /healthz HTTP/1.1\r\n")
        assert b" 408 " in await raw.dribble(b"A: b\r\n", every=0.1)


@pytest.mark.usefixtures("hurried")
async def test_a_slow_answer_is_not_a_slow_request(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock runs while we wait for the client, never while the client waits for us."""
    from postbacks.ingest.writer import Writer

    submit = Writer.submit

    async def slowly(*given: object) -> object:
        await asyncio.sleep(SECONDS * 2)
        return await submit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "submit", slowly)
    assert (await running.event("install", user_id="p"))["event_id"]


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(b"".join(b"X-%d: y\r\n" % n for n in range(20_000)), id="many headers"),
        pytest.param(b"X-Big: " + b"y" * (4 * MAX_HEAD), id="one header without an end"),
    ],
)
async def test_a_flood_of_headers_is_refused(running: Service, flood: bytes) -> None:
    async with Raw(running.url) as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + flood)
        assert b" 431 " in await raw.read_to_end()


async def test_a_long_address_is_refused(running: Service) -> None:
    async with Raw(running.url) as raw:
        await raw.send(b"GET /?" + b"a" * (2 * MAX_HEAD) + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 431 " in await raw.read_to_end()


async def test_what_is_no_http_is_refused(running: Service) -> None:
    async with Raw(running.url) as raw:
        await raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert (await raw.read_to_end()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/measure", "/v1/clicks", "/v1/apps"])
async def test_a_body_over_the_limit_is_refused_before_it_is_sent(running: Service, path: str) -> None:
    from tests.support.service import ADMIN

    token = ADMIN if path == "/v1/apps" else running.keys["secret_key"]
    async with Raw(running.url) as raw:
        await raw.send(raw.head("POST", path, token, MAX_BODY + 1))
        assert (await raw.read_some()).startswith(b"HTTP/1.1 413 ")


async def test_a_body_without_a_length_is_refused_at_the_limit(running: Service) -> None:
    """Chunked: nobody can know beforehand. The answer comes at the limit; what follows is thrown away, but not for ever."""
    chunk = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
    async with Raw(running.url) as raw:
        await raw.send(raw.head("POST", "/v1/events", running.keys["secret_key"], None))
        sent = 0
        try:
            while sent < MAX_BODY + 2 * MAX_DRAINED:
                await raw.send(chunk)
                sent += 65536
        except ConnectionError:
            pass
        assert sent < MAX_BODY + 2 * MAX_DRAINED, "the connection was never closed"
