"""IP addresses: normalised, and kept only as keyed hashes.

The key of an app changes on a schedule. Older keys are tried for as long as the matching window reaches, then
deleted: after that nobody can tell which address a hash stood for, not even with the database in hand.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from uuid import UUID

from postbacks.domain.frozen import frozen
from postbacks.vault import keyed_hash

Address = IPv4Address | IPv6Address


@frozen
class AddressKey:
    valid_from: datetime
    secret: bytes

    def __repr__(self) -> str:
        return f"AddressKey({self.valid_from:%Y-%m-%dT%H:%M})"


@frozen
class AddressHashes:
    """`address`: of the whole address. `network`: of its /64, for IPv6 only."""

    address: UUID
    network: UUID | None

    @property
    def match(self) -> UUID:
        """What two sightings must agree in: the /64 for IPv6 (its low half changes daily), else the address."""
        return self.network or self.address


def parse_address(text: str) -> Address | None:
    """The address, with IPv4 mapped into IPv6 turned back into IPv4; `None` for anything else."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def household(address: Address | None) -> str:
    """What one visitor cannot change at will: the IPv4 address, or the /64 of an IPv6 address."""
    return str(IPv6Network((int(address), 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


def hashed(address: Address, key: AddressKey) -> AddressHashes:
    """The hashes of an address under one key."""
    if isinstance(address, IPv4Address):
        return AddressHashes(keyed_hash(key.secret, f"v4|{address}"), None)
    network = IPv6Network((int(address), 64), strict=False)
    # The interface part goes without its zone (`%eth0`), which means nothing on another machine.
    whole = IPv6Address(int(address))
    return AddressHashes(keyed_hash(key.secret, f"v6|{whole}"), keyed_hash(key.secret, f"v6/64|{network}"))
