"""`/v1/deliveries`: what happened to each conversion, and trying again."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.idempotency import event_key
from postbacks.errors import FieldError, Invalid, NotFound
from postbacks.ingest.fields import parse_time
from postbacks.ops.replaying import REPLAY_LIMIT, replay, retry_one
from postbacks.ops.service import Caller, Ops, caller_of
from postbacks.ops.showing import delivery_detail, delivery_item
from postbacks.platforms.registry import ADAPTERS
from postbacks.store import clicks as click_store
from postbacks.store import configuration, reading
from postbacks.store import events as event_store
from postbacks.store.database import Connection
from postbacks.store.reading import ENDED, OPEN, DeliveryRow, Filter
from postbacks.web.answers import json_response
from postbacks.web.auth import Principal
from postbacks.web.bodies import read_object

router = APIRouter(prefix="/v1/deliveries", tags=["Deliveries"])

Text = Annotated[str | None, Query(max_length=256)]

FILTERS = (
    "app", "destination", "platform", "status", "event_id", "event_name", "user_id", "created_after", "created_before",
)  # fmt: skip


@router.get("", summary="List deliveries, newest first")
async def list_deliveries(
    caller: Caller,
    app: Text = None,
    destination: Text = None,
    platform: Text = None,
    status: Text = None,
    event_id: Text = None,
    event_name: Text = None,
    user_id: Text = None,
    created_after: Text = None,
    created_before: Text = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Text = None,
) -> Response:
    """All filters are optional and must all fit. `next_cursor` leads to the next page; it is null on the last."""
    service, principal = caller
    values = {name: value for name, value in locals().items() if name in FILTERS and value is not None}
    return json_response(await page(service, principal, values, limit, cursor))


async def page(
    service: Ops, principal: Principal, values: dict[str, Any], limit: int, cursor: str | None
) -> dict[str, Any]:
    """One page of deliveries. Raises `Invalid` naming the filter that is not valid."""
    before = None
    if cursor is not None:
        before = ids.parse_public("dlv", cursor)
        if before is None:
            raise Invalid(
                "The cursor is not valid.", errors=[FieldError("cursor", "must be the next_cursor of a page")]
            )
    rows: list[DeliveryRow] = []
    for app in service.apps_of(principal, values.get("app")):
        async with service.database.connection() as connection:
            wanted = await filter_of(connection, app, values)
            if wanted is not None:
                rows += await reading.deliveries(connection, app.name, _before(wanted, before), limit + 1)
    rows.sort(key=lambda row: row.id, reverse=True)
    more = len(rows) > limit
    return {
        "items": [delivery_item(row) for row in rows[:limit]],
        "next_cursor": ids.public("dlv", rows[limit - 1].id) if more else None,
    }


async def filter_of(connection: Connection, app: App, values: dict[str, Any]) -> Filter | None:
    """The filter for one app; `None` where nothing can fit. Raises `Invalid`."""
    errors: list[FieldError] = []
    statuses: tuple[str, ...] = ()
    if values.get("status"):
        statuses = tuple(part.strip() for part in str(values["status"]).split(",") if part.strip())
        unknown = [one for one in statuses if one not in (*OPEN, *ENDED)]
        if unknown:
            errors.append(FieldError("status", f"must be of {', '.join((*OPEN, *ENDED))}"))
    if values.get("platform") and values["platform"] not in ADAPTERS:
        errors.append(FieldError("platform", f"must be one of {', '.join(ADAPTERS)}"))
    times: dict[str, Any] = {}
    for name in ("created_after", "created_before"):
        if values.get(name) is not None:
            try:
                times[name] = parse_time(values[name])
            except ValueError as error:
                errors.append(FieldError(name, str(error)))
    texts = [str(values[name]) for name in ("destination", "event_id", "event_name", "user_id") if values.get(name)]
    if any("\x00" in text for text in texts):
        errors.append(FieldError("filter", "must not contain NUL"))
    if errors:
        raise Invalid("A filter is not valid.", errors=errors)
    event = None
    if values.get("event_id") is not None:
        key = event_key(str(values["event_id"]))
        known = await event_store.known(connection, app.name, [key])
        if key not in known:
            return None
        event = known[key].event
    return Filter(
        destination=values.get("destination"),
        platform=values.get("platform"),
        statuses=statuses,
        event=event,
        event_name=values.get("event_name"),
        user_id=values.get("user_id"),
        **times,
    )


def _before(wanted: Filter, before: Any) -> Filter:
    return replace(wanted, before=before) if before is not None else wanted


@router.get("/{delivery_id}", summary="One delivery with every try")
async def get_delivery(delivery_id: str, request: Request) -> Response:
    """Request and answer of each try; a body holds this delivery's part of a batch, secrets are masked."""
    service, principal = await caller_of(request)
    return json_response(await detail(service, principal, delivery_id))


