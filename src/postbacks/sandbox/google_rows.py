"""Route A, row by row: what is wrong with one `ClickConversion` (sheet google, rules 17 to 24)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from postbacks.sandbox.google_errors import RowError
from postbacks.sandbox.google_json import seconds
from postbacks.sandbox.google_state import (
    CLICK_FIELDS,
    OLD_CLICK,
    YOUNG_CLICK,
    Switches,
    decodable,
    first_match,
    lookback,
)
from postbacks.sandbox.iso4217 import CURRENCIES

MOST_USER_IDENTIFIERS = 5
UPLOAD = "conversionUploadError"
_ACTION = re.compile(r"customers/\d+/conversionActions/(\d+)", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

Found = tuple[str, str, str, str | None]
"""Error family, code, field, and the value that triggered it."""


def click_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and value of the row's click ID, both empty without one."""
    for kind in CLICK_FIELDS:
        if row.get(kind):
            return kind, row[kind]
    return "", ""


def action_of(row: Mapping[str, Any]) -> str:
    """The action's number; the customer in the resource name is ignored, as Google does (rule 19)."""
    match = _ACTION.fullmatch(row.get("conversionAction", ""))
    return match[1] if match else ""


def moment_of(row: Mapping[str, Any]) -> float | None:
    """Unix seconds of the conversion, `None` unless the text has the one form that route A takes (rule 20)."""
    moment = row.get("conversionDateTime", "")
    return seconds(moment) if _TIME.fullmatch(moment) else None


def row_errors(index: int, row: Mapping[str, Any], now: float, customer: str, switches: Switches) -> list[RowError]:
    """Everything wrong with a row for which no other row has to be known."""
    found = [*_forced(row, switches), *_clicks(row, switches), *_action(row, now, switches), *_values(row, switches)]
    found += _restricted(row, switches)
    if not found:
        found += _click_history(row, now, customer, switches)
    return [RowError(index, *one) for one in found]


def _forced(row: Mapping[str, Any], switches: Switches) -> Iterator[Found]:
    """The switches `poison` and `row_errors`: refusals on demand."""
    wanted = dict(switches["row_errors"])
    if switches["poison"]:
        wanted[switches["poison"]] = f"{UPLOAD}.UNPARSEABLE_GCLID"
    forced = first_match(wanted, orjson.dumps(row).decode()) if wanted else ""
    if forced:
        key, _, code = forced.rpartition(".")
        kind, click = click_of(row)
        yield key or UPLOAD, code, kind or "gclid", click


def _clicks(row: Mapping[str, Any], switches: Switches) -> Iterator[Found]:
    gclid, gbraid, wbraid = (row.get(kind) for kind in CLICK_FIELDS)
    people = row.get("userIdentifiers", [])
    if not (gclid or gbraid or wbraid or people) and switches["rule_17"]:  # Rule 17
        yield "fieldError", "REQUIRED", "gclid", None
    if gbraid and wbraid:  # Rule 18
        yield UPLOAD, "GBRAID_WBRAID_BOTH_SET", "gbraid", gbraid
    if gclid and ((wbraid and switches["rule_18"]) or (gbraid and switches["rule_18_gclid_gbraid"])):  # Rule 18
        yield "fieldError", "VALUE_MUST_BE_UNSET", "gclid", gclid
    if people and (gbraid or wbraid) and switches["rule_18"]:  # Rule 18
        yield "fieldError", "VALUE_MUST_BE_UNSET", "user_identifiers", None
    for kind, click in zip(CLICK_FIELDS, (gclid, gbraid, wbraid), strict=True):
        if click and not decodable(click):  # Rule 21
            yield UPLOAD, f"UNPARSEABLE_{kind.upper()}", kind, click


def _action(row: Mapping[str, Any], now: float, switches: Switches) -> Iterator[Found]:
    """Rule 19."""
    name, field = row.get("conversionAction", ""), "conversion_action"
    number = action_of(row)
    action = switches["conversion_actions"].get(number)
    if not name:
        yield "fieldError", "REQUIRED", field, None
    elif not number and switches["rule_19"]:
        yield "requestError", "RESOURCE_NAME_MALFORMED", field, name
    elif action is None:
        yield UPLOAD, "NO_CONVERSION_ACTION_FOUND", field, name
    elif action.get("type", "UPLOAD_CLICKS") != "UPLOAD_CLICKS":
        yield UPLOAD, "INVALID_CONVERSION_ACTION_TYPE", field, name
    elif now - action.get("created_at", 0) < YOUNG_CLICK:
        yield UPLOAD, "TOO_RECENT_CONVERSION_ACTION", field, name
    elif action.get("counting") == "ONE_PER_CLICK" and (row.get("gbraid") or row.get("wbraid")):
        yield UPLOAD, "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID", field, name


def _values(row: Mapping[str, Any], switches: Switches) -> Iterator[Found]:
    moment = row.get("conversionDateTime", "")
    if not moment:  # Rule 20
        yield "fieldError", "REQUIRED", "conversion_date_time", None
    elif moment_of(row) is None:  # Rule 20
        yield "dateError", "INVALID_STRING_DATE_TIME_SECONDS_WITH_OFFSET", "conversion_date_time", moment
    if switches["rule_22"]:
        currency, value = row.get("currencyCode"), row.get("conversionValue", 0)
        if currency and currency not in CURRENCIES:  # Rule 22
            yield "currencyCodeError", "UNSUPPORTED", "currency_code", currency
        if value < 0 or not math.isfinite(value):  # Rule 22
            yield "fieldError", "INVALID_VALUE", "conversion_value", str(value)
    order = row.get("orderId", "")
    if _EMAIL.search(order):  # Rule 23
        yield UPLOAD, "ORDER_ID_CONTAINS_PII", "order_id", order


def _restricted(row: Mapping[str, Any], switches: Switches) -> Iterator[Found]:
    """Rule 24."""
    closed = {
        "userIpAddress": "user_ip_address",
        "sessionAttributesEncoded": "session_attributes_encoded",
        "sessionAttributesKeyValuePairs": "session_attributes_key_value_pairs",
    }
    for name, field in closed.items():
        if row.get(name) and not switches["allowlisted"]:
            yield "notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE", field, None
    people = row.get("userIdentifiers", [])
    if len(people) > MOST_USER_IDENTIFIERS and switches["rule_24"]:
        yield "collectionSizeError", "TOO_MANY", "user_identifiers", None
    if people and not switches["customer_data_terms"]:
        yield UPLOAD, "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS", "user_identifiers", None


def _click_history(row: Mapping[str, Any], now: float, customer: str, switches: Switches) -> Iterator[Found]:
    """Rule 21, asked only of rows that can be read."""
    kind, click = click_of(row)
    if not click:
        return
    if switches["click_owners"].get(click, customer) != customer:
        yield UPLOAD, "INVALID_CUSTOMER_FOR_CLICK", kind, click
        return
    clicked_at = switches["clicks"].get(click)
    if clicked_at is None:
        if switches["unknown_clicks"] != "accept":
            yield UPLOAD, "EVENT_NOT_FOUND", kind, click
    elif (moment_of(row) or 0) < clicked_at:
        yield UPLOAD, "CONVERSION_PRECEDES_EVENT", "conversion_date_time", row["conversionDateTime"]
    elif now - clicked_at < YOUNG_CLICK:
        yield UPLOAD, "TOO_RECENT_EVENT", kind, click
    elif now - clicked_at > OLD_CLICK or (moment_of(row) or 0) - clicked_at > lookback(
        switches["conversion_actions"][action_of(row)]
    ):
        yield UPLOAD, "EXPIRED_EVENT", kind, click
