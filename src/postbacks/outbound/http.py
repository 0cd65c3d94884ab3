"""HTTP out. One request in, one answer or failure out; no redirects, no cookies, no proxies, bounded in size and time.

Two sessions: one for the platforms' own addresses, one for webhooks, which connects to public addresses only. The
latter resolves a name once and connects to what it resolved, so that a DNS answer cannot change in between.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from postbacks import __version__
from postbacks.platforms.base import Answer, Request, Response, TransportFailure

MAX_ANSWER = 128 * 1024
"""Bytes of an answer that are kept; the rest is not read."""

CONNECT_SECONDS = 10.0
BODY_SECONDS = 5.0
"""How long the body of a webhook's answer may take. Its status already decides, so the rest is not waited for."""
USER_AGENT = f"postbacks/{__version__}"

_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is assigned to the public IPv6 internet lies in here; `is_global` alone lets `::7f00:1`, `fec0::1` and the
local NAT64 prefix `64:ff9b:1::/48` pass."""

_NEVER_PUBLIC = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata service answers at 192.0.0.192
    IPv4Network("192.88.99.0/24"),  # the former 6to4 relays
    IPv4Network("168.63.129.16/32"),  # a cloud's host agent, although the address is a public one
    IPv6Network("3fff::/20"),  # documentation
)
"""What `is_global` of the oldest supported Python calls public but no webhook can mean."""


class RefusedAddressError(OSError):
    """The name leads to an address that webhooks may not reach."""


def is_allowed(address: IPv4Address | IPv6Address, allowed: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether a webhook may connect to an address: public, or in one of the networks that the operator allows.

    What is hidden inside an IPv6 address (mapped, NAT64, 6to4, Teredo) must be public as well.
    """
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_allowed(inner, allowed)
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address.version == network.version and address in network for network in _NEVER_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return None


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those of which any address is not allowed."""

    def __init__(self, allowed: Sequence[IPv4Network | IPv6Network]) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            if not is_allowed(ip_address(one["host"].partition("%")[0]), self._allowed):
                raise RefusedAddressError(f"{host} leads to an address that is not public")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class Sender:
    """Sends requests; every outgoing request of the service goes through `send`."""

    def __init__(self, allowed: Sequence[IPv4Network | IPv6Network], connections: int) -> None:
        self._allowed = allowed
        self._resolver = PublicResolver(allowed)
        # Bounded per host and not over all: a request must not wait for a connection behind a platform that hangs.
        self._platforms = self._session(aiohttp.TCPConnector(limit=0, limit_per_host=connections, ttl_dns_cache=60))
        self._webhooks = self._session(
            aiohttp.TCPConnector(limit=0, limit_per_host=connections, resolver=self._resolver, use_dns_cache=False)
        )

    @staticmethod
    def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )

    async def close(self) -> None:
        await self._platforms.close()
        await self._webhooks.close()
        await self._resolver.close()

    async def send(self, request: Request, *, seconds: float, public_only: bool = False) -> Answer:
        """The answer, or what went wrong on the way. Never raises but for cancellation."""
        try:
            async with asyncio.timeout(seconds):
                return await self._send(request, public_only=public_only)
        except RefusedAddressError as error:
            return TransportFailure("refused_address", str(error), sent=False)
        except aiohttp.ClientError as error:
            return _failure(error)
        except TimeoutError:
            return TransportFailure(
                "timeout", f"No answer within {seconds:g} seconds.", sent=request.method != "CONNECT"
            )
        except (ValueError, UnicodeError):
            return TransportFailure("connect", "The address is not a valid URL.", sent=False)
        except socket.gaierror:
            return TransportFailure("dns", "The name could not be resolved.", sent=False)
        except ssl.SSLError:
            return TransportFailure("tls", "The certificate was not accepted, or TLS failed.", sent=False)
        except OSError as error:
            return TransportFailure("connect", error.strerror or type(error).__name__, sent=False)

    async def _send(self, request: Request, *, public_only: bool) -> Answer:
        url = URL(request.url, encoded=True)
        if request.method == "CONNECT":
            return await self._reach(url)
        session = self._platforms
        if public_only:
            session = self._webhooks
            self._refuse_literal(url)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Accept": "*/*", **request.headers}
        async with session.request(
            request.method,
            url,
            data=request.body or None,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("Content-Type",) if not request.body else (),
        ) as response:
            return Response(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=await _read(response, BODY_SECONDS if public_only else None),
            )

    async def _reach(self, url: URL) -> Answer:
        """Opens a connection to where a webhook would be sent, with TLS where it has that, and closes it."""
        self._refuse_literal(url)
        host, port = url.host or "", url.port or 0
        found = [host] if _is_address(host) else [one["host"] for one in await self._resolver.resolve(host, port)]
        context = ssl.create_default_context() if url.scheme == "https" else None
        for last, address in enumerate(found, start=1 - len(found)):
            try:
                _, writer = await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=host if context else None
                )
            except OSError:
                if last == 0:
                    raise
                continue
            writer.transport.abort()
            break
        return Response(204)

    def _refuse_literal(self, url: URL) -> None:
        """An address instead of a name never reaches the resolver."""
        host = url.host or ""
        if not _is_address(host):
            if host.rstrip(".").rpartition(".")[2].isdigit():
                # No name ends in a number. What does is an odd spelling of an address, such as 127.1 or 2130706433.
                raise RefusedAddressError(f"{host} is no usual spelling of an address")
            return
        if not is_allowed(ip_address(host.partition("%")[0]), self._allowed):
            raise RefusedAddressError(f"{host} is not a public address")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _read(response: aiohttp.ClientResponse, seconds: float | None) -> bytes:
    """At most `MAX_ANSWER` bytes; with `seconds`, what has come by then, or until it broke off, and no more."""
    chunks: list[bytes] = []
    total = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in response.content.iter_any():
                chunks.append(chunk[: MAX_ANSWER - total])
                total += len(chunks[-1])
                if total >= MAX_ANSWER:
                    response.close()
                    break
    except (TimeoutError, aiohttp.ClientPayloadError):
        if seconds is None:
            raise
        response.close()
    return b"".join(chunks)


def _failure(error: aiohttp.ClientError) -> TransportFailure:
    kind: type[Any]
    for kind, code, message, sent in _FAILURES:
        if isinstance(error, kind):
            cause = error.__cause__ or error
            if isinstance(cause, RefusedAddressError) or isinstance(error.__context__, RefusedAddressError):
                return TransportFailure("refused_address", str(cause), sent=False)
            return TransportFailure(code, message, sent)
    return TransportFailure("reset", "The connection broke.", sent=True)


_FAILURES = (
    (aiohttp.ClientConnectorDNSError, "dns", "The name of the platform could not be resolved.", False),
    (aiohttp.ClientSSLError, "tls", "The platform's certificate was not accepted, or TLS failed.", False),
    (aiohttp.ClientConnectorError, "connect", "No connection to the platform.", False),
    (aiohttp.ConnectionTimeoutError, "timeout", "No connection to the platform in time.", False),
    (aiohttp.ServerTimeoutError, "timeout", "No answer in time.", True),
    (aiohttp.ServerDisconnectedError, "reset", "The platform closed the connection without an answer.", True),
    (aiohttp.ClientPayloadError, "reset", "The answer broke off.", True),
    (aiohttp.InvalidURL, "connect", "The address is not a valid URL.", False),
    (aiohttp.ClientOSError, "reset", "The connection broke.", True),
)
