"""TikTok: what is sent, what is not, and what each answer means."""

from __future__ import annotations

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
from postbacks.platforms.tiktok import CURRENCIES, TikTok
from postbacks.platforms.tiktok_answers import TABLE
from tests.platforms import conversions as factory
from tests.platforms.conversions import NOW, OCCURRED_AT, target

TIKTOK = TikTok()
TOKEN = "0123456789abcdefSYNTHETIC"
PIXEL = "C9SYNTH0ETIC0PIXEL01"
CREDENTIALS = {"pixel_code": PIXEL, "access_token": TOKEN}
TTCLID = "E.C.P.CSYNTHETIC0001abcDEF_-ghi"
UA = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X)"
LP = "https://game.example/lp"


def conversion(**overrides: Any) -> Conversion:
    return factory.conversion(
        **{"click_type": "ttclid", "click_value": TTCLID, "mapping": {"name": "Download"}} | overrides
    )


def build(*items: Conversion, **options: Any) -> Built:
    return TIKTOK.build(target(TIKTOK, CREDENTIALS, {"event_source_url": LP} | options), items, NOW, None)


def event_of(item: Conversion, **options: Any) -> dict[str, Any]:
    built = build(item, **options)
    assert not built.unsendable
    return dict(orjson.loads(built.prepared[0].request.body)["data"][0])


def reason(item: Conversion, **options: Any) -> tuple[Kind, str]:
    built = build(item, **options)
    assert not built.prepared
    (left,) = built.unsendable
    assert left.verdict.message and left.verdict.remedy
    return left.verdict.kind, left.verdict.code


class TestRequest:
    def test_goes_to_event_track_with_the_access_token_header(self) -> None:
        request = build(conversion()).prepared[0].request

        assert request.method == "POST"
        assert request.url == "https://business-api.tiktok.com/open_api/v1.3/event/track/"
        assert request.headers == {"Access-Token": TOKEN, "Content-Type": "application/json"}

    @pytest.mark.parametrize(
        ("event_name", "name", "extra", "properties"),
        [
            ("install", "Download", {}, None),
            ("registration", "CompleteRegistration", {}, None),
            ("level_up", "AchieveLevel", {"properties": {"level": 10, "x": "y"}}, {"description": "level 10"}),
            (
                "purchase",
                "Purchase",
                {"value": Decimal("4.99"), "currency": "USD"},
                {"value": 4.99, "currency": "USD"},
            ),
        ],
    )
    def test_nothing_but_a_click_id(
        self, event_name: str, name: str, extra: dict[str, Any], properties: dict[str, Any] | None
    ) -> None:
        item = conversion(event_name=event_name, mapping=TIKTOK.presets[event_name], **extra)
        built = build(item)

        expected: dict[str, Any] = {
            "event": name,
            "event_time": int(OCCURRED_AT.timestamp()),
            "event_id": item.key,
            "user": {"ttclid": TTCLID},
            "page": {"url": LP},
        }
        if properties is not None:
            expected["properties"] = properties
        assert orjson.loads(built.prepared[0].request.body) == {
            "event_source": "web",
            "event_source_id": PIXEL,
            "data": [expected],
        }

    def test_parts_are_the_exact_text_of_the_body(self) -> None:
        built = build(
            conversion(mapping={"name": "Drache 🐉"}), conversion(occurred_at=NOW - timedelta(days=8)), conversion()
        )
        (prepared,) = built.prepared

        assert prepared.positions == (0, 2)
        assert prepared.request.body.decode() == (
            f'{{"data":[{",".join(prepared.parts)}],"event_source":"web","event_source_id":"{PIXEL}"}}'
        )
        assert orjson.loads(prepared.parts[0])["event"] == "Drache 🐉"

    def test_a_thousand_in_one_request_and_no_more(self) -> None:
        assert [len(prepared.positions) for prepared in build(*[conversion()] * 1001).prepared] == [1000, 1]

    def test_test_events_go_alone(self) -> None:
        built = build(conversion(), conversion(), test_event_code="TEST1")

        assert [prepared.positions for prepared in built.prepared] == [(0,), (1,)]
        for prepared in built.prepared:
            body = orjson.loads(prepared.request.body)
            assert body["test_event_code"] == "TEST1"
            assert "test_event_code" not in body["data"][0]

    @pytest.mark.parametrize("value", ["E.C.P." + "x" * 1994, "a b/+%=é"])
    def test_click_ids_are_opaque(self, value: str) -> None:
        assert event_of(conversion(click_value=value))["user"]["ttclid"] == value


