"""Where a request comes from, with and without a proxy in front."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from fastapi import Request

from postbacks.web.connection import client_address, client_scheme

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def request(peer: str, **headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "scheme": "http", "path": "/", "client": (peer, 1), "headers": named})


@pytest.mark.parametrize(
    ("peer", "told", "seen"),
    [
        ("203.0.113.1", None, "203.0.113.1"),
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, garbage", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.2.2.2", "10.2.2.2"),
    ],
)
def test_the_visitor_is_the_last_address_that_is_no_trusted_proxy(peer: str, told: str | None, seen: str) -> None:
    headers = {} if told is None else {"x_forwarded_for": told}
    assert str(client_address(request(peer, **headers), PROXIES)) == seen


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert str(client_address(request("127.0.0.1", x_forwarded_for="198.51.100.1"), ())) == "127.0.0.1"
    assert client_scheme(request("127.0.0.1", x_forwarded_proto="https"), ()) == "http"


@pytest.mark.parametrize(
    ("peer", "told", "seen"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "HTTPS", "https"),
        ("10.0.0.1", "http, https", "https"),
        ("10.0.0.1", "javascript", "http"),
        ("203.0.113.1", "https", "http"),
    ],
)
def test_the_scheme_is_what_a_trusted_proxy_says(peer: str, told: str, seen: str) -> None:
    assert client_scheme(request(peer, x_forwarded_proto=told), PROXIES) == seen
