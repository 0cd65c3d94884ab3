"""Rules 10 to 22 of the sheet meta: what each event must look like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from math import isfinite
from typing import Any

from postbacks.sandbox.iso4217 import CURRENCIES
from postbacks.sandbox.meta_errors import GraphError, invalid, missing

DAY = 86_400

ACTION_SOURCES = frozenset(
    {
        "email",
        "website",
        "app",
        "phone_call",
        "chat",
        "physical_store",
        "system_generated",
        "business_messaging",
        "other",
    }
)
HASHED = ("em", "ph", "fn", "ln", "ge", "db", "ct", "st", "zp", "country")
WEAK_SETS = (
    frozenset({"ct", "country", "st", "zp", "ge", "client_user_agent"}),
    frozenset({"db", "client_user_agent"}),
    frozenset({"fn", "ge"}),
    frozenset({"ln", "ge"}),
)
USER_KEYS = frozenset(HASHED) | {
    "external_id",
    "client_ip_address",
    "client_user_agent",
    "fbc",
    "fbp",
    "subscription_id",
    "lead_id",
    "fb_login_id",
    "anon_id",
    "madid",
    "page_id",
    "page_scoped_user_id",
    "ctwa_clid",
    "ig_account_id",
    "ig_sid",
    "whatsapp_business_account_id",
    "f5first",
    "f5last",
    "fi",
    "dobd",
    "dobm",
    "doby",
    "partner_id",
    "partner_name",
}
LDU_STATES = frozenset({0, *range(1000, 1014)})

_FBC = re.compile(r"fb\.[0-9]+\.([0-9]{10,13})\.([A-Za-z0-9_-]+)(?:\.[A-Za-z0-9_-]{2}|\.[A-Za-z0-9_-]{8})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_DIGITS = re.compile(r"[0-9]{1,18}")
_WEB_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    now: float
    """Unix seconds at which the request arrived."""
    switches: Mapping[str, Any]


def click_id_of(fbc: object) -> str:
    """The fbclid inside of an `fbc`, or an empty string."""
    match = _FBC.fullmatch(fbc) if isinstance(fbc, str) else None
    return match[2] if match else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def rule_10(event: Event, ctx: Context) -> GraphError | None:
    name = event.get("event_name")
    if not isinstance(name, str) or not name:
        return missing("event_name")
    if len(name) > 50 and ctx.switches["rule_10_length"]:
        return invalid("Event name too long", "event_name should have at most 50 characters.")
    return None


def rule_11(event: Event, ctx: Context) -> GraphError | None:
    time: Any = event.get("event_time")
    if _is_empty(time):
        return missing("event_time")
    if isinstance(time, str) and _DIGITS.fullmatch(time) and ctx.switches["rule_11_text"]:
        time = int(time)
    if not _is_whole(time):
        return invalid("Invalid event_time", "event_time must be an integer: Unix time in seconds.")
    days = 62 if event.get("action_source") == "physical_store" else 7
    if ctx.now - time > days * DAY:
        return invalid("Event Timestamp Too Old", f"event_time must be within the last {days} days.", 2804003)
    if time - ctx.now > ctx.switches["rule_11_future_seconds"]:
        return invalid("Event Timestamp In The Future", "event_time must not be in the future.", 2804004)
    return None


def rule_12(event: Event, ctx: Context) -> GraphError | None:
    if not ctx.switches["rule_12"]:
        return None
    source = event.get("action_source")
    return None if isinstance(source, str) and source in ACTION_SOURCES else missing("action_source")


def rule_13(event: Event, ctx: Context) -> GraphError | None:
    if isinstance(event.get("user_data"), dict) or not ctx.switches["rule_13"]:
        return None
    return missing("user_data")


def rule_14(event: Event, ctx: Context) -> GraphError | None:
    fbc = _object(event.get("user_data")).get("fbc")
    if fbc is None:
        return None
    match = _FBC.fullmatch(fbc) if isinstance(fbc, str) else None
    if match is not None and not ctx.switches["rule_14_strict"]:
        return None
    if match is not None and len(match[1]) == 13 and int(match[1]) <= ctx.now * 1000:
        return None
    return invalid("Click ID Incorrectly Formatted", "fbc must read fb.subdomainIndex.creationTime.fbclid.", 2804001)


def rule_15(event: Event, _: Context) -> GraphError | None:
    user = _object(event.get("user_data"))
    # Keys that Graph does not know are no identifiers, because unknown keys are ignored (rule 23).
    keys = {key for key, value in user.items() if key in USER_KEYS and not _is_empty(value)}
    if not any(keys <= weak for weak in WEAK_SETS):
        return None
    return invalid(
        "Customer Information Insufficient", "The event has too little customer information to be matched.", 2804050
    )


def rule_16(event: Event, ctx: Context) -> GraphError | None:
    if not ctx.switches["rule_16"]:
        return None
    user = _object(event.get("user_data"))
    for key in HASHED:
        value = user.get(key)
        if _is_empty(value):
            continue
        for one in value if isinstance(value, list) else [value]:
            if not _is_hash(one, md5=ctx.switches["rule_16_md5"]):
                return invalid("Customer information not hashed", f"user_data.{key} must be SHA-256 in lower-case hex.")
    return None


def _is_hash(value: Any, *, md5: bool) -> bool:
    if not isinstance(value, str):
        return False
    return bool(_SHA256.fullmatch(value)) or (md5 and bool(_MD5.fullmatch(value)))


def rule_17(event: Event, ctx: Context) -> GraphError | None:
    address = _object(event.get("user_data")).get("client_ip_address")
    if address is None or not ctx.switches["rule_17"]:
        return None
    try:
        if isinstance(address, str):
            ip_address(address)
            return None
    except ValueError:
        pass
    return invalid("Invalid client_ip_address", "user_data.client_ip_address must be an IPv4 or IPv6 address.")


def rule_18(event: Event, ctx: Context) -> GraphError | None:
    lacking = _lacking_for_website(event)
    return missing(lacking[0]) if lacking and ctx.switches["rule_18"] else None


def _lacking_for_website(event: Event) -> list[str]:
    if event.get("action_source") != "website":
        return []
    lacking = []
    url = event.get("event_source_url")
    if not isinstance(url, str) or not _WEB_URL.fullmatch(url):
        lacking.append("event_source_url")
    agent = _object(event.get("user_data")).get("client_user_agent")
    if not isinstance(agent, str) or not agent:
        lacking.append("user_data.client_user_agent")
    return lacking


def rule_19(event: Event, ctx: Context) -> GraphError | None:
    if event.get("action_source") != "app" or not ctx.switches["rule_19"]:
        return None
    app = event.get("app_data")
    if not isinstance(app, dict):
        return invalid("Invalid app_data", "App events need app_data.")
    if app.get("advertiser_tracking_enabled") not in (0, 1):
        return invalid("Invalid app_data", "app_data.advertiser_tracking_enabled must be 0 or 1.")
    info = app.get("extinfo")
    if not isinstance(info, list) or len(info) != 16:
        return invalid("Invalid extinfo", "app_data.extinfo must be an array of exactly 16 values.")
    if not all(isinstance(slot, str) or _is_whole(slot) for slot in info):
        return invalid("Invalid extinfo", "app_data.extinfo takes text and integers only.")
    if info[0] not in ("a2", "i2"):
        return invalid("Invalid extinfo", "app_data.extinfo[0] must be a2 or i2.")
    if info[4] == "":
        return invalid("Missing OS Version", "app_data.extinfo[4], the OS version, must not be empty.", 2804043)
    return None


def rule_20(event: Event, _: Context) -> GraphError | None:
    if event.get("event_name") != "Purchase":
        return None
    custom = _object(event.get("custom_data"))
    if number_of(custom.get("value")) is None:
        return invalid("Missing Value for Purchase Event", "A Purchase needs a numeric custom_data.value.", 2804009)
    currency = custom.get("currency")
    if not isinstance(currency, str) or not currency.isascii() or currency.upper() not in CURRENCIES:
        return invalid("Missing Currency for Purchase Event", "A Purchase needs an ISO 4217 currency.", 2804010)
    return None


def number_of(value: Any) -> float | None:
    """A JSON number or a numeric string (sheet meta, 2.6) as a float; `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def rule_21(event: Event, ctx: Context) -> GraphError | None:
    options = event.get("data_processing_options")
    if options is None or options == [] or not ctx.switches["rule_21"]:
        return None
    if options != ["LDU"]:
        return invalid("Invalid data_processing_options", 'data_processing_options must be [] or ["LDU"].')
    country, state = event.get("data_processing_options_country"), event.get("data_processing_options_state")
    if not _is_whole(country) or country not in (0, 1):
        return invalid("Invalid data_processing_options_country", "With LDU the country must be 0 or 1.")
    if not _is_whole(state) or state not in LDU_STATES:
        return invalid("Invalid data_processing_options_state", "With LDU the state must be 0 or 1000 to 1013.")
    return None


def rule_22(event: Event, ctx: Context) -> GraphError | None:
    event_id = event.get("event_id")
    if event_id is None or isinstance(event_id, str):
        return None
    if ctx.switches["rule_22_number"] and isinstance(event_id, int | float) and not isinstance(event_id, bool):
        return None
    return invalid("Invalid event_id", "event_id must be text.")


EVENT_RULES: tuple[Callable[[Event, Context], GraphError | None], ...] = (
    rule_10,
    rule_11,
    rule_12,
    rule_13,
    rule_14,
    rule_15,
    rule_16,
    rule_17,
    rule_18,
    rule_19,
    rule_20,
    rule_21,
    rule_22,
)


def first_refusal(events: Iterable[Event], ctx: Context) -> GraphError | None:
    """The first rule that any event breaks; rules outrank events, so time goes before identifiers (sheet meta, 5)."""
    for rule in EVENT_RULES:
        for event in events:
            refusal = rule(event, ctx)
            if refusal is not None:
                return refusal
    return None


def warnings_of(event: Event) -> tuple[str, ...]:
    """What Meta documents as required but takes when it is missing (sheet meta, rule 18)."""
    return tuple(f"rule 18: website events should have {key}" for key in _lacking_for_website(event))
