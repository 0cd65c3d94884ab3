"""Where a request comes from."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from fastapi import Request

from postbacks.privacy.addresses import Address, parse_address


def client_address(request: Request, trusted: Sequence[IPv4Network | IPv6Network]) -> Address | None:
    """The address of the visitor: of the connection, or what a trusted proxy says in `X-Forwarded-For`.

    The header is read from its end; the first address that is no trusted proxy is the visitor. What stands before
    it was written by the visitor and is not believed.
    """
    peer = parse_address(request.client.host) if request.client else None
    if peer is None or not _trusted(peer, trusted):
        return peer
    hops = [part for header in request.headers.getlist("x-forwarded-for") for part in header.split(",")]
    for hop in reversed(hops):
        address = parse_address(hop)
        if address is None:
            return peer
        peer = address
        if not _trusted(address, trusted):
            break
    return peer


def client_scheme(request: Request, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """`https` or `http`: how the visitor speaks, by the connection or what a trusted proxy says of it."""
    peer = parse_address(request.client.host) if request.client else None
    if peer is not None and _trusted(peer, trusted):
        told = request.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        if told in ("http", "https"):
            return told
    return str(request.scope["scheme"])


def _trusted(address: Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
