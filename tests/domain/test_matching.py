from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from postbacks.domain.matching import (
    CONSIDERED_LIMIT,
    Candidate,
    Confidence,
    Decision,
    Inheritance,
    Method,
    Rules,
    SendTo,
    decide,
)
from postbacks.domain.model import Click, Consent
from tests.domain.strategies import NOW, PLATFORM_OF, PREFERENCE, ago, click


def match(
    *candidates: Candidate, rules: Rules | None = None, consent: Consent | None = None, occurred_at: datetime = NOW
) -> Decision:
    return decide(occurred_at, consent or Consent(), candidates, rules or Rules(), PLATFORM_OF, PREFERENCE)


def why(decision: Decision) -> dict[int, tuple[bool, str]]:
    """Number of a click → whether it was taken, and why or why not."""
    return {one.click.id.int: (one.taken, one.why) for one in decision.considered}


def taken(decision: Decision) -> dict[str, int]:
    return {platform: one.id.int for platform, one in decision.clicks.items()}


def on_address(count: int, *, same_address: bool = True) -> list[Candidate]:
    """So many visitors on one address, the first of them the latest."""
    clicks = [click(n, ago(minutes=n), visitor_id=f"visitor-{n}") for n in range(1, count + 1)]
    return [Candidate(one, Method.IP, same_address=same_address) for one in clicks]


def test_nothing_matches_where_there_is_no_click() -> None:
    assert match() == Decision()
    assert not match().matched


@pytest.mark.parametrize("best", range(4))
def test_the_tiers_are_tried_from_click_id_to_visitor_to_user_to_address(best: int) -> None:
    tiers = [Method.CLICK_ID, Method.VISITOR_ID, Method.USER_ID, Method.IP]
    # The worse the tier, the newer its click: a newer click of a worse tier must not win.
    candidates = [Candidate(click(n, ago(hours=9 - n)), tiers[n]) for n in reversed(range(best, 4))]

    decision = match(*candidates)

    assert decision.method is tiers[best]
    assert taken(decision) == {"meta": best}


def test_a_tier_without_a_usable_click_leaves_the_word_to_the_next_one() -> None:
    decision = match(
        Candidate(click(1, ago(days=31)), Method.CLICK_ID),
        Candidate(click(2, NOW + timedelta(seconds=1)), Method.VISITOR_ID),
        Candidate(click(3, consent=Consent(attribution=False)), Method.USER_ID),
        Candidate(click(4), Method.IP),
    )

    assert decision.method is Method.IP
    assert why(decision) == {
        1: (False, "the click is older than the window of 30 days"),
        2: (False, "the click is later than the event"),
        3: (False, "attribution was refused on the landing page"),
        4: (True, "the click came from the same address"),
    }


@pytest.mark.parametrize(
    ("method", "confidence", "words"),
    [
        (Method.CLICK_ID, Confidence.HIGH, "the event carried this click ID"),
        (Method.VISITOR_ID, Confidence.HIGH, "the click of the same visitor"),
        (Method.USER_ID, Confidence.HIGH, "a click or an earlier event tied the player to it"),
        (Method.IP, Confidence.MEDIUM, "the click came from the same address"),
    ],
)
def test_each_answer_says_by_which_tier_how_sure_and_why(method: Method, confidence: Confidence, words: str) -> None:
    decision = match(Candidate(click(), method))

    assert (decision.method, decision.confidence) == (method, confidence)
    assert why(decision) == {1: (True, words)}


@pytest.mark.parametrize("method", list(Method))
def test_a_click_later_than_the_event_never_matches(method: Method) -> None:
    occurred_at = NOW + timedelta(milliseconds=500)
    same, late = (Candidate(click(1, occurred_at + timedelta(microseconds=n)), method) for n in (0, 1))

    assert match(same, occurred_at=occurred_at).matched
    decision = match(late, occurred_at=occurred_at)
    assert not decision.matched
    assert why(decision) == {1: (False, "the click is later than the event")}


@pytest.mark.parametrize(("milliseconds", "matched"), [(0, True), (999, True), (1000, False)])
def test_a_click_in_the_very_second_of_an_event_in_whole_seconds_is_not_later(milliseconds: int, matched: bool) -> None:
    """Most backends send Unix seconds; what came after the point was cut off."""
    candidate = Candidate(click(1, NOW + timedelta(milliseconds=milliseconds)), Method.CLICK_ID)

    assert match(candidate).matched is matched


