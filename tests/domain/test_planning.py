from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.domain.matching import Decision
from postbacks.domain.model import Click
from postbacks.domain.planning import NotSent, Omitted, Planned, Timing, plan, route
from tests.domain.strategies import NOW, ago, click

META = click(1, ago(hours=3))
GOOGLE = click(2, ago(hours=1), "gclid")
MATCHED = Decision(clicks={"meta": META, "google": GOOGLE})


@dataclass
class Fake:
    """A destination; `hold` counts from the click, `age` from the event."""

    name: str = "one"
    platform: str = "meta"
    enabled: bool = True
    any_click: bool = False
    mapped: frozenset[str] = frozenset({"install"})
    hold: timedelta = timedelta()
    age: timedelta = timedelta(days=7)

    def mapping_for(self, event_name: str) -> Mapping[str, Any] | None:
        return {} if event_name in self.mapped else None

    @property
    def timing(self) -> Timing:
        return Timing(self.age, wait=self.hold, wait_from_click=True)


class Plan(NamedTuple):
    deliveries: tuple[Planned, ...]
    not_sent: tuple[Omitted, ...]


def planned(*outlets: Fake, decision: Decision = MATCHED, occurred_at: datetime = NOW, refused: bool = False) -> Plan:
    routed = route("install", decision.clicks, decision.refused, outlets, consent_refused=refused)
    return Plan(plan(routed, occurred_at, decision.clicks, NOW), routed.not_sent)


def test_a_destination_whose_platform_has_a_click_gets_a_delivery_at_once() -> None:
    outlet = Fake()

    (delivery,) = planned(outlet).deliveries

    assert (delivery.destination, delivery.platform, delivery.click) == ("one", "meta", META)
    assert (delivery.due, delivery.deadline) == (NOW, NOW + timedelta(days=7))
    assert not delivery.held
    assert not delivery.expired


@pytest.mark.parametrize(
    ("timing", "not_before", "deadline"),
    [
        (Timing(timedelta(7)), timedelta(0), timedelta(7)),
        (Timing(timedelta(7), age_of_click=True), timedelta(0), timedelta(4)),
        (Timing(timedelta(7), wait=timedelta(1)), timedelta(1), timedelta(7)),
        (Timing(timedelta(7), wait=timedelta(1), wait_from_click=True), timedelta(-2), timedelta(7)),
    ],
)
def test_wait_and_age_count_from_the_event_or_the_click(
    timing: Timing, not_before: timedelta, deadline: timedelta
) -> None:
    clicked_at = NOW - timedelta(days=3)

    assert timing.not_before(NOW, clicked_at) == NOW + not_before
    assert timing.deadline(NOW, clicked_at) == NOW + deadline


def test_each_platform_gets_its_own_click_and_two_destinations_of_one_share_it() -> None:
    result = planned(Fake("a"), Fake("b"), Fake("c", "google"))

    assert [one.click for one in result.deliveries] == [META, META, GOOGLE]
    assert result.not_sent == ()


@pytest.mark.parametrize(
    ("outlet", "decision", "refused", "reason"),
    [
        (Fake(platform="reddit"), MATCHED, False, NotSent.NO_CLICK_ID),
        (Fake(), Decision(), False, NotSent.NO_CLICK_ID),
        (Fake(any_click=True), Decision(), False, NotSent.NO_CLICK_ID),
        (Fake(mapped=frozenset({"purchase"})), MATCHED, False, NotSent.UNMAPPED),
        (Fake(enabled=False), MATCHED, False, NotSent.DESTINATION_DISABLED),
        (Fake(), MATCHED, True, NotSent.CONSENT),
        (Fake(), Decision(refused={"meta": META}), False, NotSent.CONSENT),
        (Fake(any_click=True), Decision(refused={"google": GOOGLE}), False, NotSent.CONSENT),
        # Several reasons at once: the one that the operator can do something about comes first.
        (Fake(enabled=False, mapped=frozenset()), Decision(), True, NotSent.DESTINATION_DISABLED),
        (Fake(mapped=frozenset()), Decision(), True, NotSent.UNMAPPED),
        (Fake(), Decision(), True, NotSent.CONSENT),
        (Fake(), Decision(clicks={"google": GOOGLE}, refused={"meta": META}), False, NotSent.CONSENT),
    ],
)
def test_where_it_does_not_go_the_reason_is_named(
    outlet: Fake, decision: Decision, refused: bool, reason: NotSent
) -> None:
    assert planned(outlet, decision=decision, refused=refused) == Plan((), (Omitted("one", outlet.platform, reason),))


