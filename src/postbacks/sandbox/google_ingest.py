"""Route B, `events:ingest`: all or nothing, every violation listed (sheet google, 2.2 and rules 26 to 41)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from postbacks.sandbox.base import Reply, Seen
from postbacks.sandbox.google_destinations import account_violations, action_violations, permitted
from postbacks.sandbox.google_errors import Violation, data_manager, request_id, unreadable
from postbacks.sandbox.google_fields import INGEST_EVENTS
from postbacks.sandbox.google_json import parse, seconds
from postbacks.sandbox.google_outcomes import settle
from postbacks.sandbox.google_state import CLICK_FIELDS, State, Switches, first_match
from postbacks.sandbox.iso4217 import CURRENCIES

MOST_EVENTS = 2000
MOST_USER_IDENTIFIERS = 10
_MISSING = "REQUIRED_FIELD_MISSING"
_HEX = re.compile(r"([0-9a-fA-F]{2})*", re.ASCII)


def ingest(seen: Seen, state: State, switches: Switches) -> Reply:
    """Answers one request whose token is good. Nothing is stored unless everything in it is."""
    body, problems = parse(seen.body, seen.headers.get("content-type", ""), INGEST_EVENTS)
    if problems:  # Rule 29
        return unreadable(problems)
    destinations, events = body.get("destinations", []), body.get("events", [])
    found = account_violations(destinations, switches)
    if not found and not permitted(destinations, switches):  # Rule 28
        return data_manager(403, "PERMISSION_DENIED", "PERMISSION_DENIED")
    found += action_violations(destinations, seen.at, switches)
    # Beyond the limit the events are not looked at: an endless list must not keep the simulator busy.
    if not events or len(events) > MOST_EVENTS:  # Rule 30
        found.append(Violation("events", "TOO_MANY_EVENTS" if events else _MISSING))
        return data_manager(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", found)
    check = EventCheck(body, seen.at, switches)
    for index, event in enumerate(events):
        reasons = check.violations(event)
        if reasons:
            path = f"events.events[{index}]"
            found += [Violation(path + field, reason) for field, reason in reasons]
    found += _encoding(body, events)
    found += _poisoned(events, switches)
    if found:  # Rule 39
        return data_manager(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", found)
    answer: dict[str, Any] = {"requestId": request_id("sandbox-")}
    warnings = _warnings(events)
    if warnings:
        answer["fieldWarnings"] = warnings
    if not body.get("validateOnly", False):
        settle(answer["requestId"], body, check.times, seen.at, state, switches)
    elif not switches["rule_41"]:  # Rule 41
        del answer["requestId"]
    return Reply(200, answer)


class EventCheck:
    """Rules 33 to 38, event by event. `times` gathers the Unix seconds of the events looked at."""

    def __init__(self, body: Mapping[str, Any], now: float, switches: Switches) -> None:
        self.times: list[float] = []
        self._references = {one["reference"] for one in body.get("destinations", []) if one.get("reference")}
        self._check_references = switches["rule_33"] and bool(body.get("destinations"))
        self._earliest = now - switches["past_days"] * 86_400 if switches["rule_34"] else float("-inf")
        self._latest = now + switches["future_seconds"] if switches["rule_34"] else float("inf")
        self._one_click_id = switches["rule_36"]
        self._transaction_id = switches["rule_37"]
        self._encoding = "" if "encryptionInfo" in body else body.get("encoding", "")

    def violations(self, event: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Field (with its dot) and reason of each; an empty list for a good event, which is the fast path."""
        found: list[tuple[str, str]] = []
        named = event.get("destinationReferences")
        if named and self._check_references and not self._references.issuperset(named):  # Rule 33
            found.append((".destination_references", "INVALID_DESTINATION"))
        moment = event.get("eventTimestamp")
        at = 0.0 if moment is None else seconds(moment) or 0.0
        self.times.append(at)
        if moment is None:  # Rule 34
            found.append((".event_timestamp", _MISSING))
        elif not self._earliest <= at <= self._latest:  # Rule 34
            found.append((".event_timestamp", "EVENT_TIME_INVALID"))
        if event.get("eventSource", "EVENT_SOURCE_UNSPECIFIED") == "EVENT_SOURCE_UNSPECIFIED":  # Rule 35
            found.append((".event_source", _MISSING))
        identifiers = event.get("adIdentifiers", {})
        clicks = 0
        for name in CLICK_FIELDS:
            if identifiers.get(name):
                clicks += 1
        if not clicks and not _other_identifier(event, identifiers):  # Rule 36
            found.append((".ad_identifiers", "NO_IDENTIFIERS_PROVIDED"))
        if clicks > 1 and self._one_click_id:  # Rule 36
            found.append((".ad_identifiers", "INVALID_EVENT"))
        if not event.get("transactionId") and self._transaction_id:  # Rule 37
            found.append((".transaction_id", _MISSING))
        currency = event.get("currency")
        if currency and currency not in CURRENCIES:  # Rule 37
            found.append((".currency", "INVALID_CURRENCY_CODE"))
        if "userData" in event:
            found += _user_data(event["userData"].get("userIdentifiers", []), self._encoding)
        return found


