"""`POST /v1/clicks`: what the snippet sends, and what a backend may send for it."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, StringConstraints, ValidationError
from starlette.responses import Response

from postbacks.domain.model import Consent
from postbacks.errors import FieldError, Invalid, TooManyRequests, Unauthorized
from postbacks.ingest.fields import (
    AddressText,
    ConsentIn,
    Input,
    LongText,
    PlayerId,
    Time,
    VisitorId,
    click_id_problem,
    field_errors,
    with_text_ids,
)
from postbacks.ingest.parsing import AHEAD, OLDEST
from postbacks.ingest.registering import Visit, click_ids_in, register
from postbacks.ingest.service import Ingest, app_of, ingest_of
from postbacks.platforms.registry import CLICK_ID_PLATFORM
from postbacks.privacy.addresses import household, parse_address
from postbacks.web.answers import json_response
from postbacks.web.auth import Principal, Scope, bearer
from postbacks.web.bodies import read_object
from postbacks.web.connection import client_address

MAX_BODY = 64 * 1024
"""What `sendBeacon` can send at most."""


def _known_click_ids(value: Any) -> Any:
    """Keeps the known ones; a page may hand over whatever it found."""
    if not isinstance(value, dict):
        raise ValueError('must be an object such as {"fbclid": "…"}')
    known = {}
    for name, click_id in value.items():
        lower = str(name).lower()
        if lower not in CLICK_ID_PLATFORM or click_id in (None, ""):
            continue
        if not isinstance(click_id, str):
            raise ValueError(f"{lower} must be a string")
        problem = click_id_problem(click_id)
        if problem:
            raise ValueError(f"{lower} {problem}")
        known[lower] = click_id
    return known


def _short_texts(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError("must be an object of texts")
    texts = {str(name)[:64]: text[:256] for name, text in value.items() if isinstance(text, str)}
    if any("\x00" in name or "\x00" in text for name, text in texts.items()):
        raise ValueError("must not contain NUL")
    return dict(list(texts.items())[:20])


class ClickIn(Input):
    """The body of `POST /v1/clicks`."""

    key: Annotated[str, StringConstraints(max_length=200)] | None = None
    url: Annotated[LongText, StringConstraints(max_length=16384)] | None = None
    click_ids: Annotated[dict[str, str], BeforeValidator(_known_click_ids)] | None = None
    visitor_id: VisitorId | None = None
    user_id: PlayerId | None = None
    clicked_at: Time | None = None
    referrer: Annotated[LongText, StringConstraints(max_length=16384)] | None = None
    utm: Annotated[dict[str, str], BeforeValidator(_short_texts)] | None = None
    consent: ConsentIn | None = None
    ip: AddressText | None = None
    user_agent: Annotated[LongText, StringConstraints(max_length=2048)] | None = None


router = APIRouter(tags=["Clicks"])


@router.post(
    "/v1/clicks",
    status_code=202,
    summary="Register the click IDs of a visit",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ClickIn.model_json_schema()},
                "text/plain": {"schema": {"type": "string", "description": "The same JSON, as sendBeacon sends it."}},
            },
        }
    },
)
async def post_click(request: Request, app: str | None = None) -> Response:
    """The publishable key stands in the `Authorization` header or, for `sendBeacon`, in the body as `key`."""
    service = ingest_of(request)
    body = await read_object(request, MAX_BODY)
    click = parse_click(body)
    principal = await caller(service, request, click.key)
    limit(service, request, principal)
    visit = visit_of(service, request, principal, click)
    visitor_id = await register(service, app_of(service, principal, app), visit)
    service.metrics.click(len(visit.click_ids))
    return json_response({"visitor_id": visitor_id, "click_ids": dict(visit.click_ids)}, 202)


def parse_click(body: dict[str, Any]) -> ClickIn:
    """Raises `Invalid`, naming each field."""
    try:
        return ClickIn.model_validate(with_text_ids(body))
    except ValidationError as error:
        raise Invalid("The click is not valid.", errors=field_errors(error)) from None


async def caller(service: Ingest, request: Request, key: str | None) -> Principal:
    """Who registers the click. Raises `Unauthorized`."""
    token = bearer(request.headers.get("authorization")) or key
    if not token:
        raise Unauthorized("Send the publishable key: Authorization: Bearer pk_…, or `key` in the body.")
    return await service.keyring.principal(token)


def limit(service: Ingest, request: Request, principal: Principal) -> None:
    """Strangers may register only so many clicks. Raises `TooManyRequests`."""
    if principal.scope is not Scope.PUBLISHABLE:
        return
    address = client_address(request, service.settings.trusted_proxies)
    wait = service.per_address.wait(household(address)) or service.per_key.wait(principal.key_id)
    if wait:
        raise TooManyRequests("Too many clicks from here.", retry_after=math.ceil(wait))


def visit_of(service: Ingest, request: Request, principal: Principal, click: ClickIn) -> Visit:
    """What is believed of a click: from a web page, address and browser are those of the connection."""
    now = service.clock()
    clicked_at = click.clicked_at or now
    if clicked_at > now + AHEAD or clicked_at < now - OLDEST:
        raise Invalid(
            "The click is not valid.",
            errors=[FieldError("clicked_at", "must not be in the future, nor more than 90 days ago")],
        )
    if principal.scope is Scope.PUBLISHABLE:
        address = client_address(request, service.settings.trusted_proxies)
        user_agent: str | None = request.headers.get("user-agent", "")[:2048] or None
    else:
        # A backend's own address is nobody's visit: without `ip` the click has none.
        address = parse_address(click.ip) if click.ip else None
        user_agent = click.user_agent
    return Visit(
        click_ids={**click_ids_in(click.url), **(click.click_ids or {})},
        visitor_id=click.visitor_id,
        user_id=click.user_id,
        clicked_at=min(clicked_at, now),
        url=click.url,
        referrer=click.referrer,
        utm=click.utm,
        user_agent=user_agent,
        consent=click.consent.consent() if click.consent else Consent(),
        address=address,
    )
