"""What Reddit's Conversions API v3 takes, as a JSON Schema written from the sheet (sheet reddit, 2a)."""

from __future__ import annotations

from typing import Any, Final


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_AMOUNT: Final = {"type": "number", "minimum": 0}
_PIXELS: Final = {"type": "integer", "minimum": 0, "maximum": 32_767}

_TYPE: Final = {
    **_object(
        ("tracking_type",),
        tracking_type={
            "enum": [
                *("PAGE_VISIT", "VIEW_CONTENT", "SEARCH", "ADD_TO_CART", "ADD_TO_WISHLIST"),
                *("PURCHASE", "LEAD", "SIGN_UP", "CUSTOM"),
            ]
        },
        custom_event_name={"type": "string", "minLength": 1, "maxLength": 64},
    ),
    "if": {"properties": {"tracking_type": {"const": "CUSTOM"}}},
    "then": {"required": ["custom_event_name"]},
    "else": {"not": {"required": ["custom_event_name"]}},
}

_PRODUCT: Final = _object(("id",), id=_TEXT, name=_TEXT, category=_TEXT, quantity=_COUNT, item_price=_AMOUNT)

_METADATA: Final = {
    **_object(
        ("conversion_id",),
        conversion_id=_TEXT,
        order_id={"type": "string", "maxLength": 100},
        currency={"type": "string", "pattern": "^[A-Z]{3}$"},
        value=_AMOUNT,
        item_count=_COUNT,
        products={"type": "array", "items": _PRODUCT, "minItems": 1},
    ),
    "dependentRequired": {"value": ["currency"], "currency": ["value"]},
}

_USER: Final = _object(
    email=_TEXT,
    phone_number=_TEXT,
    external_id=_TEXT,
    ip_address=_TEXT,
    user_agent=_TEXT,
    idfa=_TEXT,
    aaid=_TEXT,
    uuid=_TEXT,
    screen_dimensions=_object(("width", "height"), width=_PIXELS, height=_PIXELS),
    data_processing_options=_object(
        ("modes",),
        modes={"type": "array", "items": {"const": "LDU"}, "minItems": 1},
        country={"type": "string", "pattern": "^[A-Z]{2}$"},
        region=_TEXT,
    ),
)

_EVENT: Final = _object(
    ("event_at", "action_source", "type"),
    event_at={"type": "integer", "minimum": 1_000_000_000_000},
    action_source={"enum": ["WEBSITE", "APP", "OTHER", "PHYSICAL_STORE"]},
    type=_TYPE,
    click_id={"type": "string", "minLength": 1},
    event_source_url=_TEXT,
    referrer_url=_TEXT,
    metadata=_METADATA,
    user=_USER,
)

REQUEST: Final = _object(
    ("data",),
    data=_object(
        ("events",),
        events={"type": "array", "items": _EVENT, "minItems": 1, "maxItems": 1000},
        test_id={"type": "string", "minLength": 1},
    ),
)
