"""OAuth 1.0a for X: the `Authorization` header of one request (sheet x, 1c)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from oauthlib.oauth1 import Client


@dataclass(frozen=True, slots=True)
class OAuthKeys:
    """The four values of the user context; all secret."""

    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    access_token: str = field(repr=False)
    access_token_secret: str = field(repr=False)


def authorization(keys: OAuthKeys, url: str, now: datetime, *, nonce: str | None = None) -> str:
    """Signs a `POST` to `url` with HMAC-SHA1. Every call has a nonce of its own unless one is given.

    The JSON body is no part of the signature. It must not be handed to `Client.sign`, which would add an
    `oauth_body_hash` and sign that too (sheet x, 1c).
    """
    client = Client(
        keys.consumer_key,
        client_secret=keys.consumer_secret,
        resource_owner_key=keys.access_token,
        resource_owner_secret=keys.access_token_secret,
        nonce=nonce or secrets.token_hex(15),
        timestamp=str(int(now.timestamp())),
    )
    _, headers, _ = client.sign(url, http_method="POST")
    return str(headers["Authorization"])
