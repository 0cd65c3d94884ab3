"""Who may send conversions for a pixel, in the X simulator (sheet x, 1b, 1c and validation rules 3-10)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from postbacks.sandbox import x_oauth
from postbacks.sandbox.base import Seen

NONCE_MEMORY = 100_000
"""How many OAuth nonces are remembered."""

SANDBOX_USER = "756201191"
"""The user that an `X-Pixel-Token` stands for in error messages; the sheet names none."""

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request authenticated as."""

    user_id: str
    accounts: frozenset[str] | None = None
    """Ad accounts that the user may act for; `None` for a pixel token, which was issued for the pixel itself."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was turned away before its body was read."""

    status: int
    code: str
    message: str


UNAUTHENTICATED = Refusal(401, "UNAUTHORIZED_ACCESS", "This request is not properly authenticated")


def no_ads_api(app_id: str) -> Refusal:
    """Rule 9."""
    message = f"The client application with id {app_id} making this request does not have access to X Ads API"
    return Refusal(403, "UNAUTHORIZED_CLIENT_APPLICATION", message)


def no_account(user_id: str, account: str) -> Refusal:
    """Rule 10."""
    return Refusal(404, "NOT_FOUND", f"User {user_id} does not have access to account {account}")


class Nonces:
    """Which nonces came with which token and timestamp (rule 8), within bounded memory."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], None] = {}

    def clear(self) -> None:
        self._seen.clear()

    def is_new(self, token: str, timestamp: str, nonce: str) -> bool:
        """Whether this is the first time; from then on it is not."""
        key = (token, timestamp, nonce)
        if key in self._seen:
            return False
        if len(self._seen) >= NONCE_MEMORY:
            # Half at once, since finding the oldest costs more than dropping it.
            for oldest in list(islice(self._seen, NONCE_MEMORY // 2)):
                del self._seen[oldest]
        self._seen[key] = None
        return True


def authenticate(seen: Seen, pixel: str, switches: Mapping[str, Any], nonces: Nonces) -> Caller | Refusal:
    """Rules 3 to 9. With both methods present the pixel token counts."""
    authorization = seen.headers.get("authorization", "")
    token = seen.headers.get("x-pixel-token", "").strip()
    scheme, _, rest = authorization.strip().partition(" ")
    if not token and scheme.lower() == "bearer" and not switches["rule_4"]:  # 4
        token = rest.strip()
    if token:
        issued_for_it = pixel in switches["pixel_tokens"].get(token, ())
        if switches["rule_5"] and not issued_for_it:  # 5
            return UNAUTHENTICATED
        return Caller(SANDBOX_USER)
    oauth = x_oauth.parse_header(authorization)
    if oauth is None:  # 3
        return UNAUTHENTICATED
    return _authenticate_oauth(seen, oauth, switches, nonces)


def _authenticate_oauth(
    seen: Seen, oauth: dict[str, str], switches: Mapping[str, Any], nonces: Nonces
) -> Caller | Refusal:
    if not switches["oauth_body_hash"] and not oauth.keys() <= x_oauth.REQUIRED:
        return UNAUTHENTICATED
    consumer = switches["oauth_consumers"].get(oauth["oauth_consumer_key"])
    token = switches["oauth_tokens"].get(oauth["oauth_token"])
    if consumer is None or token is None or token["consumer_key"] != oauth["oauth_consumer_key"]:  # 6
        return UNAUTHENTICATED
    if oauth["oauth_signature_method"] != "HMAC-SHA1" or oauth["oauth_version"] != "1.0":  # 6
        return UNAUTHENTICATED
    form = seen.body if seen.headers.get("content-type", "").lower().startswith(_FORM) else b""
    if not x_oauth.is_signed(seen.method, seen.url, oauth, consumer["secret"], token["secret"], form):  # 6
        return UNAUTHENTICATED
    timestamp = oauth["oauth_timestamp"]
    if re.fullmatch("[0-9]{1,12}", timestamp) is None:
        return UNAUTHENTICATED
    if abs(seen.at - int(timestamp)) > switches["timestamp_tolerance"]:  # 7
        return UNAUTHENTICATED
    is_new = nonces.is_new(oauth["oauth_token"], timestamp, oauth["oauth_nonce"])
    if switches["rule_8"] and not is_new:  # 8
        return UNAUTHENTICATED
    if not consumer["ads_api"]:  # 9
        return no_ads_api(consumer["app_id"])
    return Caller(token["user_id"], frozenset(token["accounts"]))
