"""What a dispatcher reads of events and clicks is what is stored, although it is read in other shapes."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from postbacks.domain import ids
from postbacks.domain.model import Click, Consent
from postbacks.store import clicks, events
from postbacks.store.clicks import NewClick
from postbacks.store.database import Database
from postbacks.store.events import EventRow, Sent

APP = "game"
NOW = datetime.now(UTC)
CONSENTS = (Consent(), Consent(postbacks=True), Consent(attribution=True, postbacks=False, ad_personalization=False))
VALUES = (None, Decimal("4.99"), Decimal("0.00"), Decimal("-0.10"), Decimal("12345678901234.567"), Decimal(500))
CHANCE = random.Random(7)


def some_time() -> datetime:
    return datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC) + timedelta(microseconds=CHANCE.randrange(10**15))


def event(identifier: UUID, place: int) -> EventRow:
    value = VALUES[place % len(VALUES)]
    return EventRow(
        id=identifier,
        event_id=f"e-{place}",
        name="purchase",
        occurred_at=some_time(),
        user_id="u",
        visitor_id=None,
        value=value,
        currency=None if value is None else "EUR",
        platform=None,
        storefront=None,
        properties=(None, '{"level": 3}')[place % 2],
        consent=CONSENTS[place % 3],
        status="matched",
        match=None,
        not_sent=None,
    )


def click(identifier: UUID, place: int) -> NewClick:
    page, agent = ((None, None), ("https://a.example/lp", "A/1"))[place % 2]
    made = Click(identifier, "fbclid", f"v-{place}", some_time(), "visitor", page, agent, None, CONSENTS[place % 3])
    return NewClick(made, uuid4(), sealed_ip=(None, "sealed")[place % 2])


@pytest.fixture
async def database(database_url: str) -> Database:
    return await Database.open(database_url, size=1, name="to-send")


async def test_events_are_read_as_they_are_stored(database: Database) -> None:
    stored = [event(identifier, place) for place, identifier in enumerate(ids.new_ids(NOW, 300))]
    async with database.connection() as connection:
        await events.insert(
            connection, APP, [(row.id, row.name, row, row.status, row.match, row.not_sent) for row in stored]
        )
        read = await events.to_send(connection, APP, [row.id for row in stored])
    await database.close()

    names = [field.name for field in fields(Sent)]
    assert read == {row.id.bytes: Sent(*(getattr(row, name) for name in names)) for row in stored}
    assert [str(read[row.id.bytes].value) for row in stored] == [str(row.value) for row in stored]


async def test_clicks_are_read_as_they_are_stored_but_for_the_visitor(database: Database) -> None:
    stored = [click(identifier, place) for place, identifier in enumerate(ids.new_ids(NOW, 300))]
    async with database.connection() as connection:
        await clicks.insert(connection, APP, stored)
        read = await clicks.to_send(connection, APP, [new.click.id for new in stored])
    await database.close()

    assert read == {new.click.id.bytes: (replace(new.click, visitor_id=""), new.sealed_ip) for new in stored}
