"""Which addresses a webhook may reach: the rule against requests into the operator's own network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.outbound.http import Sender, is_allowed
from postbacks.platforms.base import Answer, Request, TransportFailure

PRIVATE_V4 = {
    "this network": "0.0.0.0",
    "private, 10/8": "10.0.0.1",
    "private, 172.16/12": "172.31.255.254",
    "private, 192.168/16": "192.168.1.1",
    "shared by carriers": "100.64.0.1",
    "loopback": "127.0.0.1",
    "loopback, not the first": "127.255.0.3",
    "link-local": "169.254.0.1",
    "metadata of most clouds": "169.254.169.254",
    "metadata in the carriers' range": "100.100.100.200",
    "metadata in the protocol assignments": "192.0.0.192",
    "a cloud's host agent": "168.63.129.16",
    "protocol assignments": "192.0.0.8",
    "former 6to4 relay": "192.88.99.1",
    "documentation": "203.0.113.7",
    "benchmarking": "198.18.0.1",
    "multicast": "224.0.0.251",
    "multicast, global scope": "233.252.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
}
PRIVATE_V6 = {
    "unspecified": "::",
    "loopback": "::1",
    "link-local": "fe80::1",
    "site-local": "fec0::1",
    "unique local": "fd12:3456:789a::1",
    "metadata over IPv6": "fd00:ec2::254",
    "multicast": "ff02::1",
    "multicast, global scope": "ff0e::1",
    "documentation": "2001:db8::1",
    "documentation, the newer range": "3fff::1",
    "discard-only": "100::1",
    "segment routing": "5f00::1",
    "not assigned": "4000::1",
    "benchmarking": "2001:2::1",
    "ORCHIDv2": "2001:20::1",
}
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]


def teredo(client: str) -> str:
    """The Teredo address of a client behind a server at 65.54.227.120 (RFC 4380, 4): the client's bits are flipped."""
    flipped = int(IPv4Address(client)) ^ 0xFFFFFFFF
    return str(IPv6Address((0x20010000_4136E378_800063BF << 32) | flipped))


def wrapped(address: str) -> dict[str, str]:
    """An IPv4 address in each of the IPv6 forms that lead to it."""
    number = int(IPv4Address(address))
    return {
        "mapped": f"::ffff:{address}",
        "NAT64": str(IPv6Address(int(IPv6Address("64:ff9b::")) | number)),
        "6to4": str(IPv6Address((0x2002 << 112) | (number << 80) | 1)),
        "Teredo": teredo(address),
    }


def allowed(address: str, *networks: str) -> bool:
    return is_allowed(ip_address(address), [ip_network(network) for network in networks])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    assert allowed(address)


@pytest.mark.parametrize("address", PRIVATE_V4.values(), ids=PRIVATE_V4)
def test_no_ipv4_address_that_is_not_public_is_reached(address: str) -> None:
    assert not allowed(address)


@pytest.mark.parametrize("address", PRIVATE_V6.values(), ids=PRIVATE_V6)
def test_no_ipv6_address_that_is_not_public_is_reached(address: str) -> None:
    assert not allowed(address)


@pytest.mark.parametrize("address", PRIVATE_V4.values(), ids=PRIVATE_V4)
@pytest.mark.parametrize("form", ["mapped", "NAT64", "6to4", "Teredo"])
def test_an_ipv4_address_that_is_not_public_is_not_reached_through_ipv6(form: str, address: str) -> None:
    assert not allowed(wrapped(address)[form])


@pytest.mark.parametrize("form", ["mapped", "NAT64", "6to4", "Teredo"])
def test_a_public_ipv4_address_is_reached_through_ipv6(form: str) -> None:
    """A network without IPv4 has no other way to it."""
    assert allowed(wrapped("8.8.8.8")[form])


@pytest.mark.parametrize(
    "address",
    ["::7f00:1", "::808:808", "::ffff:0:7f00:1", "::ffff:0:808:808", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808"],
)
def test_outdated_and_local_forms_of_ipv4_in_ipv6_are_not_reached_whatever_is_inside(address: str) -> None:
    assert not allowed(address)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("169.254.169.254", "169.254.169.254/32"),
        ("192.0.0.192", "192.0.0.0/24"),
        ("::1", "::1/128"),
        ("fd12::1", "fc00::/7"),
        ("64:ff9b:1::7f00:1", "64:ff9b:1::/48"),
        ("::ffff:10.1.2.3", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "::ffff:0:0/96"),
    ],
)
def test_the_operator_may_allow_a_network(address: str, network: str) -> None:
    assert not allowed(address)
    assert allowed(address, "192.0.2.0/24", network)


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.0.1.1", "10.0.0.0/24"), ("127.0.0.1", "::/0"), ("::1", "0.0.0.0/0"), ("::1", "127.0.0.0/8")],
)
def test_what_is_allowed_opens_nothing_else(address: str, network: str) -> None:
    assert not allowed(address, network)


def test_an_allowed_network_does_not_close_the_public_ones() -> None:
    assert allowed("8.8.8.8", "10.0.0.0/8")


@given(st.ip_addresses(v=4))
def test_an_ipv6_form_never_reaches_more_than_the_address_inside(address: IPv4Address) -> None:
    for form in wrapped(str(address)).values():
        assert allowed(form) is allowed(str(address))


@given(st.ip_addresses())
def test_nothing_that_python_knows_as_special_is_reached(address: IPv4Address | IPv6Address) -> None:
    special = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    hidden = isinstance(address, IPv6Address) and (address.is_site_local or address not in ip_network("2000::/3"))

    if special or (hidden and address not in ip_network("64:ff9b::/96") and address not in ip_network("::ffff:0:0/96")):
        assert not is_allowed(address, ())


@pytest.fixture
async def listener() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server of our own that must not be reached: its port, and what it got."""
    got: list[bytes] = []

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], got


async def sent_to(host: str, port: int, *, public_only: bool = True) -> Answer:
    sender = Sender((), 2)
    try:
        request = Request("GET", f"http://{host}:{port}/")
        return await sender.send(request, seconds=5, public_only=public_only)
    finally:
        await sender.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "localhost", "0x7f.1"])
async def test_a_webhook_to_an_address_of_our_own_is_refused(host: str, listener: tuple[int, list[bytes]]) -> None:
    port, got = listener

    answer = await sent_to(host, port)

    assert isinstance(answer, TransportFailure)
    assert (answer.code, answer.sent) == ("refused_address", False)
    assert got == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1", "0", "127.0.0.1.", "[::1%25lo]"])
async def test_odd_spellings_of_an_address_lead_nowhere(host: str, listener: tuple[int, list[bytes]]) -> None:
    port, got = listener

    answer = await sent_to(host, port)

    assert isinstance(answer, TransportFailure)
    assert not answer.sent
    assert got == []


async def test_a_platform_s_own_address_may_be_anywhere(listener: tuple[int, list[bytes]]) -> None:
    """Shows that the listener can be reached, and that a proxy or a simulator on this machine works."""
    port, got = listener

    await sent_to("127.0.0.1", port, public_only=False)

    assert got[0] == b"GET / HTTP/1.1\r\n"
