"""The server's side of OAuth 1.0a with HMAC-SHA1, for the X simulator (sheet x, 1c; RFC 5849).

Written from the sheet, without a client library: a signer that covers the JSON body (the trap of 1c) fails here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit

REQUIRED = frozenset(
    {
        "oauth_consumer_key",
        "oauth_nonce",
        "oauth_signature",
        "oauth_signature_method",
        "oauth_timestamp",
        "oauth_token",
        "oauth_version",
    }
)
_PAIR = re.compile(r'\s*([A-Za-z_]+)="([^"]*)"\s*')
_DEFAULT_PORTS = {"http": 80, "https": 443}


def encoded(text: str) -> str:
    """RFC 3986 percent-encoding: everything but letters, digits and `-._~`."""
    return quote(text, safe="-._~")


def parse_header(header: str) -> dict[str, str] | None:
    """The parameters of `Authorization: OAuth …`, decoded, without `realm`.

    `None` if the scheme is another one, a pair is malformed, a name comes twice, or one of the seven is missing
    or empty.
    """
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "oauth":
        return None
    found: dict[str, str] = {}
    for part in rest.split(","):
        pair = _PAIR.fullmatch(part)
        if pair is None or pair[1] in found:
            return None
        found[pair[1]] = unquote(pair[2])
    found.pop("realm", None)
    if not all(found.get(name) for name in REQUIRED):
        return None
    return found


def base_string(method: str, url: str, oauth: Mapping[str, str], form: bytes = b"") -> str:
    """What is signed: method, URL without query, and the sorted parameters.

    `oauth` are the header's parameters (the signature itself is left out), to which come those of the URL's query
    and of `form`, the body if it is `application/x-www-form-urlencoded`. A JSON body takes no part.
    """
    parts = urlsplit(url)
    pairs = [(name, value) for name, value in oauth.items() if name != "oauth_signature"]
    pairs += parse_qsl(parts.query, keep_blank_values=True)
    pairs += parse_qsl(form.decode("utf-8", "replace"), keep_blank_values=True)
    host = (parts.hostname or "").lower()
    if parts.port is not None and parts.port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{parts.port}"
    target = f"{parts.scheme}://{host}{parts.path or '/'}"
    return "&".join((method.upper(), encoded(target), encoded(_normalized(pairs))))


def _normalized(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(
        f"{name}={value}" for name, value in sorted((encoded(name), encoded(value)) for name, value in pairs)
    )


def signature(base: str, consumer_secret: str, token_secret: str) -> str:
    """Base64 of HMAC-SHA1 under both secrets."""
    key = f"{encoded(consumer_secret)}&{encoded(token_secret)}"
    return base64.b64encode(hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()).decode()


def is_signed(
    method: str, url: str, oauth: Mapping[str, str], consumer_secret: str, token_secret: str, form: bytes = b""
) -> bool:
    """Whether `oauth_signature` covers this very request."""
    expected = signature(base_string(method, url, oauth, form), consumer_secret, token_secret)
    return hmac.compare_digest(expected.encode(), oauth["oauth_signature"].encode())
