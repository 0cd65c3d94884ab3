"""What became of an accepted Data Manager request, per event: with record indices, and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.ads import datamanager_v1
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import Response, TransportFailure
from postbacks.platforms.google_data_manager_answers import OUTCOME_REASONS, outcome_code
from tests.platforms.conversions import NOW
from tests.platforms.google_setup import GOOGLE, TOKEN, answer, destination, rpc_error

DM = destination()
D, R, X, H, S, A = Kind.DELIVERED, Kind.RETRY, Kind.REFUSED, Kind.HOLD, Kind.SPLIT, Kind.ACCEPTED


def full(code: str) -> str:
    """The reason as Google writes it; one breaks the rule (sheet google, 4.4)."""
    odd = code == "OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER"
    return f"PROCESSING_ERROR_{code}" if odd else f"PROCESSING_ERROR_REASON_{code}"


def count(code: str, records: int | None = None, indices: Sequence[Any] | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"reason": full(code)}
    if records is not None:
        entry["recordCount"] = str(records)
    if indices is not None:
        entry["recordIndices"] = list(indices)
    return entry


def status(state: str, total: int, *counts: dict[str, Any]) -> Response:
    entry: dict[str, Any] = {
        "destination": {"productDestinationId": "55501"},
        "requestStatus": state,
        "eventsIngestionStatus": {"recordCount": str(total)},
    }
    if counts:
        entry["errorInfo"] = {"errorCounts": list(counts)}
    return answer(200, {"requestStatusPerDestination": [entry]})


def outcome(said: Any, indexes: Sequence[int] = (0, 1, 2)) -> Sequence[Verdict]:
    return GOOGLE.read_confirmation(DM, said, indexes, NOW)


def kinds(said: Any, indexes: Sequence[int] = (0, 1, 2)) -> list[Kind]:
    return [verdict.kind for verdict in outcome(said, indexes)]


def test_asks_by_request_id() -> None:
    request = GOOGLE.confirm_request(DM, "demo/7f 3a", TOKEN)

    assert request.method == "GET"
    assert request.url == "https://datamanager.googleapis.com/v1/requestStatus:retrieve?requestId=demo%2F7f%203a"
    assert request.headers == {"Authorization": f"Bearer {TOKEN}"}


def test_our_answers_are_google_s_type() -> None:
    body = {"requestStatusPerDestination": [{"errorInfo": {"errorCounts": [count("INVALID_GCLID", 1)]}}]}

    json_format.ParseDict(body, datamanager_v1.RetrieveRequestStatusResponse.pb()())


def test_success_delivers_all() -> None:
    assert kinds(status("SUCCESS", 3)) == [D, D, D]


@pytest.mark.parametrize(
    ("state", "code"),
    [("PROCESSING", ""), ("REQUEST_STATUS_UNKNOWN", "REQUEST_STATUS_UNKNOWN"), ("SOMETHING_NEW", "SOMETHING_NEW")],
)
def test_undecided_is_asked_again_and_what_is_odd_about_it_is_said(state: str, code: str) -> None:
    verdicts = outcome(status(state, 3))

    assert [(verdict.kind, verdict.code) for verdict in verdicts] == [(A, code)] * 3


@pytest.mark.parametrize(("minutes", "seconds"), [(0, 1), (1, 2), (30, 60), (1440, 60)])
@pytest.mark.parametrize("said", [status("PROCESSING", 1), answer(503, b""), TransportFailure("dns", "x", sent=False)])
def test_the_second_question_follows_the_sooner_the_sooner_the_first_came(
    minutes: float, seconds: float, said: Any
) -> None:
    [verdict] = GOOGLE.read_confirmation(destination(confirm_after_minutes=minutes), said, [0], NOW)

    assert (verdict.kind, verdict.retry_after) == (A, seconds)


class TestEveryReason:
    @pytest.mark.parametrize("code", sorted(OUTCOME_REASONS))
    def test_named_by_its_index(self, code: str) -> None:
        row = OUTCOME_REASONS[code]

        first, second, third = outcome(status("PARTIAL_SUCCESS", 3, count(code, 1, [1])))

        assert (second.kind, second.code, second.retry_after) == (row.kind, code, row.retry_after)
        assert (second.message, second.remedy) == (row.meaning, row.remedy)
        assert (first.kind, third.kind) == (D, D)

    @pytest.mark.parametrize("code", sorted(OUTCOME_REASONS))
    @pytest.mark.parametrize("state", ["FAILED", "FAILURE"])
    def test_of_a_single_event_without_an_index(self, code: str, state: str) -> None:
        [verdict] = outcome(status(state, 1, count(code, 1)), [0])

        assert (verdict.kind, verdict.code) == (OUTCOME_REASONS[code].kind, code)

    @pytest.mark.parametrize(
        ("codes", "kind"),
        [
            ("TOO_RECENT_CLICK INTERNAL_ERROR CLICK_NOT_FOUND", R),
            ("DUPLICATE_TRANSACTION_ID DUPLICATE_GCLID", D),
            (
                "INVALID_GCLID INVALID_GBRAID INVALID_WBRAID INVALID_CLICK EVENT_TOO_OLD CONVERSION_PRECEDES_CLICK "
                "INVALID_AD_IDENTIFIERS INVALID_EVENT INVALID_FORMAT INVALID_CUSTOM_VARIABLE",
                X,
            ),
            ("DENIED_CONSENT NO_CONSENT UNKNOWN_CONSENT", X),
            (
                "OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER INVALID_OPERATING_ACCOUNT_FOR_CLICK "
                "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID CUSTOM_VARIABLE_NOT_ENABLED "
                "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED EXTERNAL_ATTRIBUTION_DATA_MISSING",
                X,
            ),
        ],
    )
    def test_the_sheet_s_buckets(self, codes: str, kind: Kind) -> None:
        assert {OUTCOME_REASONS[code].kind for code in codes.split()} == {kind}

    @pytest.mark.parametrize(
        "code",
        [
            "OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER",
            "INVALID_OPERATING_ACCOUNT_FOR_CLICK",
            "CUSTOM_VARIABLE_NOT_ENABLED",
            "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID",
            "EXTERNAL_ATTRIBUTION_DATA_MISSING",
            "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED",
        ],
    )
    def test_a_wrong_setting_says_what_to_repair_and_to_replay(self, code: str) -> None:
        assert "replay" in OUTCOME_REASONS[code].remedy.lower()

    @pytest.mark.parametrize(("code", "hours"), [("TOO_RECENT_CLICK", 6), ("CLICK_NOT_FOUND", 24)])
    def test_waits(self, code: str, hours: int) -> None:
        assert OUTCOME_REASONS[code].retry_after == hours * 3600

    def test_each_row_but_the_announced_one_is_in_google_s_enum(self) -> None:
        known = {outcome_code(reason.name) for reason in datamanager_v1.ProcessingErrorReason}

        assert OUTCOME_REASONS.keys() - known == {"DESTINATION_TOO_RECENTLY_CREATED"}

    @pytest.mark.parametrize("reason", ["PROCESSING_ERROR_REASON_FROM_THE_FUTURE", "PROCESSING_ERROR_FROM_THE_FUTURE"])
    def test_an_unknown_reason_is_parked(self, reason: str) -> None:
        entry = {"reason": reason, "recordCount": "1", "recordIndices": [0]}

        parked, other = outcome(status("PARTIAL_SUCCESS", 2, entry), [0, 1])

        assert (parked.kind, parked.code, other.kind) == (X, "FROM_THE_FUTURE", D)
        assert "does not know" in parked.message
        assert "Replay" in parked.remedy


class TestIndices:
    @pytest.mark.parametrize("index", [2, "2"])
    def test_are_numbers_or_text(self, index: Any) -> None:
        assert kinds(status("PARTIAL_SUCCESS", 3, count("INVALID_GCLID", 1, [index]))) == [D, D, X]

    def test_several_reasons(self) -> None:
        said = status("FAILED", 3, count("TOO_RECENT_CLICK", 2, [0, 2]), count("DENIED_CONSENT", 1, ["1"]))

        assert kinds(said) == [R, X, R]

    def test_two_reasons_for_one_event(self) -> None:
        said = status("PARTIAL_SUCCESS", 3, count("TOO_RECENT_CLICK", 1, [0]), count("INVALID_GCLID", 1, [0]))

        assert kinds(said) == [X, D, D]

    def test_only_some_deliveries_of_the_request_are_left(self) -> None:
        said = status("PARTIAL_SUCCESS", 3, count("INVALID_GCLID", 1, [2]), count("TOO_RECENT_CLICK", 1, [0]))

        assert kinds(said, [2, 1]) == [X, D]

    def test_a_list_that_names_fewer_than_it_counts(self) -> None:
        said = status("PARTIAL_SUCCESS", 4, count("INVALID_GCLID", 2, [1]))

        assert kinds(said, [0, 1, 2, 3]) == [S, X, S, S]

    @pytest.mark.parametrize("indices", [["x"], [-1], [None], [True], {}])
    def test_nonsense_counts_as_no_index(self, indices: Any) -> None:
        entry = {**count("INVALID_GCLID", 1), "recordIndices": indices}

        assert kinds(status("PARTIAL_SUCCESS", 3, entry)) == [S, S, S]

    def test_each_delivery_keeps_its_own_part_of_the_answer(self) -> None:
        first, second = outcome(status("PARTIAL_SUCCESS", 2, count("INVALID_GCLID", 1, [0])), [0, 1])

        assert first.excerpt is not None and "INVALID_GCLID" in first.excerpt
        assert second.excerpt is not None and "INVALID_GCLID" not in second.excerpt


class TestWithoutIndices:
    def test_reasons_that_pass_send_all_again_after_the_longest_wait(self) -> None:
        said = status("PARTIAL_SUCCESS", 3, count("INTERNAL_ERROR", 1), count("TOO_RECENT_CLICK", 1))

        verdicts = outcome(said)

        assert [(verdict.kind, verdict.retry_after) for verdict in verdicts] == [(R, 6 * 3600)] * 3

    def test_duplicates_are_delivered_like_the_rest(self) -> None:
        said = status("PARTIAL_SUCCESS", 3, count("DUPLICATE_TRANSACTION_ID", 1), count("DUPLICATE_GCLID", 1))

        assert kinds(said) == [D, D, D]

    @pytest.mark.parametrize("code", ["INVALID_GCLID", "DENIED_CONSENT", "CUSTOM_VARIABLE_NOT_ENABLED", "NEW"])
    def test_a_reason_that_stays_has_the_request_split(self, code: str) -> None:
        verdicts = outcome(status("PARTIAL_SUCCESS", 3, count(code, 1)))

        assert {verdict.kind for verdict in verdicts} == {S}
        assert code in verdicts[0].message

    def test_a_click_that_may_never_be_found_does_not_keep_its_neighbours(self) -> None:
        assert kinds(status("PARTIAL_SUCCESS", 3, count("CLICK_NOT_FOUND", 1))) == [S, S, S]

    @pytest.mark.parametrize("code", ["INVALID_GCLID", "INVALID_OPERATING_ACCOUNT_FOR_CLICK", "CLICK_NOT_FOUND"])
    def test_a_reason_that_befell_all_needs_no_split(self, code: str) -> None:
        verdicts = outcome(status("FAILED", 3, count(code, 3)))

        assert {(verdict.kind, verdict.code) for verdict in verdicts} == {(OUTCOME_REASONS[code].kind, code)}

    def test_several_reasons_that_stay_are_told_apart(self) -> None:
        assert kinds(status("FAILED", 3, count("INVALID_GCLID", 1), count("DENIED_CONSENT", 2))) == [S, S, S]

    def test_the_last_of_a_larger_request_goes_out_alone(self) -> None:
        [verdict] = outcome(status("PARTIAL_SUCCESS", 3, count("INVALID_GCLID", 1)), [1])

        assert verdict.kind is S

    def test_failure_without_a_reason_is_tried_again(self) -> None:
        assert kinds(status("FAILED", 3)) == [R, R, R]

    def test_partial_success_without_a_reason_is_split(self) -> None:
        assert kinds(status("PARTIAL_SUCCESS", 3)) == [S, S, S]

    def test_a_partial_success_of_one_event_is_tried_again_on_schedule(self) -> None:
        [verdict] = outcome(status("PARTIAL_SUCCESS", 1), [0])

        assert (verdict.kind, verdict.retry_after) == (R, None)

    def test_a_reason_without_a_count(self) -> None:
        assert kinds(status("FAILED", 1, count("INVALID_GCLID")), [0]) == [X]


class TestWhenTheQuestionFails:
    """Nothing is known then; the conversions themselves must not be touched."""

    @pytest.mark.parametrize(
        "said",
        [
            TransportFailure("timeout", "no answer", sent=True),
            answer(200, b"<html>"),
            answer(200, {}),
            answer(200, {"requestStatusPerDestination": []}),
            answer(404, b""),
            answer(400, b"<html>"),
            rpc_error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
            rpc_error(503, "UNAVAILABLE"),
        ],
    )
    def test_it_is_asked_again(self, said: Any) -> None:
        assert kinds(said) == [A, A, A]

    def test_an_expired_token_is_said(self) -> None:
        [verdict] = outcome(rpc_error(401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"), [0])

        assert (verdict.kind, verdict.stale_token) == (A, True)

    def test_a_throttle_is_said(self) -> None:
        [verdict] = outcome(rpc_error(429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"), [0])

        assert (verdict.kind, verdict.throttled, verdict.retry_after) == (A, True, 60)

    def test_lost_permission_holds(self) -> None:
        [verdict] = outcome(rpc_error(403, "PERMISSION_DENIED", "PERMISSION_DENIED"), [0])

        assert verdict.kind is H
        assert verdict.remedy

    def test_after_a_change_of_route_the_other_scope_holds_nothing(self) -> None:
        said = rpc_error(403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")

        [verdict] = GOOGLE.read_confirmation(destination("ads_api"), said, [0], NOW)

        assert (verdict.kind, verdict.code) == (A, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")

    @pytest.mark.parametrize(
        "said",
        [
            rpc_error(400, "INVALID_ARGUMENT", "INVALID_REQUEST_ID"),
            rpc_error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", [("request_id", "INVALID_REQUEST_ID")]),
            rpc_error(400, "INVALID_ARGUMENT", "REQUEST_TOO_OLD"),
        ],
    )
    def test_a_forgotten_request_is_sent_again(self, said: Any) -> None:
        assert kinds(said) == [R, R, R]


junk = st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=4) | st.lists(st.integers(-1, 4), max_size=3)


@given(state=st.sampled_from(["SUCCESS", "PARTIAL_SUCCESS", "FAILED"]) | junk, data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_answer_crashes_the_reader(state: Any, data: st.DataObject) -> None:
    reasons = st.sampled_from([full(code) for code in OUTCOME_REASONS]) | junk
    entries = st.fixed_dictionaries({}, optional={"reason": reasons, "recordCount": junk, "recordIndices": junk})
    info = data.draw(junk | st.fixed_dictionaries({"errorCounts": st.lists(entries, max_size=3) | junk}))
    entry = {"requestStatus": state, "errorInfo": info, "eventsIngestionStatus": data.draw(junk)}

    said = answer(200, {"requestStatusPerDestination": [entry]})

    assert len(outcome(said, [0, 2])) == 2
