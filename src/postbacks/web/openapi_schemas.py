"""The shapes of answers, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT: Mapping[str, Any] = {"type": "string"}
_MAYBE_TEXT: Mapping[str, Any] = {"type": ["string", "null"]}
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}
_MAYBE_TIME: Mapping[str, Any] = {"type": ["string", "null"], "format": "date-time"}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_FLAG: Mapping[str, Any] = {"type": "boolean"}
_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_LIST: Mapping[str, Any] = {"type": "array", "items": _ANY_OBJECT}

_EVENT_STATUS = {"type": "string", "enum": ["matched", "waiting", "unmatched", "suppressed"]}
_DELIVERY_STATUS = {
    "type": "string",
    "enum": [
        "queued", "sending", "retrying", "held", "accepted", "delivered", "failed", "expired", "skipped", "cancelled",
    ],
}  # fmt: skip
_METHOD = {"type": ["string", "null"], "enum": ["click_id", "visitor_id", "user_id", "ip", None]}


def _object(properties: Mapping[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": dict(properties),
    }


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_DELIVERY = {
    "id": _TEXT,
    "app": _TEXT,
    "event_id": _MAYBE_TEXT,
    "event_name": _MAYBE_TEXT,
    "destination": _TEXT,
    "platform": _TEXT,
    "status": _DELIVERY_STATUS,
    "reason": _MAYBE_TEXT,
    "attempts": _COUNT,
    "next_attempt_at": _MAYBE_TIME,
    "created_at": _TIME,
    "updated_at": _TIME,
    "delivered_at": _MAYBE_TIME,
    "deadline": _MAYBE_TIME,
}
_MATCH = {"method": _METHOD, "platforms": {"type": "array", "items": _TEXT}}
_KEYS = {"key_id": _TEXT, "publishable_key": _TEXT, "secret_key": _TEXT}
_APP = {"name": _TEXT, "attribution": _ANY_OBJECT, "require_consent": _FLAG}

SCHEMAS: Mapping[str, Any] = {
    "FieldError": _object({"field": _TEXT, "message": _TEXT}),
    "Problem": _object(
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "errors": _list("FieldError"),
        },
        optional=("errors",),
    ),
    "ClickAnswer": _object(
        {"visitor_id": _TEXT, "click_ids": {"type": "object", "additionalProperties": {"type": "string"}}}
    ),
    "PlannedDelivery": _object({"id": _TEXT, "destination": _TEXT, "platform": _TEXT, "status": _DELIVERY_STATUS}),
    "EventAnswer": _object(
        {
            "event_id": _TEXT,
            "status": _EVENT_STATUS,
            "duplicate": _FLAG,
            "match": _object(_MATCH),
            "deliveries": _list("PlannedDelivery"),
        }
    ),
    "BatchResult": _object(
        {
            "event_id": _TEXT,
            "status": {"type": "string", "enum": [*_EVENT_STATUS["enum"], "conflict", "rejected"]},
            "duplicate": _FLAG,
            "errors": _list("FieldError"),
        },
        optional=("event_id", "duplicate", "errors"),
    ),
    "BatchAnswer": _object(
        {
            "accepted": _COUNT,
            "duplicates": _COUNT,
            "conflicts": _COUNT,
            "rejected": _COUNT,
            "results": _list("BatchResult"),
        }
    ),
    "EventOrBatchAnswer": {"anyOf": [_ref("EventAnswer"), _ref("BatchAnswer")]},
    "Delivery": _object(_DELIVERY),
    "DeliveryPage": _object({"items": _list("Delivery"), "next_cursor": _MAYBE_TEXT}),
    "Attempt": _object(
        {
            "number": {"type": "integer", "minimum": 1},
            "started_at": _TIME,
            "duration_ms": _COUNT,
            "http_status": {"type": ["integer", "null"]},
            "verdict": _TEXT,
            "code": _MAYBE_TEXT,
            "message": _MAYBE_TEXT,
            "request": _object({"method": _MAYBE_TEXT, "url": _MAYBE_TEXT, "body": _MAYBE_TEXT}),
            "response": _object({"body": _MAYBE_TEXT}),
        }
    ),
    "DeliveryDetail": _object(
        {
            **_DELIVERY,
            "idempotency_key": _MAYBE_TEXT,
            "match": _object({"method": _METHOD, "confidence": _MAYBE_TEXT, "clicked_at": _MAYBE_TIME}),
            "attempt_log": _list("Attempt"),
        }
    ),
    "ConsideredClick": _object(
        {
            "id": _TEXT,
            "type": _TEXT,
            "value": _MAYBE_TEXT,
            "clicked_at": _TIME,
            "method": _METHOD,
            "taken": _FLAG,
            "why": _TEXT,
        }
    ),
    "NotSent": _object(
        {
            "destination": _TEXT,
            "platform": _TEXT,
            "reason": {"type": "string", "enum": ["no_click_id", "unmapped", "consent", "destination_disabled"]},
        }
    ),
    "EventDetail": _object(
        {
            "app": _TEXT,
            "event_id": _TEXT,
            "name": _TEXT,
            "status": _EVENT_STATUS,
            "occurred_at": _TIME,
            "received_at": _TIME,
            "match": _object({**_MATCH, "confidence": _MAYBE_TEXT}),
            "clicks": _list("ConsideredClick"),
            "deliveries": _list("Delivery"),
            "not_sent": _list("NotSent"),
        }
    ),
    "Replayed": _object({"matched": _COUNT, "requeued": _COUNT}),
    "Stats": _object(
        {
            "from": _TIME,
            "to": _TIME,
            "bucket": _TEXT,
            **dict.fromkeys(("buckets", "totals", "open", "not_sent"), _LIST),
            "events": _ANY_OBJECT,
        }
    ),
    "Export": _object(
        {
            "app": _TEXT,
            "user_id": _TEXT,
            "erased_at": _MAYBE_TIME,
            **dict.fromkeys(("clicks", "events", "deliveries", "ledger"), _LIST),
        }
    ),
    "Erasure": _object(
        {
            "app": _TEXT,
            "erased_at": _TIME,
            "removed": _ANY_OBJECT,
            "cancelled_deliveries": _COUNT,
            "receipt": _TEXT,
        }
    ),
    "App": _object(_APP),
    "AppList": _object({"items": _list("App")}),
    "NewApp": _object({**_APP, **_KEYS}),
    "NewKeys": _object(_KEYS),
    "Key": _object(
        {
            "key_id": _TEXT,
            "publishable_key": _TEXT,
            "secret_key_prefix": _TEXT,
            "created_at": _TIME,
            "last_used_at": _MAYBE_TIME,
            "revoked_at": _MAYBE_TIME,
        }
    ),
    "KeyList": _object({"items": _list("Key")}),
    "Destination": _object(
        {
            "app": _TEXT,
            "name": _TEXT,
            "platform": _TEXT,
            "enabled": _FLAG,
            "credentials": _ANY_OBJECT,
            "options": _ANY_OBJECT,
            "events": {"type": ["object", "null"]},
            "status": {"type": "string", "enum": ["ok", "disabled", "paused", "held"]},
        }
    ),
    "DestinationList": _object({"items": _list("Destination")}),
    "CheckAnswer": _object(
        {
            "app": _TEXT,
            "destination": _TEXT,
            "platform": _TEXT,
            "ok": _FLAG,
            "code": _MAYBE_TEXT,
            "message": _MAYBE_TEXT,
            "remedy": _MAYBE_TEXT,
        }
    ),
    "Preview": _object({"would_send": _FLAG}),
    "Health": _object({"status": _TEXT}),
}

_DESTINATION = "/v1/apps/{app}/destinations/{name}"

ANSWERS: Mapping[tuple[str, str], Mapping[int, str]] = {
    ("post", "/v1/clicks"): {202: "ClickAnswer"},
    ("post", "/v1/collect"): {200: "ClickAnswer"},
    ("post", "/v1/events"): {202: "EventOrBatchAnswer"},
    ("post", "/v1/measure"): {200: "EventAnswer"},
    ("get", "/v1/events/{event_id}"): {200: "EventDetail"},
    ("get", "/v1/deliveries"): {200: "DeliveryPage"},
    ("get", "/v1/deliveries/{delivery_id}"): {200: "DeliveryDetail"},
    ("post", "/v1/deliveries/{delivery_id}/retry"): {202: "Delivery"},
    ("post", "/v1/deliveries/replay"): {200: "Replayed"},
    ("get", "/v1/stats"): {200: "Stats"},
    ("get", "/v1/users/{user_id}"): {200: "Export"},
    ("delete", "/v1/users/{user_id}"): {200: "Erasure"},
    ("post", "/v1/apps"): {201: "NewApp"},
    ("get", "/v1/apps"): {200: "AppList"},
    ("get", "/v1/apps/{app}"): {200: "App"},
    ("patch", "/v1/apps/{app}"): {200: "App"},
    ("post", "/v1/apps/{app}/keys"): {201: "NewKeys"},
    ("get", "/v1/apps/{app}/keys"): {200: "KeyList"},
    ("get", "/v1/apps/{app}/destinations"): {200: "DestinationList"},
    ("put", _DESTINATION): {200: "Destination", 201: "Destination"},
    ("get", _DESTINATION): {200: "Destination"},
    ("post", f"{_DESTINATION}/pause"): {200: "Destination"},
    ("post", f"{_DESTINATION}/resume"): {200: "Destination"},
    ("post", f"{_DESTINATION}/check"): {200: "CheckAnswer"},
    ("post", f"{_DESTINATION}/preview"): {200: "Preview"},
    ("get", "/healthz"): {200: "Health"},
    ("get", "/readyz"): {200: "Health"},
}
"""Method and path → status → name in `SCHEMAS`."""
