"""`/v1/apps/{app}/destinations`: where conversions go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from postbacks.admin.previewing import preview
from postbacks.admin.schemas import (
    MASK,
    NAME_PATTERN,
    DestinationIn,
    is_name,
    shown_options,
    validate_destination,
)
from postbacks.admin.service import Admin, admin_of
from postbacks.domain.ids import MAX_SLOTS
from postbacks.errors import FieldError, Invalid, NotFound
from postbacks.outbound.checking import check
from postbacks.outbound.masking import is_public
from postbacks.sealing import open_destination, seal_destination
from postbacks.store import configuration, outbox
from postbacks.store.configuration import DestinationRow
from postbacks.store.database import Connection
from postbacks.web.answers import json_response
from postbacks.web.bodies import read_object

router = APIRouter(prefix="/v1/apps/{app}/destinations", tags=["Destinations"])
AdminService = Annotated[Admin, Depends(admin_of)]


@router.put(
    "/{name}",
    summary="Create or replace a destination",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": DestinationIn.model_json_schema()}},
        }
    },
)
async def put_destination(app: str, name: str, request: Request, service: AdminService) -> Response:
    """A credential that reads `***` stays as it was. New settings release a hold."""
    if not is_name(name):
        raise Invalid("The name is not valid.", errors=[FieldError("name", f"must match {NAME_PATTERN}")])
    body = await read_object(request)
    service.app(app)
    async with service.database.transaction() as connection:
        created = await store_destination(service, connection, app, name, body)
        await configuration.notify_changed(connection)
        row = await configuration.destination(connection, app, name)
    await service.changed()
    service.wake()
    if row is None:
        raise NotFound(f"App {app!r} has no destination {name!r}.")
    return json_response(_json(service, row), 201 if created else 200)


async def store_destination(
    service: Admin, connection: Connection, app: str, name: str, body: Mapping[str, Any]
) -> bool:
    """Validates and stores; returns whether it is new. Raises `Invalid`, naming each field."""
    before = await configuration.destination(connection, app, name)
    known = open_destination(service.vault, before) if before else ({}, {})
    valid = validate_destination(body, known_credentials=known[0], known_options=known[1])
    if isinstance(valid, list):
        raise Invalid(f"The destination {name!r} is not valid.", errors=valid)
    if before is None and len(await configuration.destinations(connection, app)) >= MAX_SLOTS:
        raise Invalid(f"An app has at most {MAX_SLOTS} destinations.")
    sealed, options = seal_destination(service.vault, valid.platform, valid.credentials, valid.options)
    return await configuration.put_destination(
        connection,
        app,
        name,
        platform=valid.platform,
        enabled=valid.enabled,
        credentials=sealed,
        options=options,
        events=valid.events,
    )


@router.get("", summary="List destinations")
async def list_destinations(app: str, service: AdminService) -> Response:
    service.app(app)
    async with service.database.connection() as connection:
        rows = await configuration.destinations(connection, app)
    return json_response({"items": [_json(service, row) for row in rows]})


@router.get("/{name}", summary="Read a destination")
async def get_destination(app: str, name: str, service: AdminService) -> Response:
    """Secrets never come back: they read `***`."""
    async with service.database.connection() as connection:
        row = await configuration.destination(connection, app, name)
    if row is None:
        raise NotFound(f"App {app!r} has no destination {name!r}.")
    return json_response(_json(service, row))


@router.delete("/{name}", status_code=204, summary="Delete a destination")
async def delete_destination(app: str, name: str, service: AdminService) -> Response:
    """What was still to be sent to it is cancelled."""
    async with service.database.transaction() as connection:
        row = await configuration.destination(connection, app, name)
        if row is None:
            raise NotFound(f"App {app!r} has no destination {name!r}.")
        await configuration.delete_destination(connection, app, name)
        await outbox.cancel(connection, app, "destination_deleted", {name: row.platform}, destination=name)
        await configuration.notify_changed(connection)
    await service.changed()
    return Response(status_code=204)


@router.post("/{name}/pause", summary="Pause: nothing is sent, nothing is lost")
async def pause(app: str, name: str, service: AdminService) -> Response:
    return await set_paused(service, app, name, paused=True)


@router.post("/{name}/resume", summary="Resume; also releases a hold")
async def resume(app: str, name: str, service: AdminService) -> Response:
    return await set_paused(service, app, name, paused=False)


async def set_paused(service: Admin, app: str, name: str, *, paused: bool) -> Response:
    async with service.database.transaction() as connection:
        if not await configuration.set_paused(connection, app, name, paused=paused):
            raise NotFound(f"App {app!r} has no destination {name!r}.")
        row = await configuration.destination(connection, app, name)
        await configuration.notify_changed(connection)
    await service.changed()
    if not paused:
        service.wake()
    if row is None:
        raise NotFound(f"App {app!r} has no destination {name!r}.")
    return json_response(_json(service, row))


@router.post("/{name}/check", summary="Ask the platform whether the credentials work")
async def check_destination(app: str, name: str, service: AdminService) -> Response:
    """Records no conversion. The same as `postbacks doctor`."""
    return json_response(await check_json(service, app, name))


async def check_json(service: Admin, app: str, name: str) -> dict[str, Any]:
    destination = service.destination(app, name)
    result = await check(destination, sender=service.sender, tokens=service.tokens, clock=service.clock)
    return {
        "app": app,
        "destination": name,
        "platform": destination.platform,
        "ok": result.ok,
        "code": result.code or None,
        "message": result.message or None,
        "remedy": result.remedy or None,
    }


@router.post(
    "/{name}/preview",
    summary="What would be sent for an event, or why not",
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def preview_destination(app: str, name: str, request: Request, service: AdminService) -> Response:
    """Takes the body of `POST /v1/events`; nothing is stored and nothing is sent."""
    body = await read_object(request)
    owner = service.app(app)
    return json_response(await preview(service, owner, service.destination(app, name), body))


def _json(service: Admin, row: DestinationRow) -> dict[str, Any]:
    return destination_json(row, *open_destination(service.vault, row))


def destination_json(row: DestinationRow, credentials: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A destination without its secrets."""
    status = "ok"
    if not row.enabled:
        status = "disabled"
    elif row.paused_at:
        status = "paused"
    elif row.held_at:
        status = "held"
    return {
        "app": row.app,
        "name": row.name,
        "platform": row.platform,
        "enabled": row.enabled,
        "credentials": {name: _shown(name, value) for name, value in credentials.items()},
        "options": shown_options(options),
        "events": row.events,
        "status": status,
        "paused_at": row.paused_at,
        "held_since": row.held_at,
        "held_code": row.held_code,
        "held_message": row.held_message,
        "held_remedy": row.held_remedy,
        "next_probe_at": row.probe_at,
        "blocked_until": row.blocked_until,
        "blocked_reason": row.blocked_reason,
        "failures_in_a_row": row.failures,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _shown(name: str, value: Any) -> Any:
    return value if is_public(name) and isinstance(value, str | int) else MASK