async def detail(service: Ops, principal: Principal, delivery_id: str) -> dict[str, Any]:
    app, row = await find(service, principal, delivery_id)
    async with service.database.connection() as connection:
        event_id = ids.event_of(row.id)
        event = (await event_store.by_ids(connection, app.name, [event_id])).get(event_id)
        click = (await click_store.by_ids(connection, app.name, [row.click])).get(row.click)
        attempts = await reading.attempts(connection, app.name, row.id)
    answer = delivery_detail(row, event, click[0] if click else None, attempts)
    destination = app.destinations.get(row.destination)
    if destination is not None and row.status in ("held", "retrying"):
        answer["destination_health"] = await _health(service, app.name, row.destination)
    return answer


async def _health(service: Ops, app: str, name: str) -> dict[str, Any] | None:
    """Why a destination sends nothing at the moment, and what to do."""
    async with service.database.connection() as connection:
        row = await configuration.destination(connection, app, name)
    if row is None:
        return None
    return {
        "paused_at": row.paused_at,
        "held_since": row.held_at,
        "code": row.held_code,
        "message": row.held_message,
        "remedy": row.held_remedy,
        "next_probe_at": row.probe_at,
        "blocked_until": row.blocked_until,
        "blocked_reason": row.blocked_reason,
    }


async def find(service: Ops, principal: Principal, delivery_id: str) -> tuple[App, DeliveryRow]:
    """A delivery that the caller may see. Raises `NotFound`."""
    identifier = ids.parse_public("dlv", delivery_id)
    if identifier is not None:
        async with service.database.connection() as connection:
            name = principal.app or await reading.app_of_delivery(connection, identifier)
            app = service.catalog.app(name) if name else None
            row = await reading.delivery(connection, app.name, identifier) if app else None
        if app is not None and row is not None:
            return app, row
    raise NotFound(f"There is no delivery {delivery_id[:80]!r}.")


_REPLAY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "filter": {"type": "object", "properties": {name: {"type": "string"} for name in FILTERS}},
        "dry_run": {"type": "boolean", "default": False},
    },
}


@router.post(
    "/replay",
    summary="Send again what ended without success",
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _REPLAY}}}},
)
async def replay_deliveries(request: Request) -> Response:
    """`{"filter": {…}, "dry_run": bool}`: the filter takes the names of `GET /v1/deliveries`.

    Delivered ones are never sent again. At most 10,000 at a time, the newest first.
    """
    service, principal = await caller_of(request)
    body = await read_object(request)
    values = body.get("filter", {})
    dry_run = body.get("dry_run", False)
    errors = []
    if isinstance(values, dict) and isinstance(values.get("status"), list):
        values = {**values, "status": ",".join(map(str, values["status"]))}
    if isinstance(values, dict):
        # Times may be Unix seconds; null is no filter.
        values = {
            name: str(value) if type(value) in (int, float) else value
            for name, value in values.items()
            if value is not None
        }
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        errors.append(FieldError("filter", "must be an object of texts"))
    else:
        errors += [
            FieldError(f"filter.{str(name)[:40]}", f"is not a filter; there are {', '.join(FILTERS)}")
            for name in values
            if name not in FILTERS
        ]
    if not isinstance(dry_run, bool):
        errors.append(FieldError("dry_run", "must be true or false"))
    if errors:
        raise Invalid("The replay is not valid.", errors=errors)
    matched = requeued = 0
    for app in service.apps_of(principal, values.get("app")):
        async with service.database.connection() as connection:
            wanted = await filter_of(connection, app, values)
        if wanted is not None:
            found, again = await replay(service, app, wanted, dry_run=dry_run, limit=REPLAY_LIMIT - matched)
            matched, requeued = matched + found, requeued + again
    return json_response({"matched": matched, "requeued": requeued})


@router.post("/{delivery_id}/retry", status_code=202, summary="Try one delivery again now")
async def retry_delivery(delivery_id: str, request: Request) -> Response:
    """Replaces a pending try; takes a failed, expired, skipped or cancelled one back, if it can still be sent."""
    service, principal = await caller_of(request)
    app, row = await find(service, principal, delivery_id)
    await retry_one(service, app, row)
    fresh = await find(service, principal, delivery_id)
    return json_response(delivery_item(fresh[1]), 202)
