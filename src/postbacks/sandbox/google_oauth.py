"""Google's token endpoint and the check of bearer tokens (sheet google, section 3 and rules 1 to 4)."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from postbacks.sandbox.base import Reply, Seen
from postbacks.sandbox.google_state import State, Switches, Token

REAL_AUDIENCE = "https://oauth2.googleapis.com/token"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SKEW = 300
"""Seconds by which the clock of a client may run ahead."""
_LONGEST = 3600
"""Seconds that an assertion may live."""


def refusal(http: int, error: str, description: str) -> Reply:
    """The shape of RFC 6749, which the token endpoint uses in place of Google's own."""
    return Reply(http, {"error": error, "error_description": description})


def token(seen: Seen, state: State, switches: Switches) -> Reply:
    """Answers the token endpoint: the refresh-token grant and the JWT bearer grant."""
    form = _form(seen, strict=switches["rule_1"])
    if form is None:  # Rule 1
        return refusal(400, "invalid_request", "POST a form (application/x-www-form-urlencoded)")
    grant = form.get("grant_type", "")
    if grant == "refresh_token":
        return _refresh(form, seen, state, switches)
    if grant == JWT_BEARER:
        return _assertion(form.get("assertion", ""), seen, state, switches)
    error = "unsupported_grant_type" if switches["rule_2"] else "invalid_request"  # Rule 2
    return refusal(400, error, f"grant_type {grant!r} is not known here")


def _form(seen: Seen, *, strict: bool) -> dict[str, str] | None:
    if seen.method != "POST":
        return None
    kind = seen.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return dict(parse_qsl(seen.body.decode("utf-8", "replace"), keep_blank_values=True))
    if strict or kind != "application/json":
        return None
    fields = _object(seen.body)
    return None if fields is None else {name: str(value) for name, value in fields.items()}


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is dict else None


def _refresh(form: Mapping[str, str], seen: Seen, state: State, switches: Switches) -> Reply:
    client = form.get("client_id", "")
    secret = switches["clients"].get(client)
    if secret is None or form.get("client_secret") != secret:  # Rule 2
        return refusal(401, "invalid_client", "client_id or client_secret is wrong")
    owner = switches["refresh_tokens"].get(form.get("refresh_token", ""))
    if owner is None:  # Rule 3
        return refusal(400, "invalid_grant", "the refresh token is unknown, expired or revoked")
    if owner != client:
        return refusal(400, "unauthorized_client", "the refresh token was issued to another client")
    granted = frozenset(switches["scopes"].get(client, "").split())
    wanted = frozenset(form.get("scope", "").split()) or granted
    if not wanted <= granted:
        return refusal(400, "invalid_scope", "a scope was asked for that the user never granted")
    return _issue(client, wanted, seen, state, switches, tell_scope=True)


def _assertion(assertion: str, seen: Seen, state: State, switches: Switches) -> Reply:
    claims, problem = _claims(assertion, switches["service_accounts"])
    problem = problem or _untimely(claims, seen.at)
    # The library google-auth writes the real address into `aud` even when it asks elsewhere.
    if not problem and claims.get("aud") not in {REAL_AUDIENCE, seen.url.partition("?")[0]}:
        problem = "aud is not the token URL"
    if problem:  # Rule 3
        return refusal(400, "invalid_grant", f"Invalid JWT: {problem}")
    account = str(claims["iss"])
    scopes = frozenset(str(claims.get("scope", "")).split())
    if not scopes:
        return refusal(400, "invalid_scope", "the assertion asks for no scope")
    allowed = switches["scopes"].get(account)
    if allowed is not None:
        scopes &= frozenset(allowed.split())
    return _issue(account, scopes, seen, state, switches, tell_scope=False)


def _claims(assertion: str, accounts: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The claims of a JWT whose signature holds, and otherwise what is wrong with it."""
    parts = assertion.split(".")
    if len(parts) != 3:
        return {}, "not three parts"
    try:
        header, payload, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
    except (binascii.Error, ValueError):
        return {}, "not base64url"
    head, claims = _object(header), _object(payload)
    if head is None or claims is None:
        return {}, "not JSON"
    if head.get("alg") != "RS256":
        return {}, "alg must be RS256"
    pem = accounts.get(str(claims.get("iss")))
    if pem is None:
        return {}, "iss is no known service account"
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, RSAPublicKey):
        return {}, "the account's key is no RSA key"
    try:
        key.verify(signature, f"{parts[0]}.{parts[1]}".encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return {}, "the signature does not hold"
    return claims, ""


def _untimely(claims: Mapping[str, Any], now: float) -> str:
    issued, expires = claims.get("iat"), claims.get("exp")
    numbers = (int, float)
    if not isinstance(issued, numbers) or not isinstance(expires, numbers) or bool in (type(issued), type(expires)):
        return "iat and exp must be Unix seconds"
    if expires - issued > _LONGEST:
        return "exp is more than an hour after iat"
    if issued > now + _SKEW:
        return "iat lies in the future"
    if expires <= now:
        return "exp has passed"
    return ""


def _issue(
    client: str, scopes: frozenset[str], seen: Seen, state: State, switches: Switches, *, tell_scope: bool
) -> Reply:
    lifetime = switches["token_seconds"]  # Rule 4
    access = "ya29.sandbox-" + secrets.token_urlsafe(24)
    state.add_token(access, Token(client, scopes, seen.at + lifetime))
    body: dict[str, Any] = {"access_token": access, "expires_in": lifetime, "token_type": "Bearer"}
    if tell_scope:
        body["scope"] = " ".join(sorted(scopes))
    return Reply(200, body)


def bearer(seen: Seen, state: State) -> Token | str:
    """The token of an API call, or why there is none: `missing`, `invalid` or `expired` (rules 4, 6, 26)."""
    kind, _, text = seen.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        return "missing"
    known = state.tokens.get(text.strip())
    if known is None:
        return "invalid"
    return known if seen.at < known.expires_at else "expired"