def test_a_late_click_does_not_match_through_inheritance_either() -> None:
    passed_on = Inheritance(until=NOW + timedelta(days=30), confidence=Confidence.HIGH, since=ago(days=1))

    assert not match(Candidate(click(1, NOW + timedelta(seconds=1)), Method.USER_ID, passed_on)).matched


@pytest.mark.parametrize("method", [Method.CLICK_ID, Method.VISITOR_ID, Method.USER_ID])
def test_the_click_window_ends_after_its_last_moment(method: Method) -> None:
    rules = Rules(click_window=timedelta(days=7), ip_window=timedelta(hours=1))

    assert match(Candidate(click(1, ago(days=7)), method), rules=rules).matched
    assert not match(Candidate(click(1, ago(days=7, seconds=1)), method), rules=rules).matched


def test_an_address_has_a_window_of_its_own() -> None:
    rules = Rules(ip_window=timedelta(hours=6))

    assert match(Candidate(click(1, ago(hours=6)), Method.IP), rules=rules).matched
    decision = match(Candidate(click(1, ago(hours=6, seconds=1)), Method.IP), rules=rules)
    assert not decision.matched
    assert why(decision) == {1: (False, "the click is older than the window of 6 hours")}


def test_by_default_clicks_count_for_30_days_addresses_for_24_hours_and_5_visitors_are_too_many() -> None:
    rules = Rules()

    assert (rules.click_window, rules.ip_window) == (timedelta(days=30), timedelta(hours=24))
    assert rules.install_inheritance == timedelta(days=30)
    assert rules.ip_shared_threshold == 5
    assert rules.send_to is SendTo.EVERY_MATCHED_PLATFORM
    assert not rules.require_consent


def test_the_only_visitor_on_an_address_is_taken() -> None:
    decision = match(*on_address(1))

    assert (decision.confidence, taken(decision)) == (Confidence.MEDIUM, {"meta": 1})


def test_several_clicks_of_one_visitor_are_one_visitor() -> None:
    decision = match(*(Candidate(click(n, ago(minutes=n)), Method.IP) for n in range(1, 9)))

    assert (decision.confidence, taken(decision)) == (Confidence.MEDIUM, {"meta": 1})


def test_clicks_without_a_visitor_count_as_a_visitor_each() -> None:
    clicks = [Candidate(click(n, ago(minutes=n), visitor_id=""), Method.IP) for n in range(1, 6)]

    assert match(*clicks[:4]).confidence is Confidence.AMBIGUOUS
    assert not match(*clicks).matched


@pytest.mark.parametrize("visitors", [2, 3, 4])
def test_of_several_visitors_on_an_address_the_last_is_taken_and_marked_ambiguous(visitors: int) -> None:
    decision = match(*reversed(on_address(visitors)))

    assert (decision.confidence, taken(decision)) == (Confidence.AMBIGUOUS, {"meta": 1})
    assert all(
        reason == (False, "a later visitor was on the same address") for n, reason in why(decision).items() if n > 1
    )


def test_all_clicks_of_the_last_visitor_are_taken_each_for_its_platform() -> None:
    decision = match(
        Candidate(click(1, ago(minutes=1), visitor_id="last"), Method.IP),
        Candidate(click(2, ago(hours=2), "gclid", visitor_id="last"), Method.IP),
        Candidate(click(3, ago(hours=1), "ttclid", visitor_id="other"), Method.IP),
    )

    assert taken(decision) == {"meta": 1, "google": 2}


@pytest.mark.parametrize(("threshold", "matched"), [(5, False), (6, True), (2, False)])
def test_at_the_shared_threshold_or_more_none_is_taken(threshold: int, matched: bool) -> None:
    decision = match(*on_address(5), rules=Rules(ip_shared_threshold=threshold))

    assert decision.matched is matched
    if not matched:
        words = f"5 visitors share the address, at {threshold} or more none is taken"
        assert why(decision) == dict.fromkeys(range(1, 6), (False, words))


def test_visitors_outside_of_the_window_do_not_make_an_address_shared() -> None:
    old = [Candidate(replace(one.click, clicked_at=ago(hours=25)), Method.IP) for one in on_address(9)[1:]]

    assert match(*on_address(1), *old).confidence is Confidence.MEDIUM


