"""`/v1/users/{user_id}`: what is held of a player, and its removal."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.consent import read
from postbacks.domain.model import Consent
from postbacks.errors import BadRequest, NotFound
from postbacks.ops.service import Ops, caller_of
from postbacks.ops.showing import delivery_item, not_sent
from postbacks.store import events as event_store
from postbacks.store import outbox, personal, reading
from postbacks.store.database import Connection
from postbacks.web.answers import json_response
from postbacks.web.auth import Principal, Scope

router = APIRouter(prefix="/v1/users", tags=["Privacy"])
AppName = Annotated[str | None, Query(alias="app", max_length=64)]

EXPORT_LIMIT = 5_000
"""Events in one export; a player who has more is told so."""


def _app(service: Ops, principal: Principal, named: str | None, user_id: str) -> App:
    if not user_id:
        raise NotFound("Name a player: /v1/users/<user_id>.")
    if principal.scope is Scope.ADMIN and named is None:
        raise BadRequest("The admin token serves all apps: name one with ?app=….")
    return service.apps_of(principal, named)[0]


@router.get("/{user_id:path}", summary="Export all that is held of a player")
async def export_user(user_id: str, request: Request, app: AppName = None) -> Response:
    """With a privacy ledger: which identifier went to which platform, when, and under which consent."""
    service, principal = await caller_of(request)
    owner = _app(service, principal, app, user_id)
    async with service.database.connection() as connection:
        erased = await personal.erased_at(connection, owner.name, owner.user_key(user_id))
        links = await personal.links(connection, owner.name, user_id)
        events = await personal.event_ids(connection, owner.name, user_id)
        rows = await event_store.by_ids(connection, owner.name, events[:EXPORT_LIMIT])
        deliveries = await _deliveries(connection, owner, events[:EXPORT_LIMIT])
        ledger = await _ledger(connection, owner, deliveries)
    return json_response(
        {
            "app": owner.name,
            "user_id": user_id,
            "erased_at": erased,
            "clicks": [_click_json(link) for link in links],
            "events": [
                {
                    "event_id": row.event_id,
                    "name": row.name,
                    "status": row.status,
                    "occurred_at": row.occurred_at,
                    "received_at": ids.created_at(row.id),
                    "visitor_id": row.visitor_id,
                    "value": float(row.value) if row.value is not None else None,
                    "currency": row.currency,
                    "platform": row.platform,
                    "storefront": row.storefront,
                    "properties": orjson.loads(row.properties) if row.properties else {},
                    "consent": _consent_json(row.consent),
                    "not_sent": not_sent(row),
                }
                for row in sorted(rows.values(), key=lambda row: row.id)
            ],
            "events_total": len(events),
            "deliveries": [delivery_item(row) for row in deliveries],
            "ledger": ledger,
        }
    )


@router.delete("/{user_id:path}", summary="Erase a player, and refuse them from now on")
async def erase_user(user_id: str, request: Request, app: AppName = None) -> Response:
    """Idempotent. Answers with a receipt: what was removed and cancelled."""
    service, principal = await caller_of(request)
    owner = _app(service, principal, app, user_id)
    user_key = owner.user_key(user_id)
    platforms = {one.name: one.platform for one in owner.destinations.values()}
    async with service.database.transaction() as connection:
        # First the tombstone: an event that comes in from now on is refused.
        erased_at = await personal.remember_erasure(connection, owner.name, user_key)
        number = await personal.transaction_number(connection)
    async with service.database.connection() as connection:
        await personal.older_are_over(connection, number)
    async with service.database.transaction() as connection:
        events = await personal.event_ids(connection, owner.name, user_id)
        open_deliveries = [row.id for row in await _deliveries(connection, owner, events) if row.status in reading.OPEN]
        cancelled = (
            await outbox.cancel(connection, owner.name, "erased", platforms, identifiers=open_deliveries)
            if open_deliveries
            else 0
        )
        removed = await personal.remove(connection, owner.name, user_id, user_key, events)
    return json_response(
        {
            "app": owner.name,
            "erased_at": erased_at,
            "removed": removed,
            "cancelled_deliveries": cancelled,
            "receipt": ids.public("ers", user_key),
        }
    )


async def _deliveries(connection: Connection, app: App, events: list[Any]) -> list[reading.DeliveryRow]:
    found: list[reading.DeliveryRow] = []
    for event in events:
        found += await reading.deliveries(connection, app.name, reading.Filter(event=event), ids.MAX_SLOTS)
    return found


async def _ledger(connection: Connection, app: App, deliveries: list[reading.DeliveryRow]) -> list[dict[str, Any]]:
    """What left, to whom, when, and under which consent."""
    by_id = {row.id: row for row in deliveries}
    clicks = await personal.click_facts(connection, app.name, {row.click for row in deliveries})
    ledger = []
    for attempt in await personal.sent(connection, app.name, list(by_id)):
        row = by_id[attempt["delivery"]]
        click = clicks.get(row.click)
        ledger.append(
            {
                "at": attempt["started_at"],
                "destination": row.destination,
                "platform": row.platform,
                "event_id": row.event_id,
                "delivery": ids.public("dlv", row.id),
                "try": attempt["number"],
                "outcome": attempt["verdict"],
                "identifier": {"type": click["type"], "value": click["value"]} if click else None,
                "also_shared": attempt["shared"].split(",") if attempt["shared"] else [],
                # As it was then: what the player says now is with the click.
                "consent": _consent_json(read(attempt["consent"])) if attempt["consent"] else None,
            }
        )
    return ledger


def _click_json(link: Any) -> dict[str, Any]:
    return {
        "type": link["type"],
        "value": link["value"],
        "visitor_id": link["visitor_id"],
        "clicked_at": link["clicked_at"],
        "url": link["url"],
        "referrer": link["referrer"],
        "utm": link["utm"],
        "user_agent": link["user_agent"],
        "consent": _consent_json(
            Consent(link["consent_attribution"], link["consent_postbacks"], link["consent_ad_personalization"])
        ),
        "linked_at": link["linked_at"],
        "confidence": link["confidence"],
    }


def _consent_json(consent: Consent) -> dict[str, bool | None]:
    return {
        "attribution": consent.attribution,
        "postbacks": consent.postbacks,
        "ad_personalization": consent.ad_personalization,
    }
