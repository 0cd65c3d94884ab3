"""What the simulated Google remembers between requests, each part bounded."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from postbacks.sandbox.base import Stored

Switches = Mapping[str, Any]

SCOPE_DATA_MANAGER = "https://www.googleapis.com/auth/datamanager"
SCOPE_ADS = "https://www.googleapis.com/auth/adwords"

CLICK_FIELDS = ("gclid", "gbraid", "wbraid")
HOUR = 3600
DAY = 86_400
YOUNG_CLICK = 6 * HOUR
"""Seconds for which a click, or a new conversion action, is too recent (sheet google, 4.5)."""
OLD_CLICK = 90 * DAY
"""Seconds after which a click is never imported (sheet google, 4.5)."""

_DECODABLE = re.compile(r"[A-Za-z0-9._=-]+", re.ASCII)
_TOKENS_KEPT = 10_000
_REQUESTS_KEPT = 50_000


def decodable(click_id: str) -> bool:
    """Whether it could be a click ID at all: URL-safe base64, as all of Google's are."""
    return _DECODABLE.fullmatch(click_id) is not None


def first_match(rules: Mapping[str, str], *texts: str) -> str:
    """The value of the first key that occurs in one of the texts, or nothing."""
    for part, value in rules.items():
        if any(part in one for one in texts):
            return value
    return ""


def lookback(action: Mapping[str, Any]) -> float:
    """Seconds between click and conversion that a conversion action allows (sheet google, 4.5)."""
    return float(action.get("lookback_days", 90) * DAY)


def has_access(switches: Switches, login: str, operating: str) -> bool:
    """Whether a caller who comes through `login` may act for `operating`; an empty `accounts` lets everybody."""
    accounts = switches["accounts"]
    return not accounts or login in accounts.get(operating, ())


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. All times are Unix seconds."""

    client: str
    """The OAuth client or service account: stands for its Cloud project, to which quotas belong."""
    scopes: frozenset[str]
    expires_at: float


@dataclass(slots=True)
class Outcome:
    """What became of one request for one of its destinations."""

    destination: dict[str, Any]
    count: int = 0
    """All events that were sent to this destination, good or bad."""
    failures: dict[str, list[int]] = field(default_factory=dict)
    """Reason to the indexes, within the request, of the events refused for it."""


@dataclass(slots=True)
class Ingested:
    """One accepted request of route B."""

    at: float
    outcomes: list[Outcome]


class Window:
    """Counts uses over the last `length` seconds."""

    def __init__(self, length: float) -> None:
        self._length = length
        self._used: deque[tuple[float, int]] = deque()
        self._sum = 0

    def take(self, now: float, limit: int, amount: int = 1) -> bool:
        """Counts `amount` and says yes, or says no because `limit` would be passed. A limit of 0 is no limit."""
        if limit <= 0:
            return True
        while self._used and self._used[0][0] <= now - self._length:
            self._sum -= self._used.popleft()[1]
        if self._sum + amount > limit:
            return False
        self._used.append((now, amount))
        self._sum += amount
        return True


@dataclass(slots=True)
class Quotas:
    """The windows of one project. A day is rolling (sheet google, 1.6)."""

    minute: Window = field(default_factory=lambda: Window(60))
    day: Window = field(default_factory=lambda: Window(DAY))
    ads_day: Window = field(default_factory=lambda: Window(DAY))


class State:
    """Tokens, requests, quotas, and the index of clicks over `stored` (the simulator's own record)."""

    def __init__(self, stored: OrderedDict[tuple[str, ...], Stored]) -> None:
        self.stored = stored
        self.tokens: dict[str, Token] = {}
        self.requests: dict[str, Ingested] = {}
        self._by_click: dict[tuple[str, str, float], str] = {}
        self._quotas: dict[str, Quotas] = {}

    def clear(self) -> None:
        """Forgets requests and quotas. Tokens stay good: clients cache them and would only fetch others."""
        self.requests.clear()
        self._by_click.clear()
        self._quotas.clear()

    def quotas(self, client: str) -> Quotas:
        return self._quotas.setdefault(client, Quotas())

    def add_token(self, text: str, token: Token) -> None:
        self.tokens[text] = token
        _drop_oldest(self.tokens, _TOKENS_KEPT)

    def add_request(self, request_id: str, request: Ingested) -> None:
        self.requests[request_id] = request
        _drop_oldest(self.requests, _REQUESTS_KEPT)

    def key_of_click(self, action: str, click_id: str, occurred_at: float) -> str | None:
        """The key under which this click at this moment was already counted for this action."""
        return self._by_click.get((action, click_id, occurred_at))

    def add(self, conversion: Stored) -> None:
        """Records a conversion that is new under its action and key."""
        self.stored[conversion.name, conversion.key] = conversion
        if conversion.click_id:
            self._by_click[conversion.name, conversion.click_id, conversion.occurred_at] = conversion.key

    def trim(self, keep: int) -> None:
        """Drops the oldest beyond `keep`, together with what the index of clicks knows of them."""
        for _ in range(len(self.stored) - keep):
            _, old = self.stored.popitem(last=False)
            self._by_click.pop((old.name, old.click_id, old.occurred_at), None)


def _drop_oldest(items: dict[str, Any], keep: int) -> None:
    if len(items) <= keep:
        return
    for key in list(islice(items, keep // 10 + 1)):
        del items[key]
