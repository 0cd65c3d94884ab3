"""Meta: what is sent, what is not, and what each answer means."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.platforms.base import Built, Response, TransportFailure
from postbacks.platforms.code_table import named_codes
from postbacks.platforms.meta import Meta
from postbacks.platforms.meta_answers import TABLE
from tests.platforms.conversions import CLICKED_AT, NOW, OCCURRED_AT, conversion, conversions, target

META = Meta()
TOKEN = "EAABsbCS1234SYNTHETIC"
CREDENTIALS = {"dataset_id": "998877665544332", "access_token": TOKEN}
UA = "Mozilla/5.0 (Linux; Android 15; Pixel 9)"
LP = "https://game.example/lp"
FBC = "fb.1.1795419000000.IwZXh0bgNhZW0BMABhZGlkAasSYNTH_ETIC-0001"


def build(*items: Conversion, credentials: dict[str, Any] | None = None, **options: Any) -> Built:
    return META.build(target(META, credentials or CREDENTIALS, options), items, NOW, None)


def body_of(built: Built) -> dict[str, Any]:
    assert not built.unsendable
    return dict(orjson.loads(built.prepared[0].request.body))


def event_of(item: Conversion, **options: Any) -> dict[str, Any]:
    return dict(body_of(build(item, **options))["data"][0])


def reason(item: Conversion, **options: Any) -> tuple[Kind, str]:
    built = build(item, **options)
    assert not built.prepared
    (left,) = built.unsendable
    assert left.verdict.message and left.verdict.remedy
    return left.verdict.kind, left.verdict.code


class TestRequest:
    def test_goes_to_the_dataset_with_the_token_in_a_header(self) -> None:
        request = build(conversion()).prepared[0].request

        assert request.method == "POST"
        assert request.url == "https://graph.facebook.com/v26.0/998877665544332/events"
        assert request.headers == {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    def test_api_version_is_an_option(self) -> None:
        assert "/v25.0/" in build(conversion(), api_version="v25.0").prepared[0].request.url

    def test_app_secret_proof(self) -> None:
        url = build(conversion(), credentials=CREDENTIALS | {"app_secret": "s3cret"}).prepared[0].request.url

        assert url.endswith("?appsecret_proof=" + hmac.new(b"s3cret", TOKEN.encode(), hashlib.sha256).hexdigest())

    @pytest.mark.parametrize(
        ("event_name", "name", "extra", "custom_data"),
        [
            ("install", "AppInstall", {}, None),
            ("registration", "CompleteRegistration", {}, None),
            ("level_up", "LevelAchieved", {"properties": {"level": 10, "email": "a@b.example"}}, {"level": 10}),
            (
                "purchase",
                "Purchase",
                {"value": Decimal("4.99"), "currency": "USD"},
                {"value": 4.99, "currency": "USD"},
            ),
        ],
    )
    def test_nothing_but_a_click_id(
        self, event_name: str, name: str, extra: dict[str, Any], custom_data: dict[str, Any] | None
    ) -> None:
        item = conversion(event_name=event_name, mapping=META.presets[event_name], **extra)

        expected: dict[str, Any] = {
            "event_name": name,
            "event_time": int(OCCURRED_AT.timestamp()),
            "event_id": item.key,
            "action_source": "system_generated",
            "user_data": {"fbc": FBC},
        }
        if custom_data is not None:
            expected["custom_data"] = custom_data
        assert body_of(build(item)) == {"data": [expected]}

    def test_parts_are_the_exact_text_of_the_body(self) -> None:
        built = build(
            conversion(mapping={"name": "Drache 🐉"}), conversion(click_value="no!"), conversion(), test_event_code="T1"
        )
        (prepared,) = built.prepared

        assert prepared.positions == (0, 2)
        assert prepared.request.body.decode() == f'{{"data":[{",".join(prepared.parts)}],"test_event_code":"T1"}}'
        assert [left.position for left in built.unsendable] == [1]
        assert json.loads(prepared.parts[0])["event_name"] == "Drache 🐉"

    def test_a_thousand_in_one_request_and_no_more(self) -> None:
        built = build(*[conversion()] * 1001)

        assert [len(prepared.positions) for prepared in built.prepared] == [1000, 1]

    def test_long_click_ids_split_at_a_megabyte(self) -> None:
        built = build(*[conversion(click_value="x" * 2000)] * 1000)

        assert len(built.prepared) == 3
        assert all(len(prepared.request.body) < 1_000_100 for prepared in built.prepared)
        assert sorted(i for prepared in built.prepared for i in prepared.positions) == list(range(1000))


class TestActionSource:
    def test_website_with_page_and_user_agent(self) -> None:
        event = event_of(conversion(url=f"{LP}?email=a%40b.example&fbclid=x#top", user_agent=UA))

        assert event["action_source"] == "website"
        assert event["event_source_url"] == LP
        assert event["user_data"] == {"fbc": FBC, "client_user_agent": UA}

    def test_option_is_the_page_of_a_click_without_one(self) -> None:
        assert event_of(conversion(user_agent=UA), event_source_url=LP)["event_source_url"] == LP
        assert event_of(conversion(user_agent=UA, url="https://b.example/"), event_source_url=LP)[
            "event_source_url"
        ] == ("https://b.example/")

    @pytest.mark.parametrize(
        ("fields", "options"),
        [
            ({"url": LP}, {}),
            ({"user_agent": UA}, {}),
            ({"url": LP, "user_agent": UA}, {"share": []}),
            ({"url": LP, "user_agent": UA}, {"action_source": "system_generated"}),
            ({"url": "ftp://game.example/", "user_agent": UA}, {}),
        ],
    )
    def test_otherwise_system_generated_without_a_page(self, fields: dict[str, Any], options: dict[str, Any]) -> None:
        event = event_of(conversion(**fields), **options)

        assert event["action_source"] == "system_generated"
        assert "event_source_url" not in event

    @pytest.mark.parametrize("source", ["app", "business_messaging", "Website"])
    def test_sources_that_need_other_data_are_refused_when_saved(self, source: str) -> None:
        with pytest.raises(ValidationError):
            META.options_model(action_source=source)


class TestSharing:
    @pytest.mark.parametrize(("answer", "expected"), [(None, {"client_user_agent"}), (True, {"client_user_agent"})])
    def test_user_agent_by_default(self, answer: bool | None, expected: set[str]) -> None:
        item = conversion(user_agent=UA, ip="203.0.113.24", consent=Consent(postbacks=answer))

        assert set(event_of(item)["user_data"]) - {"fbc"} == expected

    @pytest.mark.parametrize("answer", [None, True])
    def test_address_only_with_an_explicit_yes(self, answer: bool | None) -> None:
        item = conversion(ip="203.0.113.24", consent=Consent(postbacks=answer))

        assert ("client_ip_address" in event_of(item, share=["ip"])["user_data"]) is (answer is True)

    @pytest.mark.parametrize("field", ["consent", "click_consent"])
    def test_a_refusal_sends_nothing(self, field: str) -> None:
        assert reason(conversion(**{field: Consent(postbacks=False)})) == (Kind.SKIPPED, "consent")

    def test_refused_personalization_is_opt_out(self) -> None:
        assert event_of(conversion(consent=Consent(ad_personalization=False)))["opt_out"] is True
        assert "opt_out" not in event_of(conversion(consent=Consent(ad_personalization=True)))


class TestClickId:
    @pytest.mark.parametrize(
        "value",
        [
            "fb.1.1795420000123.IwZX",
            "fb.1.1795420000123.IwZX.Ag",
            "fb.2.1795420000123.IwZX.AQIAAQMC",
            "fb.1.1795420000." + "x" * 2000,
        ],
    )
    def test_an_fbc_stays_as_it_is(self, value: str) -> None:
        assert event_of(conversion(click_value=value))["user_data"]["fbc"] == value

    def test_2000_characters(self) -> None:
        value = "Aa-_" * 500

        assert event_of(conversion(click_value=value))["user_data"]["fbc"] == f"fb.1.1795419000000.{value}"

    @pytest.mark.parametrize(
        "value",
        [
            "a b",
            "a%20b",
            "abc\n",
            "äbc",
            "a.b",
            "a.b1234567",
            "fb.1.1795420000123",
            "fb.1.1795420000.5.abc",
            "fb.1.x.abc",
        ],
    )
    def test_malformed_is_skipped_and_sinks_nothing(self, value: str) -> None:
        assert reason(conversion(click_value=value)) == (Kind.SKIPPED, "invalid_click_id")


class TestTime:
    def test_never_beyond_now(self) -> None:
        assert event_of(conversion(occurred_at=NOW + timedelta(minutes=9)))["event_time"] == int(NOW.timestamp())
        assert event_of(conversion(occurred_at=NOW))["event_time"] == int(NOW.timestamp())

    @pytest.mark.parametrize(("source", "days"), [("website", 7), ("physical_store", 62)])
    def test_expires_before_meta_would_refuse(self, source: str, days: int) -> None:
        limit = NOW - timedelta(days=days)

        assert event_of(conversion(occurred_at=limit + timedelta(minutes=3)), action_source=source)
        assert reason(conversion(occurred_at=limit + timedelta(seconds=30)), action_source=source) == (
            Kind.EXPIRED,
            "too_old",
        )

    def test_plans_at_once_until_the_age_limit(self) -> None:
        where = target(META, CREDENTIALS)
        deadline = META.timing(where).deadline(OCCURRED_AT, CLICKED_AT)

        assert timedelta(days=7, minutes=-5) < deadline - OCCURRED_AT < timedelta(days=7)
        assert META.timing(where).not_before(OCCURRED_AT, CLICKED_AT) <= NOW


class TestValue:
    @pytest.mark.parametrize(
        ("value", "currency", "text"),
        [
            ("499", "JPY", '"value":499,'),
            ("4.990", "KWD", '"value":4.99,'),
            ("0", "USD", '"value":0.0,'),
            ("1e12", "EUR", '"value":1000000000000.0,'),
            ("0.30000000000000004", "USD", '"value":0.3,'),
        ],
    )
    def test_as_a_number_in_the_currency_s_units(self, value: str, currency: str, text: str) -> None:
        item = conversion(mapping={"name": "Purchase"}, value=Decimal(value), currency=currency)
        (prepared,) = build(item).prepared

        assert text in prepared.parts[0]
        assert event_of(item)["custom_data"]["currency"] == currency

    def test_purchase_without_value_is_skipped(self) -> None:
        assert reason(conversion(mapping={"name": "Purchase"})) == (Kind.SKIPPED, "value_missing")


class TestLimitedDataUse:
    def test_left_out_by_default(self) -> None:
        assert not [key for key in event_of(conversion()) if key.startswith("data_processing")]

    def test_off_explicitly(self) -> None:
        assert event_of(conversion(), data_processing_options=[])["data_processing_options"] == []

    def test_fixed_state(self) -> None:
        event = event_of(
            conversion(),
            data_processing_options=["LDU"],
            data_processing_options_country=1,
            data_processing_options_state=1000,
        )

        assert event["data_processing_options"] == ["LDU"]
        assert event["data_processing_options_country"] == 1
        assert event["data_processing_options_state"] == 1000

    def test_located_by_meta_needs_the_address(self) -> None:
        options: dict[str, Any] = {"data_processing_options": ["LDU"], "share": ["ip"]}
        agreed = conversion(ip="203.0.113.24", consent=Consent(postbacks=True))

        assert event_of(agreed, **options)["user_data"]["client_ip_address"] == "203.0.113.24"
        assert reason(conversion(), **options) == (Kind.SKIPPED, "no_ip_for_limited_data_use")


class TestSettings:
    def check(self, options: dict[str, Any], events: dict[str, Any] | None = None) -> None:
        META.validate(META.credentials_model(**CREDENTIALS), META.options_model(**options), events or {})

    @pytest.mark.parametrize(
        "options",
        [
            {"data_processing_options": ["LDU"]},
            {"data_processing_options": ["LDU"], "data_processing_options_country": 1},
            {"data_processing_options_country": 1, "data_processing_options_state": 999},
        ],
    )
    def test_limited_data_use_must_fit_together(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="data_processing_options"):
            self.check(options)

    def test_standard_events_are_case_sensitive(self) -> None:
        with pytest.raises(ValueError, match="'Purchase'"):
            self.check({}, {"purchase": {"name": "purchase"}})

    def test_presets_and_examples_are_valid(self) -> None:
        self.check({"event_source_url": LP}, dict(META.presets) | {"*": {}})
        for mapping in META.presets.values():
            META.mapping_model.model_validate(mapping)

    def test_dataset_id_may_be_a_number_in_yaml(self) -> None:
        assert META.credentials_model(dataset_id=998877665544332, access_token="t").dataset_id == "998877665544332"

    @pytest.mark.parametrize(
        "changes", [{"dataset_id": "12/../3"}, {"access_token": "a b"}, {"access_token": ""}, {"pixel": "1"}]
    )
    def test_bad_credentials_are_refused_without_being_shown(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError) as caught:
            META.credentials_model.model_validate(CREDENTIALS | changes)
        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize(
        "options",
        [{"event_source_url": "game.example"}, {"share": ["email"]}, {"api_version": "26"}, {"partner_agent": "x1"}],
    )
    def test_bad_options_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            META.options_model.model_validate(options)

    def test_a_name_too_long_for_meta_is_not_mapped(self) -> None:
        assert META.wildcard("x" * 50) == {"name": "x" * 50}
        assert META.wildcard("x" * 51) is None


def error(
    code: Any, subcode: int | None = None, status: int = 400, *, transient: bool | None = None, **more: Any
) -> Response:
    fault: dict[str, Any] = {"message": "Paramètre invalide", "type": "OAuthException", "code": code} | more
    if subcode is not None:
        fault["error_subcode"] = subcode
    if transient is not None:
        fault["is_transient"] = transient
    return Response(status, {}, orjson.dumps({"error": fault}))


def read(answer: Response | TransportFailure, count: int = 1) -> Verdict:
    where = target(META, CREDENTIALS | {"app_secret": "s3cret"})
    (prepared,) = META.build(where, [conversion()] * count, NOW, None).prepared
    verdicts = META.read(where, prepared, answer, NOW)
    assert len(verdicts) == count
    assert len(set(verdicts)) == 1
    return verdicts[0]


H, R, P, E = Kind.HOLD, Kind.RETRY, Kind.REFUSED, Kind.EXPIRED

# (HTTP status, code, subcode, kind, throttled), row by row as in section 8.1 of the sheet.
SHEET = [
    (401, 190, None, H, False),
    *[(status, 190, sub, H, False) for sub in (458, 459, 460, 463, 464, 467) for status in (400, 401, 500)],
    *[(status, code, None, H, False) for code in (102, 104) for status in (400, 401)],
    (400, 100, 33, H, False),
    (404, 100, 34, H, False),
    *[(403, code, None, H, False) for code in (3, 10, 200, 230, 299)],
    (404, 803, None, H, False),
    (400, 2635, None, H, False),
    (400, 2500, None, H, False),
    (400, 100, 2804003, E, False),
    *[
        (400, 100, sub, P, False)
        for sub in (
            *(2804001, 2804004, 2804009, 2804010, 2804019, 2804036, 2804043, 2804050, 2804066, 2804072),
            *(2804087, 2804007, 2804016, 2804017, 2804048, 2804999, None),
        )
    ],
    *[(500, code, None, R, False) for code in (1, 2, 5000, -3)],
    (400, 21009, None, R, False),
    (403, 4, None, R, True),
    *[(400, code, None, R, True) for code in (17, 32, 341, 613, 80000, 80004, 80014)],
    *[(400, 17, sub, R, True) for sub in (2446079, 1487742, 5044001, 1504022, 1504039)],
    (400, 368, None, R, True),
]


class TestAnswers:
    @pytest.mark.parametrize(("status", "code", "subcode", "kind", "throttled"), SHEET)
    def test_each_row_of_the_sheet(
        self, status: int, code: int, subcode: int | None, kind: Kind, throttled: bool
    ) -> None:
        verdict = read(error(code, subcode, status))

        assert verdict.kind is kind
        assert verdict.throttled is throttled
        assert verdict.code == (f"{code}/{subcode}" if subcode else str(code))
        assert verdict.message == "Paramètre invalide"
        assert verdict.remedy
        in_batch = read(error(code, subcode, status), count=3)
        assert in_batch.kind is (Kind.SPLIT if kind in (P, E) else kind)

    def test_every_row_of_the_table_is_in_the_sheet_s_list(self) -> None:
        listed = {(code, sub) for _, code, sub, _, _ in SHEET}

        assert [row.codes for row in TABLE.rows if not listed & set(named_codes(row))] == []

    def test_success(self) -> None:
        answer = Response(200, {}, b'{"events_received": 2, "messages": [], "fbtrace_id": "A"}')

        assert read(answer, count=2) == Verdict(Kind.DELIVERED)

    def test_retired_version_is_shown_although_it_still_works(self) -> None:
        answer = Response(
            200, {"x-ad-api-version-warning": "The call has been auto-upgraded"}, b'{"events_received":1}'
        )

        assert read(answer).kind is Kind.DELIVERED
        assert "auto-upgraded" in read(answer).message
        assert "api_version" in read(answer).remedy

    def test_fewer_received_than_sent_is_split(self) -> None:
        answer = Response(200, {}, b'{"events_received": 1}')

        assert read(answer, count=2).kind is Kind.SPLIT
        assert read(Response(200, {}, b'{"events_received": 0}')).kind is Kind.RETRY

    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b"<html></html>", b"[]", b"{}", b'{"events_received": true}'),
            b'{"error": "Service unavailable", "events_received": 1}',
        ],
    )
    def test_success_without_meta_s_body_proves_nothing(self, body: bytes) -> None:
        verdict = read(Response(200, {}, body))

        assert (verdict.kind, verdict.ambiguous) == (Kind.RETRY, True)

    @pytest.mark.parametrize("status", [200, 201])
    def test_an_error_object_is_an_error_whatever_the_status(self, status: int) -> None:
        assert read(error(190, status=status)).kind is Kind.HOLD
        assert read(error(100, 2804050, status)).kind is Kind.REFUSED

    def test_what_meta_remarks_on_a_success_is_shown(self) -> None:
        answer = Response(200, {}, b'{"events_received":1,"messages":["Dataset is not linked.",7]}')

        assert read(answer) == Verdict(Kind.DELIVERED, message="Dataset is not linked.")

    @pytest.mark.parametrize(
        "more",
        [
            {"type": "GraphMethodException"},
            {"message": "API calls from the server require an appsecret_proof argument"},
        ],
    )
    def test_missing_app_secret_proof(self, more: dict[str, str]) -> None:
        verdict = read(error(100, **more), count=2)

        assert verdict.kind is Kind.HOLD
        assert "app_secret" in verdict.remedy

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize(("code", "subcode"), [(100, 2804019), (190, None), (777, None)])
    def test_a_transient_fault_is_tried_again_whatever_its_code(
        self, code: int, subcode: int | None, count: int
    ) -> None:
        assert read(error(code, subcode, transient=True), count).kind is Kind.RETRY

    def test_a_transient_throttle_stays_a_throttle(self) -> None:
        assert read(error(4, status=403, transient=True)).throttled

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("status", [400, 403, 500])
    def test_an_unknown_code_is_tried_again(self, status: int, count: int) -> None:
        verdict = read(error(31337, status=status), count)

        assert (verdict.kind, verdict.code, verdict.message) == (Kind.RETRY, "31337", "Paramètre invalide")
        assert verdict.remedy or status == 500
        assert read(error(31337, status=429), count).throttled

    @pytest.mark.parametrize(("status", "in_batch"), [(400, Kind.RETRY), (413, Kind.SPLIT), (403, Kind.RETRY)])
    def test_a_body_that_a_gateway_refuses_is_made_smaller(self, status: int, in_batch: Kind) -> None:
        page = Response(status, {}, b"<html>Request Entity Too Large</html>")

        assert (read(page).kind, read(page).code) == (Kind.RETRY, f"http_{status}")
        assert read(page, count=2).kind is in_batch

    @pytest.mark.parametrize("status", [500, 503])
    @pytest.mark.parametrize(("code", "subcode"), [(100, 2804019), (100, 2804003), (100, 33), (2500, None)])
    def test_5xx_outweighs_a_refusal(self, code: int, subcode: int, status: int) -> None:
        assert read(error(code, subcode, status), count=2).kind is Kind.RETRY

    @pytest.mark.parametrize("code", [3, 10, 190, 200, 299])
    def test_5xx_does_not_outweigh_token_and_permission(self, code: int) -> None:
        assert read(error(code, status=500)).kind is Kind.HOLD

    @pytest.mark.parametrize(
        ("answer", "code", "throttled"),
        [
            (Response(502, {}, b"<html>Bad Gateway</html>"), "http_502", False),
            (Response(429), "http_429", True),
            (Response(418, {}, b"{}"), "http_418", False),
            (Response(302), "http_302", False),
            (error("?", status=400), "http_400", False),
            (TransportFailure("timeout", "No answer in 30 s.", sent=True), "timeout", False),
        ],
    )
    def test_no_readable_error(self, answer: Response | TransportFailure, code: str, throttled: bool) -> None:
        verdict = read(answer)

        assert (verdict.kind, verdict.code, verdict.throttled) == (Kind.RETRY, code, throttled)

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"x-business-use-case-usage": '{"1":[{"call_count":100,"estimated_time_to_regain_access":19}]}'}, 1140),
            ({"x-app-usage": '{"call_count":101,"estimated_time_to_regain_access":2}', "retry-after": "5"}, 120),
            ({"x-ad-account-usage": "not json", "retry-after": "7"}, 7),
            ({"x-app-usage": '{"call_count":12}'}, None),
            ({"retry-after": "0"}, None),
            ({"x-app-usage": '{"estimated_time_to_regain_access":1e300}'}, 86_400),
        ],
    )
    def test_waits_as_long_as_meta_says(self, headers: dict[str, str], seconds: float | None) -> None:
        answer = error(80004)

        assert read(Response(400, headers, answer.body)).retry_after == seconds

    def test_a_success_may_ask_for_a_pause_too(self) -> None:
        usage = {"x-app-usage": '{"estimated_time_to_regain_access":1}'}
        verdict = read(Response(200, usage, b'{"events_received":1}'))

        assert (verdict.kind, verdict.throttled, verdict.retry_after) == (Kind.DELIVERED, True, 60)

    @pytest.mark.parametrize(
        ("usage", "throttled"),
        [
            ('{"call_count":99,"total_cputime":0,"total_time":99}', False),
            ('{"call_count":100}', True),
            ('{"call_count":3,"total_time":101}', True),
            ('{"call_count":"100"}', False),
            ("[1,null]", False),
        ],
    )
    def test_what_is_used_up_slows_the_destination_before_meta_refuses(self, usage: str, throttled: bool) -> None:
        verdict = read(Response(200, {"x-app-usage": usage}, b'{"events_received":1}'))

        assert (verdict.kind, verdict.throttled, verdict.retry_after) == (Kind.DELIVERED, throttled, None)

    def test_secrets_and_addresses_in_meta_s_words_are_masked(self) -> None:
        words = f"Malformed access token {TOKEN} from 203.0.113.24 and 2001:db8::1 at 12:30:45"
        verdict = read(error(190, message=words))

        assert verdict.message == "Malformed access token *** from (address) and (address) at 12:30:45"


class TestCheck:
    def check(self, answer: Response | TransportFailure) -> tuple[bool, str]:
        result = META.read_check(target(META, CREDENTIALS), answer)
        assert result.ok or result.remedy
        return result.ok, result.code

    def test_asks_with_an_event_that_cannot_be_stored(self) -> None:
        request = META.check_request(target(META, CREDENTIALS, {"test_event_code": "TEST1"}), NOW, None)

        assert (request.method, request.body) == ("POST", b'{"data":[{}]}')
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"

    def test_a_complaint_about_the_event_proves_the_token(self) -> None:
        assert self.check(error(100, 2804019)) == (True, "")

    def test_a_retired_version_is_mentioned(self) -> None:
        answer = error(100, 2804019)
        upgraded = Response(400, {"x-ad-api-version-warning": "The call has been auto-upgraded"}, answer.body)

        assert META.read_check(target(META, CREDENTIALS), upgraded).message.endswith("auto-upgraded")

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (error(190, status=401), "190"),
            (error(190, 463, status=401), "190/463"),
            (error(100, 33), "100/33"),
            (error(100), "100"),
            (error(100, type="GraphMethodException"), "100"),
            (error(104), "104"),
            (error(2635), "2635"),
            (error(200, status=403), "200"),
            (error(4, status=403), "4"),
            (Response(502, {}, b"<html>"), "http_502"),
            (TransportFailure("dns", "No such host.", sent=False), "dns"),
        ],
    )
    def test_everything_else_does_not(self, answer: Response | TransportFailure, code: str) -> None:
        assert self.check(answer) == (False, code)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(conversions(("fbclid",), (*META.presets.values(), {"name": "Drache 🐉"})), max_size=8),
    st.sampled_from(
        [
            {},
            {"share": ["user_agent", "ip"], "event_source_url": LP},
            {"action_source": "other", "share": []},
            {"data_processing_options": ["LDU"], "share": ["ip"], "test_event_code": "TEST1"},
        ]
    ),
)
def test_each_conversion_stands_in_one_place(items: list[Conversion], options: dict[str, Any]) -> None:
    built = build(*items, **options)
    sent = [position for prepared in built.prepared for position in prepared.positions]

    assert sorted(sent + [left.position for left in built.unsendable]) == list(range(len(items)))
    for prepared in built.prepared:
        body = orjson.loads(prepared.request.body)
        assert [orjson.loads(part) for part in prepared.parts] == body["data"]
        for position, event in zip(prepared.positions, body["data"], strict=True):
            assert event["event_id"] == items[position].key
            assert NOW - timedelta(days=7) < NOW.fromtimestamp(event["event_time"], NOW.tzinfo) <= NOW
    for left in built.unsendable:
        assert left.verdict.kind in (Kind.SKIPPED, Kind.EXPIRED)
        assert left.verdict.code and left.verdict.message and left.verdict.remedy
