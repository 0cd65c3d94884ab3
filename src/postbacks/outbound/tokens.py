"""Access tokens: fetched once for all who need one, renewed early, and once more when a platform refuses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from postbacks.catalog import Destination
from postbacks.domain.model import Kind, Verdict
from postbacks.outbound.http import Sender
from postbacks.platforms.base import Token

EARLY_SECONDS = 300.0
"""A token that lives less than this is renewed before it is used (sheet google, 3)."""

SHORTEST_USE = 1.0
"""Seconds for which a token that lives less than `EARLY_SECONDS` from the start is used before it is renewed."""

RENEW_AGAIN = 10.0
"""Seconds until a renewal that failed is tried again, while the old token still works."""

_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class _Known:
    """A token in use. Times are of the monotonic clock."""

    value: str = field(repr=False)
    renew_at: float
    ends_at: float


class Tokens:
    """The tokens of one process, by destination and version of its configuration."""

    def __init__(self, sender: Sender, clock: Callable[[], datetime]) -> None:
        self._sender = sender
        self._clock = clock
        self._known: dict[_Key, _Known] = {}
        self._locks: dict[_Key, asyncio.Lock] = {}

    async def token(self, destination: Destination, *, refused: str | None = None) -> str | Verdict | None:
        """A token; `None` where the platform needs none; the verdict (HOLD or RETRY) where there is none to be had.

        `refused`: a token that the platform just turned down; it is not handed out again.
        """
        key = (destination.app, destination.name, destination.version)
        known = self._fresh(key, refused)
        if known is not None:
            return known
        async with self._locks.setdefault(key, asyncio.Lock()):
            # Whoever waited for the lock finds what the first one fetched.
            return self._fresh(key, refused) or await self._fetch(destination, key, refused)

    def _fresh(self, key: _Key, refused: str | None) -> str | None:
        known = self._known.get(key)
        if known is None or known.value == refused or known.renew_at <= time.monotonic():
            return None
        return known.value

    async def _fetch(self, destination: Destination, key: _Key, refused: str | None) -> str | Verdict | None:
        request = destination.adapter.token_request(destination.target, self._clock())
        if request is None:
            return None
        answer = await self._sender.send(request, seconds=destination.adapter.max_wait.total_seconds())
        token = destination.adapter.read_token(answer)
        now = time.monotonic()
        if isinstance(token, Token):
            renew_at = now + max(token.expires_in - EARLY_SECONDS, SHORTEST_USE)
            self._known[key] = _Known(token.value, renew_at, now + token.expires_in)
            return token.value
        known = self._known.get(key)
        if token.kind is Kind.RETRY and known and known.value != refused and known.ends_at > now:
            # Renewing early is what leaves time for a token endpoint that is down.
            self._known[key] = replace(known, renew_at=min(now + RENEW_AGAIN, known.ends_at))
            return known.value
        return token
