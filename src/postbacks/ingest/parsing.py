"""One event, from JSON to what the writer takes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Required
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic refuses that of `typing` before Python 3.12

from postbacks.domain import idempotency
from postbacks.domain.frozen import frozen
from postbacks.domain.model import Consent
from postbacks.errors import FieldError
from postbacks.ingest.fields import (
    AddressText,
    Amount,
    ClickIds,
    ConsentIn,
    Currency,
    EventId,
    EventName,
    Input,
    Label,
    PlayerId,
    Properties,
    Time,
    VisitorId,
    field_errors,
    with_text_ids,
)
from postbacks.privacy.addresses import AddressHashes
from postbacks.vault import keyed_hash

AHEAD = timedelta(minutes=10)
OLDEST = timedelta(days=90)
_SECRET = secrets.token_bytes(32)
_UNKNOWN = Consent()


@with_config(Input.model_config)
class EventIn(TypedDict, total=False):
    """The body of `POST /v1/events`, and one item of a batch.

    A checked dictionary and no model: making a model's object costs as much again as checking its fields.
    """

    name: Required[EventName]
    event_id: EventId | None
    occurred_at: Time | None
    user_id: PlayerId | None
    visitor_id: VisitorId | None
    click_ids: ClickIds | None
    ip: AddressText | None
    value: Amount | None
    currency: Currency | None
    platform: Label | None
    storefront: Label | None
    properties: Properties | None
    consent: ConsentIn | None


_EVENT = TypeAdapter(EventIn)
_BATCH = TypeAdapter(list[EventIn])


def event_schema() -> dict[str, Any]:
    """The JSON schema of one event."""
    return _EVENT.json_schema()


@frozen
class NewEvent:
    """A valid event on its way into the database."""

    event_id: str
    key: UUID
    fingerprint: UUID
    name: str
    occurred_at: datetime
    user_id: str | None
    visitor_id: str | None
    click_ids: Mapping[str, str]
    click_keys: tuple[UUID, ...]
    ip: str | None
    value: Decimal | None
    currency: str | None
    platform: str | None
    storefront: str | None
    properties: str | None
    consent: Consent
    first_open: bool = False
    """TRACKS: it is an `install` if it is the player's first, else what its name says."""
    addresses: tuple[AddressHashes, ...] = ()
    """Never known here: hashes need the app's keys of the time, which are in the database."""


def parse_event(
    item: Any,
    now: datetime,
    *,
    idempotency_key: str | None = None,
    first_open: bool = False,
    secret: bytes = _SECRET,
) -> NewEvent | list[FieldError]:
    """A valid event, or what is wrong with it, field by field. Never raises.

    `secret`: the app's. It keys the hash by which an event with nothing but an address is known again; without it
    such a repeat is recognised by this process alone.
    """
    if not isinstance(item, dict):
        return [FieldError("body", "must be a JSON object")]
    item = with_text_ids(item)
    try:
        event = _EVENT.validate_python(item)
        if event.get("event_id") is None and idempotency_key is not None:
            event = _EVENT.validate_python({**item, "event_id": idempotency_key})
    except ValidationError as error:
        return field_errors(error)
    return _checked(event, _Times(now), first_open=first_open, secret=secret)


def parse_events(items: list[Any], now: datetime, *, secret: bytes) -> list[NewEvent | list[FieldError]]:
    """`parse_event` for each item of a batch: all in one call where all are valid, else one by one."""
    try:
        events = _BATCH.validate_python([with_text_ids(item) if isinstance(item, dict) else item for item in items])
    except ValidationError:
        return [parse_event(item, now, secret=secret) for item in items]
    times = _Times(now)
    return [_checked(event, times, first_open=False, secret=secret) for event in events]


class _Times:
    """What an event's time may be, worked out once for a batch."""

    __slots__ = ("earliest", "latest", "now")

    def __init__(self, now: datetime) -> None:
        self.now, self.earliest, self.latest = now, now - OLDEST, now + AHEAD


def _checked(event: EventIn, times: _Times, *, first_open: bool, secret: bytes) -> NewEvent | list[FieldError]:
    """What no field can say of itself. Findings about several fields are told of the first of them."""
    value, currency = event.get("value"), event.get("currency")
    if (value is None) is not (currency is None):
        missing = "currency" if currency is None else "value"
        return [FieldError(missing, f"value and currency go together: {missing} is missing")]
    if not (event.get("user_id") or event.get("visitor_id") or event.get("click_ids") or event.get("ip")):
        return [FieldError("user_id", "needs at least one of user_id, visitor_id, click_ids, ip to be matched by")]
    occurred_at = event.get("occurred_at")
    if occurred_at is None:
        occurred_at = times.now
    elif occurred_at > times.latest:
        return [FieldError("occurred_at", "is more than 10 minutes in the future")]
    elif occurred_at < times.earliest:
        return [FieldError("occurred_at", "is more than 90 days ago")]
    return _new_event(event, occurred_at, first_open=first_open, secret=secret)


def _new_event(event: EventIn, occurred_at: datetime, *, first_open: bool, secret: bytes) -> NewEvent:
    name, value, currency = event["name"], event.get("value"), event.get("currency")
    properties, platform, storefront = event.get("properties"), event.get("platform"), event.get("storefront")
    user_id, visitor_id, click_ids = event.get("user_id"), event.get("visitor_id"), event.get("click_ids") or {}
    said = event.get("consent")
    event_id = event.get("event_id") or idempotency.derived_event_id(name, _who(event, secret), occurred_at)
    consent = said.consent() if said else _UNKNOWN
    # The address is left out: it is kept nowhere, not even inside a hash that could be searched.
    fingerprint = idempotency.fingerprint(
        (
            name,
            event.get("occurred_at"),
            user_id,
            visitor_id,
            click_ids,
            None if value is None else str(value),
            currency,
            platform,
            storefront,
            properties,
            (consent.attribution, consent.postbacks, consent.ad_personalization),
        ),
        secret,
    )
    # By position: the call is on the hot path, and names would make it take four times as long.
    return NewEvent(
        event_id,
        idempotency.event_key(event_id),
        fingerprint,
        name,
        occurred_at,
        user_id,
        visitor_id,
        click_ids,
        tuple([idempotency.click_key(name, value) for name, value in click_ids.items()]) if click_ids else (),
        event.get("ip"),
        value,
        currency,
        platform,
        storefront,
        orjson.dumps(properties).decode() if properties else None,
        consent,
        first_open,
    )


def _who(event: EventIn, secret: bytes) -> str:
    """Whose event it is, for an `event_id` that is derived."""
    clicks = "|".join(f"{name}={value}" for name, value in sorted((event.get("click_ids") or {}).items()))
    known, ip = event.get("user_id") or event.get("visitor_id"), event.get("ip")
    if known or clicks or ip is None:
        return f"{known or ''}|{clicks}"
    # All addresses can be tried against a plain hash, and the other parts of an event_id are no secret.
    return f"{keyed_hash(secret, f'event|{ip}').hex}|"
