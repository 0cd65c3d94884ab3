"""Rules 12 to 26 of the sheet tiktok: what each event must look like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from postbacks.sandbox.tiktok_errors import Refusal, parameter

DAY = 86_400

# The closed list of the sheet, 2.4.
CURRENCIES = frozenset(
    re.findall(
        r"[A-Z]{3}",
        "AED ARS AUD BDT BHD BIF BOB BRL CAD CHF CLP CNY COP CRC CZK DKK DZD EGP EUR GBP GTQ HKD HNL HUF IDR ILS INR "
        "ISK JPY KES KHR KRW KWD KZT MAD MOP MXN MYR NGN NIO NOK NZD OMR PEN PHP PKR PLN PYG QAR RON RUB SAR SEK "
        "SGD THB TRY TWD UAH USD VES VND ZAR",
    )
)
STANDARD_NAMES = frozenset(
    {
        "AddPaymentInfo",
        "AddToCart",
        "AddToWishlist",
        "ApplicationApproval",
        "ClickButton",
        "CompletePayment",
        "CompleteRegistration",
        "Contact",
        "CustomizeProduct",
        "Download",
        "FindLocation",
        "InitiateCheckout",
        "Lead",
        "PlaceAnOrder",
        "Purchase",
        "Schedule",
        "Search",
        "StartTrial",
        "SubmitApplication",
        "SubmitForm",
        "Subscribe",
        "ViewContent",
    }
)
ATT_STATUSES = ("AUTHORIZED", "DENIED", "NOT_DETERMINED", "RESTRICTED", "NOT_APPLICABLE")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WEB_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    now: float
    """Unix seconds at which the request arrived."""
    source: str
    """`event_source` of the request."""
    switches: Mapping[str, Any]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def rule_12(index: int, event: Event, ctx: Context) -> Refusal | None:
    name = event.get("event")
    if not _is_text(name):
        return parameter(f"Invalid value for data.{index}.event: not a valid string.")
    if ctx.source == "offline" and name not in STANDARD_NAMES and ctx.switches["rule_12_offline"]:
        return parameter(f"Invalid value for data.{index}.event: offline events must have a standard name.")
    return None


def rule_13(index: int, event: Event, ctx: Context) -> Refusal | None:
    time = event.get("event_time")
    if not _is_whole(time):
        return parameter(f"Invalid value for data.{index}.event_time: not a valid integer.")
    if _in_milliseconds(event) and ctx.switches["rule_13_milliseconds"]:
        return parameter(f"Invalid value for data.{index}.event_time: must be in seconds.")
    return None


def _in_milliseconds(event: Event) -> bool:
    return bool(event["event_time"] > 10_000_000_000)


def rule_14(index: int, event: Event, ctx: Context) -> Refusal | None:
    if not ctx.switches["rule_14"]:
        return None
    age = ctx.now - event["event_time"]
    days = 28 if ctx.source == "offline" else 7
    if age > days * DAY:
        return parameter(f"Invalid value for data.{index}.event_time: more than {days} days ago.")
    if age < -300:
        return parameter(f"Invalid value for data.{index}.event_time: in the future.")
    return None


def rule_15(_: int, event: Event, __: Context) -> Refusal | None:
    if "event_id" not in event or isinstance(event["event_id"], str):
        return None
    return parameter("Invalid value for event_id: not a valid string.")


def rule_16(index: int, event: Event, _: Context) -> Refusal | None:
    user = event.get("user", {})
    if not isinstance(user, dict):
        return parameter(f"Invalid value for data.{index}.user: not a valid object.")
    for key in ("ttclid", "ttp", "ip", "user_agent", "locale"):
        if key in user and not isinstance(user[key], str):
            return parameter(f"Invalid value for data.{index}.user.{key}: not a valid string.")
    return None


def rule_17(index: int, event: Event, ctx: Context) -> Refusal | None:
    user = _object(event.get("user"))
    for key in ("email", "phone", "external_id"):
        values = _identifiers(user, key)
        if not all(isinstance(one, str) for one in values):
            return parameter(f"Invalid value for data.{index}.user.{key}: not a valid string.")
        if ctx.switches["rule_17"] and not all(not one or _SHA256.fullmatch(one) for one in values):
            return Refusal(40062, f"PII is not hashed: data.{index}.user.{key} must be SHA-256 in lower-case hex.")
    return None


def _identifiers(user: dict[str, Any], key: str) -> list[Any]:
    value = user.get(key, "")
    return value if isinstance(value, list) else [value]


def rule_18(index: int, event: Event, ctx: Context) -> Refusal | None:
    if ctx.source != "web" or not ctx.switches["rule_18"]:
        return None
    url = _object(event.get("page")).get("url")
    if isinstance(url, str) and _WEB_URL.fullmatch(url):
        return None
    return parameter(f"Invalid value for data.{index}.page.url: not a valid URL.")


def rule_19(index: int, event: Event, ctx: Context) -> Refusal | None:
    if ctx.source != "app":
        return None
    if not _is_text(_object(event.get("app")).get("app_id")):
        return parameter(f"Invalid value for data.{index}.app.app_id: not a valid string.")
    user = _object(event.get("user"))
    if "att_status" in user and user["att_status"] not in ATT_STATUSES:
        return parameter(f"Invalid value for data.{index}.user.att_status: not a valid choice.")
    return None


def rule_20(index: int, event: Event, ctx: Context) -> Refusal | None:
    if ctx.source != "crm" or _is_text(_object(event.get("lead")).get("lead_id")):
        return None
    return parameter(f"Invalid value for data.{index}.lead.lead_id: not a valid string.")


def rule_21(index: int, event: Event, ctx: Context) -> Refusal | None:
    if ctx.source != "offline" or not ctx.switches["rule_21"]:
        return None
    user = _object(event.get("user"))
    if any(one for key in ("email", "phone", "external_id") for one in _identifiers(user, key)):
        return None
    return parameter(f"Invalid value for data.{index}.user: email, phone or external_id is required.")


def rule_22(index: int, event: Event, _: Context) -> Refusal | None:
    properties = event.get("properties", {})
    if not isinstance(properties, dict):
        return parameter(f"Invalid value for data.{index}.properties: not a valid object.")
    if "value" in properties and not _is_number(properties["value"]):
        return parameter(f"Invalid value for data.{index}.properties.value: not a valid number.")
    contents = properties.get("contents", [])
    if not isinstance(contents, list) or not all(isinstance(one, dict) for one in contents):
        return parameter(f"Invalid value for data.{index}.properties.contents: not a valid list of objects.")
    for place, content in enumerate(contents):
        if "price" in content and not _is_number(content["price"]):
            return Refusal(40000, "Invalid Price Field")
        if "quantity" in content and not _is_whole(content["quantity"]):
            where = f"data.{index}.properties.contents.{place}.quantity"
            return parameter(f"Invalid value for {where}: not a valid integer.")
    return None


def rule_23(index: int, event: Event, _: Context) -> Refusal | None:
    for place, content in enumerate(_object(event.get("properties")).get("contents", [])):
        if "content_id" in content and not isinstance(content["content_id"], str):
            return parameter(f"Data.{index}.properties.contents.{place}.content_id: Not a valid string")
    return None


def rule_24(index: int, event: Event, ctx: Context) -> Refusal | None:
    properties = _object(event.get("properties"))
    if "currency" in properties and ctx.switches["rule_24"] and not _is_listed(properties["currency"]):
        return parameter(f"Invalid value for data.{index}.properties.currency: not a valid choice.")
    strict = event.get("event") == "Purchase" and ctx.switches["rule_24_strict"]
    if strict and _lacks_currency(event):
        return parameter(f"Invalid value for data.{index}.properties.currency: value needs a currency.")
    return None


def _is_listed(currency: Any) -> bool:
    return isinstance(currency, str) and currency in CURRENCIES


def _lacks_currency(event: Event) -> bool:
    properties = _object(event.get("properties"))
    return "value" in properties and not properties.get("currency")


def rule_25(index: int, event: Event, ctx: Context) -> Refusal | None:
    properties = _object(event.get("properties"))
    if "content_type" not in properties or not ctx.switches["rule_25"]:
        return None
    if properties["content_type"] in ("product", "product_group"):
        return None
    return parameter(f"Invalid value for data.{index}.properties.content_type: not a valid choice.")


def rule_26(index: int, event: Event, ctx: Context) -> Refusal | None:
    if "limited_data_use" not in event:
        return None
    where = f"data.{index}.limited_data_use"
    if ctx.switches["rule_26"] and not isinstance(event["limited_data_use"], bool):
        return parameter(f"Invalid value for {where}: not a valid boolean.")
    if ctx.switches["rule_26"] and ctx.source not in ("web", "app"):
        return parameter(f"Invalid value for {where}: only for web and app events.")
    if ctx.switches["rule_26_strict"] and _lacks_address(event):
        return parameter(f"Invalid value for {where}: needs user.ip.")
    return None


def _lacks_address(event: Event) -> bool:
    return event.get("limited_data_use") is True and not _object(event.get("user")).get("ip")


EVENT_RULES: tuple[Callable[[int, Event, Context], Refusal | None], ...] = (
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
    rule_23,
    rule_24,
    rule_25,
    rule_26,
)


def first_refusal(events: Iterable[tuple[int, Event]], ctx: Context) -> Refusal | None:
    """The first rule that any event breaks, rule by rule; `events` come with their index in the request."""
    for rule in EVENT_RULES:
        for index, event in events:
            refusal = rule(index, event, ctx)
            if refusal is not None:
                return refusal
    return None


def warnings_of(event: Event) -> tuple[str, ...]:
    """What TikTok takes although it cannot use it: the lenient side of rules 13, 24 and 26."""
    found = []
    if _in_milliseconds(event):
        found.append("rule 13: event_time looks like milliseconds; it must be in seconds")
    if _lacks_currency(event):
        found.append("rule 24: value without currency")
    if _lacks_address(event):
        found.append("rule 26: limited_data_use without user.ip")
    return tuple(found)
