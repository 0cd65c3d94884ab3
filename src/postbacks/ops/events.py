"""`GET /v1/events/{event_id}`: one event, every click that was considered, and where it went or did not go."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from postbacks.domain import ids
from postbacks.domain.idempotency import event_key
from postbacks.errors import BadRequest, NotFound
from postbacks.ops.service import Ops, caller_of
from postbacks.ops.showing import event_detail
from postbacks.store import clicks as click_store
from postbacks.store import events as event_store
from postbacks.store import reading
from postbacks.web.answers import json_response
from postbacks.web.auth import Principal, Scope

router = APIRouter(tags=["Events"])


@router.get("/v1/events/{event_id:path}", summary="What happened to an event, and why")
async def get_event(
    event_id: str, request: Request, app: Annotated[str | None, Query(max_length=64)] = None
) -> Response:
    """The admin names the app with `?app=`."""
    service, principal = await caller_of(request)
    return json_response(await explain(service, principal, app, event_id))


async def explain(service: Ops, principal: Principal, app_name: str | None, event_id: str) -> dict[str, Any]:
    """Raises `NotFound`."""
    if principal.scope is Scope.ADMIN and app_name is None and len(list(service.catalog.apps())) != 1:
        raise BadRequest("The admin token serves all apps: name one with ?app=….")
    app = service.apps_of(principal, app_name)[0]
    key = event_key(event_id)
    async with service.database.connection() as connection:
        known = (await event_store.known(connection, app.name, [key])).get(key)
        event = (await event_store.by_ids(connection, app.name, [known.event])).get(known.event) if known else None
        if known is None or event is None:
            raise NotFound(f"App {app.name!r} has no event {event_id[:128]!r}.")
        deliveries = await reading.deliveries(connection, app.name, reading.Filter(event=known.event), ids.MAX_SLOTS)
        considered = orjson.loads(event.match).get("considered", []) if event.match else []
        clicks = await click_store.by_ids(connection, app.name, {UUID(hex=one["click"]) for one in considered})
    values = {identifier.hex: click.value for identifier, (click, _) in clicks.items()}
    return event_detail(app, event, deliveries, values, service.clock())
