"""Who is signed in, and that a form came from one of our own pages.

The cookie holds a random id, signed with its time. There is no session table: any API process that has the same
key can read it. The admin token is part of the key, so a new token ends every session.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

from fastapi import Request, Response
from itsdangerous import BadSignature, TimestampSigner

COOKIE = "postbacks_session"
GUEST_COOKIE = "postbacks_guest"
"""For the sign-in form alone. Its own name, because a browser that follows a link from elsewhere withholds a strict
cookie: were there one name, the guest's cookie would then replace that of somebody who is signed in."""
LIFETIME = 12 * 3600
"""Seconds for which a sign-in is good."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser. `fresh`: its cookie is yet to be written."""

    id: str
    signed_in: bool
    fresh: bool = False


class Sessions:
    """Reads and writes sessions for one signing key and admin token."""

    def __init__(self, signing_key: bytes, admin_token: str, *, secure: bool = False) -> None:
        """`secure`: the browser speaks https, and shall show its cookies to nobody else."""
        self._secure = secure
        self._admin_token = admin_token.encode()
        self._key = hmac.digest(signing_key, b"dashboard\0" + self._admin_token, sha256)

    def operator(self, request: Request) -> Session | None:
        """The session of somebody who signed in; `None` where there is none, or it is forged or too old."""
        return self._read(request, signed_in=True)

    def guest(self, request: Request) -> Session:
        """The session of the sign-in form, a fresh one where there is none."""
        return self._read(request, signed_in=False) or self.new(signed_in=False)

    def new(self, *, signed_in: bool) -> Session:
        return Session(secrets.token_urlsafe(24), signed_in=signed_in, fresh=True)

    def write(self, response: Response, session: Session) -> None:
        """Puts the session into its cookie."""
        response.set_cookie(
            _cookie(session.signed_in),
            self._signer(session.signed_in).sign(session.id).decode(),
            max_age=LIFETIME,
            path="/",
            httponly=True,
            samesite="strict",
            secure=self._secure,
        )

    def csrf(self, session: Session) -> str:
        """The token that every form of this session carries."""
        return hmac.new(self._key, b"csrf\0" + session.id.encode(), sha256).hexdigest()

    def csrf_good(self, session: Session, token: str) -> bool:
        return not session.fresh and hmac.compare_digest(self.csrf(session).encode(), token.encode())

    def admin_token_good(self, token: str) -> bool:
        """Whether it is the admin token. An empty one is never good, whatever the setting says."""
        return bool(self._admin_token) and hmac.compare_digest(self._admin_token, token.encode())

    def _read(self, request: Request, *, signed_in: bool) -> Session | None:
        try:
            text = self._signer(signed_in).unsign(request.cookies.get(_cookie(signed_in), ""), max_age=LIFETIME)
        except BadSignature:
            return None
        return Session(text.decode(), signed_in=signed_in)

    def _signer(self, signed_in: bool) -> TimestampSigner:
        return TimestampSigner(self._key, salt="operator" if signed_in else "guest", digest_method=sha256)


def _cookie(signed_in: bool) -> str:
    return COOKIE if signed_in else GUEST_COOKIE
