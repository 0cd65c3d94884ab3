"""From an event and its click to what an adapter gets to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from postbacks.catalog import App, Destination
from postbacks.domain.consent import narrower
from postbacks.domain.idempotency import delivery_key
from postbacks.domain.model import Click, Conversion
from postbacks.store.events import EventRow, Sent


def conversion_of(app: App, destination: Destination, event: EventRow | Sent, click: Click) -> Conversion | None:
    """What the adapter gets to see; `None` where the event is not mapped any more."""
    mapping = destination.mapping_for(event.name)
    if mapping is None:
        return None
    # By position: one is made for every delivery.
    return Conversion(
        delivery_key(app.name, event.event_id, destination.name),
        event.event_id,
        event.name,
        mapping,
        # An event whose time was cut to whole seconds may seem to lie a moment before its click.
        event.occurred_at if event.occurred_at >= click.clicked_at else click.clicked_at,
        click,
        event.value,
        event.currency,
        narrower(click.consent, event.consent),
        orjson.loads(event.properties) if event.properties else _NO_PROPERTIES,
    )


_NO_PROPERTIES: Mapping[str, Any] = {}
