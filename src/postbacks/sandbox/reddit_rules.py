"""What Reddit's Conversions API v3 demands of a body (sheet reddit, 2a and validation rules 11, 12, 15-28, 32, 33).

Pure functions on parsed JSON. The rule numbers in the comments are those of the sheet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from postbacks.sandbox.iso4217 import CURRENCIES

Event: TypeAlias = dict[str, Any]
Problem: TypeAlias = tuple[str, str]
"""Path below the event (`metadata.value`) and message."""

MAX_AGE = 168 * 3600
MAX_AHEAD = 300

ACTION_SOURCES = frozenset({"WEBSITE", "APP", "OTHER", "PHYSICAL_STORE"})
TRACKING_TYPES = frozenset(
    {
        "PAGE_VISIT",
        "VIEW_CONTENT",
        "SEARCH",
        "ADD_TO_CART",
        "ADD_TO_WISHLIST",
        "PURCHASE",
        "LEAD",
        "SIGN_UP",
        "CUSTOM",
    }
)

_UUID = re.compile(r"(?:[0-9]+\.)?[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)
_WITHOUT_VALUE = frozenset({"PAGE_VISIT", "VIEW_CONTENT", "SEARCH"})
_WITHOUT_COUNT = _WITHOUT_VALUE | {"LEAD", "SIGN_UP"}
_MATCH_KEYS = ("uuid", "email", "phone_number", "external_id", "idfa", "aaid")


# --- rules 11 and 12: keys and JSON types, as data (sheet reddit, 2a) ---


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array all of whose items have one shape."""

    item: Spec


Shape: TypeAlias = Mapping[str, "Spec"]
Spec: TypeAlias = "str | ListOf | Shape"

BODY: Shape = {
    "data": {
        "events": ListOf(
            {
                "event_at": "integer",
                "action_source": "string",
                "type": {"tracking_type": "string", "custom_event_name": "string"},
                "click_id": "string",
                "event_source_url": "string",
                "referrer_url": "string",
                "metadata": {
                    "conversion_id": "string",
                    "order_id": "string",
                    "currency": "string",
                    "value": "number",
                    "item_count": "int32",
                    "products": ListOf(
                        {
                            "id": "string",
                            "name": "string",
                            "category": "string",
                            "quantity": "integer",
                            "item_price": "number",
                        }
                    ),
                },
                "user": {
                    "email": "string",
                    "phone_number": "string",
                    "external_id": "string",
                    "ip_address": "string",
                    "user_agent": "string",
                    "idfa": "string",
                    "aaid": "string",
                    "uuid": "string",
                    "screen_dimensions": {"width": "integer", "height": "integer"},
                    "data_processing_options": {"modes": ListOf("string"), "country": "string", "region": "string"},
                },
            }
        ),
        "test_id": "string",
        "partner": "string",
    }
}
"""Every key that v3 knows, with its JSON type."""

_JSON_TYPES = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


class _UnknownKey(Exception):
    """Leaves the walk at once: rule 11 stands before rule 12 wherever in the body the two are."""


def schema_error(body: Event) -> str | None:
    """The message of the first unknown key (rule 11), else of the first wrong type (rule 12), else `None`."""
    try:
        wrong = _wrong_type(body, BODY, "")
    except _UnknownKey as unknown:
        return f'JSON error "unknown field" on field "{unknown.args[0]}"'
    if wrong is None:
        return None
    return f'JSON error "unexpected type {wrong[0]}" on field "{wrong[1]}"'


def _wrong_type(value: Any, spec: Spec, key: str) -> tuple[str, str] | None:
    """JSON type and key of the first wrong type below `value`; raises `_UnknownKey`."""
    if isinstance(spec, str):
        return None if _fits(value, spec) else (_JSON_TYPES.get(type(value), "null"), key)
    if isinstance(spec, ListOf):
        if type(value) is not list:
            return _JSON_TYPES.get(type(value), "null"), key
        wrong = None
        for item in value:
            found = _wrong_type(item, spec.item, key)
            wrong = wrong or found
        return wrong
    if type(value) is not dict:
        return _JSON_TYPES.get(type(value), "null"), key
    wrong = None
    for name, inner in value.items():
        inner_spec = spec.get(name)
        if inner_spec is None:
            raise _UnknownKey(name)
        if inner_spec == "string" and type(inner) is str:
            continue
        found = _wrong_type(inner, inner_spec, name)
        wrong = wrong or found
    return wrong


def _fits(value: Any, name: str) -> bool:
    # JSON's true is an int in Python, so the exact type is asked for.
    if name == "string":
        return type(value) is str
    if name == "number":
        return type(value) is float or type(value) is int
    bits = 31 if name == "int32" else 63
    return type(value) is int and -(2**bits) <= value < 2**bits


# --- rules 15 to 28 and 32: one event ---