def _other_identifier(event: Mapping[str, Any], identifiers: Mapping[str, Any]) -> bool:
    devices = (identifiers.get("landingPageDeviceInfo", {}), event.get("eventDeviceInfo", {}))
    return bool(
        identifiers.get("sessionAttributes")
        or event.get("userData", {}).get("userIdentifiers")
        or any(device.get("ipAddress") for device in devices)
    )


def _user_data(identifiers: Sequence[Mapping[str, Any]], encoding: str) -> list[tuple[str, str]]:
    """Rule 38, but for the encoding itself, which is one for the whole request."""
    path = ".user_data.user_identifiers"
    found: list[tuple[str, str]] = []
    if len(identifiers) > MOST_USER_IDENTIFIERS:
        found.append((path, "TOO_MANY_USER_IDENTIFIERS"))
    for k, identifier in enumerate(identifiers):
        address = identifier.get("address", {})
        hashes = (identifier.get("emailAddress"), identifier.get("phoneNumber"))
        for digest in (*hashes, address.get("givenName"), address.get("familyName")):
            reason = _bad_hash(digest, encoding) if digest else ""
            if reason:
                found.append((f"{path}[{k}]", reason))
    return found


def _bad_hash(digest: str, encoding: str) -> str:
    if encoding == "HEX":
        if not _HEX.fullmatch(digest):
            return "INVALID_HEX_ENCODING"
        return "" if len(digest) == 64 else "INVALID_SHA256_FORMAT"
    if encoding == "BASE64":
        try:
            raw = base64.b64decode(digest, validate=True)
        except (binascii.Error, ValueError):
            return "INVALID_BASE64_ENCODING"
        return "" if len(raw) == 32 else "INVALID_SHA256_FORMAT"
    return ""


def _encoding(body: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[Violation]:
    if body.get("encoding", "ENCODING_UNSPECIFIED") != "ENCODING_UNSPECIFIED":
        return []
    if any("userData" in event for event in events):  # Rule 38
        return [Violation("encoding", _MISSING)]
    return []


def _poisoned(events: Sequence[Mapping[str, Any]], switches: Switches) -> list[Violation]:
    """The switches `poison` and `event_errors`: refusals on demand."""
    refusals = dict(switches["event_errors"])
    if switches["poison"]:
        refusals[switches["poison"]] = "INVALID_EVENT"
    if not refusals:
        return []
    found: list[Violation] = []
    for index, event in enumerate(events):
        reason = first_match(refusals, orjson.dumps(event).decode())
        if reason:
            found.append(Violation(f"events.events[{index}]" if switches["poison_index"] else "events", reason))
    return found


def _warnings(events: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Cart data with a braid is taken with a warning (sheet google, 1.4)."""
    reason = "WARNING_REASON_CART_DATA_NOT_SUPPORTED_WITH_GBRAID_OR_WBRAID"
    return [
        {"field": f"events.events[{index}].cart_data", "reason": reason, "description": "cart data was ignored"}
        for index, event in enumerate(events)
        if "cartData" in event and not event.get("adIdentifiers", {}).get("gclid")
    ]
