from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oauthlib.oauth1 import RequestValidator, ResourceEndpoint
from pydantic import ValidationError

from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.platforms.base import Built, Response, TransportFailure
from postbacks.platforms.x import X
from postbacks.platforms.x_answers import ANSWERS
from postbacks.platforms.x_oauth import OAuthKeys, authorization
from tests.platforms.conversions import NOW, conversion, conversions, target

ADAPTER = X()
TOKEN = {"pixel_id": "o1abc", "pixel_token": "px-token"}
OAUTH = {
    "pixel_id": "o1abc",
    "consumer_key": "ck_example",
    "consumer_secret": "cs&secret",
    "access_token": "at_example",
    "access_token_secret": "ts/secret",
}
TWCLID = "2-4k1zq8examplexx0w7p3m5n9"
URL = "https://ads-api.x.com/12/measurement/conversions/o1abc"
CONVERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def x_target(credentials: Mapping[str, str] = TOKEN, **options: Any) -> Any:
    return target(ADAPTER, credentials, options)


def click(**overrides: Any) -> Conversion:
    defaults = {"click_type": "twclid", "click_value": TWCLID, "mapping": {"event_id": "tw-o1abc-o1d01"}}
    return conversion(**(defaults | overrides))


def build(*events: Conversion, credentials: Mapping[str, str] = TOKEN, **options: Any) -> Built:
    return ADAPTER.build(x_target(credentials, **options), events, NOW, None)


def only_event(built: Built) -> dict[str, Any]:
    assert not built.unsendable
    (event,) = orjson.loads(built.prepared[0].request.body)["conversions"]
    return dict(event)


def read(
    status: int,
    body: Any,
    *events: Conversion,
    headers: Mapping[str, str] | None = None,
    credentials: Mapping[str, str] = TOKEN,
) -> Sequence[Verdict]:
    (prepared,) = build(*(events or (click(),))).prepared
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return ADAPTER.read(x_target(credentials), prepared, Response(status, headers or {}, raw), NOW)


def errors(*listed: tuple[str, str]) -> dict[str, Any]:
    return {
        "errors": [{"code": code, "message": message, "parameter": ""} for code, message in listed],
        "request": {"params": {"account_id": "18ce000000a"}},
    }


def processed(count: int) -> dict[str, Any]:
    return {"request": {"params": {}}, "data": {"conversions_processed": count, "debug_id": "d-1"}}


def test_an_install_with_nothing_but_a_click_id() -> None:
    built = build(click())

    assert only_event(built) == {
        "conversion_time": "2026-11-23T09:25:00.000Z",
        "event_id": "tw-o1abc-o1d01",
        "identifiers": [{"twclid": TWCLID}],
        "conversion_id": click().key,
    }
    request = built.prepared[0].request
    assert (request.method, request.url) == ("POST", URL)
    assert dict(request.headers) == {"Content-Type": "application/json", "X-Pixel-Token": "px-token"}


def test_the_api_version_is_a_setting() -> None:
    assert build(click(), api_version=13).prepared[0].request.url == URL.replace("/12/", "/13/")


@pytest.mark.parametrize(
    ("value", "currency", "sent"),
    [
        ("4.99", "EUR", "4.99"),
        ("499", "JPY", "499.00"),
        ("1.2345", "KWD", "1.234"),
        ("0", "USD", "0.00"),
        ("1e12", "USD", "1000000000000.00"),
        ("0.30000000000000004", "USD", "0.30"),
    ],
)
def test_value_is_text_with_a_point(value: str, currency: str, sent: str) -> None:
    event = only_event(build(click(value=Decimal(value), currency=currency)))

    assert (event["value"], event["price_currency"]) == (sent, currency)


@pytest.mark.parametrize(
    ("occurred_at", "sent"),
    [
        (datetime(2026, 11, 23, 9, 0, 0, 123_999, tzinfo=UTC), "2026-11-23T09:00:00.123Z"),
        (NOW + timedelta(minutes=10), "2026-11-23T09:30:00.000Z"),
    ],
)
def test_the_time_has_milliseconds_and_is_never_beyond_now(occurred_at: datetime, sent: str) -> None:
    assert only_event(build(click(occurred_at=occurred_at)))["conversion_time"] == sent


YES = Consent(postbacks=True)
BOTH: Any = {"share": ["ip", "user_agent"]}
DEVICE = {"ip": "203.0.113.24", "user_agent": "Game/3.2", "consent": YES}


def test_address_and_user_agent_stand_in_one_object_when_both_are_shared() -> None:
    assert only_event(build(click(**DEVICE), **BOTH))["identifiers"] == [
        {"twclid": TWCLID},
        {"ip_address": "203.0.113.24", "user_agent": "Game/3.2"},
    ]


@pytest.mark.parametrize(
    ("changed", "options"),
    [
        ({}, {}),
        ({}, {"share": ["ip"]}),
        ({}, {"share": ["user_agent"]}),
        ({"consent": Consent()}, BOTH),
        ({"user_agent": None}, BOTH),
        ({"ip": None}, BOTH),
        ({"ip": "2001:db8::1"}, BOTH),
    ],
)
def test_otherwise_only_the_click_id_leaves(changed: dict[str, Any], options: dict[str, Any]) -> None:
    assert only_event(build(click(**(DEVICE | changed)), **options))["identifiers"] == [{"twclid": TWCLID}]


@pytest.mark.parametrize(
    ("changed", "kind", "code"),
    [
        ({"click_value": "short"}, Kind.SKIPPED, "implausible_click_id"),
        ({"click_value": "c" * 2_000}, Kind.SKIPPED, "implausible_click_id"),
        ({"click_value": "has a space in it"}, Kind.SKIPPED, "implausible_click_id"),
        ({"click_value": TWCLID + "\n"}, Kind.SKIPPED, "implausible_click_id"),
        ({"click_value": "a1" * 32}, Kind.SKIPPED, "hashed_click_id"),
        ({"occurred_at": NOW - timedelta(days=30)}, Kind.EXPIRED, "too_old"),
        ({"consent": Consent(postbacks=False)}, Kind.SKIPPED, "consent"),
    ],
)
def test_what_is_not_sent(changed: dict[str, Any], kind: Kind, code: str) -> None:
    built = build(click(**changed))

    assert not built.prepared
    assert [(one.verdict.kind, one.verdict.code) for one in built.unsendable] == [(kind, code)]


def test_the_age_limit_is_a_setting() -> None:
    old = click(occurred_at=NOW - timedelta(days=31))

    assert not build(old, max_age_days=90).unsendable
    assert build(click(occurred_at=NOW - timedelta(days=14)), max_age_days=14).unsendable


def test_a_request_holds_500() -> None:
    """X's maximum (sheet x, 7)."""
    built = build(*[click() for _ in range(501)])

    assert [len(prepared.positions) for prepared in built.prepared] == [500, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(conversions(("twclid",), ({"event_id": "tw-o1abc-o1d01"}, {"event_id": "o1p07"})), max_size=4))
def test_every_conversion_stands_in_exactly_one_place(drawn: list[Conversion]) -> None:
    built = build(*drawn, share=["ip", "user_agent"])

    places = [place for prepared in built.prepared for place in prepared.positions]
    assert sorted([*places, *(unsendable.position for unsendable in built.unsendable)]) == list(range(len(drawn)))
    for prepared in built.prepared:
        events = orjson.loads(prepared.request.body)["conversions"]
        assert [orjson.loads(part) for part in prepared.parts] == events
        assert ",".join(prepared.parts).encode() in prepared.request.body
        assert [event["conversion_id"] for event in events] == [drawn[at].key for at in prepared.positions]
        assert all(CONVERSION.fullmatch(event["conversion_time"]) for event in events)


def test_the_sheets_signature() -> None:
    keys = OAuthKeys("ck_example", "cs&secret", "at_example", "ts/secret")
    header = authorization(keys, URL, datetime.fromtimestamp(1795428000, UTC), nonce="n0nce4example")

    assert 'oauth_signature="dpi6DuDTGqV7%2BazEtC%2BtdAt5Cwk%3D"' in header
    assert 'oauth_timestamp="1795428000"' in header
    assert "oauth_body_hash" not in header


class _Server(RequestValidator):
    """The server side: one consumer, one token, every nonce once."""

    timestamp_lifetime = 10**9
    client_key_length = (5, 50)
    access_token_length = (5, 50)
    dummy_client = dummy_access_token = "dummy"

    def __init__(self) -> None:
        super().__init__()
        self.nonces: set[str] = set()

    def validate_timestamp_and_nonce(self, client_key: str, timestamp: Any, nonce: str, *_: Any, **__: Any) -> bool:
        fresh = nonce not in self.nonces
        self.nonces.add(nonce)
        return fresh

    def check_client_key(self, client_key: str) -> bool:
        return client_key == "ck_example"

    def check_access_token(self, request_token: str) -> bool:
        return request_token == "at_example"

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return client_key == "ck_example"

    def validate_access_token(self, client_key: str, token: str, request: Any) -> bool:
        return token == "at_example"

    def validate_realms(self, *_: Any, **__: Any) -> bool:
        return True

    def get_client_secret(self, client_key: str, request: Any) -> str:
        return "cs&secret"

    def get_access_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return "ts/secret"


def test_oauthlibs_server_accepts_our_signatures_each_once() -> None:
    server = ResourceEndpoint(_Server())
    first, second = (build(click(), credentials=OAUTH).prepared[0].request for _ in range(2))

    def accepted(request: Any, **changes: str) -> bool:
        headers = {"Authorization": request.headers["Authorization"]}
        valid, _ = server.validate_protected_resource_request(
            changes.get("url", request.url), http_method=request.method, headers=headers
        )
        return bool(valid)

    assert "X-Pixel-Token" not in first.headers
    assert not accepted(first, url=URL.replace("o1abc", "o2other"))
    assert accepted(second)
    assert not accepted(second)


def test_success_tells_the_debug_id() -> None:
    verdicts = read(200, processed(2), click(), click())

    assert [verdict.kind for verdict in verdicts] == [Kind.DELIVERED] * 2
    assert "d-1" in verdicts[0].message
    assert not verdicts[0].throttled


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"x-rate-limit-remaining": "0"}, 60),
        ({"x-rate-limit-remaining": "1"}, None),
        ({"x-rate-limit-remaining": "5", "x-account-rate-limit-remaining": "0"}, 60),
        ({"x-rate-limit-remaining": "0", "x-account-rate-limit-remaining": "5"}, None),
    ],
)
def test_a_spent_window_is_known_before_the_next_request(headers: dict[str, str], wait: float | None) -> None:
    reset = {"x-rate-limit-reset": str(int(NOW.timestamp()) + 60)}
    (verdict,) = read(200, processed(1), headers=headers | reset)

    assert (verdict.kind, verdict.throttled, verdict.retry_after) == (Kind.DELIVERED, wait is not None, wait)


@pytest.mark.parametrize("body", [b"", errors(("SERVICE_UNAVAILABLE", "unavailable"))])
def test_a_503_that_says_when_to_come_back_pauses_the_destination(body: Any) -> None:
    (verdict,) = read(503, body, headers={"retry-after": "33"})

    assert (verdict.kind, verdict.throttled, verdict.retry_after) == (Kind.RETRY, True, 33)


@pytest.mark.parametrize(
    ("body", "kind", "code", "ambiguous"),
    [
        (processed(0), Kind.RETRY, "none_processed", False),
        (processed(1), Kind.REFUSED, "partly_processed", False),
        ({"data": {}}, Kind.RETRY, "http_200", True),
        ({"data": {"conversions_processed": True}}, Kind.RETRY, "http_200", True),
        ({"data": {"conversions_processed": "2"}}, Kind.RETRY, "http_200", True),
        (processed(2) | errors(("INTERNAL_ERROR", "no")), Kind.RETRY, "http_200", True),
        (b"", Kind.RETRY, "http_200", True),
        (errors(("INTERNAL_ERROR", "no")), Kind.RETRY, "http_200", True),
        (b"<html>sign in</html>", Kind.RETRY, "http_200", True),
    ],
)
def test_a_200_that_counts_too_little_is_no_success(body: Any, kind: Kind, code: str, ambiguous: bool) -> None:
    verdicts = read(200, body, click(), click())

    assert {(verdict.kind, verdict.code, verdict.ambiguous) for verdict in verdicts} == {(kind, code, ambiguous)}


SET = "event_id (tw-x) is not a single event tag (SET)"
NOT_OURS = "event_id (tw-x) does not belong to provided account"

ROWS = [
    (400, "INVALID_PARAMETER", "At least one user identifier must be provided", Kind.SPLIT),
    (400, "INVALID_PARAMETER", "hashed_email (x) is not a valid SHA-256 hash", Kind.SPLIT),
    (400, "INVALID_PARAMETER", SET, Kind.SPLIT),
    (
        400,
        "INVALID_PARAMETER",
        'Expected Time in yyyy-MM-ddTHH:mm:ss.SSSZ, got "x" for conversion_time',
        Kind.SPLIT,
    ),
    (400, "", "Conversion count limit is 500", Kind.SPLIT),
    (400, "", "Event ID was not found", Kind.SPLIT),
    (400, "MISSING_PARAMETER", "conversion_time is required", Kind.SPLIT),
    (400, "SOMETHING_NEW", "a new fault", Kind.SPLIT),
    (401, "UNAUTHORIZED_ACCESS", "This request is not properly authenticated", Kind.HOLD),
    (403, "UNAUTHORIZED_CLIENT_APPLICATION", "The client application has no access", Kind.HOLD),
    (403, "ACCOUNT_NOT_FOUND", "no account", Kind.HOLD),
    (403, "READONLY_CLIENT_APPLICATION", "read only", Kind.HOLD),
    (404, "NOT_FOUND", NOT_OURS, Kind.SPLIT),
    (404, "NOT_FOUND", "User 7 does not have access to account 18ce000000a", Kind.HOLD),
    (404, "ROUTE_NOT_FOUND", "The requested resource could not be found", Kind.HOLD),
    (404, "WEB_EVENT_TAG_NOT_FOUND", "no such tag", Kind.SPLIT),
    (405, "METHOD_NOT_ALLOWED", "Method not allowed", Kind.HOLD),
    (408, "CANCELLED_REQUEST", "cancelled", Kind.RETRY),
    (423, "LOCK_ACQUISITION_TIMEOUT", "lock", Kind.RETRY),
    (429, "TOO_MANY_REQUESTS", "Too many requests", Kind.RETRY),
    (500, "INTERNAL_ERROR", "internal", Kind.RETRY),
    (503, "SERVICE_UNAVAILABLE", "unavailable", Kind.RETRY),
    (503, "OVER_CAPACITY", "over capacity", Kind.RETRY),
    (500, "SOMETHING_NEW", "a new fault", Kind.RETRY),
    (409, "SOMETHING_NEW", "a new fault", Kind.RETRY),
]


@pytest.mark.parametrize(("status", "code", "message", "kind"), ROWS)
def test_answers_for_the_whole_request(status: int, code: str, message: str, kind: Kind) -> None:
    batch = read(status, errors((code, message)), click(), click())
    (alone,) = read(status, errors((code, message)))

    assert {verdict.kind for verdict in batch} == {kind}
    assert alone.kind is (Kind.REFUSED if kind is Kind.SPLIT else kind)
    assert (alone.code, alone.message, alone.ambiguous) == (code or f"http_{status}", message, False)
    assert alone.remedy or kind is Kind.RETRY
    assert alone.throttled is (code in ("TOO_MANY_REQUESTS", "OVER_CAPACITY"))


def test_every_row_of_the_table_has_a_test() -> None:
    cases = [*ROWS, (404, "INVALID_PARAMETER", "a value", Kind.SPLIT)]

    for row in ANSWERS:
        assert any(next(r for r in ANSWERS if r.fits(*case[:3])) is row for case in cases if _known(case)), row


def _known(case: tuple[int, str, str, Kind]) -> bool:
    return any(row.fits(*case[:3]) for row in ANSWERS)


@pytest.mark.parametrize(
    ("status", "kind", "ambiguous"),
    [
        (400, Kind.REFUSED, False),
        (401, Kind.HOLD, False),
        (403, Kind.HOLD, False),
        (404, Kind.RETRY, False),
        (302, Kind.RETRY, False),
        (408, Kind.RETRY, True),
        (429, Kind.RETRY, False),
        (500, Kind.RETRY, True),
        (502, Kind.RETRY, True),
        (503, Kind.RETRY, False),
        (504, Kind.RETRY, True),
    ],
)
def test_a_gateways_page_is_read_by_its_status(status: int, kind: Kind, ambiguous: bool) -> None:
    (verdict,) = read(status, b"<html>no</html>")

    assert (verdict.kind, verdict.ambiguous) == (kind, ambiguous)


def test_no_answer_is_ambiguous_only_if_something_was_sent() -> None:
    (prepared,) = build(click()).prepared
    verdicts = [
        ADAPTER.read(x_target(), prepared, TransportFailure(code, "no answer", sent=sent), NOW)[0]
        for code, sent in (("timeout", True), ("connect", False))
    ]

    assert [(verdict.kind, verdict.ambiguous) for verdict in verdicts] == [(Kind.RETRY, True), (Kind.RETRY, False)]


def test_a_mistyped_event_id_takes_out_only_the_events_that_bear_it() -> None:
    good, bad = click(), click(mapping={"event_id": "tw-x"})
    verdicts = read(404, errors(("NOT_FOUND", NOT_OURS), ("INVALID_PARAMETER", SET)), good, bad, good)

    assert [verdict.kind for verdict in verdicts] == [Kind.RETRY, Kind.REFUSED, Kind.RETRY]
    assert verdicts[0].retry_after == 0
    assert (verdicts[1].code, "event_id" in verdicts[1].remedy) == ("NOT_FOUND", True)
    assert "tw-x" not in (verdicts[0].excerpt or "")


def test_lost_access_outweighs_a_faulty_event() -> None:
    body = errors(("NOT_FOUND", NOT_OURS), ("NOT_FOUND", "User 7 does not have access to account 18ce000000a"))

    assert {verdict.kind for verdict in read(404, body, click(), click())} == {Kind.HOLD}


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {}, None),
        (429, {"x-rate-limit-reset": str(int(NOW.timestamp()) + 90)}, 90),
        (429, {"x-rate-limit-reset": "1", "x-account-rate-limit-reset": str(int(NOW.timestamp()) + 5)}, 5),
        (429, {"x-rate-limit-reset": str(int(NOW.timestamp()) - 90)}, 0),
        (503, {"retry-after": "33"}, 33),
        (503, {"x-rate-limit-reset": str(int(NOW.timestamp()) + 90)}, None),
    ],
)
def test_waits_follow_the_headers(status: int, headers: dict[str, str], seconds: float | None) -> None:
    (verdict,) = read(status, errors(("", "slower")), headers=headers)

    assert verdict.retry_after == seconds


@pytest.mark.parametrize(("credentials", "names"), [(TOKEN, "pixel_token"), (OAUTH, "consumer_key")])
def test_a_401_names_the_credentials_in_use(credentials: Mapping[str, str], names: str) -> None:
    (verdict,) = read(401, errors(("UNAUTHORIZED_ACCESS", "no")), credentials=credentials)

    assert (verdict.kind, names in verdict.remedy) == (Kind.HOLD, True)


def test_the_check_sends_no_conversion() -> None:
    request = ADAPTER.check_request(x_target(OAUTH), NOW, None)

    assert (request.url, orjson.loads(request.body)) == (URL, {"conversions": []})
    assert request.headers["Authorization"].startswith("OAuth ")


@pytest.mark.parametrize(
    ("status", "body", "ok", "remedy"),
    [
        (400, errors(("MISSING_PARAMETER", "conversions is required")), True, ""),
        (200, processed(0), True, ""),
        (400, b"<html>no</html>", False, "POSTBACKS_X_API_BASE"),
        (200, b"<html>sign in</html>", False, "POSTBACKS_X_API_BASE"),
        (200, errors(("INTERNAL_ERROR", "no")), False, "POSTBACKS_X_API_BASE"),
        (401, errors(("UNAUTHORIZED_ACCESS", "no")), False, "pixel_token"),
        (403, errors(("UNAUTHORIZED_CLIENT_APPLICATION", "no")), False, "Ads API"),
        (404, errors(("NOT_FOUND", "User 7 does not have access to account 18ce")), False, "AD_MANAGER"),
        (503, errors(("OVER_CAPACITY", "no")), False, "try again"),
    ],
)
def test_the_check_tells_good_credentials_from_bad_ones(status: int, body: Any, ok: bool, remedy: str) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    result = ADAPTER.read_check(x_target(), Response(status, {}, raw))

    assert result.ok is ok
    assert remedy in result.remedy


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        ({"pixel_id": "o1abc"}, "give pixel_token, or all of"),
        (TOKEN | OAUTH, "not both"),
        ({key: value for key, value in OAUTH.items() if key != "access_token"}, "also needs access_token;"),
        (TOKEN | {"pixel_id": "tw-o1abc-o1d01"}, "event ID"),
        (TOKEN | {"pixel_token": "a\r\nX-Evil: 1"}, "pattern"),
    ],
)
def test_exactly_one_way_to_authenticate(credentials: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        x_target(credentials)


def test_empty_values_count_as_absent() -> None:
    assert x_target(TOKEN | {"consumer_key": ""}).credentials.oauth() is None
    assert x_target(OAUTH | {"pixel_token": ""}).credentials.oauth() is not None


@pytest.mark.parametrize(
    "events", [{"*": {}}, {"install": {"event_id": "o1abc"}}, {"install": {"event_id": "tw-o1abc-o1abc"}}]
)
def test_mappings_that_cannot_work_are_refused_when_saved(events: dict[str, Any]) -> None:
    configured = x_target()

    with pytest.raises(ValueError, match="event_id"):
        ADAPTER.validate(configured.credentials, configured.options, events)


def test_there_is_no_preset_because_event_ids_are_each_accounts_own() -> None:
    assert (ADAPTER.presets, ADAPTER.wildcard("install")) == ({}, None)
