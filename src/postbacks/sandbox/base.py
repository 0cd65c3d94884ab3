"""What all simulators share: a record of what arrived, fault switches, and how a request is answered."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import orjson
from aiohttp import web

REQUEST_LOG = 1_000
"""How many requests each simulator remembers, newest last."""

LONG_BODY = 16_384
"""Characters above which a body counts as long; only the newest `LONG_BODIES` long ones are remembered whole."""

LONG_BODIES = 50

COMMON_SWITCHES: Mapping[str, Any] = {"keep": 200_000}
"""Switches of every simulator. `keep`: how many conversions are remembered before the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived. `path` is what follows the simulator's prefix and starts with a slash."""

    method: str
    path: str
    url: str
    """The whole URL as the client addressed it, query included (OAuth signatures cover it)."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """Unix seconds by the simulator's clock."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `body` is bytes as they are, or anything that JSON can express."""

    status: int
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


@dataclass(slots=True)
class Stored:
    """One conversion that the simulated platform counted."""

    key: str
    """The field on which the platform de-duplicates (`event_id`, `transactionId`, `conversion_id`, …)."""
    name: str
    """Event name, conversion action or event id, in the platform's terms."""
    click_id: str
    occurred_at: float
    """Unix seconds."""
    value: float | None
    currency: str | None
    raw: dict[str, Any]
    """The event as it was sent."""
    received_at: float
    copies: int = 1
    """How often it arrived; more than 1 means that the platform dropped (or, on X, counted) repeats."""
    test_code: str = ""
    """The test event code that it came with; non-empty means that it also stands in the platform's test view."""
    warnings: tuple[str, ...] = ()
    """What the platform advises against but takes, each with the number of the sheet's rule."""


_STORED_FIELDS = tuple(one.name for one in fields(Stored))


@dataclass(slots=True)
class Fault:
    """Something to do wrong. `times` requests are hit, then the simulator behaves again.

    Kinds that every simulator knows: `hang` (no answer for `seconds`, then the connection is cut), `slow`
    (a good answer after `seconds`), `cut_before` (connection cut, nothing stored), `cut_after` (stored, then
    cut), `trickle` (headers, then the body a byte at a time, then cut), `garbage` (200 with bytes that are
    not JSON), `html` (`status`, 502 by default, with an HTML page), `status` (bare `status` with an empty
    body). All other kinds belong to one platform and are listed in its `fault_kinds`.
    """

    kind: str
    times: int = 1
    seconds: float = 5.0
    status: int = 502
    match: str = ""
    """Only requests whose body contains this text are hit."""


COMMON_FAULTS = frozenset({"hang", "slow", "cut_before", "cut_after", "trickle", "garbage", "html", "status"})