class TestPage:
    def test_landing_page_without_query(self) -> None:
        url = "https://user:pw@play.example/lp/a?ttclid=x&email=a%40b.example#y"

        assert event_of(conversion(url=url))["page"] == {"url": "https://play.example/lp/a"}

    @pytest.mark.parametrize("url", [None, "", "android-app://x", "https://", "http://[::1", "https://a b/"])
    def test_option_where_the_click_has_none(self, url: str | None) -> None:
        assert event_of(conversion(url=url))["page"] == {"url": LP}

    def test_neither_is_skipped_unless_switched_off(self) -> None:
        assert reason(conversion(), event_source_url=None) == (Kind.SKIPPED, "no_page_url")
        assert "page" not in event_of(conversion(), event_source_url=None, require_page_url=False)


class TestSharing:
    def test_nothing_but_the_click_id_by_default(self) -> None:
        item = conversion(user_agent=UA, ip="203.0.113.24", consent=Consent(postbacks=True))

        assert event_of(item)["user"] == {"ttclid": TTCLID}

    @pytest.mark.parametrize(("answer", "expected"), [(None, {"user_agent"}), (True, {"user_agent", "ip"})])
    def test_shares_what_the_option_names_and_consent_allows(self, answer: bool | None, expected: set[str]) -> None:
        item = conversion(user_agent=UA, ip="203.0.113.24", consent=Consent(postbacks=answer))

        assert set(event_of(item, share=["user_agent", "ip"])["user"]) - {"ttclid"} == expected

    def test_unknown_values_leave_no_empty_key(self) -> None:
        item = conversion(user_agent=" ", consent=Consent(postbacks=True))

        assert event_of(item, share=["user_agent", "ip"])["user"] == {"ttclid": TTCLID}

    @pytest.mark.parametrize("field", ["consent", "click_consent"])
    def test_a_refusal_sends_nothing(self, field: str) -> None:
        assert reason(conversion(**{field: Consent(postbacks=False)})) == (Kind.SKIPPED, "consent")


class TestTime:
    def test_never_beyond_now(self) -> None:
        assert event_of(conversion(occurred_at=NOW + timedelta(minutes=9)))["event_time"] == int(NOW.timestamp())

    @pytest.mark.parametrize("days", [1, 7, 28])
    def test_age_limit_is_a_setting(self, days: int) -> None:
        limit = NOW - timedelta(days=days)

        assert event_of(conversion(occurred_at=limit + timedelta(minutes=3)), max_age_days=days)
        assert reason(conversion(occurred_at=limit), max_age_days=days) == (Kind.EXPIRED, "too_old")

    def test_deadline_and_start_for_planning(self) -> None:
        where = target(TIKTOK, CREDENTIALS)
        age = TIKTOK.timing(where).deadline(OCCURRED_AT, NOW) - OCCURRED_AT

        assert timedelta(days=7, minutes=-5) < age < timedelta(days=7)
        assert TIKTOK.timing(where).not_before(NOW + timedelta(minutes=9), NOW) == NOW


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

        assert text in build(item).prepared[0].parts[0]

    def test_list_of_currencies(self) -> None:
        assert len(CURRENCIES) == 62

    @pytest.mark.parametrize("name", ["Purchase", "CompletePayment", "PlaceAnOrder"])
    def test_a_purchase_in_another_currency_is_skipped(self, name: str) -> None:
        item = conversion(mapping={"name": name}, value=Decimal(5), currency="BGN")

        assert reason(item) == (Kind.SKIPPED, "unsupported_currency")

    def test_other_events_go_without_their_amount(self) -> None:
        assert "properties" not in event_of(conversion(value=Decimal(5), currency="BGN"))


class TestLimitedDataUse:
    @pytest.mark.parametrize("answer", [None, False])
    def test_off(self, answer: bool | None) -> None:
        assert event_of(conversion(), limited_data_use=answer).get("limited_data_use") is answer

    def test_on_needs_the_address(self) -> None:
        options: dict[str, Any] = {"limited_data_use": True, "share": ["ip"]}
        agreed = conversion(ip="203.0.113.24", consent=Consent(postbacks=True))

        assert event_of(agreed, **options)["limited_data_use"] is True
        assert reason(conversion(), **options) == (Kind.SKIPPED, "no_ip_for_limited_data_use")

    def test_refused_when_saved_without_share(self) -> None:
        credentials = TIKTOK.credentials_model(**CREDENTIALS)
        with pytest.raises(ValueError, match="share"):
            TIKTOK.validate(credentials, TIKTOK.options_model(limited_data_use=True), {})


