"""Rows as the JSON that the contract promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.idempotency import delivery_key
from postbacks.domain.model import Click
from postbacks.domain.planning import NotSent
from postbacks.ingest.answering import current_status
from postbacks.store.events import EventRow
from postbacks.store.reading import DeliveryRow


def delivery_item(row: DeliveryRow) -> dict[str, Any]:
    """An item of `GET /v1/deliveries`. `deadline`: after it the platform refuses the event for its age."""
    return {
        "id": ids.public("dlv", row.id),
        "app": row.app,
        "event_id": row.event_id,
        "event_name": row.event_name,
        "destination": row.destination,
        "platform": row.platform,
        "status": row.status,
        "reason": row.reason,
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at or row.created_at,
        "delivered_at": row.delivered_at,
        "deadline": row.deadline,
    }


def delivery_detail(
    row: DeliveryRow, event: EventRow | None, click: Click | None, attempts: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """The answer of `GET /v1/deliveries/{id}`."""
    match = orjson.loads(event.match) if event and event.match else {}
    return {
        **delivery_item(row),
        "idempotency_key": delivery_key(row.app, event.event_id, row.destination) if event else None,
        "match": {
            "method": match.get("method"),
            "confidence": match.get("confidence"),
            "clicked_at": click.clicked_at if click else None,
            "click_id_type": click.type if click else None,
        },
        "attempt_log": [attempt_json(attempt) for attempt in attempts],
    }


def attempt_json(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": row["number"],
        "started_at": row["started_at"],
        "duration_ms": row["duration_ms"],
        "http_status": row["http_status"],
        "verdict": row["verdict"],
        "code": row["code"],
        "message": row["message"],
        "request": {"method": row["method"], "url": row["url"], "body": row["request"]},
        "response": {"body": row["response"]},
    }


def event_detail(
    app: App,
    event: EventRow,
    deliveries: Sequence[DeliveryRow],
    values: Mapping[str, str],
    now: datetime,
) -> dict[str, Any]:
    """The answer of `GET /v1/events/{event_id}`. `values`: click ids (hex) → click ID as the platform wrote it."""
    match = orjson.loads(event.match) if event.match else {}
    status = current_status(event.status, event.id, app.late_click, now)
    return {
        "app": app.name,
        "event_id": event.event_id,
        "name": event.name,
        "status": status,
        "occurred_at": event.occurred_at,
        "received_at": ids.created_at(event.id),
        "user_id": event.user_id,
        "visitor_id": event.visitor_id,
        "value": float(event.value) if event.value is not None else None,
        "currency": event.currency,
        "platform": event.platform,
        "storefront": event.storefront,
        "properties": orjson.loads(event.properties) if event.properties else {},
        "consent": {
            "attribution": event.consent.attribution,
            "postbacks": event.consent.postbacks,
            "ad_personalization": event.consent.ad_personalization,
        },
        "match": {
            "method": match.get("method"),
            "confidence": match.get("confidence"),
            "platforms": match.get("platforms", []),
            "suppressed": match.get("suppressed"),
        },
        "clicks": [
            {
                "id": f"clk_{one['click']}",
                "type": one["type"],
                "value": values.get(one["click"]),
                "clicked_at": one["clicked_at"],
                "method": one["method"],
                "taken": one["taken"],
                "why": one["why"],
            }
            for one in match.get("considered", [])
        ],
        "deliveries": [delivery_item(row) for row in sorted(deliveries, key=lambda row: row.id)],
        "not_sent": not_sent(event),
    }


def not_sent(event: EventRow) -> list[dict[str, str]]:
    """Where the event did not go, and why."""
    return [
        {"destination": destination, "platform": platform, "reason": NotSent(reason).value}
        for destination, platform, reason in (orjson.loads(event.not_sent) if event.not_sent else [])
    ]
