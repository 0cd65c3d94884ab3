"""A strict stand-in for X's Conversion API (sheet x)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, ClassVar
from uuid import uuid4

import orjson

from postbacks.sandbox import x_rules as rules
from postbacks.sandbox.base import Fault, Reply, Seen, Simulator, Stored
from postbacks.sandbox.x_auth import (
    SANDBOX_USER,
    UNAUTHENTICATED,
    Nonces,
    Refusal,
    authenticate,
    no_account,
    no_ads_api,
)

MAX_CONVERSIONS = 500
DEDUPLICATION_WINDOW = 48 * 3600.0
"""Seconds in which a repeat is recognised as one (rule 32)."""
RATE_WINDOW = 900
"""Seconds over which events are counted (rule 11)."""
NOTES_LOG = 1_000
"""How many notes on ignored keys are remembered, newest last."""

_DEMO_APP = "28000001"
_PATH = re.compile(r"/(11|12)/measurement/conversions/([A-Za-z0-9]+)")
_PAGE = b"<html><head><title>X</title></head><body><h1>Something went wrong</h1></body></html>"
_SIMPLE_FAULTS = {
    "cancelled_408": (408, "CANCELLED_REQUEST", "The request was cancelled"),
    "locked_423": (423, "LOCK_ACQUISITION_TIMEOUT", "Could not acquire a lock on the account"),
    "throttle": (429, "TOO_MANY_REQUESTS", "Too many requests"),
    "internal_500": (500, "INTERNAL_ERROR", "An internal error occurred"),
    "over_capacity_503": (503, "OVER_CAPACITY", "The service is over capacity"),
    "token_revoked": (401, UNAUTHENTICATED.code, UNAUTHENTICATED.message),
    "wrong_permission": (403, no_ads_api(_DEMO_APP).code, no_ads_api(_DEMO_APP).message),
}
_MISCOUNTS = ("processed_zero", "processed_fewer")


class XSimulator(Simulator):
    """`POST /12/measurement/conversions/{pixel_id}` by the validation rules of the sheet, in its order.

    Enforced always: 1 (path; `/11/` gets an `x-api-warn` header), 2 (method), 3 (authenticated at all; a token wins
    over a signature), 6 (OAuth 1.0a, our own base string, no JSON body in it; parameters beyond the seven are
    refused), 9, 10 (app, user, pixel), 11 (60,000 events per account and 15 minutes; every answer carries
    `x-rate-limit-*`), 12-14 (JSON object, 1 to 500 conversions), 15, 16, 18-27 (all errors of all conversions in one
    list, without an index; 404 if one is NOT_FOUND, else 400), 29 (unknown keys are ignored; `warnings` of the stored
    conversion and the list `notes` name them), 30 (one error refuses all), 31 (answer with `debug_id`), 34 (app
    conversions: no route).

    Switchable, because the sheet marks them as guesses (default): `rule_4` no bearer token (on), `rule_5` the pixel
    token is known and issued for the pixel (on), `timestamp_tolerance` of rule 7 in seconds (300), `rule_8` no nonce
    twice (on), `rule_17` not more than 5 minutes ahead (on), `rule_17_age` not older than 90 days (off), `rule_28`
    shape of `twclid` (on), `rule_32` a repeat within 48 h is counted again (on: it raises `copies`, `duplicates` and
    `counted`; off: not `counted`; the answer is the same).

    Other switches: `lenient_time` (16: milliseconds may be missing; off), `conversion_timestamp` (15: integer
    milliseconds instead of `conversion_time`; off), `oauth_body_hash` (further signed parameters are tolerated: open
    question 9; off), `ipv4_only` (2: `ip_address` is dotted IPv4; on), `field_types` (2: texts are texts,
    `identifiers` and `contents` arrays of objects; on), `rate_limit` (events; 0 is no limit), `accounts` ({pixel:
    account}; a pixel not listed does not exist), `events` ({event id: note}; either `tw-{pixel}-{event}`, whose bare
    form works too, or bare), `pixel_tokens` ({token: [pixels]}), `oauth_consumers` ({key: {secret, app_id, ads_api}}),
    `oauth_tokens` ({token: {secret, consumer_key, user_id, accounts}}), `poison` (conversions whose JSON contains this
    text are refused, as always without an index).

    Faults (33): `cancelled_408`, `locked_423`, `throttle` (429 until `seconds` from now), `internal_500`,
    `over_capacity_503` (`retry-after` of `seconds`), `html_502`, `html_404`, `token_revoked` (401), `wrong_permission`
    (403), `no_account` (404), `processed_zero` and `processed_fewer` (200; nothing is counted, or all but the last).

    Not simulated: HTTPS (1), since a simulator stands on the loopback; whether a click ID exists, since X does not say
    (12, gotcha 10); de-duplication against the pixel (6), since there is none here; the account-level rate headers (7:
    promised for GET only); `event_name` instead of an event id (2: for the official tag container only);
    `restricted_data_use` (10: its place is unknown); the App Conversion API (its specification is unread); reading
    endpoints such as `authenticated_user_access` (11: their answers are not in the sheet).
    """

    name: ClassVar[str] = "x"
    fault_kinds: ClassVar[frozenset[str]] = frozenset(
        {*_SIMPLE_FAULTS, "html_502", "html_404", "no_account", *_MISCOUNTS}
    )
    switch_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "rule_4": True,
            "rule_5": True,
            "rule_8": True,
            "rule_17": True,
            "rule_17_age": False,
            "rule_28": True,
            "rule_32": True,
            "lenient_time": False,
            "conversion_timestamp": False,
            "oauth_body_hash": False,
            "ipv4_only": True,
            "field_types": True,
            "timestamp_tolerance": 300,
            "rate_limit": 60_000,
            "accounts": {"o1abc": "18ce000000a"},
            "events": {
                "tw-o1abc-o1d01": "install",
                "tw-o1abc-o1r02": "registration",
                "tw-o1abc-o1l03": "level_up",
                "tw-o1abc-o1p07": "purchase",
            },
            "pixel_tokens": {"sandbox-x-token": ["o1abc"]},
            "oauth_consumers": {
                "sandbox-x-consumer": {"secret": "sandbox-x-consumer-secret", "app_id": _DEMO_APP, "ads_api": True}
            },
            "oauth_tokens": {
                "sandbox-x-access": {
                    "secret": "sandbox-x-access-secret",
                    "consumer_key": "sandbox-x-consumer",
                    "user_id": SANDBOX_USER,
                    "accounts": ["18ce000000a"],
                }
            },
            "poison": "",
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.notes: deque[dict[str, Any]] = deque(maxlen=NOTES_LOG)
        """Keys that X ignored: `{"at", "pixel_id", "keys"}` per request (rule 29)."""
        self.duplicates = 0
        """Arrivals that repeated an earlier conversion within 48 hours."""
        self.counted = 0
        """What the advertiser would see: repeats included, unless `rule_32` is off."""
        self._serial = count()
        self._nonces = Nonces()
        self._rates: dict[str, tuple[int, int]] = {}
        """Account → start of its window in Unix seconds, events in it."""

    @classmethod
    def demo_destination(cls) -> dict[str, Any]:
        return {
            "platform": "x",
            "enabled": True,
            "credentials": {"pixel_id": "o1abc", "pixel_token": "sandbox-x-token"},
            "options": {},
            "events": {
                "install": {"event_id": "tw-o1abc-o1d01"},
                "registration": {"event_id": "tw-o1abc-o1r02"},
                "level_up": {"event_id": "tw-o1abc-o1l03"},
                "purchase": {"event_id": "tw-o1abc-o1p07"},
            },
        }

    def reset(self) -> None:
        super().reset()
        self.notes.clear()
        self.duplicates = self.counted = 0
        self._nonces.clear()
        self._rates.clear()

    def answer(self, seen: Seen, fault: Fault | None) -> Reply:
        if fault is not None and fault.kind in ("html_502", "html_404"):
            # Such a page comes from a proxy in front of X, which knows nothing of rates or versions.
            return Reply(int(fault.kind[-3:]), _PAGE, content_type="text/html")
        path = _PATH.fullmatch(seen.path)
        account = self._account(path[2]) if path else None
        reply = self._faulty(fault, account) if fault is not None and fault.kind not in _MISCOUNTS else None
        if reply is None:
            reply = self._answer(seen, path[2] if path else None, account, fault.kind if fault else "")
        headers = {"x-current-api-version": "12", **self._rate_headers(account, seen.at)}
        if path and path[1] == "11":
            headers["x-api-warn"] = "This version of the API is not current"
        if reply.status == 429:
            headers["x-rate-limit-remaining"] = "0"
        if fault is not None and fault.kind == "throttle":
            headers["x-rate-limit-reset"] = str(int(seen.at + fault.seconds))
        return Reply(reply.status, reply.body, {**headers, **reply.headers}, reply.content_type)

    def _answer(self, seen: Seen, pixel: str | None, account: str | None, miscount: str) -> Reply:
        if pixel is None:  # 1, 34
            return _error(404, "ROUTE_NOT_FOUND", "The requested resource could not be found", "")
        if seen.method != "POST":  # 2
            return _error(405, "METHOD_NOT_ALLOWED", "Method not allowed", "")
        caller = authenticate(seen, pixel, self.switches, self._nonces)
        if isinstance(caller, Refusal):  # 3-9
            return _error(caller.status, caller.code, caller.message, "")
        if account is None or (caller.accounts is not None and account not in caller.accounts):  # 10
            refusal = no_account(caller.user_id, account or pixel)
            return _error(refusal.status, refusal.code, refusal.message, "", account)
        body = _json_object(seen)
        conversions = (body or {}).get("conversions")
        total = len(conversions) if isinstance(conversions, list) else 0
        if not self._within_rate(account, total, seen.at):  # 11
            return _error(429, "TOO_MANY_REQUESTS", "Too many requests", "", account)
        if body is None:  # 12
            return _error(400, "INVALID_PARAMETER", "Request body is not valid JSON", "", account)
        if not isinstance(conversions, list) or not conversions:  # 13
            return _error(400, "MISSING_PARAMETER", "conversions is required", "conversions", account)
        if total > MAX_CONVERSIONS:  # 14
            message = f"Conversion count limit is {MAX_CONVERSIONS}"
            return _error(400, "INVALID_PARAMETER", message, "conversions", account)
        errors = self._errors(conversions, pixel, account, seen.at)
        if errors:  # 30
            status = 404 if any(one["code"] == "NOT_FOUND" for one in errors) else 400
            return Reply(status, {"errors": errors, "request": {"params": {"account_id": account}}})
        counted = {"processed_zero": 0, "processed_fewer": total - 1}.get(miscount, total)
        self._store(conversions[:counted], body.keys() - {"conversions"}, pixel, seen.at)
        processed = {"conversions_processed": counted, "debug_id": str(uuid4())}
        return Reply(200, {"request": {"params": {"account_id": account}}, "data": processed})  # 31

    def _account(self, pixel: str) -> str | None:
        account = self.switches["accounts"].get(pixel)
        return None if account is None else str(account)

    def _faulty(self, fault: Fault, account: str | None) -> Reply:
        if fault.kind == "no_account":
            refusal = no_account(SANDBOX_USER, account or "unknown")
            return _error(refusal.status, refusal.code, refusal.message, "", account)
        status, code, message = _SIMPLE_FAULTS[fault.kind]
        headers = {"retry-after": str(round(fault.seconds))} if fault.kind == "over_capacity_503" else {}
        return _error(status, code, message, "", None if status == 401 else account, headers)

    def _within_rate(self, account: str, events: int, at: float) -> bool:
        start, used = self._window(account, at)
        limit = self.switches["rate_limit"]
        if limit and used + events > limit:
            return False
        self._rates[account] = (start, used + events)
        return True

    def _window(self, account: str, at: float) -> tuple[int, int]:
        start, used = self._rates.get(account, (0, 0))
        return (start, used) if at < start + RATE_WINDOW else (int(at), 0)

    def _rate_headers(self, account: str | None, at: float) -> dict[str, str]:
        start, used = self._window(account or "", at)
        limit = self.switches["rate_limit"]
        if not limit:
            # Without a limit there is nothing to use up, but the headers still come with every answer.
            limit, used = self.switch_defaults["rate_limit"], 0
        return {
            "x-rate-limit-limit": str(limit),
            "x-rate-limit-remaining": str(max(0, limit - used)),
            "x-rate-limit-reset": str(start + RATE_WINDOW),
        }

    def _event_ids(self, pixel: str, account: str) -> rules.EventIds:
        known: set[str] = set()
        for event_id in self.switches["events"]:
            tagged = event_id.split("-") if event_id.startswith("tw-") else None
            if tagged is None or len(tagged) != 3:
                known |= {event_id, f"tw-{pixel}-{event_id}"}
            elif self._account(tagged[1]) == account:
                known |= {event_id, tagged[2]}
        return rules.EventIds(pixel, frozenset(known))

    def _errors(self, conversions: list[Any], pixel: str, account: str, at: float) -> list[rules.Problem]:
        """Rules 15 to 28 for all conversions together."""
        ids = self._event_ids(pixel, account)
        poison = self.switches["poison"].encode()
        errors: list[rules.Problem] = []
        for conversion in conversions:
            errors += rules.conversion_problems(conversion, ids, at, self.switches)
            if poison and poison in orjson.dumps(conversion):
                errors.append({"code": "INVALID_PARAMETER", "message": "Invalid parameter", "parameter": ""})
        return errors

    def _store(self, conversions: list[rules.Conversion], root_keys: set[str], pixel: str, at: float) -> None:
        ignored = set(root_keys)
        for conversion in conversions:
            event_id = conversion["event_id"]
            unknown = rules.unknown_keys(conversion)
            ignored |= unknown
            conversion_id = conversion.get("conversion_id", "")
            value = conversion.get("value")
            stored = Stored(
                key=str(conversion_id),
                name=event_id,
                click_id=rules.click_id(conversion),
                occurred_at=rules.occurred_at(conversion),
                value=None if value is None else float(value),
                # X takes US dollars where no currency is given (sheet x, 2).
                currency=conversion.get("price_currency") or (None if value is None else "USD"),
                raw=conversion,
                received_at=at,
                warnings=tuple(f"rule 29: {key}: ignored" for key in sorted(unknown)),
            )
            # Without a conversion_id nothing can be recognised, so that each arrival is a conversion of its own.
            distinct = stored.key or f"#{next(self._serial)}"
            identity = (pixel, event_id.rpartition("-")[2], distinct)
            is_repeat = not self.remember(identity, stored, DEDUPLICATION_WINDOW)
            self.duplicates += is_repeat
            self.counted += not (is_repeat and not self.switches["rule_32"])  # 32
        if ignored:  # 29
            self.notes.append({"at": at, "pixel_id": pixel, "keys": sorted(ignored)})


def _error(
    status: int,
    code: str,
    message: str,
    parameter: str,
    account: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """`ERR(code, message, parameter)` of the sheet; without an account before authentication succeeded."""
    params = {} if account is None else {"account_id": account}
    error = {"code": code, "message": message, "parameter": parameter}
    return Reply(status, {"errors": [error], "request": {"params": params}}, headers or {})


def _json_object(seen: Seen) -> dict[str, Any] | None:
    if seen.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return None
    try:
        parsed = orjson.loads(seen.body)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None
