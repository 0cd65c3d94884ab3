"""Access tokens: fetched once for all who need one, renewed early, and once more when a platform refuses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from postbacks.catalog import Destination
from postbacks.domain.model import Verdict
from postbacks.outbound.http import Sender
from postbacks.platforms.base import Token

EARLY_SECONDS = 300.0
"""A token that lives less than this is renewed before it is used (sheet google, 3)."""

_Key = tuple[str, str, int]


class Tokens:
    """The tokens of one process, by destination and version of its configuration."""

    def __init__(self, sender: Sender, clock: Callable[[], datetime]) -> None:
        self._sender = sender
        self._clock = clock
        self._known: dict[_Key, tuple[float, str]] = {}
        self._locks: dict[_Key, asyncio.Lock] = {}

    async def token(self, destination: Destination, *, refused: str | None = None) -> str | Verdict | None:
        """A token; `None` where the platform needs none; the verdict (HOLD or RETRY) where there is none to be had.

        `refused`: a token that the platform just turned down; it is not handed out again.
        """
        request = destination.adapter.token_request(destination.target, self._clock())
        if request is None:
            return None
        key = (destination.app, destination.name, destination.version)
        async with self._locks.setdefault(key, asyncio.Lock()):
            until, value = self._known.get(key, (0.0, ""))
            if value and value != refused and until - EARLY_SECONDS > time.monotonic():
                return value
            answer = await self._sender.send(request, seconds=destination.adapter.max_wait.total_seconds())
            token = destination.adapter.read_token(answer)
            if not isinstance(token, Token):
                return token
            self._known[key] = (time.monotonic() + max(token.expires_in, EARLY_SECONDS + 1), token.value)
            return token.value
