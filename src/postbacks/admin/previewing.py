"""What would be sent for an event, without storing or sending anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from postbacks.admin.service import Admin
from postbacks.catalog import App, Destination
from postbacks.domain import ids
from postbacks.domain.matching import Candidate, Decision, Method, decide
from postbacks.domain.model import Click
from postbacks.domain.planning import plan, route
from postbacks.errors import Invalid
from postbacks.ingest.parsing import NewEvent, parse_event
from postbacks.ingest.recording import refuses
from postbacks.ingest.resolving import PREFERENCE, Resolver
from postbacks.outbound.converting import conversion_of
from postbacks.outbound.masking import Mask
from postbacks.platforms.registry import CLICK_ID_PLATFORM
from postbacks.store import clicks as click_store
from postbacks.store.events import EventRow

TOKEN = "preview"  # noqa: S105 - stands where an access token would stand


async def preview(service: Admin, app: App, destination: Destination, body: Mapping[str, Any]) -> dict[str, Any]:
    """`{"would_send", "request" | "reason", …}`. Raises `Invalid` as `POST /v1/events` does."""
    now = service.clock()
    event = parse_event(dict(body), now, secret=app.secret)
    if isinstance(event, list):
        raise Invalid("The event is not valid.", errors=event)
    if destination.broken:
        return {"would_send": False, "reason": "broken_configuration", "message": destination.broken}
    async with service.database.connection() as connection:
        resolver = Resolver(connection, app.name, app.rules)
        known = await click_store.by_keys(connection, app.name, event.click_keys)
        decision = (await resolver.resolve([event]))[0]
    if not decision.matched:
        decision = _with_given_clicks(event, app, known)
    routed = route(
        event.name,
        decision.clicks,
        decision.refused,
        [destination],
        consent_refused=refuses(event.consent, app.rules),
    )
    if routed.not_sent:
        return {"would_send": False, "reason": routed.not_sent[0].reason.value, "message": None}
    one = plan(routed, event.occurred_at, decision.clicks, now)[0]
    if one.expired:
        return {"would_send": False, "reason": "expired", "message": "Older than the platform takes."}
    async with service.database.connection() as connection:
        stored = await click_store.by_ids(connection, app.name, [one.click.id])
    # What matching found is without its value and page; a click that came with the event is not stored at all.
    click = stored[one.click.id][0] if one.click.id in stored else one.click
    conversion = conversion_of(app, destination, _row(event), click)
    if conversion is None:
        return {"would_send": False, "reason": "unmapped", "message": None}
    built = destination.adapter.build(destination.target, [conversion], now, TOKEN)
    if built.unsendable:
        verdict = built.unsendable[0].verdict
        return {"would_send": False, "reason": verdict.code or verdict.kind.value, "message": verdict.message or None}
    request = built.prepared[0].request
    mask = Mask(destination.target.credentials, destination.target.options)
    return {
        "would_send": True,
        "not_before": one.due,
        "deadline": one.deadline,
        "idempotency_key": conversion.key,
        "match": {
            "method": decision.method.value if decision.method else None,
            "platforms": sorted({*decision.clicks, *decision.refused}),
        },
        "request": {
            "method": request.method,
            "url": mask(request.url),
            "body": mask(request.body.decode("utf-8", "replace"), (click.ip,)) or None,
        },
    }


def _with_given_clicks(event: NewEvent, app: App, known: Mapping[UUID, Click]) -> Decision:
    """The event's own click IDs, as if they had just been registered."""
    candidates = [
        Candidate(
            Click(ids.new_id(event.occurred_at), name, value, event.occurred_at, consent=event.consent), Method.CLICK_ID
        )
        for (name, value), key in zip(event.click_ids.items(), event.click_keys, strict=True)
        if key not in known
    ]
    return decide(event.occurred_at, event.consent, candidates, app.rules, CLICK_ID_PLATFORM, PREFERENCE)


def _row(event: NewEvent) -> EventRow:
    return EventRow(
        id=UUID(int=0),
        event_id=event.event_id,
        name=event.name,
        occurred_at=event.occurred_at,
        user_id=None,
        visitor_id=None,
        value=event.value,
        currency=event.currency,
        platform=event.platform,
        storefront=event.storefront,
        properties=event.properties,
        consent=event.consent,
        status="matched",
        match=None,
        not_sent=None,
    )
