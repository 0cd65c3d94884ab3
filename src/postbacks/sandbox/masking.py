"""Keeps credentials out of what the control API shows of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "***"
SECRET_HEADERS = frozenset(
    {"authorization", "access-token", "x-pixel-token", "developer-token", "proxy-authorization", "cookie"}
)
SECRET_FIELDS = frozenset(
    {"access_token", "appsecret_proof", "assertion", "client_secret", "id_token", "oauth_token", "refresh_token"}
)

_FIELDS = "|".join(sorted(SECRET_FIELDS))
_JSON_FIELD = re.compile(rf'("(?:{_FIELDS})"\s*:\s*)"(?:[^"\\]|\\.)*"')
_FORM_FIELD = re.compile(rf"((?:^|&)(?:{_FIELDS})=)[^&]*")


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with the values of those that carry credentials replaced; names are in lower case."""
    return {name: MASK if name in SECRET_HEADERS else value for name, value in headers.items()}


def mask_query(query: Mapping[str, str]) -> dict[str, str]:
    """Query parameters likewise."""
    return {name: MASK if name in SECRET_FIELDS else value for name, value in query.items()}


def mask_body(body: str) -> str:
    """A JSON or form body, or an answer, likewise; any other text comes back as it is."""
    return _FORM_FIELD.sub(rf"\1{MASK}", _JSON_FIELD.sub(rf'\1"{MASK}"', body))