class Simulator(ABC):
    """One platform. Subclasses validate by the numbered rules of their sheet and fill `self.stored`."""

    name: ClassVar[str]
    fault_kinds: ClassVar[frozenset[str]]
    """Faults of this platform beyond the common ones."""
    switch_defaults: ClassVar[Mapping[str, Any]]
    """Everything that can be switched, with its default: `rule_18` for a rule the sheet marks as uncertain, …"""

    def __init__(self) -> None:
        self.stored: OrderedDict[tuple[str, ...], Stored] = OrderedDict()
        self.requests: deque[dict[str, Any]] = deque(maxlen=REQUEST_LOG)
        self.faults: list[Fault] = []
        self.switches: dict[str, Any] = self.defaults()
        self._long: deque[dict[str, Any]] = deque()
        self.now = time.time
        """The simulator's clock; tests may replace it."""

    @abstractmethod
    def answer(self, seen: Seen, fault: Fault | None) -> Reply:
        """Validates, stores, answers. `fault` is one of `fault_kinds`, or `None`."""

    @classmethod
    @abstractmethod
    def demo_destination(cls) -> dict[str, Any]:
        """The body of `PUT …/destinations/{name}` that this simulator accepts with its switches untouched."""

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """A fresh copy of every switch with its default."""
        return deepcopy({**COMMON_SWITCHES, **cls.switch_defaults})

    def reset(self) -> None:
        """Forgets everything: events, requests, faults, switches."""
        self.stored.clear()
        self.requests.clear()
        self._long.clear()
        self.faults.clear()
        self.switches = self.defaults()

    def add_fault(self, fault: Fault) -> None:
        """Raises `ValueError` for a kind that this simulator does not know."""
        if fault.kind not in COMMON_FAULTS | self.fault_kinds:
            known = ", ".join(sorted(COMMON_FAULTS | self.fault_kinds))
            raise ValueError(f"{self.name} has no fault {fault.kind!r}; it knows: {known}")
        self.faults.append(fault)

    def set_switches(self, values: Mapping[str, Any]) -> None:
        """Raises `ValueError` for a switch that this simulator does not have."""
        for name in values:
            if name not in self.switches:
                known = ", ".join(sorted(self.switches))
                raise ValueError(f"{self.name} has no switch {name!r}; it has: {known}")
        self.switches.update(values)

    def received(self) -> list[dict[str, Any]]:
        """All stored conversions, oldest first. `raw` is the stored object itself, not a copy."""
        oldest_first = sorted(self.stored.values(), key=lambda one: one.received_at)
        return [{name: getattr(one, name) for name in _STORED_FIELDS} for one in oldest_first]

    def remember(self, key: tuple[str, ...], one: Stored, window: float | None = None) -> bool:
        """Stores a conversion, or counts a copy of the one under the same key. True if it is a new one.

        `window` is the platform's de-duplication window in seconds, counted from the first arrival; `None`
        stands for ever. A key that was forgotten because of the switch `keep` counts as new.
        """
        known = self.stored.get(key)
        if known is not None:
            if window is None or one.received_at - known.received_at <= window:
                known.copies += 1
                known.test_code = known.test_code or one.test_code
                return False
            self.stored[*key, repr(known.received_at)] = self.stored.pop(key)
        self.stored[key] = one
        self._forget()
        return True

    def _forget(self) -> None:
        excess = len(self.stored) - int(self.switches["keep"])
        for _ in range(excess):
            self.stored.popitem(last=False)

    def _log(self, entry: dict[str, Any]) -> None:
        self.requests.append(entry)
        if len(entry["body"]) <= LONG_BODY:
            return
        self._long.append(entry)
        if len(self._long) > LONG_BODIES:
            old = self._long.popleft()
            old["body"] = old["body"][:LONG_BODY] + "…"

    def _take_fault(self, seen: Seen) -> Fault | None:
        for fault in self.faults:
            if fault.match and fault.match.encode() not in seen.body:
                continue
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            return fault
        return None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one HTTP request, with the next fault if one is due."""
        seen = Seen(
            method=request.method,
            path="/" + request.match_info["tail"],
            url=str(request.url),
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
            at=self.now(),
        )
        fault = self._take_fault(seen)
        entry = {
            "method": seen.method,
            "path": seen.path,
            "query": dict(seen.query),
            "headers": dict(seen.headers),
            "body": seen.body.decode("utf-8", "replace"),
            "at": seen.at,
            "fault": fault.kind if fault else None,
        }
        self._log(entry)
        if fault is None or fault.kind not in COMMON_FAULTS:
            reply = self.answer(seen, fault)
        else:
            common = await self._misbehave(request, seen, fault)
            if isinstance(common, web.StreamResponse):
                return common
            reply = common
        self._forget()
        payload = reply.payload()
        entry["status"] = reply.status
        entry["answer"] = payload.decode("utf-8", "replace")
        return web.Response(status=reply.status, body=payload, headers=reply.headers, content_type=reply.content_type)

    async def _misbehave(self, request: web.Request, seen: Seen, fault: Fault) -> Reply | web.StreamResponse:
        match fault.kind:
            case "hang":
                await asyncio.sleep(fault.seconds)
                return self._cut(request)
            case "slow":
                await asyncio.sleep(fault.seconds)
                return self.answer(seen, None)
            case "cut_before":
                return self._cut(request)
            case "cut_after":
                self.answer(seen, None)
                return self._cut(request)
            case "trickle":
                response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "4096"})
                await response.prepare(request)
                deadline = time.monotonic() + fault.seconds
                # A client that has had enough hangs up first, which is what this fault is for.
                with suppress(ConnectionError):
                    while time.monotonic() < deadline:
                        await response.write(b" ")
                        await asyncio.sleep(0.05)
                self._cut(request)
                return response
            case "garbage":
                return Reply(200, b"\x00\xff{not json", content_type="application/octet-stream")
            case "html":
                page = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
                return Reply(fault.status, page, content_type="text/html")
            case _:
                return Reply(fault.status)

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        """Closes the connection without an answer; the response returned goes nowhere."""
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
