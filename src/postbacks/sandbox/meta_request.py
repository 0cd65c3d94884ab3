"""Rules 1 to 9 of the sheet meta: path, token, dataset, and a body that holds events."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qsl

import orjson

from postbacks.sandbox.base import Seen
from postbacks.sandbox.meta_errors import (
    GRAPH_METHOD,
    NO_PERMISSION,
    PROOF_ABSENT,
    PROOF_WRONG,
    RETIRED_VERSION,
    TOKEN_ABSENT,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    UNKNOWN_OBJECT,
    UNKNOWN_PATH,
    GraphError,
    invalid,
)

MAX_EVENTS = 1_000

_PATH = re.compile(r"/(v[0-9]+\.0)/([0-9]+)/events")

Switches = Mapping[str, Any]


@dataclass(slots=True)
class Call:
    """A request while the rules take it apart; each rule may rely on what the ones before it found."""

    seen: Seen
    params: dict[str, Any] | None
    """Top level of the body, JSON or form; `None` where it is neither."""
    version: str = ""
    dataset: str = ""
    token: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answer."""


def read_params(seen: Seen) -> dict[str, Any] | None:
    """The top level of a JSON, form or multipart body; `None` if it cannot be read (sheet meta, 1)."""
    content_type = seen.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return dict(parse_qsl(seen.body.decode("utf-8", "replace"), keep_blank_values=True))
    if kind == "multipart/form-data":
        return _read_multipart(content_type, seen.body)
    try:
        params = orjson.loads(seen.body)
    except orjson.JSONDecodeError:
        return None
    return params if isinstance(params, dict) else None


def _read_multipart(content_type: str, body: bytes) -> dict[str, Any] | None:
    message = message_from_bytes(b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n" + body)
    if not message.is_multipart():
        return None
    params = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            params[name] = payload.decode("utf-8", "replace")
    return params


def rule_1(call: Call, _: Switches) -> GraphError | None:
    match = _PATH.fullmatch(call.seen.path)
    if match is None:
        return UNKNOWN_PATH
    call.version, call.dataset = match.groups()
    return None


def rule_2(call: Call, switches: Switches) -> GraphError | None:
    if call.seen.method == "POST" or not switches["rule_2"]:
        return None
    method = call.seen.method.lower()
    return GraphError(100, 33, message=f"Unsupported {method} request.", type=GRAPH_METHOD)


def rule_3(call: Call, switches: Switches) -> GraphError | None:
    if call.version in switches["versions"]:
        return None
    if switches["rule_3"]:
        return RETIRED_VERSION
    call.headers["X-Ad-Api-Version-Warning"] = (
        f"The call has been auto-upgraded from {call.version}, which is no longer supported."
    )
    return None


def rule_4(call: Call, switches: Switches) -> GraphError | None:
    call.token = _token(call)
    if not call.token:
        return TOKEN_ABSENT if switches["rule_4"] else TOKEN_INVALID
    if call.token in switches["expired_tokens"]:
        return TOKEN_EXPIRED
    return None if call.token in switches["tokens"] else TOKEN_INVALID


def _token(call: Call) -> str:
    scheme, _, value = call.seen.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    value = call.seen.query.get("access_token") or (call.params or {}).get("access_token", "")
    return value if isinstance(value, str) else ""


def rule_5(call: Call, switches: Switches) -> GraphError | None:
    secret = switches["app_secret"]
    if not secret:
        return None
    proof = call.seen.query.get("appsecret_proof") or (call.params or {}).get("appsecret_proof")
    if not proof:
        return PROOF_ABSENT
    expected = hmac.new(secret.encode(), call.token.encode(), hashlib.sha256).hexdigest()
    return None if proof == expected else PROOF_WRONG


def rule_6(call: Call, switches: Switches) -> GraphError | None:
    if call.dataset in switches["tokens"][call.token]:
        return None
    return NO_PERMISSION if switches["rule_6_scope"] else UNKNOWN_OBJECT


def rule_8(call: Call, _: Switches) -> GraphError | None:
    if call.params is None:
        return invalid("Invalid body", "The body is neither a JSON object nor a form.")
    data = _decoded(call.params.get("data"))
    if not isinstance(data, list):
        return invalid("Invalid data", "data must be an array of events.")
    events = [_decoded(one) for one in data]
    if not all(isinstance(one, dict) for one in events):
        return invalid("Invalid data", "Each element of data must be an object, or a string that holds one.")
    call.events = events
    return None


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def rule_9(call: Call, switches: Switches) -> GraphError | None:
    if 1 <= len(call.events) <= MAX_EVENTS or not switches["rule_9"]:
        return None
    return invalid("Invalid number of events", f"data must hold 1 to {MAX_EVENTS} events.")


REQUEST_RULES: tuple[Callable[[Call, Switches], GraphError | None], ...] = (
    rule_1,
    rule_2,
    rule_3,
    rule_4,
    rule_5,
    rule_6,
    # Rule 7 is the faults, which come before all rules so that they hit whatever is sent.
    rule_8,
    rule_9,
)
