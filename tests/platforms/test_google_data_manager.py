"""The Data Manager route: bodies that Google's own types accept, and every row of the answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from google.ads import datamanager_v1
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.domain.model import Consent, Kind
from postbacks.platforms.base import Prepared, TransportFailure
from postbacks.platforms.google_data_manager_answers import REQUEST_REASONS
from tests.platforms.conversions import NOW, conversions
from tests.platforms.conversions import target as make_target
from tests.platforms.google_setup import (
    ACCOUNTS,
    CLICKED_AT,
    GOOGLE,
    REFRESH,
    TOKEN,
    answer,
    batch,
    build,
    destination,
    google_conversion,
    prepared_of,
    read,
    rpc_error,
    sent,
)

DM = destination()
SIX_HOURS = 6 * 3600


def parse(prepared: Prepared) -> Any:
    """The body as Google's own message; raises where a field, an enum or a type is wrong (sheet google, 11)."""
    return json_format.ParseDict(orjson.loads(prepared.request.body), datamanager_v1.IngestEventsRequest.pb()())


class TestBuild:
    def test_the_whole_request(self) -> None:
        prepared = prepared_of(
            build(
                DM,
                google_conversion(
                    value=Decimal("4.99"),
                    currency="EUR",
                    occurred_at=datetime(2026, 11, 23, 10, 3, 9, 250000, tzinfo=timezone(timedelta(hours=1))),
                    consent=Consent(postbacks=True, ad_personalization=False),
                ),
            )
        )

        assert prepared.request.method == "POST"
        assert prepared.request.url == "https://datamanager.googleapis.com/v1/events:ingest"
        assert prepared.request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert prepared.request.headers["Content-Type"] == "application/json"
        assert orjson.loads(prepared.request.body) == {
            "destinations": [
                {
                    "reference": "55501",
                    "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "1002003004"},
                    "loginAccount": {"accountType": "GOOGLE_ADS", "accountId": "9008007006"},
                    "productDestinationId": "55501",
                }
            ],
            "events": [
                {
                    "destinationReferences": ["55501"],
                    "transactionId": "dlv_0198c9a45d0070008000000000000001",
                    "eventTimestamp": "2026-11-23T09:03:09.250000Z",
                    "eventSource": "WEB",
                    "adIdentifiers": {"gclid": "Demo-Gclid_AAA111"},
                    "conversionValue": 4.99,
                    "currency": "EUR",
                    "consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_DENIED"},
                }
            ],
        }
        parse(prepared)

    def test_nothing_that_was_not_known_is_sent(self) -> None:
        where = make_target(GOOGLE, {"operating_account_id": "1002003004", **REFRESH})

        body = sent(where, google_conversion())

        assert "loginAccount" not in body["destinations"][0]
        assert not {"conversionValue", "currency", "consent"} & body["events"][0].keys()

    @pytest.mark.parametrize("kind", ["gclid", "gbraid", "wbraid"])
    def test_keeps_the_kind_of_click_id(self, kind: str) -> None:
        [event] = sent(DM, google_conversion(click_type=kind))["events"]

        assert event["adIdentifiers"] == {kind: "Demo-Gclid_AAA111"}

    @pytest.mark.parametrize("kind", ["gclid", "gbraid", "wbraid"])
    def test_keeps_a_click_id_of_2000_characters(self, kind: str) -> None:
        prepared = prepared_of(build(DM, google_conversion(click_type=kind, click_value="aB-_" * 500)))

        assert getattr(parse(prepared).events[0].ad_identifiers, kind) == "aB-_" * 500

    @pytest.mark.parametrize(
        ("value", "currency", "expected"),
        [
            ("499", "JPY", 499),
            ("499.4", "JPY", 499),
            ("1.2345", "KWD", 1.234),
            ("0", "EUR", 0),
            ("1e12", "USD", 1e12),
            (str(0.1 + 0.2), "USD", 0.3),
        ],
    )
    def test_values_in_currency_units(self, value: str, currency: str, expected: float) -> None:
        prepared = prepared_of(build(DM, google_conversion(value=Decimal(value), currency=currency)))

        [event] = orjson.loads(prepared.request.body)["events"]
        assert (event["conversionValue"], event["currency"]) == (expected, currency)
        assert parse(prepared).events[0].conversion_value == expected

    @pytest.mark.parametrize("source", ["WEB", "APP", "IN_STORE", "PHONE", "MESSAGE", "OTHER"])
    def test_event_source_is_the_option(self, source: str) -> None:
        prepared = prepared_of(build(destination(event_source=source), google_conversion()))

        parse(prepared)
        assert f'"eventSource":"{source}"' in prepared.parts[0]

    @pytest.mark.parametrize(
        ("consent", "expected"),
        [
            (Consent(), None),
            (Consent(attribution=True), None),
            (Consent(postbacks=True), {"adUserData": "CONSENT_GRANTED"}),
            (Consent(postbacks=False), {"adUserData": "CONSENT_DENIED"}),
            (Consent(ad_personalization=True), {"adPersonalization": "CONSENT_GRANTED"}),
            (Consent(ad_personalization=False), {"adPersonalization": "CONSENT_DENIED"}),
        ],
    )
    def test_only_known_consent_is_sent(self, consent: Consent, expected: dict[str, str] | None) -> None:
        [event] = sent(DM, google_conversion(consent=consent))["events"]

        assert event.get("consent") == expected

    def test_one_request_per_conversion_action(self) -> None:
        other = {"conversion_action_id": "55502"}
        mixed = [google_conversion(), google_conversion(mapping=other), google_conversion()]

        first, second = build(DM, *mixed).prepared

        assert (first.positions, second.positions) == ((0, 2), (1,))
        for prepared, action in ((first, "55501"), (second, "55502")):
            message = parse(prepared)
            assert [one.product_destination_id for one in message.destinations] == [action]
            assert {tuple(event.destination_references) for event in message.events} == {(action,)}

    def test_at_most_2000_events_in_a_request(self) -> None:
        built = build(DM, *batch(2001))

        assert [len(prepared.positions) for prepared in built.prepared] == [2000, 1]

    def test_the_parts_are_the_body_s_own_text(self) -> None:
        prepared = prepared_of(build(DM, *batch(3)))

        body = prepared.request.body.decode()
        assert body.endswith('"events":[' + ",".join(prepared.parts) + "]}")

    def test_the_time_is_never_in_the_future(self) -> None:
        [event] = sent(DM, google_conversion(occurred_at=NOW + timedelta(minutes=10)))["events"]

        assert event["eventTimestamp"] == "2026-11-23T09:30:00Z"

    @pytest.mark.parametrize(
        ("changes", "kind", "code"),
        [
            ({"clicked_at": NOW - timedelta(days=90)}, Kind.EXPIRED, "click_too_old"),
            ({"occurred_at": CLICKED_AT - timedelta(seconds=1)}, Kind.SKIPPED, "conversion_precedes_click"),
            ({"click_type": "fbclid"}, Kind.SKIPPED, "no_click_id"),
        ],
    )
    def test_what_google_never_takes_is_not_sent(self, changes: dict[str, Any], kind: Kind, code: str) -> None:
        built = build(DM, google_conversion(**changes), google_conversion())

        [unsendable] = built.unsendable
        assert (unsendable.position, unsendable.verdict.kind, unsendable.verdict.code) == (0, kind, code)
        assert prepared_of(built).positions == (1,)

    @given(
        drawn=st.lists(
            conversions(GOOGLE.click_id_types, ({"conversion_action_id": "55501"}, {"conversion_action_id": "55502"})),
            max_size=6,
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_any_conversion_is_placed_once_and_parses(self, drawn: list[Any]) -> None:
        built = build(DM, *drawn)

        placed = [position for prepared in built.prepared for position in prepared.positions]
        placed += [unsendable.position for unsendable in built.unsendable]
        assert sorted(placed) == list(range(len(drawn)))
        for prepared in built.prepared:
            events = parse(prepared).events
            assert [event.transaction_id for event in events] == [drawn[n].key for n in prepared.positions]
            for event, position in zip(events, prepared.positions, strict=True):
                click = drawn[position].click
                assert getattr(event.ad_identifiers, click.type) == click.value
                moment = event.event_timestamp.ToDatetime(tzinfo=UTC)
                assert click.clicked_at <= moment <= max(NOW, click.clicked_at)


class TestRead:
    def test_a_request_id_is_accepted_and_confirmed_later(self) -> None:
        verdicts = read(destination(confirm_after_minutes=45), 3, answer(200, {"requestId": "demo-7f3a"}))

        assert [(verdict.kind, verdict.reference) for verdict in verdicts] == [(Kind.ACCEPTED, "demo-7f3a")] * 3
        assert verdicts[0].retry_after == 45 * 60

    @pytest.mark.parametrize("body", [{}, b"<html>hello</html>", [1], {"requestId": 7}])
    def test_200_without_a_request_id_is_no_yes(self, body: Any) -> None:
        [verdict] = read(DM, 1, answer(200, body))

        assert (verdict.kind, verdict.ambiguous) == (Kind.RETRY, True)

    def test_a_timeout_is_tried_again(self) -> None:
        [verdict] = read(DM, 1, TransportFailure("timeout", "no answer", sent=True))

        assert (verdict.kind, verdict.code, verdict.ambiguous) == (Kind.RETRY, "timeout", True)

    @pytest.mark.parametrize(
        ("said", "kind", "code"),
        [
            (rpc_error(401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"), Kind.RETRY, "ACCESS_TOKEN_EXPIRED"),
            (answer(401, b""), Kind.RETRY, "http_401"),
            (
                rpc_error(403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
                Kind.HOLD,
                "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            ),
            (rpc_error(403, "PERMISSION_DENIED", "SERVICE_DISABLED"), Kind.HOLD, "SERVICE_DISABLED"),
            (rpc_error(403, "PERMISSION_DENIED", "PERMISSION_DENIED"), Kind.HOLD, "PERMISSION_DENIED"),
            (rpc_error(403, "PERMISSION_DENIED", "SOMETHING_NEW"), Kind.HOLD, "SOMETHING_NEW"),
            (answer(403, b"<html>blocked</html>"), Kind.RETRY, "http_403"),
            (answer(404, b"<html>lost</html>"), Kind.RETRY, "http_404"),
            (rpc_error(429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"), Kind.RETRY, "RESOURCE_EXHAUSTED"),
            (rpc_error(500, "INTERNAL", "INTERNAL_ERROR"), Kind.RETRY, "INTERNAL_ERROR"),
            (answer(503, b"<html>busy</html>"), Kind.RETRY, "http_503"),
            (rpc_error(504, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"), Kind.RETRY, "DEADLINE_EXCEEDED"),
            (answer(400, b"<html>what</html>"), Kind.RETRY, "http_400"),
        ],
    )
    def test_the_status_concerns_all(self, said: Any, kind: Kind, code: str) -> None:
        first, second = read(DM, 2, said)

        assert first == second
        assert (first.kind, first.code) == (kind, code)
        assert first.stale_token is (said.status == 401)
        assert first.throttled is (said.status == 429)
        assert bool(first.remedy) is (kind is Kind.HOLD or said.status == 401)

    @pytest.mark.parametrize(
        ("headers", "details", "pause"),
        [
            ({}, [], None),
            ({"retry-after": "7"}, [], 7),
            ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31.5s"}], 31.5),
        ],
    )
    def test_throttling_pauses_the_destination(self, headers: Any, details: Any, pause: float | None) -> None:
        error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down", "details": details}

        [verdict] = read(DM, 1, answer(429, {"error": error}, headers))

        assert (verdict.throttled, verdict.retry_after) == (True, pause)

    def test_a_named_event_is_refused_and_the_others_go_out_at_once(self) -> None:
        said = rpc_error(
            400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", [("events.events[1].event_source", "REQUIRED_FIELD_MISSING")]
        )

        first, second, third = read(DM, 3, said)

        assert (second.kind, second.code) == (Kind.REFUSED, "REQUIRED_FIELD_MISSING")
        assert second.message == "events.events[1].event_source: demo words"
        assert second.excerpt is not None and "event_source" in second.excerpt
        for other in (first, third):
            assert (other.kind, other.code, other.retry_after) == (Kind.RETRY, "batch_rejected", 0)

    def test_json_that_google_cannot_read_names_the_event_too(self) -> None:
        first, second = read(DM, 2, rpc_error(400, "INVALID_ARGUMENT", "", [("events[0].ad_identifiers", "")]))

        assert (first.kind, first.code) == (Kind.REFUSED, "INVALID_ARGUMENT")
        assert second.kind is Kind.RETRY

    @pytest.mark.parametrize("reason", sorted(REQUEST_REASONS))
    def test_every_row_at_an_event(self, reason: str) -> None:
        row = REQUEST_REASONS[reason]

        bad, good = read(DM, 2, rpc_error(400, "INVALID_ARGUMENT", "X", [("events.events[0].x", reason)]))

        assert (bad.kind, bad.code, bad.retry_after) == (row.kind, reason, row.retry_after)
        assert bad.remedy == row.remedy
        assert (good.kind, good.retry_after) == (Kind.RETRY, 0)

    @pytest.mark.parametrize("reason", sorted(REQUEST_REASONS))
    def test_every_row_at_the_destination(self, reason: str) -> None:
        row = REQUEST_REASONS[reason]

        said = rpc_error(400, "INVALID_ARGUMENT", "X", [("destinations[0].product_destination_id", reason)])

        # What a destination is refused for never damns one conversion among many.
        among_many = Kind.SPLIT if row.kind is Kind.REFUSED else row.kind
        assert {verdict.kind for verdict in read(DM, 2, said)} == {among_many}
        alone = Kind.REFUSED if row.kind is Kind.SPLIT else row.kind
        assert {(verdict.kind, verdict.code) for verdict in read(DM, 1, said)} == {(alone, reason)}

    @pytest.mark.parametrize(
        ("reason", "kind", "pause"),
        [
            ("CONVERSION_ACTION_TOO_RECENTLY_CREATED", Kind.RETRY, SIX_HOURS),
            ("TOO_MANY_EVENTS", Kind.SPLIT, None),
            ("INVALID_AD_IDENTIFIER_FOR_ACCOUNT", Kind.REFUSED, None),
            ("EVENT_TIME_INVALID", Kind.REFUSED, None),
            ("EVENT_SOURCE_AND_DESTINATION_MISMATCH", Kind.HOLD, None),
            ("INVALID_CONVERSION_ACTION_ID", Kind.HOLD, None),
            ("INVALID_CONVERSION_ACTION_TYPE", Kind.HOLD, None),
            ("INVALID_DESTINATION", Kind.HOLD, None),
            ("NOT_ALLOWLISTED", Kind.HOLD, None),
            ("TERMS_AND_CONDITIONS_NOT_SIGNED", Kind.HOLD, None),
            ("REQUEST_TOO_OLD", Kind.RETRY, None),
        ],
    )
    def test_the_sheet_s_reasons(self, reason: str, kind: Kind, pause: float | None) -> None:
        assert (REQUEST_REASONS[reason].kind, REQUEST_REASONS[reason].retry_after) == (kind, pause)

    def test_an_unknown_trouble_with_the_destination_holds_it(self) -> None:
        said = rpc_error(
            400, "INVALID_ARGUMENT", "X", [("destinations[0].login_account.account_id", "INVALID_NUMBER_FORMAT")]
        )

        verdicts = read(DM, 2, said)

        assert {verdict.kind for verdict in verdicts} == {Kind.HOLD}
        assert "login_account_id" in verdicts[0].remedy

    def test_a_bad_event_beside_a_bad_destination(self) -> None:
        fields = [("destinations[0]", "INVALID_DESTINATION"), ("events.events[0].currency", "INVALID_CURRENCY_CODE")]

        first, second = read(DM, 2, rpc_error(400, "INVALID_ARGUMENT", "X", fields))

        assert (first.kind, second.kind) == (Kind.REFUSED, Kind.HOLD)

    @pytest.mark.parametrize(
        "said",
        [
            rpc_error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
            rpc_error(400, "INVALID_ARGUMENT", "", [("encoding", "REQUIRED_FIELD_MISSING")]),
            rpc_error(400, "INVALID_ARGUMENT", "X", [("events", "TOO_MANY_EVENTS")]),
            rpc_error(400, "INVALID_ARGUMENT", "X", [("events.events[99].currency", "SOMETHING_NEW")]),
        ],
    )
    def test_what_is_not_named_is_searched_by_splitting(self, said: Any) -> None:
        assert {verdict.kind for verdict in read(DM, 2, said)} == {Kind.SPLIT}
        assert {verdict.kind for verdict in read(DM, 1, said)} == {Kind.REFUSED}

    def test_a_reason_without_fields_is_known_too(self) -> None:
        verdicts = read(DM, 2, rpc_error(400, "FAILED_PRECONDITION", "TERMS_AND_CONDITIONS_NOT_SIGNED"))

        assert {verdict.kind for verdict in verdicts} == {Kind.HOLD}

    def test_an_answer_that_was_cut_off_has_the_batch_split(self) -> None:
        cut = answer(400, b'{"error":' + b" " * 128 * 1024)

        assert {verdict.kind for verdict in read(DM, 2, cut)} == {Kind.SPLIT}
        assert {verdict.kind for verdict in read(DM, 1, cut)} == {Kind.RETRY}

    @given(
        body=st.recursive(st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5), st.lists, max_leaves=4)
    )
    @settings(max_examples=50, deadline=None)
    def test_no_answer_crashes_the_reader(self, body: Any) -> None:
        shapes = [
            {"error": body},
            {"error": {"details": body}},
            {"error": {"details": [{"@type": "google.rpc.BadRequest", "fieldViolations": body}]}},
            {"error": {"details": [{"@type": "google.rpc.BadRequest", "fieldViolations": [{"field": body}]}]}},
        ]
        for status in (200, 400, 401, 403, 429, 503):
            for shape in shapes:
                assert len(read(DM, 2, answer(status, shape))) == 2


class TestCheck:
    def test_asks_about_each_conversion_action_once_and_at_most_ten(self) -> None:
        mappings = [{"conversion_action_id": str(55501 + n % 11)} for n in range(22)]

        request = GOOGLE.check_request_for(DM, mappings, NOW, TOKEN)

        message = json_format.ParseDict(orjson.loads(request.body), datamanager_v1.IngestEventsRequest.pb()())
        actions = [str(55501 + n) for n in range(10)]
        assert message.validate_only is True
        assert [one.product_destination_id for one in message.destinations] == actions
        assert [one.reference for one in message.destinations] == list(message.events[0].destination_references)
        assert "10 of its 11" in GOOGLE.read_check_for(DM, mappings, answer(200, {})).message

    @pytest.mark.parametrize("reason", ["INVALID_CONVERSION_ACTION_ID", "INVALID_CONVERSION_ACTION_TYPE", "NOT_FOUND"])
    def test_a_wrong_conversion_action_is_named(self, reason: str) -> None:
        mappings = [{"conversion_action_id": "55501"}, {"conversion_action_id": "99"}]

        said = rpc_error(400, "X", "X", [("destinations[1].product_destination_id", reason)])
        result = GOOGLE.read_check_for(DM, mappings, said)

        assert (result.ok, result.code) == (False, reason)
        assert "99" in result.message
        assert "conversion_action_id" in result.remedy

    @pytest.mark.parametrize(
        ("field", "reason"),
        [
            ("destinations[0].product_destination_id", "CONVERSION_ACTION_TOO_RECENTLY_CREATED"),
            ("events.events[0].ad_identifiers", "INVALID_AD_IDENTIFIER_FOR_ACCOUNT"),
        ],
    )
    def test_what_passes_or_is_about_the_invented_click_is_a_yes(self, field: str, reason: str) -> None:
        said = rpc_error(400, "X", "X", [(field, reason)])

        assert GOOGLE.read_check_for(DM, [{"conversion_action_id": "55501"}], said).ok

    def test_records_nothing(self) -> None:
        request = GOOGLE.check_request(DM, NOW, TOKEN)

        message = json_format.ParseDict(orjson.loads(request.body), datamanager_v1.IngestEventsRequest.pb()())
        assert message.validate_only is True
        assert message.destinations[0].operating_account.account_id == ACCOUNTS["operating_account_id"].replace("-", "")
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"

    @pytest.mark.parametrize(
        "said",
        [
            answer(200, {}),
            answer(200, {"requestId": "x"}),
            rpc_error(400, "X", "X", [("destinations[0].product_destination_id", "INVALID_CONVERSION_ACTION_ID")]),
            rpc_error(400, "X", "X", [("destinations[0].product_destination_id", "NOT_FOUND")]),
            rpc_error(400, "X", "X", [("events.events[0].ad_identifiers", "INVALID_AD_IDENTIFIER_FOR_ACCOUNT")]),
            rpc_error(400, "X", "INVALID_CONVERSION_ACTION_ID"),
        ],
    )
    def test_complaints_about_the_invented_event_are_a_yes(self, said: Any) -> None:
        assert GOOGLE.read_check(DM, said).ok

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            (rpc_error(401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"), "ACCESS_TOKEN_EXPIRED"),
            (rpc_error(403, "PERMISSION_DENIED", "SERVICE_DISABLED"), "SERVICE_DISABLED"),
            (rpc_error(403, "PERMISSION_DENIED", "PERMISSION_DENIED"), "PERMISSION_DENIED"),
            (
                rpc_error(400, "X", "X", [("destinations[0].operating_account.account_id", "INVALID_NUMBER_FORMAT")]),
                "INVALID_NUMBER_FORMAT",
            ),
            (
                rpc_error(400, "X", "X", [("events.events[0].event_source", "EVENT_SOURCE_AND_DESTINATION_MISMATCH")]),
                "EVENT_SOURCE_AND_DESTINATION_MISMATCH",
            ),
            (rpc_error(400, "X", "TERMS_AND_CONDITIONS_NOT_SIGNED"), "TERMS_AND_CONDITIONS_NOT_SIGNED"),
            (rpc_error(429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"), "RESOURCE_EXHAUSTED"),
            (answer(503, b"", {"retry-after": "Mon, 23 Nov 2026 10:00:00 GMT"}), "http_503"),
            (answer(200, b"<html>login</html>"), "http_200"),
            (answer(400, b"<html>"), "http_400"),
            (TransportFailure("dns", "no such host", sent=False), "dns"),
        ],
    )
    def test_every_failure_has_a_remedy(self, said: Any, code: str) -> None:
        result = GOOGLE.read_check(DM, said)

        assert (result.ok, result.code) == (False, code)
        assert result.message
        assert result.remedy
