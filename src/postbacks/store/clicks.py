"""Clicks, and what ties players to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from postbacks.domain import ids
from postbacks.domain.frozen import frozen
from postbacks.domain.matching import Candidate, Confidence, Inheritance, Method
from postbacks.domain.model import Click, Consent
from postbacks.privacy.addresses import AddressHashes
from postbacks.store.database import Connection

PER_VISITOR = 50
"""Newest clicks of one visitor or player that are looked at."""

PER_ADDRESS = 200
"""Newest clicks on one address that are looked at."""

_COLUMNS = (
    "c.id, c.type, c.value, c.clicked_at, c.visitor_id, c.url, c.user_agent, c.sealed_ip, c.consent_attribution, "
    "c.consent_postbacks, c.consent_ad_personalization"
)


@frozen
class NewClick:
    """A click to be stored. `key` is the hash of type and value."""

    click: Click
    key: UUID
    referrer: str | None = None
    utm: Mapping[str, str] | None = None
    address: AddressHashes | None = None
    sealed_ip: str | None = None


@frozen
class Link:
    """What ties a player to a click. Without `inheritance` the click itself named the player."""

    user_id: str
    click: UUID
    confidence: Confidence
    inheritance: Inheritance | None


_UNKNOWN = Consent()
_CONFIDENCE = {one.value: one for one in Confidence}

_MATCHED = (
    "c.id, c.type, date_part('epoch', c.clicked_at), c.visitor_id, c.consent_attribution, c.consent_postbacks, "
    "c.consent_ad_personalization"
)
"""What matching needs of a click: without the long texts that only a platform is told.

Times come as Unix seconds, exact to the microsecond until 2106: half of what a `timestamptz` costs to read.
"""


def _matched(
    identifier: UUID,
    click_id_type: str,
    clicked_at: float,
    visitor_id: str,
    attribution: bool | None,
    postbacks: bool | None,
    ad_personalization: bool | None,
) -> Click:
    """A click from `_MATCHED`. Its value, page and user agent are left out: see `by_ids`."""
    moment = datetime.fromtimestamp(clicked_at, UTC)
    consent = consent_of(attribution, postbacks, ad_personalization)
    return Click(identifier, click_id_type, "", moment, visitor_id, None, None, None, consent)


def consent_from(row: Mapping[str, Any]) -> Consent:
    """The three flags of a click or an event."""
    return consent_of(row["consent_attribution"], row["consent_postbacks"], row["consent_ad_personalization"])


def consent_of(attribution: bool | None, postbacks: bool | None, ad_personalization: bool | None) -> Consent:
    if attribution is None and postbacks is None and ad_personalization is None:
        return _UNKNOWN
    return Consent(attribution, postbacks, ad_personalization)


def click_from(row: Mapping[str, Any]) -> Click:
    """A row with `_COLUMNS`. The address stays sealed: only the dispatcher opens it."""
    return Click(
        row["id"],
        row["type"],
        row["value"],
        row["clicked_at"],
        row["visitor_id"],
        row["url"],
        row["user_agent"],
        None,
        consent_from(row),
    )


async def insert(connection: Connection, app: str, clicks: Sequence[NewClick]) -> set[UUID]:
    """Stores the clicks that are new, in the order of their keys (two requests must not lock each other out).

    Returns the keys that were new.
    """
    ordered = sorted(clicks, key=lambda new: new.key)
    rows = await connection.fetch(
        "INSERT INTO clicks (app_id, id, click_key, type, value, visitor_id, clicked_at, url, referrer, utm, user_agent, "
        "address, network, sealed_ip, consent_attribution, consent_postbacks, consent_ad_personalization) "
        "SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], "
        "$8::text[], $9::text[], $10::jsonb[], $11::text[], $12::uuid[], $13::uuid[], $14::text[], $15::bool[], "
        "$16::bool[], $17::bool[]) ON CONFLICT (app_id, click_key) DO NOTHING RETURNING click_key",
        app,
        [new.click.id for new in ordered],
        [new.key for new in ordered],
        [new.click.type for new in ordered],
        [new.click.value for new in ordered],
        [new.click.visitor_id for new in ordered],
        [new.click.clicked_at for new in ordered],
        [new.click.url for new in ordered],
        [new.referrer for new in ordered],
        [new.utm for new in ordered],
        [new.click.user_agent for new in ordered],
        [new.address.address if new.address else None for new in ordered],
        [new.address.network if new.address else None for new in ordered],
        [new.sealed_ip for new in ordered],
        [new.click.consent.attribution for new in ordered],
        [new.click.consent.postbacks for new in ordered],
        [new.click.consent.ad_personalization for new in ordered],
    )
    return {row["click_key"] for row in rows}


async def update_consent(connection: Connection, app: str, keys: Sequence[UUID], consent: Consent) -> None:
    """Takes over the flags that are known; an unknown flag changes nothing.

    With a refusal goes what was only kept for the purpose: for matching the address hashes and the browser's name,
    for sending the sealed address.
    """
    await connection.execute(
        "UPDATE clicks SET consent_attribution = coalesce($3, consent_attribution), "
        "consent_postbacks = coalesce($4, consent_postbacks), "
        "consent_ad_personalization = coalesce($5, consent_ad_personalization), "
        "address = CASE WHEN $3 IS FALSE THEN NULL ELSE address END, "
        "network = CASE WHEN $3 IS FALSE THEN NULL ELSE network END, "
        "user_agent = CASE WHEN $3 IS FALSE THEN NULL ELSE user_agent END, "
        "sealed_ip = CASE WHEN $3 IS FALSE OR $4 IS FALSE THEN NULL ELSE sealed_ip END "
        "WHERE app_id = $1 AND click_key = ANY($2::uuid[])",
        app,
        keys,
        consent.attribution,
        consent.postbacks,
        consent.ad_personalization,
    )


async def visitor_click_keys(connection: Connection, app: str, visitor_id: str) -> list[UUID]:
    """The keys of a visitor's clicks."""
    rows = await connection.fetch(
        "SELECT click_key FROM clicks WHERE app_id = $1 AND visitor_id = $2 ORDER BY clicked_at DESC LIMIT $3",
        app,
        visitor_id,
        PER_VISITOR,
    )
    return [row["click_key"] for row in rows]


