"""TRACKS-compatible endpoints: a studio repoints its URL and changes no code (field.md, 1.2 and 1.3)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from postbacks.errors import FieldError, Invalid
from postbacks.ingest.clicks import caller, limit, parse_click, visit_of
from postbacks.ingest.events import authorised_app, store_one
from postbacks.ingest.parsing import parse_event
from postbacks.ingest.registering import register
from postbacks.ingest.service import app_of, ingest_of
from postbacks.web.answers import json_response
from postbacks.web.bodies import read_json_or_form

GAME_OPEN = "game_open"
"""TRACKS' name for every start of the game; the player's first one is the install."""

router = APIRouter(tags=["TRACKS"])

_MEASURE = {
    "type": "object",
    "required": ["user_id", "event_name"],
    "properties": {
        "user_id": {"type": "string"},
        "event_name": {"type": "string", "examples": [GAME_OPEN]},
        "ip": {"type": "string"},
        "timestamp": {"description": "RFC 3339 or Unix seconds; time_stamp is the same"},
        "time_stamp": {},
        "platform": {"type": "string"},
        "storefront": {"type": "string"},
    },
}
_COLLECT = {
    "type": "object",
    "properties": {
        "page_url": {"type": "string", "description": "carries the click IDs; url is the same"},
        "url": {"type": "string"},
        "clientId": {"type": "string"},
        "timestamp": {},
        "referrer": {"type": "string"},
    },
}


def _both_forms(schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}, "application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


@router.post("/v1/measure", summary="TRACKS: a game event", openapi_extra=_both_forms(_MEASURE))
@router.post("/measure", include_in_schema=False)
async def measure(request: Request, app: str | None = None) -> Response:
    """Takes TRACKS' fields as JSON or form; answers 200 with the body of `POST /v1/events`."""
    service = ingest_of(request)
    target = await authorised_app(service, request, app)
    body = await read_json_or_form(request)
    name = body.get("event_name")
    if not isinstance(name, str) or not name:
        raise Invalid("The event is not valid.", errors=[FieldError("event_name", "is required")])
    item: dict[str, Any] = {field: value for field in _PASSED_ON if (value := body.get(field)) not in (None, "")}
    item["name"] = name
    if "consent" in item:
        item["consent"] = _consent(item["consent"])
    occurred_at = body.get("timestamp") or body.get("time_stamp")
    if occurred_at not in (None, ""):
        item["occurred_at"] = occurred_at
    event = parse_event(
        item,
        service.clock(),
        idempotency_key=request.headers.get("idempotency-key"),
        first_open=name == GAME_OPEN,
        secret=target.secret,
    )
    if isinstance(event, list):
        raise Invalid("The event is not valid.", errors=[_in_their_words(error) for error in event])
    return json_response(await store_one(service, target, event))


_PASSED_ON = (
    "user_id", "visitor_id", "ip", "platform", "storefront", "event_id", "value", "currency", "properties", "consent",
    "click_ids",
)  # fmt: skip


_YES = ("true", "1", "yes", "on", "granted")


def _consent(value: Any) -> Any:
    """TRACKS has one flag, which decides whether media sharing is on (field.md, 1.3). What is no yes is a no."""
    if value in (None, "") or isinstance(value, dict):
        return value or None
    return {"postbacks": str(value).strip().lower() in _YES}


def _in_their_words(error: FieldError) -> FieldError:
    names = {"name": "event_name", "occurred_at": "timestamp"}
    return FieldError(names.get(error.field, error.field), error.message)


@router.post("/v1/collect", summary="TRACKS: a page visit", openapi_extra=_both_forms(_COLLECT))
@router.post("/collect", include_in_schema=False)
async def collect(request: Request, app: str | None = None) -> Response:
    """Takes TRACKS' page-visit fields; registers the click IDs in `page_url`."""
    service = ingest_of(request)
    body = await read_json_or_form(request)
    click = parse_click(_as_click(body))
    principal = await caller(service, request, click.key)
    limit(service, request, principal)
    visit = visit_of(service, request, principal, click)
    visitor_id = await register(service, app_of(service, principal, app), visit)
    return json_response({"visitor_id": visitor_id, "click_ids": dict(visit.click_ids)})


def _as_click(body: dict[str, Any]) -> dict[str, Any]:
    """TRACKS' names → ours; what is empty or not in our shape is left out, as TRACKS does."""
    utm = {
        f"utm_{name}": str(value)
        for name in ("source", "medium", "campaign", "term", "content")
        if (value := body.get(f"utm_{name}", body.get(name)))
    }
    visitor = body.get("visitor_id") or body.get("clientId")
    values = {
        "key": body.get("key"),
        "url": body.get("page_url") or body.get("url"),
        "click_ids": body.get("click_ids"),
        "visitor_id": visitor
        if isinstance(visitor, str) and visitor.replace("-", "").replace("_", "").isalnum()
        else None,
        "user_id": body.get("user_id"),
        "clicked_at": body.get("timestamp") or body.get("time_stamp"),
        "referrer": body.get("referrer"),
        "utm": utm or None,
        "consent": _consent(body.get("consent")),
        "ip": body.get("ip"),
        "user_agent": body.get("user_agent"),
    }
    return {name: value for name, value in values.items() if value not in (None, "")}
