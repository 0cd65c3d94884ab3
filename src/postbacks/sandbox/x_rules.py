"""What X's Conversion API demands of a conversion (sheet x, 2 and validation rules 15-28).

Pure functions on parsed JSON. The rule numbers in the comments are those of the sheet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any, TypeAlias

from postbacks.sandbox.iso4217 import CURRENCIES

Conversion: TypeAlias = dict[str, Any]
Problem: TypeAlias = dict[str, str]
"""One entry of the answer's `errors`: `code`, `message`, `parameter`."""

MAX_AGE = 90 * 86400
MAX_AHEAD = 300

CONVERSION_KEYS = frozenset(
    {
        "conversion_time",
        "conversion_timestamp",
        "event_id",
        "event_name",
        "identifiers",
        "value",
        "price_currency",
        "number_items",
        "conversion_id",
        "description",
        "search_string",
        "event_source_url",
        "contents",
        "ip_address",
        "user_agent",
    }
)
IDENTIFIER_KEYS = frozenset({"twclid", "hashed_email", "hashed_phone_number", "ip_address", "user_agent", "twpid"})
CONTENT_KEYS = frozenset(
    {"content_id", "content_name", "content_type", "content_price", "num_items", "content_group_id"}
)
_TEXTS = ("conversion_id", "description", "search_string", "event_source_url")

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_LENIENT_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
_TWCLID = re.compile(r"[A-Za-z0-9_-]{10,100}")


@dataclass(frozen=True, slots=True)
class EventIds:
    """The event ids that one pixel's account owns."""

    pixel: str
    known: frozenset[str]
    """Both forms of each, `tw-{pixel}-{event}` and bare."""


def conversion_problems(conversion: Any, ids: EventIds, at: float, switches: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with one conversion, in the sheet's order.

    `at` is the simulator's clock in Unix seconds; `switches` holds `rule_17`, `rule_17_age`, `rule_28`,
    `lenient_time`, `conversion_timestamp`, `ipv4_only` and `field_types`.
    """
    if type(conversion) is not dict:
        return [_invalid("Expected an object in conversions", "conversions")]
    problems: list[Problem] = []
    _check_time(conversion, at, switches, problems)
    _check_event_id(conversion.get("event_id"), ids, problems)
    identifiers = _objects(conversion.get("identifiers"))
    if not any(_identifies(one) for one in identifiers):  # 21
        problems.append(_invalid("At least one user identifier must be provided", ""))
    for one in identifiers:
        _check_identifier(one, switches, problems)
    for field in ("ip_address", "user_agent"):  # 24
        if field in conversion:
            problems.append(_invalid(f"Unsupported parameter {field}", field))
    _check_amounts(conversion, "value", "number_items", problems)
    currency = conversion.get("price_currency", "USD")
    if type(currency) is not str or currency not in CURRENCIES:  # 26
        problems.append(_invalid(f"price_currency ({currency}) is not a valid currency", "price_currency"))
    for content in _objects(conversion.get("contents")):
        _check_amounts(content, "content_price", "num_items", problems)
    if switches["field_types"]:
        _check_types(conversion, problems)
    return problems


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if type(one) is dict] if type(value) is list else []


def _invalid(message: str, parameter: str) -> Problem:
    return {"code": "INVALID_PARAMETER", "message": message, "parameter": parameter}


def _check_time(conversion: Conversion, at: float, switches: Mapping[str, Any], problems: list[Problem]) -> None:
    text = conversion.get("conversion_time")
    if text is None:
        if switches["conversion_timestamp"] and type(conversion.get("conversion_timestamp")) is int:
            return
        missing = {
            "code": "MISSING_PARAMETER",
            "message": "conversion_time is required",
            "parameter": "conversion_time",
        }
        problems.append(missing)  # 15
        return
    seconds = _seconds(text, lenient=bool(switches["lenient_time"]))
    if seconds is None:  # 16
        message = f'Expected Time in yyyy-MM-ddTHH:mm:ss.SSSZ, got "{text}" for conversion_time'
        problems.append(_invalid(message, "conversion_time"))
        return
    ahead = bool(switches["rule_17"]) and seconds > at + MAX_AHEAD
    if ahead or (switches["rule_17_age"] and seconds < at - MAX_AGE):  # 17
        problems.append(_invalid("conversion_time out of range", "conversion_time"))


def _seconds(text: Any, *, lenient: bool) -> float | None:
    if type(text) is not str or (_LENIENT_TIME if lenient else _TIME).fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _check_event_id(event_id: Any, ids: EventIds, problems: list[Problem]) -> None:
    if type(event_id) is not str or not event_id:  # 18
        problems.append(_invalid("Event ID was not found", "event_id"))
        return
    if event_id in ids.known:
        return
    if event_id not in (ids.pixel, f"tw-{ids.pixel}-{ids.pixel}"):  # 19, else 20
        message = f"event_id ({event_id}) does not belong to provided account"
        problems.append({"code": "NOT_FOUND", "message": message, "parameter": "event_id"})
    problems.append(_invalid(f"event_id ({event_id}) is not a single event tag (SET)", "event_id"))


def _identifies(identifier: Conversion) -> bool:
    if any(identifier.get(key) for key in ("twclid", "hashed_email", "hashed_phone_number")):
        return True
    return bool(identifier.get("ip_address") and identifier.get("user_agent"))


def _check_identifier(identifier: Conversion, switches: Mapping[str, Any], problems: list[Problem]) -> None:
    for field in ("hashed_email", "hashed_phone_number"):  # 22, 23
        if field in identifier and not _matches(_SHA256, identifier[field]):
            message = f"{field} ({identifier[field]}) is not a valid SHA-256 hash"
            problems.append(_invalid(message, field))
    # An empty `twclid` is no identifier at all (rule 21), so it is not also a wrong one.
    twclid = identifier.get("twclid", "")
    hashed_or_odd = twclid != "" and (not _matches(_TWCLID, twclid) or _matches(_SHA256, twclid))
    if switches["rule_28"] and hashed_or_odd:  # 28
        problems.append(_invalid(f"twclid ({twclid}) is not valid", "twclid"))
    if switches["ipv4_only"] and "ip_address" in identifier and not _is_ipv4(identifier["ip_address"]):
        problems.append(_invalid("ip_address is not a valid IPv4 address", "ip_address"))


def _is_ipv4(value: Any) -> bool:
    if type(value) is not str:
        return False
    try:
        IPv4Address(value)
    except ValueError:
        return False
    return True


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return type(value) is str and pattern.fullmatch(value) is not None


def _check_amounts(holder: Conversion, price: str, count: str, problems: list[Problem]) -> None:
    if price in holder and not _is_double(holder[price]):  # 25
        problems.append(_invalid(f'Expected Double, got "{holder[price]}" for {price}', price))
    number = holder.get(count, 1)
    if type(number) is not int or number <= 0:  # 27
        problems.append(_invalid(f"Expected positive integer for {count}", count))


def _is_double(value: Any) -> bool:
    return value >= 0 if type(value) is float else _matches(_DECIMAL, value)


def _check_types(conversion: Conversion, problems: list[Problem]) -> None:
    for field in _TEXTS:
        if field in conversion and type(conversion[field]) is not str:
            problems.append(_invalid(f"Expected String for {field}", field))
    for field in ("identifiers", "contents"):
        items = conversion.get(field, [])
        if type(items) is not list or any(type(one) is not dict for one in items):
            problems.append(_invalid(f"Expected an array of objects for {field}", field))


# --- what an accepted conversion means ---


def occurred_at(conversion: Conversion) -> float:
    """Unix seconds."""
    text = conversion.get("conversion_time")
    return (
        float(conversion["conversion_timestamp"]) / 1000 if text is None else datetime.fromisoformat(text).timestamp()
    )


def click_id(conversion: Conversion) -> str:
    """The first `twclid`, or an empty string."""
    return next((str(one["twclid"]) for one in _objects(conversion["identifiers"]) if one.get("twclid")), "")


def unknown_keys(conversion: Conversion) -> set[str]:
    """Keys of an accepted conversion that X ignores (rule 29), as `contents.colour`."""
    unknown = set(conversion.keys() - CONVERSION_KEYS)
    for part, known in (("identifiers", IDENTIFIER_KEYS), ("contents", CONTENT_KEYS)):
        for one in _objects(conversion.get(part)):
            if not one.keys() <= known:
                unknown |= {f"{part}.{key}" for key in one.keys() - known}
    return unknown