async def by_keys(connection: Connection, app: str, keys: Iterable[UUID]) -> dict[UUID, Click]:
    """Clicks by the hash of type and value."""
    rows = await connection.fetch(
        f"SELECT c.click_key, {_MATCHED} FROM clicks c WHERE c.app_id = $1 AND c.click_key = ANY($2::uuid[])",
        app,
        list(keys),
    )
    return {key: _matched(*click) for key, *click in rows}


async def by_ids(connection: Connection, app: str, identifiers: Iterable[UUID]) -> dict[UUID, tuple[Click, str | None]]:
    """Clicks by id, each with its sealed address where one is kept."""
    # The list stands in a sub-select so that its length does not count: a planner without statistics would rather read
    # all clicks of the app than look up 500.
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM clicks c WHERE c.app_id = $1 AND c.id = ANY((SELECT $2::uuid[])::uuid[])",
        app,
        list(identifiers),
    )
    return {row["id"]: (click_from(row), row["sealed_ip"]) for row in rows}


async def to_send(
    connection: Connection, app: str, identifiers: Iterable[UUID]
) -> dict[bytes, tuple[Click, str | None]]:
    """Clicks by the bytes of their id (see `events.to_send`), with what a platform may be told, and their sealed address."""
    rows = await connection.fetch(
        "SELECT c.id, c.type, c.value, date_part('epoch', c.clicked_at), c.url, c.user_agent, c.sealed_ip, "
        "c.consent_attribution, c.consent_postbacks, c.consent_ad_personalization FROM clicks c "
        "WHERE c.app_id = $1 AND c.id = ANY((SELECT $2::uuid[])::uuid[])",
        app,
        list(identifiers),
    )
    moment, consent = datetime.fromtimestamp, consent_of
    return {
        identifier.bytes: (
            Click(identifier, name, value, moment(seconds, UTC), "", url, user_agent, None, consent(a, b, c)),
            sealed_ip,
        )
        for identifier, name, value, seconds, url, user_agent, sealed_ip, a, b, c in rows
    }


async def by_visitors(connection: Connection, app: str, visitors: Iterable[str]) -> dict[str, list[Click]]:
    """The newest clicks of each visitor."""
    rows = await connection.fetch(
        f"SELECT {_MATCHED} FROM unnest($2::text[]) AS v(visitor_id) CROSS JOIN LATERAL (SELECT * FROM clicks k "
        "WHERE k.app_id = $1 AND k.visitor_id = v.visitor_id ORDER BY k.clicked_at DESC LIMIT $3) c",
        app,
        list(visitors),
        PER_VISITOR,
    )
    found: dict[str, list[Click]] = {}
    for row in rows:
        found.setdefault(row["visitor_id"], []).append(_matched(*row))
    return found


_TIED = f"SELECT p.user_id, p.confidence, date_part('epoch', p.since), date_part('epoch', p.until), {_MATCHED}"


