"""The shapes of what comes in, shared by all endpoints. Messages are for the person who wrote the request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from postbacks.domain.model import Consent
from postbacks.domain.money import is_currency
from postbacks.errors import FieldError
from postbacks.platforms.registry import CLICK_ID_PLATFORM
from postbacks.privacy.addresses import parse_address

MAX_VALUE = Decimal(10) ** 12
MAX_CLICK_ID = 4096
MAX_URL = 8192
_UNIX = re.compile(r"-?[0-9]{1,13}(\.[0-9]{1,9})?")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
_FINEST = Decimal("0.000001")
_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")
_NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
"""Text for a person: no controls, no line separators. (Halves of a character are no text for pydantic to begin with.)

A pattern and not a function, which pydantic would call for three fields of each event."""


class Input(BaseModel):
    """Unknown fields are ignored, so that a client may be newer than the server."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


def parse_time(value: Any) -> datetime:
    """RFC 3339 (with a zone) or Unix seconds, as a number or as text. Raises `ValueError`."""
    if isinstance(value, bool) or value is None:
        raise ValueError("must be an RFC 3339 time or Unix seconds")
    if isinstance(value, str):
        text = value.strip()
        if not _UNIX.fullmatch(text):
            return _parse_rfc3339(text)
        value = float(text)
    if not isinstance(value, int | float):
        raise ValueError("must be an RFC 3339 time or Unix seconds")
    # Written so that a NaN is out of bounds too.
    if not abs(value) <= 32503680000:
        raise ValueError("is not a time in Unix seconds (milliseconds?)")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)


def _parse_rfc3339(text: str) -> datetime:
    if len(text) < 20 or text[10] not in "Tt ":
        raise ValueError("must be an RFC 3339 time such as 2026-11-23T10:00:00Z, or Unix seconds")
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an RFC 3339 time with a zone, such as 2026-11-23T10:00:00Z") from None


def _amount(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number")
    # Prices repeat. Texts are not remembered: they can have any length.
    return _amount_of(value.strip()) if isinstance(value, str) else _price(value)


def _amount_of(value: int | float | str) -> Decimal:
    if isinstance(value, int):
        amount = Decimal(value)
    else:
        text = str(value)
        if not _NUMBER.fullmatch(text):
            raise ValueError("must be a number")
        amount = Decimal(text)
    if not 0 <= amount <= MAX_VALUE:
        raise ValueError("must be from 0 to 1e12")
    # More digits than any currency has would only be noise of a float (0.1 + 0.2). The exponent goes as well: the
    # database refuses a zero that is written 0e999999999.
    amount = abs(amount.quantize(_FINEST))
    return amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount.normalize()


_price = lru_cache(maxsize=4096, typed=True)(_amount_of)


@lru_cache(maxsize=1024)
def _currency(value: str) -> str:
    code = value.upper()
    if not value.isascii() or not is_currency(code):
        raise ValueError("must be an ISO 4217 code such as EUR")
    return code


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain NUL")
    return value


def with_text_ids(item: dict[str, Any]) -> dict[str, Any]:
    """An id is often a number in the game's database; its text is what counts.

    It is done before validation, and not by a function in the model, which pydantic would call for every event."""
    if type(item.get("user_id")) is not int and type(item.get("event_id")) is not int:
        return item
    return {**item, **{name: str(item[name]) for name in ("user_id", "event_id") if _is_small(item.get(name))}}


def _is_small(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**64


def _address(value: str) -> str:
    if parse_address(value) is None:
        raise ValueError("must be an IPv4 or IPv6 address")
    return value.strip()


def _click_ids(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError('must be an object such as {"fbclid": "…"}')
    known: dict[str, str] = {}
    for name, click_id in value.items():
        lower = str(name).lower()
        if lower not in CLICK_ID_PLATFORM:
            raise ValueError(f"{str(name)[:40]!r} is not a click ID; known are {', '.join(CLICK_ID_PLATFORM)}")
        if click_id is None or click_id == "":
            continue
        if not isinstance(click_id, str):
            raise ValueError(f"{lower} must be a string")
        problem = click_id_problem(click_id)
        if problem:
            raise ValueError(f"{lower} {problem}")
        if known.setdefault(lower, click_id) != click_id:
            raise ValueError(f"{lower} is given twice, with different values")
    return known


def click_id_problem(value: str) -> str | None:
    """Why a text cannot be a click ID; `None` for a good one."""
    if len(value) > MAX_CLICK_ID:
        return f"must have at most {MAX_CLICK_ID} characters"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "must be printable ASCII without spaces"
    return None


def _properties(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("must be an object")
    try:
        text = orjson.dumps(value)
    except TypeError:
        raise ValueError(
            "must be JSON that can be stored: nested at most 250 deep, integers of 64 bits, text in Unicode"
        ) from None
    if len(text) > 4096:
        raise ValueError("must have at most 4 KiB as JSON")
    if _NUL.search(text):
        raise ValueError("must not contain NUL")
    return value


class ConsentIn(Input):
    attribution: bool | None = None
    postbacks: bool | None = None
    ad_personalization: bool | None = None

    def consent(self) -> Consent:
        return Consent(self.attribution, self.postbacks, self.ad_personalization)


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
            "description": "RFC 3339, or Unix seconds",
        }
    ),
]
Amount = Annotated[Decimal, BeforeValidator(_amount)]
Currency = Annotated[str, StringConstraints(strip_whitespace=True, max_length=3), AfterValidator(_currency)]
EventName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
VisitorId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
PlayerId = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=_NO_CONTROL)]
EventId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_NO_CONTROL)]
Label = Annotated[str, StringConstraints(max_length=64, pattern=_NO_CONTROL)]
LongText = Annotated[str, AfterValidator(_no_nul)]
AddressText = Annotated[str, StringConstraints(max_length=64), AfterValidator(_address)]
ClickIds = Annotated[dict[str, str], BeforeValidator(_click_ids)]
Properties = Annotated[dict[str, Any], BeforeValidator(_properties)]


def field_errors(error: ValidationError, prefix: str = "") -> list[FieldError]:
    """pydantic's findings, one per field, in words that repeat no input."""
    found = []
    for one in error.errors(include_input=False, include_url=False):
        path = ".".join(str(part) for part in one["loc"] if not str(part).startswith("function-"))
        message = one["msg"].removeprefix("Value error, ")
        if one.get("ctx", {}).get("pattern") == _NO_CONTROL:
            message = "must not contain control characters"
        found.append(FieldError(f"{prefix}{path}" if path else prefix.rstrip(".") or "body", message))
    return found
