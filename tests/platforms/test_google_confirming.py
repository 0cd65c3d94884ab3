"""When Google is asked again, and what its answer about an accepted delivery makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from postbacks.catalog import Destination
from postbacks.dispatch.confirming import GIVE_UP, answered, confirm_wait
from postbacks.dispatch.delivering import Item
from postbacks.domain.model import Kind, Verdict
from postbacks.domain.retrying import RetryPolicy
from postbacks.store.attempts import AttemptRow, Said
from postbacks.store.history import Ended
from postbacks.store.outbox import Claimed, Postponed
from tests.platforms.conversions import NOW
from tests.platforms.google_setup import GOOGLE, destination, google_conversion

POLICY = RetryPolicy(schedule=(10, 30, 120), give_up_after=timedelta(hours=72))
PLACE = Destination("game", "google", GOOGLE, destination(), {}, enabled=True, version=1)
ROW = Claimed(
    id=UUID(int=1),
    deadline=(NOW + timedelta(days=60)).timestamp(),
    created_at=(NOW - timedelta(days=1)).timestamp(),
    click=UUID(int=2),
    status="accepted",
    attempts=1,
    tried_at=NOW - timedelta(hours=1),
    reference="request-1",
    reference_index=3,
)
TOO_YOUNG = Verdict(Kind.RETRY, code="INTERNAL_ERROR")


def ask(verdict: Verdict, **row: Any) -> Ended | Postponed:
    item = Item(replace(ROW, **row), google_conversion())
    if verdict.kind is not Kind.ACCEPTED:
        item.attempts.append(_entry(verdict))
    return answered(item, verdict, PLACE, POLICY, NOW)


def _entry(verdict: Verdict) -> AttemptRow:
    said = Said(NOW, 5, 200, verdict.kind.value, verdict.code, None, None, None, None)
    return AttemptRow(ROW.id, 2, said, None)


def test_each_wait_doubles_up_to_six_hours() -> None:
    waits = [confirm_wait(tries, 60).total_seconds() / 60 for tries in range(12)]

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]
    assert confirm_wait(0, 0) == timedelta(seconds=1)
    assert confirm_wait(30_000, 1) == timedelta(hours=6)


def test_undecided_stays_accepted_under_its_reference() -> None:
    after = ask(Verdict(Kind.ACCEPTED, retry_after=60), tries=2)

    assert isinstance(after, Postponed)
    assert (after.status, after.reason, after.due, after.tries) == ("accepted", None, NOW + timedelta(minutes=4), 3)
    assert (after.reference, after.reference_index, after.tried_at) == ("request-1", 3, ROW.tried_at)


def test_a_question_that_failed_is_visible() -> None:
    after = ask(Verdict(Kind.ACCEPTED, code="http_503", retry_after=60))

    assert isinstance(after, Postponed)
    assert (after.status, after.reason) == ("accepted", "http_503")


def test_asking_ends_49_days_after_the_send_however_long_it_was_held_before() -> None:
    undecided = Verdict(Kind.ACCEPTED, retry_after=60)
    late = NOW - GIVE_UP - timedelta(minutes=1)

    assert isinstance(ask(undecided, created_at=late.timestamp()), Postponed)
    ended = ask(undecided, created_at=late.timestamp(), tried_at=late)
    assert isinstance(ended, Ended)
    assert (ended.status, ended.reason) == ("failed", "never_confirmed")


@pytest.mark.parametrize("asked_for", [timedelta(minutes=31), timedelta(days=5), timedelta(days=51)])
def test_the_first_refusal_starts_the_schedule_however_often_and_long_was_asked_before(asked_for: timedelta) -> None:
    after = ask(TOO_YOUNG, tries=9, tried_at=NOW - asked_for)

    assert isinstance(after, Postponed)
    assert (after.status, after.due, after.tries, after.tried_at) == ("retrying", NOW + timedelta(seconds=10), 1, NOW)
    assert after.reference is None


def test_later_refusals_go_on_from_the_first_one() -> None:
    again = ask(TOO_YOUNG, tries=5, attempts=3)

    assert isinstance(again, Postponed)
    assert (again.due, again.tries, again.tried_at) == (NOW + timedelta(seconds=30), 2, ROW.tried_at)
    over = ask(TOO_YOUNG, tries=5, attempts=5, tried_at=NOW - timedelta(hours=72))
    assert isinstance(over, Ended)
    assert (over.status, over.reason) == ("failed", "retries_exhausted")


def test_a_split_sends_each_alone_at_once_and_never_a_second_time() -> None:
    split = Verdict(Kind.SPLIT, code="PARTIAL_SUCCESS")

    first, second = ask(split), ask(split, alone=True)

    assert isinstance(first, Postponed)
    assert isinstance(second, Postponed)
    assert (first.status, first.alone, first.due, first.reference) == ("retrying", True, NOW, None)
    assert (second.status, second.alone, second.due) == ("retrying", True, NOW + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [(Kind.DELIVERED, "delivered", None), (Kind.REFUSED, "failed", "INVALID_GCLID")],
)
def test_an_outcome_ends_it(kind: Kind, status: str, reason: str | None) -> None:
    after = ask(Verdict(kind, code="INVALID_GCLID"))

    assert isinstance(after, Ended)
    assert (after.status, after.reason, after.attempts) == (status, reason, 2)