def test_an_ipv6_click_from_elsewhere_in_the_64_matches() -> None:
    """Privacy extensions change the low half of an address daily."""
    decision = match(*on_address(1, same_address=False))

    assert (decision.method, decision.confidence) == (Method.IP, Confidence.MEDIUM)


def test_an_ipv6_click_from_the_very_address_beats_newer_ones_in_its_64() -> None:
    neighbours = on_address(9, same_address=False)
    same = Candidate(click(20, ago(hours=20), visitor_id="same"), Method.IP)

    decision = match(*neighbours, same)

    assert (decision.confidence, taken(decision)) == (Confidence.MEDIUM, {"meta": 20})
    assert why(decision)[1] == (False, "another click agrees in the full address")


def test_an_ipv6_64_with_many_visitors_is_shared() -> None:
    assert not match(*on_address(5, same_address=False)).matched


def inherited(
    clicked_at: datetime, since: datetime, until: datetime, confidence: Confidence = Confidence.HIGH
) -> Candidate:
    return Candidate(click(1, clicked_at), Method.USER_ID, Inheritance(until, confidence, since))


def test_a_later_event_inherits_the_click_although_its_window_is_over() -> None:
    decision = match(inherited(ago(days=50), ago(days=25), NOW + timedelta(days=5)))

    assert decision.method is Method.USER_ID
    assert why(decision) == {1: (True, "inherited: another event of the player was matched to it")}


def test_inheritance_ends_after_its_last_moment() -> None:
    assert match(inherited(ago(days=50), ago(days=30), NOW)).matched
    assert not match(inherited(ago(days=50), ago(days=30), NOW - timedelta(microseconds=1))).matched


def test_an_event_before_the_matched_one_inherits_nothing_that_its_own_window_does_not_hold() -> None:
    until = NOW + timedelta(days=30)

    assert not match(inherited(ago(days=31), NOW + timedelta(days=1), until)).matched
    assert match(inherited(ago(days=29), NOW + timedelta(days=1), until)).matched


@pytest.mark.parametrize("confidence", list(Confidence))
def test_an_inherited_match_is_as_sure_as_the_first_one_was(confidence: Confidence) -> None:
    decision = match(inherited(ago(days=2), ago(days=1), NOW + timedelta(days=1), confidence))

    assert decision.confidence is confidence


@pytest.mark.parametrize("order", [1, -1])
def test_a_match_by_several_inherited_clicks_is_as_sure_as_the_weakest(order: int) -> None:
    def one(number: int, click_id_type: str, minutes: int, confidence: Confidence) -> Candidate:
        passed_on = Inheritance(NOW + timedelta(days=1), confidence, ago(minutes=1))
        return Candidate(click(number, ago(minutes=minutes), click_id_type), Method.USER_ID, passed_on)

    decision = match(
        one(1, "fbclid", 20 + order, Confidence.AMBIGUOUS),
        one(2, "gclid", 20 - order, Confidence.MEDIUM),
        Candidate(click(3, ago(minutes=30), "ttclid"), Method.USER_ID),
    )

    assert len(decision.clicks) == 3
    assert decision.confidence is Confidence.AMBIGUOUS


def of_three_platforms() -> Sequence[Candidate]:
    return [
        Candidate(click(1, ago(hours=3), "fbclid"), Method.VISITOR_ID),
        Candidate(click(2, ago(hours=1), "ttclid"), Method.VISITOR_ID),
        Candidate(click(3, ago(hours=2), "gclid"), Method.VISITOR_ID),
    ]


def test_every_matched_platform_gets_its_click() -> None:
    assert taken(match(*of_three_platforms())) == {"meta": 1, "tiktok": 2, "google": 3}


def test_send_to_last_click_takes_the_newest_click_alone() -> None:
    decision = match(*of_three_platforms(), rules=Rules(send_to=SendTo.LAST_CLICK))

    assert taken(decision) == {"tiktok": 2}
    assert why(decision)[1] == why(decision)[3] == (False, "only the last click is sent (send_to)")


