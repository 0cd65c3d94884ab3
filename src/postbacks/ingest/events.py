"""`POST /v1/events`: one event, or a batch of up to 1,000."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from postbacks.catalog import App
from postbacks.errors import Conflict, FieldError, Invalid
from postbacks.ingest.answering import current_outcome, current_status, event_answer
from postbacks.ingest.parsing import NewEvent, event_schema, parse_event, parse_events
from postbacks.ingest.service import Ingest, app_of, ingest_of
from postbacks.ingest.storing import Outcome
from postbacks.web.answers import json_response
from postbacks.web.auth import Scope, bearer, require
from postbacks.web.bodies import read_object

MAX_BATCH = 1_000

router = APIRouter(tags=["Events"])


@router.post(
    "/v1/events",
    status_code=202,
    summary="Send one event, or a batch",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            event_schema(),
                            {
                                "type": "object",
                                "required": ["events"],
                                "properties": {
                                    "events": {
                                        "type": "array",
                                        "minItems": 1,
                                        "maxItems": MAX_BATCH,
                                        "items": {"$ref": "#/components/schemas/EventIn"},
                                    }
                                },
                            },
                        ]
                    }
                }
            },
        }
    },
)
async def post_events(request: Request, app: str | None = None) -> Response:
    """An answer of 202 means that the event is committed. The same `event_id` again is a duplicate."""
    return await _take(request, app)


async def take_events(request: Request) -> Response:
    """`post_events` for the shortcut past the framework (see `postbacks.web.shortcuts`)."""
    return await _take(request, request.query_params.get("app") if request.scope["query_string"] else None)


async def _take(request: Request, app: str | None) -> Response:
    service = ingest_of(request)
    target = await authorised_app(service, request, app)
    body = await read_object(request)
    if "events" in body and "name" not in body:
        return await _batch(service, target, body["events"])
    event = parse_event(
        body, service.clock(), idempotency_key=request.headers.get("idempotency-key"), secret=target.secret
    )
    if isinstance(event, list):
        raise Invalid("The event is not valid.", errors=event)
    return json_response(await store_one(service, target, event), 202)


async def authorised_app(service: Ingest, request: Request, named: str | None) -> App:
    """The app of a secret key. Raises `Unauthorized`, `Forbidden` or `NotFound`."""
    principal = await service.keyring.principal(bearer(request.headers.get("authorization")) or "")
    require(principal, Scope.SECRET)
    return app_of(service, principal, named)


async def store_one(service: Ingest, app: App, event: NewEvent) -> dict[str, Any]:
    """Stores an event and returns the body of the answer. Raises `Conflict`."""
    outcome = (await service.writer.submit(app, [event]))[0]
    service.metrics.event(_kind(outcome))
    if outcome.conflict:
        raise Conflict(
            f"event_id {event.event_id!r} is already there with other content; the first stays. "
            "Send a new event_id for a new event."
        )
    if outcome.duplicate:
        return await current_outcome(service.database, app, event.event_id, outcome.event, service.clock())
    return event_answer(app, outcome)


async def _batch(service: Ingest, app: App, items: Any) -> Response:
    if not isinstance(items, list):
        raise Invalid("The batch is not valid.", errors=[FieldError("events", "must be an array")])
    if not 1 <= len(items) <= MAX_BATCH:
        raise Invalid(
            "The batch is not valid.",
            errors=[FieldError("events", f"must have 1 to {MAX_BATCH} items, has {len(items)}")],
        )
    now = service.clock()
    parsed = parse_events(items, now, secret=app.secret)
    good = [event for event in parsed if not isinstance(event, list)]
    if not good:
        errors = [
            FieldError(f"events.{index}.{error.field}", error.message)
            for index, found in enumerate(parsed)
            if isinstance(found, list)
            for error in found
        ]
        raise Invalid("No event of the batch is valid.", errors=errors[:1000])
    outcomes = await service.writer.submit(app, good)
    results = [_result(app, outcome, now) for outcome in outcomes]
    if len(good) < len(items):
        taken = iter(results)
        results = [
            _rejected(items[index], found) if isinstance(found, list) else next(taken)
            for index, found in enumerate(parsed)
        ]
    kinds = Counter([result["status"] for result in results])
    for kind, count in kinds.items():
        service.metrics.event(kind, count)
    conflicts, rejected = kinds["conflict"], kinds["rejected"]
    duplicates = sum([outcome.duplicate for outcome in outcomes])
    return json_response(
        {
            "accepted": len(results) - conflicts - rejected - duplicates,
            "duplicates": duplicates,
            "conflicts": conflicts,
            "rejected": rejected,
            "results": results,
        },
        202,
    )


def _kind(outcome: Outcome) -> str:
    if outcome.conflict:
        return "conflict"
    return "duplicate" if outcome.duplicate else outcome.status


def _result(app: App, outcome: Outcome, now: datetime) -> dict[str, Any]:
    if outcome.conflict:
        return {"event_id": outcome.event_id, "status": "conflict", "duplicate": False}
    status = outcome.status
    if outcome.duplicate:
        status = current_status(status, outcome.event, app.late_click, now)
    return {"event_id": outcome.event_id, "status": status, "duplicate": outcome.duplicate}


def _rejected(item: Any, errors: list[FieldError]) -> dict[str, Any]:
    result: dict[str, Any] = {"status": "rejected", "errors": [error.as_json() for error in errors]}
    event_id = item.get("event_id") if isinstance(item, dict) else None
    return {"event_id": event_id, **result} if isinstance(event_id, str) else result