class TestSettings:
    def test_standard_events_are_case_sensitive(self) -> None:
        credentials, options = TIKTOK.credentials_model(**CREDENTIALS), TIKTOK.options_model()
        with pytest.raises(ValueError, match="'CompleteRegistration'"):
            TIKTOK.validate(credentials, options, {"registration": {"name": "completeregistration"}})
        TIKTOK.validate(credentials, options, dict(TIKTOK.presets) | {"*": {}})

    @pytest.mark.parametrize("changes", [{"pixel_code": ""}, {"access_token": "a\nb"}, {"pixel_id": "1"}])
    def test_bad_credentials_are_refused_without_being_shown(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError) as caught:
            TIKTOK.credentials_model.model_validate(CREDENTIALS | changes)
        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize("options", [{"event_source_url": "lp"}, {"max_age_days": 29}, {"share": "ip"}])
    def test_bad_options_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            TIKTOK.options_model.model_validate(options)


def answer(code: Any, message: str = "Some words.", status: int = 200, **headers: str) -> Response:
    body = {"code": code, "message": message, "request_id": "20261123093000F1D6F5D96D1798201C51"}
    return Response(status, {name.replace("_", "-"): text for name, text in headers.items()}, orjson.dumps(body))


def read(got: Response | TransportFailure, count: int = 1) -> Verdict:
    where = target(TIKTOK, CREDENTIALS, {"event_source_url": LP})
    (prepared,) = TIKTOK.build(where, [conversion()] * count, NOW, None).prepared
    verdicts = TIKTOK.read(where, prepared, got, NOW)
    assert len(verdicts) == count
    assert len(set(verdicts)) == 1
    return verdicts[0]


D, H, R, P = Kind.DELIVERED, Kind.HOLD, Kind.RETRY, Kind.REFUSED

# (codes, kind alone, kind in a batch, throttled), row by row as in section 8.1 of the sheet.
SHEET = [
    ((0, 40050), D, D, False),
    ((20001,), D, Kind.SPLIT, False),
    ((40000, 40002, 40061, 40062, 40700), P, Kind.SPLIT, False),
    ((40001, 40003, 40006, 40051, 40007, 40008, 40400, 40009, 40013, 40063, 40101), H, H, False),
    ((40102, 40103, 40107, 40104, 40105, 40106, 40108, 40109, 40110, 40112), H, H, False),
    ((40113, 40117, 40124, 40125, 40115, 40116, 40118, 40130, 40131), H, H, False),
    ((40300, 40301, 40302, 41000, 41001, 41002), H, H, False),
    ((40016, 40100, 40132, 60001, 61000), R, R, True),
    ((40200, 40202, 50000, 50002, 51000, 51012, 51099, 52000, 52203, 53102, 53103), R, R, False),
]


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 400, 500])
    @pytest.mark.parametrize(
        ("code", "alone", "in_batch", "throttled"),
        [(code, *expected) for codes, *expected in SHEET for code in codes],
    )
    def test_each_row_of_the_sheet_whatever_the_status(
        self, code: int, alone: Kind, in_batch: Kind, throttled: bool, status: int
    ) -> None:
        verdict = read(answer(code, status=status))

        assert (verdict.kind, verdict.throttled) == (alone, throttled)
        assert code == 0 or (verdict.code, verdict.message) == (str(code), "Some words.")
        assert code == 0 or verdict.remedy
        assert read(answer(code, status=status), count=3).kind is in_batch

    def test_every_row_of_the_table_is_in_the_sheet_s_list(self) -> None:
        listed = {(code, None) for codes, *_ in SHEET for code in codes}

        assert [row.codes for row in TABLE.rows if not listed & set(named_codes(row))] == []

    @pytest.mark.parametrize("data", ["", ',"data":{}', ',"data":null'])
    def test_success(self, data: str) -> None:
        body = f'{{"code":0,"message":"OK","request_id":"x"{data}}}'.encode()

        assert read(Response(200, {}, body), count=2) == Verdict(Kind.DELIVERED)

    @pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b"{}", b'{"code":null}', b'{"code":false}'])
    def test_status_200_alone_proves_nothing(self, body: bytes) -> None:
        verdict = read(Response(200, {}, body))

        assert (verdict.kind, verdict.ambiguous) == (Kind.RETRY, True)

    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize(
        ("words", "remedy"),
        [
            ("No permission to operate pixel code: C9SYNTH0ETIC0PIXEL01", "Operator"),
            ("Invalid value for event_source_id: not a valid string.", "pixel_code"),
            ("Invalid value for event_source: must be one of web, app.", "pixel_code"),
            ("Invalid value for test_event_code: not a valid string.", "test_event_code"),
        ],
    )
    def test_40002_about_the_destination_holds_it(self, words: str, remedy: str, count: int) -> None:
        verdict = read(answer(40002, words), count)

        assert verdict.kind is Kind.HOLD
        assert remedy in verdict.remedy

    @pytest.mark.parametrize(
        ("code", "in_batch"),
        [(40099, Kind.SPLIT), (40199, Kind.RETRY), (50001, Kind.RETRY), (70000, Kind.RETRY), (-1, Kind.RETRY)],
    )
    def test_an_unknown_code_is_tried_again_alone_where_one_event_may_be_to_blame(
        self, code: int, in_batch: Kind
    ) -> None:
        verdict = read(answer(code))

        assert (verdict.kind, verdict.code, verdict.message) == (Kind.RETRY, str(code), "Some words.")
        assert verdict.remedy
        assert read(answer(code), count=3).kind is in_batch

    @pytest.mark.parametrize(("status", "in_batch"), [(400, Kind.RETRY), (413, Kind.SPLIT), (403, Kind.RETRY)])
    def test_a_body_that_a_gateway_refuses_is_made_smaller(self, status: int, in_batch: Kind) -> None:
        page = Response(status, {}, b"<html>Request Entity Too Large</html>")

        assert (read(page).kind, read(page).code) == (Kind.RETRY, f"http_{status}")
        assert read(page, count=2).kind is in_batch

    @pytest.mark.parametrize(
        ("got", "code", "throttled"),
        [
            (Response(502, {}, b"<html>Bad Gateway</html>"), "http_502", False),
            (Response(429, {"retry-after": "9"}), "http_429", True),
            (Response(404, {}, b"<html>"), "http_404", False),
            (TransportFailure("reset", "Connection reset.", sent=True), "reset", False),
        ],
    )
    def test_no_readable_code(self, got: Response | TransportFailure, code: str, throttled: bool) -> None:
        verdict = read(got)

        assert (verdict.kind, verdict.code, verdict.throttled) == (Kind.RETRY, code, throttled)

    def test_retry_after_is_obeyed_where_it_comes(self) -> None:
        assert read(answer(40100, retry_after="9")).retry_after == 9
        assert read(answer(40100)).retry_after is None
        assert read(answer(50000, status=429)).throttled

    def test_retry_after_0_is_no_invitation_to_a_loop(self) -> None:
        assert read(answer(49999, retry_after="0")).retry_after is None

    def test_secrets_and_addresses_in_tiktok_s_words_are_masked(self) -> None:
        words = read(answer(40002, f"Invalid value for user.ip: 203.0.113.24 ({TOKEN})")).message

        assert words == "Invalid value for user.ip: (address) (***)"


class TestCheck:
    def check(self, got: Response | TransportFailure) -> tuple[bool, str]:
        result = TIKTOK.read_check(target(TIKTOK, CREDENTIALS), got)
        assert result.ok or result.remedy
        return result.ok, result.code

    def test_asks_with_no_event_at_all(self) -> None:
        request = TIKTOK.check_request(target(TIKTOK, CREDENTIALS, {"test_event_code": "TEST1"}), NOW, None)

        assert orjson.loads(request.body) == {"event_source": "web", "event_source_id": PIXEL, "data": []}
        assert request.headers["Access-Token"] == TOKEN

    @pytest.mark.parametrize("got", [answer(0), answer(40002, "Invalid value for data"), answer(40061)])
    def test_a_complaint_about_the_batch_proves_the_token(self, got: Response) -> None:
        assert self.check(got) == (True, "")

    def test_what_tiktok_misses_is_shown(self) -> None:
        result = TIKTOK.read_check(target(TIKTOK, CREDENTIALS), answer(40002, "Invalid value for data"))

        assert result.message.endswith("Invalid value for data")

    @pytest.mark.parametrize(
        ("got", "code"),
        [
            (answer(40105), "40105"),
            (answer(40104), "40104"),
            (answer(40102), "40102"),
            (answer(40001), "40001"),
            (answer(40002, "No permission to operate pixel code: X"), "40002"),
            (answer(40002, "Invalid value for event_source_id: not a valid string."), "40002"),
            (answer(40100), "40100"),
            (Response(200, {}, b"<html>"), "unreadable_answer"),
            (TransportFailure("tls", "Certificate has expired.", sent=False), "tls"),
        ],
    )
    def test_everything_else_does_not(self, got: Response | TransportFailure, code: str) -> None:
        assert self.check(got) == (False, code)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(factory.conversions(("ttclid",), (*TIKTOK.presets.values(), {"name": "Drache 🐉"})), max_size=8),
    st.sampled_from(
        [
            {},
            {"event_source_url": None},
            {"share": ["user_agent", "ip"], "max_age_days": 28},
            {"limited_data_use": True, "share": ["ip"], "test_event_code": "TEST1"},
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
            assert (event["event_id"], event["user"]["ttclid"]) == (items[position].key, items[position].click.value)
            assert event["page"]["url"].startswith("https://")
            assert event.get("properties", {}).get("currency", "USD") in CURRENCIES
            assert event["event_time"] <= NOW.timestamp()
    for left in built.unsendable:
        assert left.verdict.kind in (Kind.SKIPPED, Kind.EXPIRED)
        assert left.verdict.code and left.verdict.message and left.verdict.remedy
