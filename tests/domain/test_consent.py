from __future__ import annotations

import pytest
from hypothesis import given

from postbacks.domain.consent import may_match, may_send, narrower
from postbacks.domain.model import Consent
from tests.domain.strategies import consents


@pytest.mark.parametrize(("postbacks", "sent", "sent_if_required"), [(True, True, True), (False, False, False)])
def test_an_answer_counts_as_it_was_given(postbacks: bool, sent: bool, sent_if_required: bool) -> None:
    consent = Consent(postbacks=postbacks)

    assert may_send(consent, require_consent=False) is sent
    assert may_send(consent, require_consent=True) is sent_if_required


def test_unknown_consent_is_refused_only_where_the_app_requires_consent() -> None:
    assert may_send(Consent(), require_consent=False)
    assert not may_send(Consent(), require_consent=True)


@pytest.mark.parametrize(("attribution", "matched"), [(None, True), (True, True), (False, False)])
def test_only_a_no_keeps_a_click_from_being_matched(attribution: bool | None, matched: bool) -> None:
    assert may_match(Consent(attribution=attribution)) is matched


def test_the_flags_are_independent() -> None:
    assert may_send(Consent(attribution=False, ad_personalization=False), require_consent=False)
    assert not may_send(Consent(attribution=True, ad_personalization=True), require_consent=True)
    assert may_match(Consent(postbacks=False, ad_personalization=False))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (None, None, None),
        (None, True, True),
        (True, True, True),
        (None, False, False),
        (True, False, False),
        (False, False, False),
    ],
)
def test_of_two_answers_a_no_wins_then_a_yes_then_unknown(
    one: bool | None, other: bool | None, both: bool | None
) -> None:
    for left, right in ((one, other), (other, one)):
        assert narrower(Consent(left, None, None), Consent(right, None, None)) == Consent(both, None, None)
        assert narrower(Consent(None, left, None), Consent(None, right, None)) == Consent(None, both, None)
        assert narrower(Consent(None, None, left), Consent(None, None, right)) == Consent(None, None, both)


@given(consents, consents, consents)
def test_the_order_in_which_answers_are_combined_does_not_matter(one: Consent, two: Consent, three: Consent) -> None:
    assert narrower(one, two) == narrower(two, one)
    assert narrower(narrower(one, two), three) == narrower(one, narrower(two, three))
    assert narrower(one, one) == one
    assert narrower(one, Consent()) == one


@given(consents, consents)
def test_combining_never_permits_what_one_side_refused(one: Consent, other: Consent) -> None:
    both = narrower(one, other)

    for side in (one, other):
        assert may_match(side) or not may_match(both)
        assert may_send(side, require_consent=False) or not may_send(both, require_consent=False)
