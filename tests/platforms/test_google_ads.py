"""The Google Ads API route: rows, partial failures by index, and every row of the answer tables."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.domain.model import Consent, Kind
from postbacks.platforms.base import TransportFailure
from postbacks.platforms.google_ads_answers import DATA_ERRORS, OTHER_ERRORS, UPLOAD_ERRORS
from tests.platforms.conversions import NOW, conversions
from tests.platforms.conversions import target as make_target
from tests.platforms.google_setup import (
    CLICKED_AT,
    GOOGLE,
    REFRESH,
    TOKEN,
    ads_error,
    ads_failure,
    ads_partial,
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

ADS = destination("ads_api")
SIX_HOURS = 6 * 3600
D, R, X, H, S = Kind.DELIVERED, Kind.RETRY, Kind.REFUSED, Kind.HOLD, Kind.SPLIT

REQUEST_ROWS = [
    (kind, code, row)
    for kind, rows in OTHER_ERRORS.items()
    for code, row in rows.items()
    if kind not in ("quotaError", "internalError", "databaseError")
]


class TestBuild:
    def test_the_whole_request(self) -> None:
        prepared = prepared_of(
            build(
                ADS,
                google_conversion(
                    value=Decimal("4.99"),
                    currency="EUR",
                    occurred_at=datetime(2026, 11, 23, 10, 3, 9, tzinfo=timezone(timedelta(hours=1))),
                    consent=Consent(postbacks=True, ad_personalization=True),
                ),
            )
        )

        assert prepared.request.method == "POST"
        assert (
            prepared.request.url == "https://googleads.googleapis.com/v26/customers/1002003004:uploadClickConversions"
        )
        assert prepared.request.headers == {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            "login-customer-id": "9008007006",
        }
        assert orjson.loads(prepared.request.body) == {
            "partialFailure": True,
            "conversions": [
                {
                    "gclid": "Demo-Gclid_AAA111",
                    "conversionAction": "customers/1002003004/conversionActions/55501",
                    "conversionDateTime": "2026-11-23 09:03:09+00:00",
                    "orderId": "dlv_0198c9a45d0070008000000000000001",
                    "conversionValue": 4.99,
                    "currencyCode": "EUR",
                    "consent": {"adUserData": "GRANTED"},
                }
            ],
        }

    def test_a_direct_account_needs_no_login_header(self) -> None:
        where = make_target(GOOGLE, {"operating_account_id": "1002003004", **REFRESH}, {"route": "ads_api"})

        assert "login-customer-id" not in prepared_of(build(where, google_conversion())).request.headers

    def test_the_version_is_a_setting(self) -> None:
        prepared = prepared_of(build(destination("ads_api", api_version="v25"), google_conversion()))

        assert "/v25/customers/" in prepared.request.url

    @pytest.mark.parametrize(
        ("options", "environment"),
        [
            ({}, None),
            ({"event_source": "APP"}, "APP"),
            ({"conversion_environment": "WEB"}, "WEB"),
            ({"event_source": "APP", "conversion_environment": "WEB"}, "WEB"),
            ({"event_source": "PHONE"}, None),
        ],
    )
    def test_environment_only_where_an_option_says_so(self, options: dict[str, str], environment: str | None) -> None:
        [row] = sent(destination("ads_api", **options), google_conversion())["conversions"]

        assert row.get("conversionEnvironment") == environment

    @pytest.mark.parametrize(
        ("consent", "expected"),
        [
            (Consent(), None),
            (Consent(ad_personalization=True), None),
            (Consent(postbacks=False, ad_personalization=True), {"adUserData": "DENIED"}),
        ],
    )
    def test_only_user_data_consent_is_sent(self, consent: Consent, expected: dict[str, str] | None) -> None:
        [row] = sent(ADS, google_conversion(consent=consent))["conversions"]

        assert row.get("consent") == expected

    @pytest.mark.parametrize("kind", ["gclid", "gbraid", "wbraid"])
    def test_exactly_one_click_id_of_its_kind(self, kind: str) -> None:
        [row] = sent(ADS, google_conversion(click_type=kind, click_value="aB-_" * 500))["conversions"]

        assert {name: row[name] for name in ("gclid", "gbraid", "wbraid") if name in row} == {kind: "aB-_" * 500}

    @pytest.mark.parametrize(
        ("value", "currency", "expected"),
        [
            ("499.4", "JPY", 499),
            ("1.2345", "KWD", 1.234),
            ("0", "EUR", 0),
            ("1e12", "USD", 1e12),
            (str(0.1 + 0.2), "USD", 0.3),
        ],
    )
    def test_values_in_currency_units(self, value: str, currency: str, expected: float) -> None:
        [row] = sent(ADS, google_conversion(value=Decimal(value), currency=currency))["conversions"]

        assert (row["conversionValue"], row["currencyCode"]) == (expected, currency)

    def test_a_fraction_of_a_second_never_moves_it_before_its_click(self) -> None:
        clicked_at = CLICKED_AT + timedelta(milliseconds=300)
        occurred_at = CLICKED_AT + timedelta(milliseconds=700)

        [row] = sent(ADS, google_conversion(clicked_at=clicked_at, occurred_at=occurred_at))["conversions"]

        assert datetime.fromisoformat(row["conversionDateTime"]) == CLICKED_AT + timedelta(seconds=1)

    def test_the_time_is_cut_to_whole_seconds_and_never_in_the_future(self) -> None:
        occurred_at = NOW - timedelta(milliseconds=1)

        [row] = sent(ADS, google_conversion(occurred_at=occurred_at))["conversions"]

        assert row["conversionDateTime"] == "2026-11-23 09:29:59+00:00"

    def test_one_click_in_one_second_stands_in_one_request_once(self) -> None:
        twice = [google_conversion(key="a" * 36), google_conversion(key="b" * 36)]

        first, second = build(ADS, *twice, google_conversion(key="c" * 36, click_value="Other")).prepared

        assert (first.positions, second.positions) == ((0, 2), (1,))

    def test_requests_are_small_enough_for_their_answers(self) -> None:
        built = build(ADS, *[google_conversion(key=f"{n:036}", click_value=f"{n:0>2000}") for n in range(100)])

        assert len(built.prepared) > 1
        assert [n for prepared in built.prepared for n in prepared.positions] == list(range(100))
        # Google echoes at least the click ID of each row.
        assert all(len(prepared.positions) * 2000 < 128 * 1024 for prepared in built.prepared)

    def test_the_parts_are_the_body_s_own_text(self) -> None:
        prepared = prepared_of(build(ADS, *batch(3)))

        assert prepared.request.body.decode().endswith('"conversions":[' + ",".join(prepared.parts) + "]}")

    @given(drawn=st.lists(conversions(GOOGLE.click_id_types, ({"conversion_action_id": "55501"},)), max_size=6))
    @settings(max_examples=60, deadline=None)
    def test_any_conversion_is_placed_once(self, drawn: list[Any]) -> None:
        built = build(ADS, *drawn)

        placed = [position for prepared in built.prepared for position in prepared.positions]
        placed += [unsendable.position for unsendable in built.unsendable]
        assert sorted(placed) == list(range(len(drawn)))
        for prepared in built.prepared:
            rows = orjson.loads(prepared.request.body)["conversions"]
            assert [row["orderId"] for row in rows] == [drawn[n].key for n in prepared.positions]
            for row in rows:
                assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", row["conversionDateTime"])


class TestRows:
    def test_all_succeed(self) -> None:
        verdicts = read(ADS, 3, ads_partial(3))

        assert [verdict.kind for verdict in verdicts] == [D, D, D]
        assert verdicts[1].excerpt == '{"gclid":"Gclid-1"}'

    @pytest.mark.parametrize("code", sorted(UPLOAD_ERRORS))
    def test_every_upload_error(self, code: str) -> None:
        row = UPLOAD_ERRORS[code]

        first, second, third = read(ADS, 3, ads_partial(3, ads_failure("conversionUploadError", code, 1, "gclid")))

        assert (second.kind, second.code, second.retry_after) == (row.kind, code, row.retry_after)
        assert (second.message, second.remedy) == ("demo words", row.remedy)
        assert second.excerpt is not None and code in second.excerpt
        assert (first.kind, third.kind) == (D, D)

    @pytest.mark.parametrize(
        ("codes", "kind", "pause"),
        [
            ("TOO_RECENT_EVENT TOO_RECENT_CONVERSION_ACTION TOO_RECENT_CALL", R, SIX_HOURS),
            ("EVENT_NOT_FOUND CLICK_NOT_FOUND", R, 24 * 3600),
            ("CLICK_CONVERSION_ALREADY_EXISTS ORDER_ID_ALREADY_IN_USE", D, None),
            ("DUPLICATE_ORDER_ID DUPLICATE_CLICK_CONVERSION_IN_REQUEST INVALID_JOB_ID", R, None),
            ("TOO_MANY_CONVERSIONS_IN_REQUEST", S, None),
            (
                "UNPARSEABLE_GCLID UNPARSEABLE_WBRAID UNPARSEABLE_GBRAID EXPIRED_EVENT CONVERSION_PRECEDES_EVENT "
                "GBRAID_WBRAID_BOTH_SET ORDER_ID_CONTAINS_PII CUSTOM_VARIABLE_VALUE_CONTAINS_PII "
                "INVALID_USER_IDENTIFIER UNSUPPORTED_USER_IDENTIFIER CONVERSION_NOT_COMPLIANT_WITH_ATT_POLICY "
                "CONVERSION_TRACKING_NOT_ENABLED_AT_IMPRESSION_TIME",
                X,
                None,
            ),
            (
                "NO_CONVERSION_ACTION_FOUND INVALID_CONVERSION_ACTION_TYPE "
                "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID CUSTOM_VARIABLE_NOT_ENABLED "
                "UNAUTHORIZED_CUSTOMER INVALID_CUSTOMER_FOR_CLICK CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS "
                "CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS "
                "CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS",
                H,
                None,
            ),
        ],
    )
    def test_the_sheet_s_buckets(self, codes: str, kind: Kind, pause: float | None) -> None:
        for code in codes.split():
            assert (UPLOAD_ERRORS[code].kind, UPLOAD_ERRORS[code].retry_after) == (kind, pause), code

    @pytest.mark.parametrize(
        ("kind", "code", "verdict"),
        [
            ("internalError", "INTERNAL_ERROR", R),
            ("internalError", "TRANSIENT_ERROR", R),
            ("databaseError", "CONCURRENT_MODIFICATION", R),
            ("dateError", "INVALID_STRING_DATE_TIME_SECONDS_WITH_OFFSET", X),
            ("requestError", "RESOURCE_NAME_MALFORMED", X),
            ("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE", H),
            *((kind, "REQUIRED", X) for kind in sorted(DATA_ERRORS)),
        ],
    )
    def test_other_kinds_of_row_errors(self, kind: str, code: str, verdict: Kind) -> None:
        first, second = read(ADS, 2, ads_partial(2, ads_failure(kind, code, 0)))

        assert (first.kind, first.code, second.kind) == (verdict, code, D)

    @pytest.mark.parametrize("kind", ["conversionUploadError", "newKindOfError"])
    def test_an_unknown_code_is_parked(self, kind: str) -> None:
        first, second = read(ADS, 2, ads_partial(2, ads_failure(kind, "FROM_THE_FUTURE", 0)))

        assert (first.kind, first.code, second.kind) == (X, "FROM_THE_FUTURE", D)
        assert "Replay" in first.remedy

    def test_the_index_counts_never_the_message(self) -> None:
        failure = ads_failure("conversionUploadError", "UNPARSEABLE_GCLID", 1)
        failure["message"] = "not readable, at conversions[0].gclid"

        assert [verdict.kind for verdict in read(ADS, 3, ads_partial(3, failure))] == [D, X, D]

    @pytest.mark.parametrize(
        ("codes", "code"),
        [
            (["TOO_RECENT_EVENT", "UNPARSEABLE_GCLID"], "UNPARSEABLE_GCLID"),
            (["NO_CONVERSION_ACTION_FOUND", "TOO_RECENT_EVENT"], "NO_CONVERSION_ACTION_FOUND"),
            (["NO_CONVERSION_ACTION_FOUND", "UNPARSEABLE_GCLID"], "UNPARSEABLE_GCLID"),
            (["TOO_RECENT_EVENT", "ORDER_ID_ALREADY_IN_USE"], "ORDER_ID_ALREADY_IN_USE"),
        ],
    )
    def test_of_several_errors_in_a_row_the_decisive_one_counts(self, codes: list[str], code: str) -> None:
        failures = [ads_failure("conversionUploadError", each, 0) for each in codes]

        assert read(ADS, 1, ads_partial(1, *failures))[0].code == code

    def test_an_error_without_a_row_concerns_those_without_a_result(self) -> None:
        row = ads_failure("conversionUploadError", "UNPARSEABLE_GCLID", 0)
        whole = ads_failure("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE")
        body = orjson.loads(ads_partial(3, row, whole).body)
        body["results"][1] = {}

        assert [verdict.kind for verdict in read(ADS, 3, answer(200, body))] == [X, H, D]

    def test_the_environment_field_has_its_own_remedy(self) -> None:
        code = "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE"

        [verdict] = read(ADS, 1, ads_partial(1, ads_failure("notAllowlistedError", code, 0, "conversion_environment")))

        assert (verdict.kind, verdict.code) == (H, code)
        assert "conversion_environment" in verdict.remedy

    def test_a_quota_in_a_row_pauses_the_destination(self) -> None:
        quota = {"quotaErrorDetails": {"retryDelay": "900s"}}
        failure = ads_failure("quotaError", "RESOURCE_EXHAUSTED", 0, details=quota)

        [verdict] = read(ADS, 1, ads_partial(1, failure))

        assert (verdict.kind, verdict.throttled, verdict.retry_after) == (R, True, 900)

    @pytest.mark.parametrize("body", [{}, {"results": []}, {"results": [{}]}, {"results": [{"gclid": "x"}] * 2}])
    def test_200_without_the_row_is_no_yes(self, body: Any) -> None:
        [verdict] = read(ADS, 1, answer(200, body))

        assert (verdict.kind, verdict.code, verdict.ambiguous) == (R, "no_result", True)

    def test_200_of_a_proxy_is_no_yes(self) -> None:
        assert read(ADS, 1, answer(200, b"<html>hello</html>"))[0].kind is R

    def test_an_answer_that_was_cut_off_has_the_batch_split(self) -> None:
        cut = answer(200, b'{"results":[' + b" " * 128 * 1024)

        assert {verdict.kind for verdict in read(ADS, 2, cut)} == {S}


class TestRequest:
    @pytest.mark.parametrize(("kind", "code", "row"), REQUEST_ROWS)
    def test_every_row_of_the_table(self, kind: str, code: str, row: Any) -> None:
        status, canonical = {
            "authenticationError": (401, "UNAUTHENTICATED"),
            "authorizationError": (403, "PERMISSION_DENIED"),
            "notAllowlistedError": (403, "PERMISSION_DENIED"),
        }.get(kind, (400, "INVALID_ARGUMENT"))

        verdicts = read(ADS, 2, ads_error(status, canonical, ads_failure(kind, code)))

        # A 401 is a matter of the token until a fresh one is refused as well (sheet google, 4.2).
        among_many = S if row.kind is X else R if status == 401 else row.kind
        assert {(verdict.kind, verdict.code) for verdict in verdicts} == {(among_many, code)}
        assert verdicts[0].remedy == ("" if among_many is S else row.remedy)

    def test_the_newcomer_is_told_to_switch(self) -> None:
        failure = ads_failure("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE")

        [verdict] = read(ADS, 1, ads_error(403, "PERMISSION_DENIED", failure))

        assert verdict.kind is H
        assert "Switch route to data_manager" in verdict.remedy

    @pytest.mark.parametrize("code", ["OAUTH_TOKEN_EXPIRED", "OAUTH_TOKEN_INVALID", "SOMETHING_NEW"])
    def test_a_stale_token_is_fetched_anew(self, code: str) -> None:
        [verdict] = read(ADS, 1, ads_error(401, "UNAUTHENTICATED", ads_failure("authenticationError", code)))

        assert (verdict.kind, verdict.code, verdict.stale_token) == (R, code, True)
        assert verdict.remedy

    def test_a_bare_401_is_stale_too(self) -> None:
        assert read(ADS, 1, answer(401, b""))[0].stale_token

    @pytest.mark.parametrize("code", ["OAUTH_TOKEN_REVOKED", "NOT_ADS_USER", "CUSTOMER_NOT_FOUND"])
    def test_a_dead_identity_is_tried_with_a_fresh_token_and_keeps_its_remedy(self, code: str) -> None:
        [verdict] = read(ADS, 1, ads_error(401, "UNAUTHENTICATED", ads_failure("authenticationError", code)))

        assert (verdict.kind, verdict.stale_token) == (R, True)
        assert verdict.remedy == OTHER_ERRORS["authenticationError"][code].remedy

    @pytest.mark.parametrize("reason", ["ACCESS_TOKEN_SCOPE_INSUFFICIENT", "SERVICE_DISABLED"])
    def test_403_of_google_s_front_holds(self, reason: str) -> None:
        [verdict] = read(ADS, 1, rpc_error(403, "PERMISSION_DENIED", reason))

        assert (verdict.kind, verdict.code) == (H, reason)
        assert verdict.remedy

    def test_a_new_403_holds(self) -> None:
        failure = ads_failure("authorizationError", "SOMETHING_NEW")

        [verdict] = read(ADS, 1, ads_error(403, "PERMISSION_DENIED", failure))

        assert (verdict.kind, verdict.code) == (H, "SOMETHING_NEW")

    @pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "RESOURCE_TEMPORARILY_EXHAUSTED"])
    @pytest.mark.parametrize(
        ("details", "headers", "pause"),
        [
            ({"details": {"quotaErrorDetails": {"rateScope": "DEVELOPER", "retryDelay": "900s"}}}, {}, 900),
            ({"details": {"quotaErrorDetails": {"retryDelay": "30s"}}}, {"retry-after": "120"}, 120),
            ({}, {}, None),
        ],
    )
    def test_the_quota_s_delay_is_kept(self, code: str, details: Any, headers: Any, pause: float | None) -> None:
        failure = ads_failure("quotaError", code, **details)

        [verdict] = read(ADS, 1, ads_error(429, "RESOURCE_EXHAUSTED", failure, headers=headers))

        assert (verdict.kind, verdict.code, verdict.throttled) == (R, code, True)
        assert verdict.retry_after == pause

    @pytest.mark.parametrize(
        ("said", "code", "ambiguous"),
        [
            (ads_error(500, "INTERNAL", ads_failure("internalError", "INTERNAL_ERROR")), "INTERNAL_ERROR", False),
            (ads_error(503, "UNAVAILABLE", ads_failure("internalError", "TRANSIENT_ERROR")), "TRANSIENT_ERROR", False),
            (answer(503, b"<html>busy</html>"), "http_503", False),
            (rpc_error(504, "DEADLINE_EXCEEDED"), "http_504", True),
            (answer(418, b""), "http_418", False),
            (answer(400, b"<html>"), "http_400", False),
            (TransportFailure("reset", "cut", sent=True), "reset", True),
        ],
    )
    def test_passing_faults(self, said: Any, code: str, ambiguous: bool) -> None:
        first, second = read(ADS, 2, said)

        assert first == second
        assert (first.kind, first.code, first.ambiguous) == (R, code, ambiguous)

    def test_a_sunset_version_holds(self) -> None:
        [verdict] = read(ADS, 1, answer(404, b"<html>not found</html>"))

        assert verdict.kind is H
        assert "api_version" in verdict.remedy

    def test_json_that_google_cannot_read_names_its_row(self) -> None:
        first, second = read(ADS, 2, rpc_error(400, "INVALID_ARGUMENT", "", [("conversions[1].order_id", "")]))

        assert (first.kind, first.retry_after, second.kind) == (R, 0, X)

    @pytest.mark.parametrize(
        "said",
        [
            rpc_error(400, "INVALID_ARGUMENT", "", [("debug_enabled", "")]),
            rpc_error(400, "INVALID_ARGUMENT"),
            ads_error(400, "INVALID_ARGUMENT", ads_failure("requestError", "SOMETHING_NEW")),
            ads_error(400, "INVALID_ARGUMENT", ads_failure("conversionUploadError", "TOO_MANY_CONVERSIONS_IN_REQUEST")),
        ],
    )
    def test_what_is_not_named_is_searched_by_splitting(self, said: Any) -> None:
        assert {verdict.kind for verdict in read(ADS, 2, said)} == {S}
        assert {verdict.kind for verdict in read(ADS, 1, said)} == {X}


class TestCheck:
    def test_asks_about_each_conversion_action_once(self) -> None:
        mappings = [{"conversion_action_id": action} for action in ("55501", "55502", "55501")]

        rows = orjson.loads(GOOGLE.check_request_for(ADS, mappings, NOW, TOKEN).body)["conversions"]

        assert [row["conversionAction"].rpartition("/")[2] for row in rows] == ["55501", "55502"]
        assert len({row["gclid"] for row in rows}) == len({row["orderId"] for row in rows}) == 2

    @pytest.mark.parametrize("code", ["NO_CONVERSION_ACTION_FOUND", "INVALID_CONVERSION_ACTION_TYPE"])
    def test_a_wrong_conversion_action_is_named(self, code: str) -> None:
        mappings = [{"conversion_action_id": "55501"}, {"conversion_action_id": "99"}]

        said = ads_partial(2, ads_failure("conversionUploadError", code, 1, "conversion_action"))
        result = GOOGLE.read_check_for(ADS, mappings, said)

        assert (result.ok, result.code) == (False, code)
        assert "99" in result.message
        assert "conversion_action_id" in result.remedy

    @pytest.mark.parametrize(
        "code", ["TOO_RECENT_CONVERSION_ACTION", "UNPARSEABLE_GCLID", "INVALID_CUSTOMER_FOR_CLICK"]
    )
    def test_what_passes_or_is_about_the_invented_click_is_a_yes(self, code: str) -> None:
        said = ads_partial(1, ads_failure("conversionUploadError", code, 0))

        assert GOOGLE.read_check_for(ADS, [{"conversion_action_id": "55501"}], said).ok

    def test_records_nothing(self) -> None:
        request = GOOGLE.check_request(ADS, NOW, TOKEN)

        body = orjson.loads(request.body)
        assert (body["validateOnly"], body["partialFailure"]) == (True, True)
        assert request.url.endswith("/v26/customers/1002003004:uploadClickConversions")
        assert request.headers["login-customer-id"] == "9008007006"

    @pytest.mark.parametrize(
        "failures",
        [
            [],
            [ads_failure("conversionUploadError", "NO_CONVERSION_ACTION_FOUND", 0)],
            [ads_failure("conversionUploadError", "UNPARSEABLE_GCLID", 0)],
            [ads_failure("conversionUploadError", "EVENT_NOT_FOUND", 0)],
        ],
    )
    def test_complaints_about_the_invented_row_are_a_yes(self, failures: list[Any]) -> None:
        assert GOOGLE.read_check(ADS, ads_partial(1, *failures)).ok

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            (
                ads_partial(1, ads_failure("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE", 0)),
                "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE",
            ),
            (
                ads_partial(1, ads_failure("conversionUploadError", "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS", 0)),
                "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS",
            ),
            (
                ads_error(403, "PERMISSION_DENIED", ads_failure("authorizationError", "USER_PERMISSION_DENIED")),
                "USER_PERMISSION_DENIED",
            ),
            (
                ads_error(401, "UNAUTHENTICATED", ads_failure("authenticationError", "OAUTH_TOKEN_INVALID")),
                "OAUTH_TOKEN_INVALID",
            ),
            (
                ads_error(400, "INVALID_ARGUMENT", ads_failure("headerError", "INVALID_LOGIN_CUSTOMER_ID")),
                "INVALID_LOGIN_CUSTOMER_ID",
            ),
            (answer(404, b""), "http_404"),
            (answer(503, b""), "http_503"),
            (answer(200, b"<html>login</html>"), "http_200"),
            (TransportFailure("connect", "refused", sent=False), "connect"),
        ],
    )
    def test_every_failure_has_a_remedy(self, said: Any, code: str) -> None:
        result = GOOGLE.read_check(ADS, said)

        assert (result.ok, result.code) == (False, code)
        assert result.message
        assert result.remedy
