"""A strict stand-in for Reddit's Conversions API v3 (sheet reddit)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, ClassVar

import orjson

from postbacks.sandbox import reddit_rules as rules
from postbacks.sandbox.base import Fault, Reply, Seen, Simulator, Stored

MAX_EVENTS = 1_000
TEST_EVENTS_PER_SECOND = 10
DEDUPLICATION_WINDOW = 48 * 3600.0
"""Seconds in which a repeat is recognised (rule 31)."""
DIAGNOSTICS_LOG = 1_000
"""How many diagnostics are remembered, newest last."""

_PATH = re.compile(r"/api/v3/pixels/([A-Za-z0-9_]+)/conversion_events")
_DEFAULT_AGENT = re.compile(
    r"(?:python-requests|python-httpx|python-urllib|python|aiohttp|java|curl|go-http-client)/", re.I
)
_BEARER = re.compile(r"bearer +(\S.*)", re.I)
_THROTTLED = "Too many requests/events within timeframe."
_UNAVAILABLE_PAGE = b"<html><head><title>503</title></head><body><h1>503 Service Unavailable</h1></body></html>"


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """`E(code, message)` of the sheet."""
    return Reply(status, {"error": {"code": status, "message": message}}, headers or {})


class RedditSimulator(Simulator):
    """`POST /api/v3/pixels/{pixel_id}/conversion_events` by the validation rules of the sheet, in its order.

    Enforced always: 1 (path and known pixel; a v2.0 path is 404 too), 3 (no library's User-Agent), 4-7 (credentials,
    pixel, scope), 8 (rate), 10 (JSON object), 11 (unknown keys, every level), 12 (JSON types; `null` is no type of the
    schema, `item_count` is an int32), 13, 14 (1 to 1,000 events), 15, 16, 18-26 (each event; the answer lists every
    problem of every event), 29 (one bad event refuses all), 30 (answer, repeats included), 31 (repeats within 48 h
    raise `copies` of the first and the counter `duplicates`), 33 (`warnings` of the stored event, and the list
    `diagnostics`; they also note what 2a advises against: a custom name on a standard type or equal to one,
    `event_source_url` outside WEBSITE).

    Switchable, because the sheet marks them as guesses (default): `rule_2` POST only (on), `rule_9` content type (on),
    `rule_17` not more than 5 minutes ahead (on), `rule_27` absolute URLs (on), `rule_28` no empty `click_id` (off),
    `rule_32` an event without a match key is refused (off: stored with a warning, and counted in `unmatched`).

    Other switches: `tokens` ({token: [pixel ids]}), `token_scopes` ({token: [scopes]}; a token listed here is an OAuth
    user token and needs `adsconversions`), `pixels` (further pixel ids that exist but that no token may write to),
    `requests_per_second` and `events_per_second` (per pixel and clock second; 0 is no limit; with a `test_id` 10
    events), `throttle_header` (what a 429 carries: `RateLimit`, nothing, or with `"x"` the pair `X-RateLimit-Remaining`
    and `-Reset`: sheet 7), `error_fields` (off: a validation error is the
    first reason as a bare message, as v3 answered in 2025: sheet 8), `plain_auth_errors` (401 and 403 as plain text:
    sheet 12, gotcha 5), `poison` (events whose JSON contains this text are refused), `poison_index` (off: that refusal
    names no event).

    Faults (34): `throttle` (429 for quota), `user_agent_limited` (429), `unavailable` (500), `token_revoked` (401),
    `wrong_permission` (403), `http_503` (HTML), `processed_zero` and `invalid_in_200` (200, but nothing is stored: the
    words say 0 events, or `invalid_events` stands beside them: 8). Cuts, hangs and slow answers are the common ones.

    Not simulated: whether a click ID exists or has expired, since Reddit says neither (12, gotcha 10); the
    page-against-API de-duplication by session (6), since there is no pixel here; cutting `order_id` at 100 characters
    (2a) and the Event Testing view (9), since neither shows in an answer (`test_code` of a stored event says with
    which `test_id` it came); the longest body and `conversion_id` (unpublished); v2.0 (the real one still answers, but
    traffic to it is a mistake); reading endpoints such as `last_fired_at` (9: their answers are not in the sheet), so
    that they are 404.
    """

    name: ClassVar[str] = "reddit"
    fault_kinds: ClassVar[frozenset[str]] = frozenset(
        {
            "throttle",
            "user_agent_limited",
            "unavailable",
            "token_revoked",
            "wrong_permission",
            "http_503",
            "processed_zero",
            "invalid_in_200",
        }
    )
    switch_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "rule_2": True,
            "rule_9": True,
            "rule_17": True,
            "rule_27": True,
            "rule_28": False,
            "rule_32": False,
            "tokens": {"sandbox-reddit-token": ["a2_sandboxpixel"]},
            "token_scopes": {},
            "pixels": ["a2_otherpixel"],
            "requests_per_second": 1_000,
            "events_per_second": 10_000,
            "throttle_header": True,
            "error_fields": True,
            "plain_auth_errors": False,
            "poison": "",
            "poison_index": True,
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.diagnostics: deque[dict[str, Any]] = deque(maxlen=DIAGNOSTICS_LOG)
        """Warnings about accepted events: `{"rule", "at", "pixel_id", "conversion_id", "field", "message"}`."""
        self.duplicates = 0
        """Arrivals that repeated an earlier conversion within 48 hours."""
        self.unmatched = 0
        """Accepted events that nobody can be found for."""
        self._serial = count()
        self._rates: dict[tuple[str, bool], tuple[int, int, int]] = {}
        """Pixel id and whether it is a test → clock second, requests and events in it."""

    @classmethod
    def demo_destination(cls) -> dict[str, Any]:
        return {
            "platform": "reddit",
            "enabled": True,
            "credentials": {"pixel_id": "a2_sandboxpixel", "access_token": "sandbox-reddit-token"},
            "options": {},
            "events": {
                "install": {"name": "Install"},
                "registration": {"name": "SIGN_UP"},
                "level_up": {"name": "LevelUp"},
                "purchase": {"name": "PURCHASE"},
            },
        }

    def reset(self) -> None:
        super().reset()
        self.diagnostics.clear()
        self.duplicates = self.unmatched = 0
        self._rates.clear()

    def answer(self, seen: Seen, fault: Fault | None) -> Reply:
        path = _PATH.fullmatch(seen.path)
        pixel = path[1] if path else ""
        if fault is not None:
            return self._faulty(fault, pixel)
        if not self._exists(pixel):  # 1
            return _error(404, "Not Found")
        if self.switches["rule_2"] and seen.method != "POST":  # 2
            return _error(405, "Method Not Allowed")
        agent = seen.headers.get("user-agent", "").strip()
        if not agent or _DEFAULT_AGENT.match(agent):  # 3
            return _error(429, "Your user agent was automatically ratelimited.")
        refused = self._refused_credentials(seen, pixel)
        if refused is not None:
            return refused
        body = _json_object(seen.body)
        events, is_test = _extent(body)
        if not self._within_rate(pixel, events, is_test, seen.at):  # 8
            return self._throttled(1)
        content_type = seen.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.switches["rule_9"] and content_type != "application/json":  # 9
            return _error(400, "Bad Request")
        if body is None:  # 10
            return _error(400, 'JSON error "syntax error"')
        malformed = rules.schema_error(body)
        if malformed is not None:  # 11, 12
            return _error(400, malformed)
        if not 1 <= events <= MAX_EVENTS:  # 13, 14
            return _error(400, "Bad Request")
        return self._take(pixel, body["data"], seen.at)

    def _exists(self, pixel: str) -> bool:
        return pixel in self.switches["pixels"] or any(pixel in own for own in self.switches["tokens"].values())

    def _refused_credentials(self, seen: Seen, pixel: str) -> Reply | None:
        bearer = _BEARER.fullmatch(seen.headers.get("authorization", "").strip())
        if bearer is None:  # 4
            return self._unauthorized(401, "No bearer token provided")
        token = bearer[1]
        pixels = self.switches["tokens"].get(token)
        if pixels is None:  # 5
            return self._unauthorized(401, "UNAUTHORIZED")
        if pixel not in pixels:  # 6
            return self._unauthorized(403, f"You're not authorized to post conversions to Pixel ID {pixel}.")
        if "adsconversions" not in self.switches["token_scopes"].get(token, ["adsconversions"]):  # 7
            return self._unauthorized(403, "Missing adsconversions scope to post conversions to Pixel.")
        return None

    def _unauthorized(self, status: int, message: str) -> Reply:
        if not self.switches["plain_auth_errors"]:
            return _error(status, message)
        text = b"Authorization Required" if status == 401 else message.encode()
        return Reply(status, text, content_type="text/plain")

    def _within_rate(self, pixel: str, events: int, is_test: bool, at: float) -> bool:
        second, requests, total = self._rates.get((pixel, is_test), (0, 0, 0))
        if second != int(at):
            requests = total = 0
        requests, total = requests + 1, total + events
        self._rates[pixel, is_test] = (int(at), requests, total)
        per_second = self.switches["events_per_second"]
        if is_test and per_second:
            per_second = min(per_second, TEST_EVENTS_PER_SECOND)
        return not _exceeds(requests, self.switches["requests_per_second"]) and not _exceeds(total, per_second)

    def _throttled(self, seconds: int) -> Reply:
        if not self.switches["throttle_header"]:
            return _error(429, _THROTTLED)
        if self.switches["throttle_header"] == "x":
            return _error(429, _THROTTLED, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(seconds)})
        return _error(429, _THROTTLED, {"RateLimit": f'"ads-conversion-events-rps";r=0;t={seconds}'})

    def _faulty(self, fault: Fault, pixel: str) -> Reply:
        match fault.kind:
            case "throttle":
                return self._throttled(max(1, round(fault.seconds)))
            case "user_agent_limited":
                return _error(429, "Your user agent was automatically ratelimited.")
            case "unavailable":
                return _error(500, "The service is currently unavailable. No conversion events were processed.")
            case "token_revoked":
                return self._unauthorized(401, "UNAUTHORIZED")
            case "wrong_permission":
                return self._unauthorized(403, f"You're not authorized to post conversions to Pixel ID {pixel}.")
            case "processed_zero":
                return Reply(200, {"data": {"message": "Successfully processed 0 conversion events."}})
            case "invalid_in_200":
                invalid = [{"error_message": "event_at timestamp must be less than 168h0m0s old", "event": {}}]
                message = "Successfully processed 1000 conversion events."
                return Reply(200, {"data": {"message": message}, "invalid_events": invalid})
            case _:
                return Reply(503, _UNAVAILABLE_PAGE, content_type="text/html")

    def _take(self, pixel: str, data: dict[str, Any], at: float) -> Reply:
        """Rules 15 to 33 for all events together."""
        events: list[rules.Event] = data["events"]
        problems: list[dict[str, str]] = []
        invalid = 0
        poison = self.switches["poison"].encode()
        for index, event in enumerate(events):
            found = rules.event_problems(event, at, self.switches)
            poisoned = bool(poison) and poison in orjson.dumps(event)
            if poisoned and self.switches["poison_index"]:
                found.append(("metadata", "metadata: invalid metadata"))
            if found or poisoned:
                invalid += 1
                root = f"$.data.events[{index}]"
                problems.extend({"field": f"{root}.{path}", "message": message} for path, message in found)
        if invalid:  # 29
            return self._invalid(invalid, problems)
        for event in events:
            self._store(pixel, event, data.get("test_id", ""), at)
        return Reply(200, {"data": {"message": f"Successfully processed {len(events)} conversion events."}})  # 30

    def _invalid(self, count: int, problems: list[dict[str, str]]) -> Reply:
        """`V(n, fields)` of the sheet."""
        message = f"There were {count} invalid conversion events. None were processed."
        if not problems:
            return _error(400, message)
        if not self.switches["error_fields"]:
            return _error(400, _without_path(problems[0]["message"]))
        return Reply(400, {"error": {"code": 400, "message": message, "fields": problems}})

    def _store(self, pixel: str, event: rules.Event, test_id: str, at: float) -> None:
        kind = event["type"]
        metadata = event.get("metadata") or {}
        custom = kind.get("custom_event_name", "") if kind["tracking_type"] == "CUSTOM" else ""
        conversion_id = metadata.get("conversion_id", "")
        value = metadata.get("value")
        # Without a conversion_id Reddit recognises nothing here, so that each arrival is a conversion of its own.
        distinct = conversion_id or f"#{next(self._serial)}"
        warnings = rules.warnings(event)
        stored = Stored(
            key=conversion_id,
            name=custom or kind["tracking_type"],
            click_id=rules.click_id(event),
            occurred_at=event["event_at"] / 1000,
            value=None if value is None else float(value),
            currency=metadata.get("currency"),
            raw=event,
            received_at=at,
            test_code=test_id,
            warnings=tuple(f"rule {rule}: {field}: {message}" for rule, field, message in warnings),
        )
        identity = (pixel, kind["tracking_type"], custom, event["action_source"], distinct)
        if not self.remember(identity, stored, DEDUPLICATION_WINDOW):  # 31
            self.duplicates += 1
        self.unmatched += any(rule == "32" for rule, _, _ in warnings)
        for rule, field, message in warnings:
            note = {"rule": rule, "at": at, "pixel_id": pixel, "conversion_id": conversion_id}
            self.diagnostics.append({**note, "field": field, "message": message})


def _without_path(message: str) -> str:
    """`action_source: invalid action_source: web` as v3 first put it: `invalid action_source: web` (sheet 8)."""
    path, _, reason = message.partition(": ")
    return message if not reason or " " in path else reason


def _exceeds(count: int, limit: int) -> bool:
    return bool(limit) and count > limit


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _extent(body: dict[str, Any] | None) -> tuple[int, bool]:
    """How many events a body holds, valid or not, and whether it is a test."""
    data = (body or {}).get("data")
    if not isinstance(data, dict):
        return 0, False
    events = data.get("events")
    return (len(events) if isinstance(events, list) else 0), "test_id" in data
