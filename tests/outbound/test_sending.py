"""What goes out and what is read of the answer, over real connections: where to, how long, how much."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest

from postbacks.outbound import http
from postbacks.outbound.http import MAX_ANSWER, Sender
from postbacks.platforms.base import Answer, Request, Response, TransportFailure

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = [ip_network("127.0.0.1/32")]
"""Stands for the public internet here: the only address that the senders of these tests may reach."""


class Endpoint:
    """A server whose answers are written byte by byte; `requests` is what arrived, head and body."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self.talk: Talk = self.ok

    async def on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            await self.talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def ok(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    @staticmethod
    async def say(writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(answer)
        await writer.drain()

    def says(self, answer: bytes) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.say(writer, answer)

        self.talk = talk


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    one = Endpoint()
    server = await asyncio.start_server(one.on_connect, "127.0.0.1", 0)
    async with server:
        one.port = server.sockets[0].getsockname()[1]
        yield one


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    one = Sender(LOOPBACK, 2)
    yield one
    await one.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the next look-ups of a name find, in turn; one more look-up than these fails the test."""
    answers: list[list[str]] = []

    async def resolve(
        self: Any, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[dict[str, Any]]:
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            {"hostname": host, "host": one, "port": port, "family": kinds[":" in one], "proto": 0, "flags": 0}
            for one in answers.pop(0)
        ]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    return answers


async def call(
    sender: Sender, endpoint: Endpoint, host: str = "127.0.0.1", *, seconds: float = 5, **request: Any
) -> Answer:
    sent = Request(**({"method": "POST", "url": f"http://{host}:{endpoint.port}/in?a=%2F&b={{x}}"} | request))
    return await sender.send(sent, seconds=seconds, public_only=True)


async def test_a_request_arrives_as_it_was_built(sender: Sender, endpoint: Endpoint) -> None:
    answer = await call(sender, endpoint, headers={"X-A": "1", "User-Agent": "Mine/1"}, body=b"{}")

    assert answer == Response(200, {"content-length": "2", "connection": "close"}, b"ok")
    (head,) = endpoint.requests
    assert head.startswith(b"POST /in?a=%2F&b={x} HTTP/1.1\r\n")
    assert b"X-A: 1\r\n" in head and b"User-Agent: Mine/1\r\n" in head and b"Content-Length: 2\r\n" in head


async def test_a_name_is_looked_up_once_and_its_address_is_what_is_reached(
    sender: Sender, endpoint: Endpoint, names: list[list[str]]
) -> None:
    names.append(["127.0.0.1"])

    answer = await call(sender, endpoint, "hooks.example")

    assert isinstance(answer, Response)
    assert f"Host: hooks.example:{endpoint.port}\r\n".encode() in endpoint.requests[0]
    assert not names


async def test_a_name_that_leads_elsewhere_later_is_refused_then(
    sender: Sender, endpoint: Endpoint, names: list[list[str]]
) -> None:
    names += [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"]]

    answers = [await call(sender, endpoint, "hooks.example") for _ in range(3)]

    assert [answer.code if isinstance(answer, TransportFailure) else answer.status for answer in answers] == [
        200,
        "refused_address",
        200,
    ]
    assert endpoint.connections == 2


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1", "10.0.0.7"],
        ["10.0.0.7", "127.0.0.1"],
        ["127.0.0.1", "::1"],
        ["::ffff:10.0.0.7"],
        ["64:ff9b::a9fe:a9fe"],
        ["fe80::1%lo"],
        ["127.0.0.2"],
    ],
)
@pytest.mark.parametrize("method", ["POST", "CONNECT"])
async def test_one_address_that_is_not_allowed_is_enough_to_refuse_a_name(
    sender: Sender, endpoint: Endpoint, names: list[list[str]], found: list[str], method: str
) -> None:
    names.append(found)

    answer = await call(sender, endpoint, "hooks.example", method=method)

    assert isinstance(answer, TransportFailure)
    assert (answer.code, answer.sent, endpoint.connections) == ("refused_address", False, 0)
    assert not any(one in answer.message for one in found)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(sender: Sender, endpoint: Endpoint, status: int) -> None:
    endpoint.says(
        f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{endpoint.port}/other\r\n"
        f"Content-Length: 0\r\n\r\n".encode()
    )

    answer = await call(sender, endpoint)

    assert isinstance(answer, Response)
    assert (answer.status, len(endpoint.requests)) == (status, 1)


async def test_a_proxy_of_the_environment_is_not_used(
    sender: Sender, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert isinstance(await call(sender, endpoint), Response)


async def test_cookies_are_not_kept(sender: Sender, endpoint: Endpoint) -> None:
    endpoint.says(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    await call(sender, endpoint)
    await call(sender, endpoint)

    assert not any(b"cookie:" in head.lower() for head in endpoint.requests)


async def test_of_a_long_answer_only_the_beginning_is_read(sender: Sender, endpoint: Endpoint) -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await endpoint.say(writer, b"HTTP/1.1 200 OK\r\n\r\n")
        while written < 64 * MAX_ANSWER:
            await endpoint.say(writer, b"x" * MAX_ANSWER)
            written += MAX_ANSWER

    endpoint.talk = flood
    answer = await call(sender, endpoint)

    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (200, b"x" * MAX_ANSWER)
    assert written < 64 * MAX_ANSWER


async def test_a_packed_answer_is_not_unpacked(sender: Sender, endpoint: Endpoint) -> None:
    packed = gzip.compress(b"0" * 50_000_000)
    endpoint.says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)

    answer = await call(sender, endpoint)

    assert isinstance(answer, Response)
    assert answer.body == packed


@pytest.mark.parametrize("ending", ["drip", "cut"])
async def test_a_webhooks_status_counts_though_its_body_does_not_end(
    sender: Sender, endpoint: Endpoint, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.2)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await endpoint.say(writer, b"HTTP/1.1 201 Created\r\nContent-Length: 4096\r\n\r\nok")
        if ending == "drip":
            await reader.read()

    endpoint.talk = talk
    started = time.monotonic()
    answer = await call(sender, endpoint)

    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (201, b"ok")
    assert time.monotonic() - started < 3


async def test_a_platforms_answer_has_to_be_whole(sender: Sender, endpoint: Endpoint) -> None:
    """A platform's body decides, so half of one is no answer."""
    endpoint.says(b'HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n{"data":')

    answer = await sender.send(Request("GET", f"http://127.0.0.1:{endpoint.port}/"), seconds=5)

    assert isinstance(answer, TransportFailure)
    assert (answer.code, answer.sent) == ("reset", True)


async def test_silence_ends_after_the_given_seconds(sender: Sender, endpoint: Endpoint) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    endpoint.talk = listen
    answer = await call(sender, endpoint, seconds=0.2)

    assert isinstance(answer, TransportFailure)
    assert (answer.code, answer.sent) == ("timeout", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 99999 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["nothing", "another protocol", "no status", "an endless header", "a broken length"],
)
async def test_what_is_no_http_is_a_failure(sender: Sender, endpoint: Endpoint, answer: bytes) -> None:
    endpoint.says(answer)

    got = await call(sender, endpoint)

    assert isinstance(got, TransportFailure)
    assert got.sent
    assert got.message.isprintable()


@pytest.mark.parametrize(
    "headers", [{"X-A": "1\r\nX-Evil: 1"}, {"X-A\r\nX-Evil": "1"}, {"X-A": "1\nX-Evil: 1"}, {"X-A": "1\x00"}]
)
async def test_a_header_cannot_smuggle_another_one(sender: Sender, endpoint: Endpoint, headers: dict[str, str]) -> None:
    answer = await call(sender, endpoint, headers=headers)

    assert isinstance(answer, TransportFailure)
    assert (answer.sent, endpoint.requests) == (False, [])


async def test_a_connection_alone_sends_nothing(endpoint: Endpoint, names: list[list[str]]) -> None:
    # Nothing listens at the first address of the name.
    names.append(["127.0.0.3", "127.0.0.1"])
    sender = Sender([ip_network("127.0.0.0/8")], 2)

    by_name = await call(sender, endpoint, "hooks.example", method="CONNECT")
    by_address = await call(sender, endpoint, method="CONNECT")
    await sender.close()

    assert [by_name, by_address] == [Response(204), Response(204)]
    assert endpoint.requests == []


async def test_why_an_endpoint_cannot_be_reached(
    sender: Sender, endpoint: Endpoint, names: list[list[str]], unused_tcp_port: int
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()

    no_tls = await asyncio.start_server(greet, "127.0.0.1", 0)
    address = f"https://127.0.0.1:{no_tls.sockets[0].getsockname()[1]}/"
    answers = {
        "dns": await call(sender, endpoint, "hooks.example", method="CONNECT"),
        "tls": await call(sender, endpoint, method="CONNECT", url=address),
        "connect": await call(sender, endpoint, method="CONNECT", url=f"http://127.0.0.1:{unused_tcp_port}/"),
        "refused_address": await call(sender, endpoint, method="CONNECT", url="http://127.0.0.2/"),
    }
    no_tls.close()

    for code, answer in answers.items():
        assert isinstance(answer, TransportFailure)
        assert (answer.code, answer.sent) == (code, False)
