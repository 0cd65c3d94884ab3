from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from postbacks.privacy.addresses import AddressKey, hashed, household, parse_address

KEY = AddressKey(datetime(2026, 11, 23, tzinfo=UTC), b"k" * 32)
OTHER = AddressKey(datetime(2026, 11, 24, tzinfo=UTC), b"o" * 32)

addresses = st.ip_addresses()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", IPv4Address("203.0.113.7")),
        (" 203.0.113.7\n", IPv4Address("203.0.113.7")),
        ("2001:DB8::1", IPv6Address("2001:db8::1")),
        ("2001:db8:0:0:0:0:0:1", IPv6Address("2001:db8::1")),
        ("::ffff:203.0.113.7", IPv4Address("203.0.113.7")),
        ("::ffff:cb00:7107", IPv4Address("203.0.113.7")),
    ],
)
def test_one_address_has_one_form_however_it_is_written(text: str, address: IPv4Address | IPv6Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "203.0.113", "203.0.113.007", "203.0.113.256", "203.0.113.7:443", "[::1]", "::/64", "٣.0.0.1"],
)
def test_anything_else_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@given(st.text(st.characters(codec=None)) | st.text("0123456789abcdef:.%/ "))
def test_reading_an_address_never_raises(text: str) -> None:
    found = parse_address(text)

    assert found is None or parse_address(str(found)) == found


@given(addresses)
def test_the_hashes_of_two_keys_have_nothing_in_common(address: IPv4Address | IPv6Address) -> None:
    one, other = hashed(address, KEY), hashed(address, OTHER)

    assert not {one.address, one.network} & {other.address, other.network} - {None}
    assert one == hashed(address, KEY)


@given(addresses, addresses)
def test_two_addresses_have_two_hashes(one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address) -> None:
    assume(one != other)

    assert hashed(one, KEY).address != hashed(other, KEY).address


@given(st.ip_addresses(v=4))
def test_ipv4_mapped_into_ipv6_is_the_same_as_ipv4(address: IPv4Address) -> None:
    mapped = parse_address(f"::ffff:{address}")

    assert mapped is not None
    assert hashed(mapped, KEY) == hashed(address, KEY)


def test_ipv4_agrees_in_the_whole_address() -> None:
    found = hashed(IPv4Address("203.0.113.7"), KEY)

    assert found.network is None
    assert found.match == found.address


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_ipv6_agrees_in_its_64(network: int, one: int, other: int) -> None:
    assume(one != other)
    left, right = (hashed(IPv6Address((network << 64) | low), KEY) for low in (one, other))

    assert left.network is not None
    assert left.match == left.network == right.match
    assert left.address != right.address


def test_neighbouring_networks_differ() -> None:
    one, other = (hashed(IPv6Address(f"2001:db8:0:{n}::1"), KEY) for n in (1, 2))

    assert one.match != other.match


def test_a_network_is_never_taken_for_the_address_that_is_written_like_it() -> None:
    found = hashed(IPv6Address("2001:db8::"), KEY)

    assert found.network != found.address


def test_the_zone_of_a_link_local_address_does_not_count() -> None:
    with_zone, without = parse_address("fe80::1%eth0"), parse_address("fe80::1")

    assert with_zone is not None and without is not None
    assert hashed(with_zone, KEY) == hashed(without, KEY)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
def test_a_visitor_is_limited_by_what_cannot_be_changed_at_will(one: str, other: str, same: bool) -> None:
    assert (household(parse_address(one)) == household(parse_address(other))) is same


def test_visitors_without_an_address_share_one_limit() -> None:
    assert household(None) == household(None) != household(parse_address("203.0.113.7"))


def test_neither_key_nor_address_can_be_read_off() -> None:
    address = "203.0.113.7"

    assert "kkk" not in repr(KEY)
    assert address not in repr(hashed(IPv4Address(address), KEY))
