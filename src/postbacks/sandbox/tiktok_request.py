"""Rules 1 to 11 of the sheet tiktok: path, token, source, and a body that holds events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from postbacks.sandbox.base import Seen
from postbacks.sandbox.tiktok_errors import (
    TOKEN_EMPTY,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    Refusal,
    no_permission,
    parameter,
)

MAX_EVENTS = 1_000
SOURCES = ("web", "app", "offline", "crm")

_PATH = re.compile(r"/open_api/v([0-9]+(?:\.[0-9]+)*)/event/track/")
_PIXEL_CODE = re.compile(r"[A-Z0-9]{20}")
_NUMBER = re.compile(r"[0-9]{6,25}")
_BAD_SOURCE_ID = parameter("Invalid value for event_source_id: not a valid string.")

Switches = Mapping[str, Any]


@dataclass(slots=True)
class Call:
    """A request while the rules take it apart; each rule may rely on what the ones before it found."""

    seen: Seen
    params: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    source: str = ""
    source_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)


def rule_1(call: Call, switches: Switches) -> Refusal | None:
    match = _PATH.fullmatch(call.seen.path)
    if match is None:
        return Refusal(40400, "Route not found.", 404 if switches["rule_1_http_404"] else 200)
    if match[1] != "1.3" and switches["rule_1_version"]:
        return Refusal(40051, "Invalid API version.")
    return None


def rule_2(call: Call, switches: Switches) -> Refusal | None:
    if call.seen.method == "POST":
        return None
    if switches["rule_2_http_405"]:
        return Refusal(40400, "Method not allowed.", 405)
    return Refusal(40400, "Route not found.")


def rule_3(call: Call, _: Switches) -> Refusal | None:
    call.token = call.seen.headers.get("access-token", "").strip()
    return None if call.token else TOKEN_EMPTY


def rule_4(call: Call, switches: Switches) -> Refusal | None:
    if call.token in switches["expired_tokens"]:
        return TOKEN_EXPIRED
    return None if call.token in switches["tokens"] else TOKEN_REVOKED


def rule_6(call: Call, switches: Switches) -> Refusal | None:
    kind = call.seen.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and switches["rule_6"]:
        return parameter("Invalid JSON: the Content-Type must be application/json.")
    try:
        params = orjson.loads(call.seen.body)
    except orjson.JSONDecodeError:
        params = None
    if not isinstance(params, dict):
        return parameter("Invalid JSON: the body must be an object.")
    call.params = params
    return None


def rule_7(call: Call, _: Switches) -> Refusal | None:
    source = call.params.get("event_source")
    if source not in SOURCES:
        return parameter(f"Invalid value for event_source: must be one of {', '.join(SOURCES)}.")
    call.source = str(source)
    return None


def rule_8(call: Call, switches: Switches) -> Refusal | None:
    source_id = call.params.get("event_source_id")
    if not isinstance(source_id, str) or not source_id:
        return _BAD_SOURCE_ID
    shape = _PIXEL_CODE if call.source == "web" else _NUMBER
    # The ids of apps and of event sets look alike; only those that the switch names can be told apart.
    if not shape.fullmatch(source_id) or switches["source_kinds"].get(source_id, call.source) != call.source:
        return _BAD_SOURCE_ID
    call.source_id = source_id
    return None


def rule_9(call: Call, switches: Switches) -> Refusal | None:
    return None if call.source_id in switches["tokens"][call.token] else no_permission(call.source_id)


def rule_10(call: Call, switches: Switches) -> Refusal | None:
    if call.source != "app" or not switches["rule_10"] or call.source_id in switches["allowed_apps"]:
        return None
    return Refusal(40118, "The account is not in the allow list for app events.")


def rule_11(call: Call, switches: Switches) -> Refusal | None:
    data = call.params.get("data")
    if not isinstance(data, list):
        return parameter("Invalid value for data: not a valid list.")
    if len(data) > MAX_EVENTS and switches["rule_11_max"]:
        return Refusal(40061, f"Invalid batch size: data holds more than {MAX_EVENTS} events.")
    if not data and switches["rule_11_empty"]:
        return parameter("Invalid value for data: must not be empty.")
    for index, event in enumerate(data):
        if not isinstance(event, dict):
            return parameter(f"Invalid value for data.{index}: not a valid object.")
    call.events = data
    return None


REQUEST_RULES: tuple[Callable[[Call, Switches], Refusal | None], ...] = (
    rule_1,
    rule_2,
    rule_3,
    rule_4,
    # Rule 5 is the faults, which come before all rules so that they hit whatever is sent.
    rule_6,
    rule_7,
    rule_8,
    rule_9,
    rule_10,
    rule_11,
)
