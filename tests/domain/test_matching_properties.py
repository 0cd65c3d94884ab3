"""What holds of every match, whatever clicks there are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.domain.consent import may_match, may_send
from postbacks.domain.matching import (
    CONSIDERED_LIMIT,
    Candidate,
    Confidence,
    Inheritance,
    Method,
    Rules,
    SendTo,
    decide,
)
from postbacks.domain.model import Click, Consent
from tests.domain.strategies import NOW, PLATFORM_OF, PREFERENCE, consents

near = st.timedeltas(timedelta(days=-60), timedelta(days=2)).map(lambda shift: NOW + shift)


@st.composite
def _candidates(draw: st.DrawFn) -> list[Candidate]:
    """Clicks of a few visitors, on both sides of every window and of the event."""
    found = []
    for number in range(draw(st.integers(0, 30))):
        clicked_at = draw(near | st.just(NOW) | st.just(NOW + timedelta(milliseconds=5)))
        since = draw(near)
        passed_on = Inheritance(since + timedelta(days=30), draw(st.sampled_from(Confidence)), since)
        found.append(
            Candidate(
                Click(
                    id=UUID(int=number),
                    type=draw(st.sampled_from([*PLATFORM_OF, "other"])),
                    value=str(number),
                    clicked_at=clicked_at,
                    visitor_id=draw(st.sampled_from(["", "a", "b", "c"])),
                    consent=draw(consents),
                ),
                draw(st.sampled_from(Method)),
                draw(st.sampled_from([None, passed_on])),
                draw(st.booleans()),
            )
        )
    return found


rules_drawn = st.builds(
    Rules,
    click_window=st.sampled_from([timedelta(days=7), timedelta(days=30)]),
    ip_window=st.sampled_from([timedelta(hours=1), timedelta(hours=24)]),
    ip_shared_threshold=st.integers(1, 5),
    send_to=st.sampled_from(SendTo),
    require_consent=st.booleans(),
)
cases = given(st.just(NOW) | near, consents, _candidates(), rules_drawn)


def run(occurred_at: datetime, consent: Consent, candidates: list[Candidate], rules: Rules) -> Any:
    return decide(occurred_at, consent, candidates, rules, PLATFORM_OF, PREFERENCE)


@settings(max_examples=60, deadline=None)
@cases
def test_no_click_is_taken_that_may_not_be(
    occurred_at: datetime, consent: Consent, candidates: list[Candidate], rules: Rules
) -> None:
    decision = run(occurred_at, consent, candidates, rules)

    for click in (*decision.clicks.values(), *decision.refused.values()):
        cut = click.clicked_at.replace(microsecond=0)
        assert click.clicked_at <= occurred_at or (cut == occurred_at and occurred_at.microsecond == 0)
        assert may_match(click.consent)
    for click in decision.clicks.values():
        assert may_send(click.consent, require_consent=rules.require_consent)
        assert may_send(consent, require_consent=rules.require_consent)


@settings(max_examples=60, deadline=None)
@cases
def test_taken_clicks_are_candidates_of_the_tier_that_decided_at_most_one_per_platform(
    occurred_at: datetime, consent: Consent, candidates: list[Candidate], rules: Rules
) -> None:
    decision = run(occurred_at, consent, candidates, rules)
    tier = [one.click for one in candidates if one.method is decision.method]

    assert not set(decision.clicks) & set(decision.refused)
    for platform, click in {**decision.clicks, **decision.refused}.items():
        assert click in tier
        assert PLATFORM_OF.get(click.type, click.type) == platform
    if rules.send_to is SendTo.LAST_CLICK:
        assert len(decision.clicks) + len(decision.refused) <= 1
    assert decision.matched is (decision.method is not None) is (decision.confidence is not None)


@settings(max_examples=60, deadline=None)
@cases
def test_every_candidate_up_to_the_deciding_tier_is_explained_once_up_to_the_limit(
    occurred_at: datetime, consent: Consent, candidates: list[Candidate], rules: Rules
) -> None:
    decision = run(occurred_at, consent, candidates, rules)
    tiers = list(Method)
    last = tiers.index(decision.method) if decision.method else len(tiers) - 1
    looked_at = {one.click.id for one in candidates if tiers.index(one.method) <= last}
    explained = [one.click.id for one in decision.considered]

    assert len(explained) == min(len(looked_at), CONSIDERED_LIMIT)
    assert len(set(explained)) == len(explained)
    assert set(explained) <= looked_at
    assert all(one.why for one in decision.considered)
    taken = {one.click.id for one in decision.considered if one.taken}
    assert taken == {click.id for click in decision.clicks.values()}


@settings(max_examples=60, deadline=None)
@cases
def test_the_order_in_which_candidates_were_found_does_not_matter_unless_clicks_are_simultaneous(
    occurred_at: datetime, consent: Consent, candidates: list[Candidate], rules: Rules
) -> None:
    apart = list({one.click.clicked_at: one for one in candidates}.values())

    one, other = (run(occurred_at, consent, order, rules) for order in (apart, apart[::-1]))

    assert (one.method, one.confidence) == (other.method, other.confidence)
    assert (one.clicks, one.refused) == (other.clicks, other.refused)