async def by_users(connection: Connection, app: str, users: Iterable[str]) -> dict[str, list[Candidate]]:
    """The clicks that players are tied to, with what an earlier match passes on."""
    wanted = list(users)
    most = PER_VISITOR + 4 * len(wanted)
    rows = await connection.fetch(
        f"{_TIED} FROM players p JOIN clicks c ON c.app_id = $1 AND c.id = p.click "
        "WHERE p.app_id = $1 AND p.user_id = ANY((SELECT $2::text[])::text[]) LIMIT $3",
        app,
        wanted,
        most,
    )
    if len(rows) >= most:
        # One of them has very many. Then each is looked at by himself, up to a limit, which takes twice as long.
        rows = await connection.fetch(
            f"{_TIED} FROM unnest($2::text[]) AS u(user_id) "
            "CROSS JOIN LATERAL (SELECT * FROM players q WHERE q.app_id = $1 AND q.user_id = u.user_id LIMIT $3) p "
            "JOIN clicks c ON c.app_id = $1 AND c.id = p.click",
            app,
            wanted,
            PER_VISITOR,
        )
    found: dict[str, list[Candidate]] = {}
    moment, by_user = datetime.fromtimestamp, Method.USER_ID
    for user_id, confidence, since, until, identifier, name, clicked_at, visitor_id, a, b, c in rows:
        passed_on = None
        if since is not None:
            passed_on = Inheritance(moment(until, UTC), _CONFIDENCE[confidence], moment(since, UTC))
        candidate = Candidate(_matched(identifier, name, clicked_at, visitor_id, a, b, c), by_user, passed_on)
        if user_id in found:
            found[user_id].append(candidate)
        else:
            found[user_id] = [candidate]
    return found


async def by_addresses(
    connection: Connection, app: str, hashes: Iterable[UUID], *, network: bool, since: datetime
) -> dict[UUID, list[tuple[Click, UUID | None]]]:
    """The newest clicks on each address (or IPv6 /64) since a time, each with the hash of its whole address."""
    column = "network" if network else "address"
    rows = await connection.fetch(
        f"SELECT a.hash, c.address, {_MATCHED} FROM unnest($2::uuid[]) AS a(hash) CROSS JOIN LATERAL (SELECT * FROM "
        f"clicks k WHERE k.app_id = $1 AND k.{column} = a.hash AND k.clicked_at >= $3 ORDER BY k.clicked_at DESC "
        "LIMIT $4) c",
        app,
        list(hashes),
        since,
        PER_ADDRESS,
    )
    found: dict[UUID, list[tuple[Click, UUID | None]]] = {}
    for looked_for, address, *click in rows:
        found.setdefault(looked_for, []).append((_matched(*click), address))
    return found


async def link(connection: Connection, app: str, links: Sequence[Link]) -> set[str]:
    """Ties players to clicks. A match is passed on from the first matched event; later ones change nothing.

    Returns the players that are tied to something new.
    """
    ordered = sorted(
        {(one.user_id, one.click): one for one in links}.values(), key=lambda one: (one.user_id, one.click)
    )
    rows = await connection.fetch(
        "INSERT INTO players AS p (app_id, user_id, click, confidence, since, until) SELECT $1, * FROM unnest($2::text[], "
        "$3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[]) "
        "ON CONFLICT (app_id, user_id, click) DO UPDATE SET since = excluded.since, until = excluded.until, "
        "confidence = excluded.confidence, linked_at = excluded.linked_at WHERE p.since IS NULL AND excluded.since IS NOT NULL RETURNING p.user_id",
        app,
        [one.user_id for one in ordered],
        [one.click for one in ordered],
        [one.confidence.value for one in ordered],
        [one.inheritance.since if one.inheritance else None for one in ordered],
        [one.inheritance.until if one.inheritance else None for one in ordered],
    )
    return {row["user_id"] for row in rows}


@frozen
class Arrivals:
    """What arrived lately that waiting events may belong to: visitors and addresses of clicks, players newly tied."""

    visitors: frozenset[str]
    addresses: tuple[AddressHashes, ...]
    players: frozenset[str]


async def arrivals(connection: Connection, app: str, since: datetime) -> Arrivals:
    """Clicks registered, and players tied to one, since a time."""
    clicks = await connection.fetch(
        "SELECT visitor_id, address, network FROM clicks WHERE app_id = $1 AND id >= $2", app, ids.floor(since)
    )
    players = await connection.fetch("SELECT user_id FROM players WHERE app_id = $1 AND linked_at >= $2", app, since)
    return Arrivals(
        frozenset(row["visitor_id"] for row in clicks if row["visitor_id"]),
        tuple(AddressHashes(row["address"], row["network"]) for row in clicks if row["address"] is not None),
        frozenset(row["user_id"] for row in players),
    )


async def address_keys(connection: Connection, app: str) -> list[tuple[datetime, str]]:
    """The keys of an app's address hashes, newest first, sealed."""
    rows = await connection.fetch(
        "SELECT valid_from, secret FROM address_keys WHERE app_id = $1 ORDER BY valid_from DESC", app
    )
    return [(row["valid_from"], row["secret"]) for row in rows]


async def add_address_key(connection: Connection, app: str, valid_from: datetime, sealed: str) -> None:
    """Adds the key of a period, unless another process was faster."""
    await connection.execute(
        "INSERT INTO address_keys (app_id, valid_from, secret) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        app,
        valid_from,
        sealed,
    )