def event_problems(event: Event, at: float, switches: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with one event whose keys and types are right, in the sheet's order.

    `at` is the simulator's clock in Unix seconds; `switches` holds `rule_17`, `rule_27`, `rule_28`, `rule_32`.
    """
    problems: list[Problem] = []
    _check_time(event, at, bool(switches["rule_17"]), problems)
    source = event.get("action_source")
    if source is None:  # 18
        problems.append(("action_source", "missing action_source"))
    elif source not in ACTION_SOURCES:  # 19
        problems.append(("action_source", f"action_source: invalid action_source: {source}"))
    kind = event.get("type") or {}
    tracking_type = kind.get("tracking_type", "")
    if tracking_type not in TRACKING_TYPES:  # 20
        message = f"type.tracking_type: invalid tracking_type: {tracking_type}"
        problems.append(("type.tracking_type", message))
    elif tracking_type == "CUSTOM" and not 1 <= len(kind.get("custom_event_name", "")) <= 64:  # 21
        message = "type.custom_event_name: required for CUSTOM and limited to 64 characters"
        problems.append(("type.custom_event_name", message))
    user = event.get("user") or {}
    if "uuid" in user and _UUID.fullmatch(user["uuid"]) is None:  # 22
        problems.append(("user.UUID", "user.UUID: invalid UUID: UUID must be RFC-4122 compliant"))
    if "metadata" in event:
        _check_metadata(event["metadata"], problems)
    if user:
        _check_user(user, problems)
    if switches["rule_27"]:  # 27
        for field in ("event_source_url", "referrer_url"):
            if field in event and not _is_absolute(event[field]):
                problems.append((field, f"{field}: invalid URL"))
    if switches["rule_28"] and event.get("click_id") == "":  # 28
        problems.append(("click_id", "click_id: must not be empty"))
    if switches["rule_32"] and not has_match_key(event):  # 32
        problems.append(("user", "user: no match key"))
    return problems


def _check_time(event: Event, at: float, refuse_future: bool, problems: list[Problem]) -> None:
    if "event_at" not in event:  # 15
        problems.append(("event_at", "missing event_at"))
        return
    age = at - event["event_at"] / 1000
    if age >= MAX_AGE:  # 16
        problems.append(("event_at", "event_at timestamp must be less than 168h0m0s old"))
    elif refuse_future and age < -MAX_AHEAD:  # 17
        problems.append(("event_at", "event_at timestamp must not be in the future"))


def _check_metadata(metadata: Event, problems: list[Problem]) -> None:
    for field in ("value", "item_count"):  # 23
        if metadata.get(field, 0) < 0:
            problems.append((f"metadata.{field}", f"metadata.{field}: must not be negative"))
    if "currency" in metadata and metadata["currency"] not in CURRENCIES:  # 24
        message = f"metadata.currency: invalid currency: {metadata['currency']}"
        problems.append(("metadata.currency", message))
    for index, product in enumerate(metadata.get("products", ())):
        path = f"metadata.products[{index}]"
        if not product.get("id"):  # 25
            problems.append((f"{path}.id", f"{path}.id: missing id"))
        for field in ("quantity", "item_price"):  # 23
            if product.get(field, 0) < 0:
                problems.append((f"{path}.{field}", f"{path}.{field}: must not be negative"))


def _check_user(user: Event, problems: list[Problem]) -> None:
    modes = user.get("data_processing_options", {}).get("modes", ())
    if any(mode != "LDU" for mode in modes):  # 26
        path = "user.data_processing_options.modes"
        problems.append((path, f"{path}: invalid mode"))
    for side, length in user.get("screen_dimensions", {}).items():  # 26
        if not 0 <= length <= 32767:
            path = f"user.screen_dimensions.{side}"
            problems.append((path, f"{path}: must be between 0 and 32767"))


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc)


# --- what an accepted event means ---


def click_id(event: Event) -> str:
    """`click_id`, or without one the `rdt_cid` of `event_source_url`, which Reddit reads itself (sheet reddit, 2a)."""
    given = event.get("click_id")
    if given:
        return str(given)
    url = event.get("event_source_url", "")
    if "rdt_cid=" not in url or not _is_absolute(url):
        return ""
    return parse_qs(urlsplit(url).query).get("rdt_cid", [""])[0]


def has_match_key(event: Event) -> bool:
    """Whether Reddit can attribute the event to anybody (rule 32)."""
    if click_id(event):
        return True
    user = event.get("user") or {}
    return any(user.get(key) for key in _MATCH_KEYS) or bool(user.get("ip_address") and user.get("user_agent"))


def warnings(event: Event) -> list[tuple[str, str, str]]:
    """What Reddit takes all the same: rule (or section) of the sheet, path below the event, and message.

    Rule 33 is Reddit's own diagnostics, rule 32 an event for nobody, and 2a holds what its documents advise against.
    """
    found: list[tuple[str, str, str]] = []
    tracking_type = event["type"]["tracking_type"]
    metadata = event.get("metadata") or {}
    if tracking_type in _WITHOUT_VALUE:
        unused = [field for field in ("value", "currency") if field in metadata]
        found.extend(("33", f"metadata.{field}", f"not used for {tracking_type}") for field in unused)
    if tracking_type in _WITHOUT_COUNT and "item_count" in metadata:
        found.append(("33", "metadata.item_count", f"not used for {tracking_type}"))
    if not has_match_key(event):
        found.append(("32", "user", "no match key"))
    custom = event["type"].get("custom_event_name")
    if custom is not None and tracking_type != "CUSTOM":
        found.append(("2a", "type.custom_event_name", f"not defined for {tracking_type}"))
    elif custom in TRACKING_TYPES:
        found.append(("2a", "type.custom_event_name", f"{custom} is the name of a standard event"))
    if "event_source_url" in event and event["action_source"] != "WEBSITE":
        found.append(("2a", "event_source_url", "meant for WEBSITE only"))
    return found