def test_with_send_to_last_click_a_refusal_of_the_last_click_is_not_answered_with_an_older_one() -> None:
    last = Candidate(click(4, ago(minutes=1), "gclid", consent=Consent(postbacks=False)), Method.VISITOR_ID)

    decision = match(*of_three_platforms(), last, rules=Rules(send_to=SendTo.LAST_CLICK))

    assert taken(decision) == {}
    assert decision.refused == {"google": last.click}


def test_of_several_clicks_of_a_platform_the_newest_is_taken() -> None:
    decision = match(*(Candidate(click(n, ago(hours=n)), Method.VISITOR_ID) for n in (3, 1, 2)))

    assert taken(decision) == {"meta": 1}
    assert why(decision)[2] == why(decision)[3] == (False, "a later click of meta decides")


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_click_ids_of_a_platform_at_one_moment_the_preferred_kind_is_taken(turned: bool) -> None:
    both = [Candidate(click(1, type="gbraid"), Method.CLICK_ID), Candidate(click(2, type="gclid"), Method.CLICK_ID)]

    decision = match(*(reversed(both) if turned else both))

    assert taken(decision) == {"google": 2}
    assert why(decision)[1] == (False, "the gclid of the same moment decides")


def test_a_click_without_consent_to_postbacks_is_matched_but_not_taken() -> None:
    refused = click(1, consent=Consent(postbacks=False))

    decision = match(Candidate(refused, Method.VISITOR_ID))

    assert decision.matched
    assert (decision.clicks, decision.refused) == ({}, {"meta": refused})
    assert why(decision) == {1: (False, "consent to postbacks is missing for this click")}


def test_a_refused_click_is_not_replaced_by_an_older_one_of_its_platform() -> None:
    refused = Candidate(click(1, ago(hours=1), consent=Consent(postbacks=False)), Method.VISITOR_ID)
    older = Candidate(click(2, ago(hours=2), consent=Consent(postbacks=True)), Method.VISITOR_ID)

    assert match(refused, older).clicks == {}


def test_a_refused_click_leaves_other_platforms_alone() -> None:
    refused = Candidate(click(9, type="gclid", consent=Consent(postbacks=False)), Method.VISITOR_ID)

    decision = match(refused, Candidate(click(1), Method.VISITOR_ID))

    assert taken(decision) == {"meta": 1}
    assert decision.refused == {"google": refused.click}


@pytest.mark.parametrize(
    ("on_click", "on_event", "required", "sent"),
    [
        (None, None, False, True),
        (None, None, True, False),
        (True, None, True, False),
        (None, True, True, False),
        (True, True, True, True),
        (True, False, False, False),
        (False, True, False, False),
        (None, False, False, False),
    ],
)
def test_click_and_event_must_both_permit_and_unknown_counts_as_refused_only_if_consent_is_required(
    on_click: bool | None, on_event: bool | None, required: bool, sent: bool
) -> None:
    candidate = Candidate(click(1, consent=Consent(postbacks=on_click)), Method.VISITOR_ID)

    decision = match(candidate, consent=Consent(postbacks=on_event), rules=Rules(require_consent=required))

    assert decision.matched
    assert bool(decision.clicks) is sent
    assert bool(decision.refused) is not sent


def test_what_the_event_s_consent_keeps_back_is_not_shown_as_taken() -> None:
    decision = match(*of_three_platforms(), consent=Consent(postbacks=False))

    assert decision.clicks == {}
    assert set(decision.refused) == {"meta", "google", "tiktok"}
    assert set(why(decision).values()) == {(False, "consent to postbacks is missing for this event")}


def test_the_taken_clicks_are_explained_first_and_the_list_has_an_end() -> None:
    old = [Candidate(click(n, ago(days=40 + n)), Method.CLICK_ID) for n in range(1, 30)]

    decision = match(*old, *(Candidate(replace(one.click, id=UUID(int=99)), one.method) for one in on_address(1)))

    assert len(decision.considered) == CONSIDERED_LIMIT
    assert [one.click.id.int for one in decision.considered if one.taken] == [99]
    assert decision.considered[0].taken


def test_a_click_of_no_known_platform_goes_under_its_own_name() -> None:
    decision = match(Candidate(click(1, type="msclkid"), Method.CLICK_ID))

    assert taken(decision) == {"msclkid": 1}


def test_clicks_are_never_changed() -> None:
    one: Click = click(1)

    assert match(Candidate(one, Method.CLICK_ID)).clicks["meta"] is one