def test_for_a_webhook_the_last_matched_click_counts_whatever_its_platform() -> None:
    (delivery,) = planned(Fake(platform="webhook", any_click=True)).deliveries

    assert delivery.click is GOOGLE


def test_a_webhook_never_gets_a_click_that_was_refused() -> None:
    decision = Decision(clicks={"meta": META}, refused={"google": GOOGLE})

    (delivery,) = planned(Fake(platform="webhook", any_click=True), decision=decision).deliveries

    assert delivery.click is META


def test_a_young_click_is_held_until_the_platform_takes_it() -> None:
    (delivery,) = planned(Fake(hold=timedelta(hours=6))).deliveries

    assert delivery.held
    assert delivery.due == META.clicked_at + timedelta(hours=6)
    assert not delivery.expired


def test_a_click_that_is_old_enough_is_not_held() -> None:
    (delivery,) = planned(Fake(hold=timedelta(hours=3))).deliveries

    assert not delivery.held
    assert delivery.due == NOW


@pytest.mark.parametrize(("age", "expired"), [(timedelta(), True), (timedelta(microseconds=1), False)])
def test_an_event_over_the_platform_s_age_is_expired_when_planned(age: timedelta, expired: bool) -> None:
    (delivery,) = planned(Fake(age=age)).deliveries

    assert delivery.expired is expired


def test_an_event_that_would_be_too_old_when_its_hold_ends_is_expired_now() -> None:
    (delivery,) = planned(Fake(hold=timedelta(hours=6), age=timedelta(hours=3))).deliveries

    assert delivery.expired


outlets = st.builds(
    Fake,
    platform=st.sampled_from(["meta", "google", "reddit"]),
    enabled=st.booleans(),
    any_click=st.booleans(),
    mapped=st.sampled_from([frozenset({"install"}), frozenset[str]()]),
    hold=st.timedeltas(timedelta(), timedelta(days=1)),
    age=st.timedeltas(timedelta(), timedelta(days=90)),
)
sides = st.sampled_from(["clicks", "refused", None])


def _decision(meta: str | None, google: str | None) -> Decision:
    sides_of = ((meta, "meta", META), (google, "google", GOOGLE))
    found: dict[str, dict[str, Click]] = {
        name: {platform: one for side, platform, one in sides_of if side == name} for name in ("clicks", "refused")
    }
    return Decision(clicks=found["clicks"], refused=found["refused"])


@given(st.lists(outlets, max_size=8), st.builds(_decision, sides, sides), st.booleans())
def test_each_destination_has_either_a_delivery_or_a_reason(
    drawn: list[Fake], decision: Decision, refused: bool
) -> None:
    for number, outlet in enumerate(drawn):
        outlet.name = str(number)

    result = planned(*drawn, decision=decision, refused=refused)

    named = [one.destination for one in result.deliveries] + [one.destination for one in result.not_sent]
    assert sorted(named, key=int) == [outlet.name for outlet in drawn]
    for delivery in result.deliveries:
        outlet = drawn[int(delivery.destination)]
        assert outlet.enabled and outlet.mapped and not refused
        assert delivery.click in decision.clicks.values()
        assert delivery.due >= NOW
        assert bool(delivery.held) is (delivery.due > NOW)
        assert delivery.expired is (delivery.deadline <= delivery.due)
