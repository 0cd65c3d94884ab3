"""Registers a visitor's clicks: first seen is kept, a repeat changes nothing but player and consent."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote, urlsplit
from uuid import UUID

from postbacks.catalog import App
from postbacks.domain import ids
from postbacks.domain.consent import may_match
from postbacks.domain.idempotency import click_key
from postbacks.domain.matching import Confidence
from postbacks.domain.model import Click, Consent
from postbacks.ingest.fields import click_id_problem
from postbacks.ingest.service import Ingest
from postbacks.platforms.registry import CLICK_ID_PLATFORM
from postbacks.privacy.addresses import Address, AddressHashes, hashed
from postbacks.store import clicks as store
from postbacks.store import events as event_store
from postbacks.store import outbox
from postbacks.store.clicks import Link, NewClick
from postbacks.store.database import Connection

MAX_LANDING_PAGE = 2048


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit of a landing page, validated."""

    click_ids: Mapping[str, str]
    visitor_id: str | None
    user_id: str | None
    clicked_at: datetime
    url: str | None
    referrer: str | None
    utm: Mapping[str, str] | None
    user_agent: str | None
    consent: Consent
    address: Address | None


def click_ids_in(url: str | None) -> dict[str, str]:
    """The click IDs in a URL's query: names without regard to case, values decoded once and otherwise untouched.

    What cannot be a click ID is left out: a page is not refused for what somebody wrote into its address.
    """
    found: dict[str, str] = {}
    try:
        query = urlsplit(url or "").query
    except ValueError:
        return found
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        lower = unquote(name).lower()
        # A plus sign stays one: click IDs never hold spaces, and some hold base64.
        decoded = unquote(value)
        if lower in CLICK_ID_PLATFORM and decoded and lower not in found and click_id_problem(decoded) is None:
            found[lower] = decoded
    return found


def landing_page(url: str | None) -> str | None:
    """A URL without user, query and fragment: they may be personal, and platforms want the page alone."""
    try:
        parts = urlsplit(url or "")
        host = parts.hostname
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    page = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"
    return page if len(page) <= MAX_LANDING_PAGE and page.isprintable() else None


async def register(service: Ingest, app: App, visit: Visit) -> str:
    """Stores what is new and finds the events that waited for it; returns the visitor id.

    Raises one of `OUTAGES`.
    """
    now = service.clock()
    keys = {click_key(name, value): name for name, value in visit.click_ids.items()}
    addresses: Sequence[AddressHashes] = ()
    visitor_id = visit.visitor_id
    async with service.database.transaction() as connection:
        if visit.user_id is not None and await event_store.erased(connection, app.name, [app.user_key(visit.user_id)]):
            # An erased player is refused: not even the click is kept.
            return visitor_id or secrets.token_urlsafe(18)
        if keys:
            known = await store.by_keys(connection, app.name, keys)
            # The same page opened again: its visitor keeps the name under which the click is known, or nothing that
            # comes with the new name would ever match it.
            visitor_id = next((click.visitor_id for click in known.values() if click.visitor_id), visitor_id)
        visitor_id = visitor_id or secrets.token_urlsafe(18)
        if keys:
            addresses = await _hashes(service, connection, app, visit, now)
            fresh = [key for key in keys if key not in known]
            new = [_new_click(service, app, visit, keys[key], key, visitor_id, addresses, now) for key in fresh]
            await store.insert(connection, app.name, new)
            touched = list(keys)
        else:
            touched = await store.visitor_click_keys(connection, app.name, visitor_id)
        if touched:
            await _update(connection, app, visit, touched)
    if touched:
        await service.rematcher.click_arrived(app, visitor_id=visitor_id, user_id=visit.user_id, addresses=addresses)
    return visitor_id


async def _update(connection: Connection, app: App, visit: Visit, keys: Sequence[UUID]) -> None:
    """Ties the player to the clicks and takes over consent; a withdrawal cancels what is not sent yet."""
    if visit.consent != Consent():
        await store.update_consent(connection, app.name, keys, visit.consent)
    clicks = await store.by_keys(connection, app.name, keys)
    if visit.consent.postbacks is False or not may_match(visit.consent):
        platforms = {one.name: one.platform for one in app.destinations.values()}
        await outbox.cancel(
            connection, app.name, "consent_withdrawn", platforms, clicks=[click.id for click in clicks.values()]
        )
    if visit.user_id is None:
        return
    links = [Link(visit.user_id, click.id, Confidence.HIGH, None) for click in clicks.values()]
    await store.link(connection, app.name, links)


async def _hashes(
    service: Ingest, connection: Connection, app: App, visit: Visit, now: datetime
) -> list[AddressHashes]:
    """The address under every key that a waiting event may have been hashed with, the current one first."""
    if visit.address is None or not may_match(visit.consent):
        return []
    keys = await service.addresses.keys(connection, app.name, now, max(app.late_click, app.rules.ip_window))
    return [hashed(visit.address, key) for key in keys]


def _new_click(
    service: Ingest,
    app: App,
    visit: Visit,
    name: str,
    key: UUID,
    visitor_id: str,
    addresses: Sequence[AddressHashes],
    now: datetime,
) -> NewClick:
    may_use = may_match(visit.consent)
    shares = app.shares_addresses and visit.consent.postbacks is True and visit.address is not None
    return NewClick(
        click=Click(
            id=ids.new_id(now),
            type=name,
            value=visit.click_ids[name],
            clicked_at=visit.clicked_at,
            visitor_id=visitor_id,
            url=landing_page(visit.url),
            user_agent=visit.user_agent if may_use else None,
            consent=visit.consent,
        ),
        key=key,
        referrer=landing_page(visit.referrer),
        utm=visit.utm,
        address=addresses[0] if addresses else None,
        sealed_ip=service.vault.seal(str(visit.address).encode()) if shares else None,
    )
