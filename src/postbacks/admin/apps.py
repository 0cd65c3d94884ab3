"""`/v1/apps`: apps and their keys."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.responses import Response

from postbacks.admin.schemas import AppIn, AppPatch, AttributionIn
from postbacks.admin.service import Admin, admin_of
from postbacks.errors import Conflict, Invalid, NotFound
from postbacks.ingest.fields import field_errors
from postbacks.store import configuration
from postbacks.store.configuration import AppRow, KeyRow
from postbacks.store.database import Connection
from postbacks.vault import token_hash
from postbacks.web.answers import json_response
from postbacks.web.auth import KeyPair, new_key_pair
from postbacks.web.bodies import read_object

router = APIRouter(prefix="/v1/apps", tags=["Apps"])
AdminService = Annotated[Admin, Depends(admin_of)]


def _body(model: type[AppIn] | type[AppPatch]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


@router.post("", status_code=201, summary="Create an app", openapi_extra=_body(AppIn))
async def create_app(request: Request, service: AdminService) -> Response:
    """The secret key is shown once; it is stored as a hash."""
    try:
        given = AppIn.model_validate(await read_object(request))
    except ValidationError as error:
        raise Invalid("The app is not valid.", errors=field_errors(error)) from None
    settings = app_settings(given)
    async with service.database.transaction() as connection:
        sealed = service.vault.seal(secrets.token_bytes(32))
        if not await configuration.insert_app(connection, given.name, settings, sealed):
            raise Conflict(f"There is an app {given.name!r} already.")
        pair = await add_keys(connection, given.name)
        await configuration.notify_changed(connection)
    await service.changed()
    return json_response({"name": given.name, **pair_json(pair), **settings}, 201)


@router.get("", summary="List apps")
async def list_apps(service: AdminService) -> Response:
    async with service.database.connection() as connection:
        rows = await configuration.apps(connection)
    return json_response({"items": [app_json(row) for row in rows]})


@router.get("/{app}", summary="Read an app")
async def get_app(app: str, service: AdminService) -> Response:
    async with service.database.connection() as connection:
        row = await _existing(connection, app)
        keys = await configuration.keys(connection, app)
        destinations = await configuration.destinations(connection, app)
    return json_response(
        {**app_json(row), "keys": [key_json(key) for key in keys], "destinations": [one.name for one in destinations]}
    )


@router.patch("/{app}", summary="Change an app's settings", openapi_extra=_body(AppPatch))
async def patch_app(app: str, request: Request, service: AdminService) -> Response:
    """Only what is named is changed."""
    body = await read_object(request)
    async with service.database.transaction() as connection:
        row = await _existing(connection, app)
        try:
            patch = AppPatch.model_validate(body)
            attribution = AttributionIn.model_validate(
                {**row.settings.get("attribution", {}), **(patch.attribution or {})}
            )
        except ValidationError as error:
            raise Invalid("The app is not valid.", errors=field_errors(error)) from None
        require_consent = row.settings.get("require_consent", False)
        settings = {
            "attribution": attribution.model_dump(),
            "require_consent": require_consent if patch.require_consent is None else patch.require_consent,
        }
        await configuration.update_app(connection, app, settings)
        await configuration.notify_changed(connection)
    await service.changed()
    return json_response({"name": app, **settings})


@router.delete("/{app}", status_code=204, summary="Delete an app with all its data")
async def delete_app(app: str, service: AdminService) -> Response:
    async with service.database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = '10min'")
        if not await configuration.delete_app(connection, app):
            raise NotFound(f"There is no app {app!r}.")
        await configuration.notify_changed(connection)
    await service.changed()
    return Response(status_code=204)


@router.post("/{app}/keys", status_code=201, summary="Issue a further pair of keys")
async def create_keys(app: str, service: AdminService) -> Response:
    async with service.database.transaction() as connection:
        await _existing(connection, app)
        pair = await add_keys(connection, app)
    return json_response(pair_json(pair), 201)


@router.get("/{app}/keys", summary="List keys")
async def list_keys(app: str, service: AdminService) -> Response:
    async with service.database.connection() as connection:
        await _existing(connection, app)
        keys = await configuration.keys(connection, app)
    return json_response({"items": [key_json(key) for key in keys]})


@router.delete("/{app}/keys/{key_id}", status_code=204, summary="Revoke a pair of keys")
async def revoke_keys(app: str, key_id: str, service: AdminService) -> Response:
    """At once, in every process."""
    async with service.database.transaction() as connection:
        if not await configuration.revoke_key(connection, app, key_id):
            raise NotFound(f"App {app!r} has no key {key_id!r}.")
        await configuration.notify_changed(connection)
    await service.changed()
    return Response(status_code=204)


async def add_keys(connection: Connection, app: str) -> KeyPair:
    """A fresh pair of keys for an app."""
    pair = new_key_pair()
    await configuration.insert_key(
        connection,
        app,
        pair.key_id,
        publishable_key=pair.publishable_key,
        publishable_hash=token_hash(pair.publishable_key),
        secret_prefix=pair.secret_key[:10],
        secret_hash=token_hash(pair.secret_key),
    )
    return pair


def app_settings(given: AppIn) -> dict[str, Any]:
    """What is stored of an app's settings."""
    return {"attribution": given.attribution.model_dump(), "require_consent": given.require_consent}


async def _existing(connection: Connection, app: str) -> AppRow:
    row = await configuration.app(connection, app)
    if row is None:
        raise NotFound(f"There is no app {app!r}.")
    return row


def pair_json(pair: KeyPair) -> dict[str, str]:
    return {"key_id": pair.key_id, "publishable_key": pair.publishable_key, "secret_key": pair.secret_key}


def app_json(row: AppRow) -> dict[str, Any]:
    defaults = AttributionIn().model_dump()
    return {
        "name": row.app,
        "attribution": {**defaults, **row.settings.get("attribution", {})},
        "require_consent": row.settings.get("require_consent", False),
        "created_at": row.created_at,
    }


def key_json(row: KeyRow) -> dict[str, Any]:
    return {
        "key_id": row.key_id,
        "publishable_key": row.publishable_key,
        "secret_key_prefix": row.secret_prefix,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }
