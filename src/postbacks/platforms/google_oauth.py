"""Access tokens for Google: what to ask the token endpoint for, and how to read its answer (sheet google, 3).

The dispatcher sends the request, keeps the token and refreshes it; nothing here does I/O or reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from google.auth import crypt, jwt

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import Answer, Request, Response, Token, TransportFailure
from postbacks.platforms.google_answers import text, words
from postbacks.platforms.google_config import API_BASES, OAUTH_URL, GoogleTarget, ServiceAccount
from postbacks.platforms.reading import json_object, transport_verdict

SCOPES: Mapping[str, str] = {
    "data_manager": "https://www.googleapis.com/auth/datamanager",
    "ads_api": "https://www.googleapis.com/auth/adwords",
}
"""Route → OAuth scope. A token of one scope is refused on the other route (sheet google, rules 7 and 27)."""

AUDIENCE = API_BASES[OAUTH_URL]
"""The `aud` of an assertion: Google's own address also where GOOGLE_TOKEN_URL names a proxy, because it is Google
that reads the assertion behind it (sheet google, 3: google-auth does the same)."""

ASSERTION_SECONDS = 3600
"""The longest life that Google accepts for a signed assertion (sheet google, 3)."""

# google-auth ships its functions without types; these two lines are the types that we rely on.
_load_signer: Callable[[str, str | None], crypt.RSASigner] = crypt.RSASigner.from_string
_sign: Callable[[crypt.RSASigner, Mapping[str, Any]], bytes] = jwt.encode

_USUAL_LIFE = 3599.0
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

REMEDIES: Mapping[str, str] = {
    "invalid_grant": (
        "Refresh token: it was revoked, lay unused for six months, or its consent screen is still in Testing (seven "
        "days); make a new one. Service account: the key was deleted or disabled in the Cloud console, or this "
        "machine's clock is wrong. Put the new credentials, then `postbacks doctor`."
    ),
    "invalid_client": "client_id and client_secret do not belong together, or the OAuth client was deleted.",
    "unauthorized_client": "The refresh token was made with another OAuth client, or the service account is disabled.",
    "invalid_scope": "Enable the API of the chosen route in the Cloud project and ask for consent to its scope.",
    "access_denied": "The consent was refused; ask for it again with a user who may manage the Ads account.",
    "deleted_client": "The OAuth client was deleted; create a new one and a new refresh token.",
    "disabled_client": "The OAuth client is disabled; enable it in the Cloud console.",
    "unsupported_grant_type": "GOOGLE_TOKEN_URL does not answer as Google's token endpoint does; correct it.",
    "invalid_request": "GOOGLE_TOKEN_URL does not answer as Google's token endpoint does; correct it.",
}
"""OAuth error → what an operator does about it. None of them passes by itself."""

_PASSING = frozenset({"server_error", "temporarily_unavailable", "internal_failure"})


def token_request(target: GoogleTarget, now: datetime) -> Request:
    """The POST that fetches an access token for the route of the destination.

    Raises `ValueError` where the service account's private key cannot be read; `check_private_key` finds that when
    the destination is saved.
    """
    credentials = target.credentials
    if credentials.service_account:
        assertion = _assertion(credentials.service_account, SCOPES[target.options.route], now)
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    else:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh_token or "",
            "client_id": credentials.client_id or "",
            "client_secret": credentials.client_secret or "",
        }
    return Request("POST", _token_url(target), _FORM, urlencode(form).encode())


def check_private_key(account: ServiceAccount) -> None:
    """Raises `ValueError`, with words for the operator, where the key cannot sign."""
    try:
        _signer(account)
    except (ValueError, TypeError):
        raise ValueError(
            "the private_key of service_account is not a readable RSA key; paste the JSON file whole, "
            "with its line breaks"
        ) from None


def read_token(answer: Answer) -> Token | Verdict:
    """The token, or why there is none: HOLD where a person must act, RETRY where it passes."""
    if isinstance(answer, TransportFailure):
        return transport_verdict(answer)
    body = json_object(answer)
    if answer.status == 200:
        return _token(body or {})
    if answer.status == 429 or answer.status >= 500:
        return _passing(answer)
    code = text((body or {}).get("error"))
    if not code or code in _PASSING:
        return _passing(answer)
    return Verdict(
        Kind.HOLD,
        code=code,
        message=words((body or {}).get("error_description")) or f"Google's token endpoint answered {code}.",
        remedy=REMEDIES.get(code, "Google refuses to issue an access token; check the credentials, then doctor."),
    )


def _token_url(target: GoogleTarget) -> str:
    """GOOGLE_TOKEN_URL; where it is only scheme and host, like the other settings of its kind, with Google's path."""
    url = target.bases[OAUTH_URL]
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + urlsplit(AUDIENCE).path


def _token(body: Mapping[str, Any]) -> Token | Verdict:
    value = text(body.get("access_token"))
    if not value:
        return Verdict(Kind.RETRY, code="no_access_token", message="Google's token endpoint answered without a token.")
    try:
        life = float(body.get("expires_in", _USUAL_LIFE))
    except (TypeError, ValueError):
        life = _USUAL_LIFE
    return Token(value, life)


def _passing(answer: Response) -> Verdict:
    return Verdict(
        Kind.RETRY,
        code=f"http_{answer.status}",
        message=f"Google's token endpoint answered {answer.status}.",
        throttled=answer.status == 429,
    )


def _signer(account: ServiceAccount) -> crypt.RSASigner:
    return _load_signer(account.private_key, account.private_key_id)


def _assertion(account: ServiceAccount, scope: str, now: datetime) -> str:
    issued = int(now.timestamp())
    claims = {
        "iss": account.client_email,
        "scope": scope,
        "aud": AUDIENCE,
        "iat": issued,
        "exp": issued + ASSERTION_SECONDS,
    }
    return _sign(_signer(account), claims).decode()
