from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.platforms.base import Answer, Built, Request, Response, TransportFailure
from postbacks.platforms.webhook import ANSWERS, Webhook
from postbacks.platforms.webhook_template import MACROS
from tests.platforms.conversions import CLICK, NOW, conversion, conversions, target

WEBHOOK = Webhook()
URL = "https://hooks.example/in"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NASTY = 'a&b=c/..?#%"\\{value}\r\nX-Evil: 1 é🎮'


def build(*events: Conversion, credentials: Mapping[str, str] | None = None, **options: Any) -> Built:
    configured = target(WEBHOOK, credentials or {}, {"url": URL} | options)
    return WEBHOOK.build(configured, events, NOW, None)


def request_of(event: Conversion, **options: Any) -> Request:
    built = build(event, **options)
    assert not built.unsendable
    return built.prepared[0].request


def read(answer: Answer) -> Verdict:
    configured = target(WEBHOOK, {}, {"url": URL})
    (prepared,) = WEBHOOK.build(configured, [conversion()], NOW, None).prepared
    (verdict,) = WEBHOOK.read(configured, prepared, answer, NOW)
    return verdict


def test_the_default_is_a_post_of_a_json_object() -> None:
    request = request_of(conversion(mapping={}, value=Decimal("4.99"), currency="EUR"))

    assert (request.method, request.url) == ("POST", URL)
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["webhook-id"] == conversion().key
    assert orjson.loads(request.body) == {
        "event_id": "install-42",
        "event_name": "install",
        "occurred_at": "2026-11-23T09:25:00Z",
        "value": 4.99,
        "currency": "EUR",
        "click_id": CLICK.value,
        "click_id_type": "fbclid",
        "ad_platform": "meta",
        "clicked_at": "2026-11-23T07:30:00Z",
        "idempotency_key": conversion().key,
    }


def test_without_a_value_the_default_body_says_null() -> None:
    body = orjson.loads(request_of(conversion()).body)

    assert (body["value"], body["currency"]) == (None, None)


def test_every_macro() -> None:
    event = conversion(
        mapping={"name": "Install"},
        value=Decimal("499"),
        currency="JPY",
        occurred_at=datetime(2026, 11, 23, 9, 0, 0, 250_000, tzinfo=UTC),
    )
    query = "&".join(f"{name}={{{name}}}" for name in MACROS)
    sent = parse_qs(urlsplit(request_of(event, method="GET", url=f"{URL}?{query}").url).query)

    assert {name: values[0] for name, values in sent.items()} == {
        "click_id": CLICK.value,
        "click_id_type": "fbclid",
        "ad_platform": "meta",
        "event_name": "Install",
        "game_event_name": "install",
        "event_id": "install-42",
        "idempotency_key": event.key,
        "value": "499",
        "currency": "JPY",
        "occurred_at": "2026-11-23T09:00:00.250000Z",
        "occurred_at_unix": "1795424400",
        "clicked_at": "2026-11-23T07:30:00Z",
        "clicked_at_unix": "1795419000",
    }


@pytest.mark.parametrize(
    ("click_type", "platform"),
    [
        *(("gclid", "google"), ("gbraid", "google"), ("wbraid", "google"), ("fbclid", "meta")),
        *(("ttclid", "tiktok"), ("rdt_cid", "reddit"), ("twclid", "x")),
    ],
)
def test_any_known_click_id_will_do(click_type: str, platform: str) -> None:
    assert click_type in WEBHOOK.click_id_types
    assert WEBHOOK.any_click
    assert orjson.loads(request_of(conversion(click_type=click_type)).body)["ad_platform"] == platform


@pytest.mark.parametrize(
    ("value", "currency", "sent"),
    [
        ("499", "JPY", "499"),
        ("1.2345", "KWD", "1.234"),
        ("0", "USD", "0.00"),
        ("1e12", "USD", "1000000000000.00"),
        ("0.30000000000000004", "USD", "0.30"),
    ],
)
def test_value_has_the_currencys_decimals(value: str, currency: str, sent: str) -> None:
    event = conversion(value=Decimal(value), currency=currency)

    assert request_of(event, body="v={value}").body == f"v={sent}".encode()


def test_url_macros_are_percent_encoded_in_path_and_query() -> None:
    url = request_of(conversion(click_value=NASTY), method="GET", url=f"{URL}/{{click_id}}/x?c={{click_id}}").url
    parts = urlsplit(url)

    assert (parts.hostname, parts.fragment, url.isascii()) == ("hooks.example", "", True)
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "in", NASTY, "x"]
    assert parse_qs(parts.query) == {"c": [NASTY]}


@pytest.mark.parametrize("click_value", [".", ".."])
def test_a_macro_cannot_walk_up_the_path(click_value: str) -> None:
    built = build(conversion(click_value=click_value), url=f"{URL}/{{click_id}}/x")

    assert not built.prepared
    assert (built.unsendable[0].verdict.kind, built.unsendable[0].verdict.code) == (Kind.SKIPPED, "unsafe_path")


def test_header_macros_stay_on_one_visible_line() -> None:
    sent = request_of(conversion(click_value=NASTY), headers={"X-Click": "id {click_id}"}).headers["X-Click"]

    assert sent.isascii() and sent.isprintable()
    assert unquote(sent.removeprefix("id ")) == NASTY


def test_json_macros_are_escaped_inside_quotes_and_whole_values_outside() -> None:
    body = (
        '{"id":"<{click_id}>","raw":{click_id},"value":{value},"text":"{value}","at":{occurred_at_unix},"n":{"m":{}}}'
    )
    sent = orjson.loads(request_of(conversion(click_value=NASTY), body=body).body)

    assert sent == {"id": f"<{NASTY}>", "raw": NASTY, "value": None, "text": "", "at": 1795425900, "n": {"m": {}}}


def test_a_body_may_be_written_as_a_structure() -> None:
    request = request_of(conversion(), body={"id": "{click_id}", "list": ["{event_name}"]})

    assert orjson.loads(request.body) == {"id": CLICK.value, "list": ["AppInstall"]}


@pytest.mark.parametrize(
    "options", [{}, {"headers": {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}}]
)
def test_form_macros_are_form_encoded(options: dict[str, Any]) -> None:
    request = request_of(conversion(click_value=NASTY), body="id={click_id}&e={event_name}", **options)
    content_type = next(value for name, value in request.headers.items() if name.lower() == "content-type")

    assert content_type.startswith("application/x-www-form-urlencoded")
    assert parse_qs(request.body.decode()) == {"id": [NASTY], "e": ["AppInstall"]}


def test_plain_text_macros_lose_only_control_characters() -> None:
    body = request_of(conversion(click_value="a\r\nb é"), headers={"Content-Type": "text/plain"}, body="id {click_id}")

    assert body.body.decode() == "id a  b é"


def test_an_empty_body_stays_empty() -> None:
    assert request_of(conversion(), url=f"{URL}?c={{click_id}}", body="").body == b""


def test_a_get_has_no_body() -> None:
    request = request_of(conversion(), method="get", url=f"{URL}?c={{click_id}}")

    assert (request.method, request.body) == ("GET", b"")
    assert "Content-Type" not in request.headers


def test_own_headers_replace_ours() -> None:
    headers = request_of(conversion(), headers={"user-agent": "Game", "content-type": "application/json"}).headers

    assert sorted(name.lower() for name in headers) == ["content-type", "user-agent", "webhook-id"]
    assert headers["user-agent"] == "Game"


@pytest.mark.parametrize("options", [{}, {"method": "GET"}])
def test_signatures_verify(options: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    configured = target(WEBHOOK, {"signing_secret": SECRET}, {"url": URL} | options)
    (prepared,) = WEBHOOK.build(configured, [conversion()], now, None).prepared
    request, verifier = prepared.request, Verifier(SECRET)

    verifier.verify(request.body, dict(request.headers), json_parse=False)
    assert request.headers["webhook-id"] == conversion().key
    with pytest.raises(WebhookVerificationError):
        verifier.verify(request.body + b" ", dict(request.headers), json_parse=False)


def test_without_a_secret_nothing_is_signed() -> None:
    assert "webhook-signature" not in request_of(conversion()).headers


@settings(max_examples=60, deadline=None)
@given(st.lists(conversions(WEBHOOK.click_id_types, ({}, {"name": "Install 🎮"})), max_size=4))
def test_every_conversion_stands_in_exactly_one_place(drawn: list[Conversion]) -> None:
    built = build(
        *drawn,
        credentials={"signing_secret": SECRET},
        url=f"{URL}/{{click_id}}?e={{event_name}}",
        headers={"X-Click": "{click_id}"},
    )

    places = [place for prepared in built.prepared for place in prepared.positions]
    assert sorted([*places, *(unsendable.position for unsendable in built.unsendable)]) == list(range(len(drawn)))
    for prepared in built.prepared:
        (position,) = prepared.positions
        assert prepared.parts == (prepared.request.body.decode(),)
        assert orjson.loads(prepared.request.body)["click_id"] == drawn[position].click.value
        assert all(value.isascii() and value.isprintable() for value in prepared.request.headers.values())


def test_a_refusal_is_not_sent() -> None:
    built = build(conversion(consent=Consent(postbacks=False)))

    assert (built.prepared, built.unsendable[0].verdict.kind) == ((), Kind.SKIPPED)


@pytest.mark.parametrize(
    "options",
    [
        {"url": f"{URL}?c={{klick_id}}"},
        {"headers": {"X-Click": "{klick_id}"}},
        {"body": '{"c":"{klick_id}"}'},
    ],
)
def test_an_unknown_macro_is_named_and_the_known_ones_are_listed(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        build(**options)

    assert "{klick_id} is no macro" in str(caught.value)
    assert all(f"{{{name}}}" in str(caught.value) for name in MACROS)
    # The field is named, wherever the macro stands.
    assert [one["loc"] for one in caught.value.errors()] == [tuple(options)]


@pytest.mark.parametrize(
    "macro", ["{Click_ID}", "{CLICK_ID}", "{sub1}", "{click-id}", "{ click_id }", "{{click_id}}", "{click.id}", "{_}"]
)
@pytest.mark.parametrize("place", ["url", "headers", "body", "text"])
def test_a_misspelt_macro_is_never_sent_as_it_stands(macro: str, place: str) -> None:
    options: dict[str, Any] = {
        "url": {"url": f"{URL}?c={macro}"},
        "headers": {"headers": {"X-Click": f"id {macro}"}},
        "body": {"body": {"list": [f"id {macro}"]}},
        "text": {"headers": {"Content-Type": "text/plain"}, "body": f"id {macro}"},
    }[place]

    with pytest.raises(ValidationError, match=r"no macro|percent-encoded"):
        build(**options)


@pytest.mark.parametrize("url", ["https://[2606:4700::1111]:8443/x", "http://192.0.2.7/", "https://h-1.example:8443"])
def test_usual_addresses_are_taken(url: str) -> None:
    assert request_of(conversion(), url=url).url == url


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "ftp://hooks.example/"}, "must start with"),
        ({"url": "/in"}, "must start with"),
        ({"url": "https:///in"}, "must start with"),
        ({"url": "{click_id}://hooks.example/"}, "must start with"),
        ({"url": "https://{event_name}.example/"}, "not in the host"),
        ({"url": "https://user:pw@hooks.example/"}, "Authorization header"),
        ({"url": "https://hooks.example:99999/"}, "port"),
        ({"url": f"{URL}?c={{}}"}, "brace"),
        ({"url": "https://2130706433/"}, "four decimal numbers"),
        ({"url": "https://127.1/"}, "four decimal numbers"),
        ({"url": "https://0x7f.0x1/"}, "four decimal numbers"),
        ({"url": "https://0177.0.0.1/"}, "four decimal numbers"),
        ({"url": "https://hooks.example.1./"}, "four decimal numbers"),
        ({"url": "https://hooks.example\\@evil.example/"}, "Authorization header"),
        ({"url": "https://hooks.example\\.evil.example/"}, "host or port"),
        ({"url": "https://%31%32%37.0.0.1/"}, "host or port"),
        ({"url": "https://[::1/"}, "host or port"),
        ({"url": f"{URL}#x"}, "fragment"),
        ({"url": f"{URL}/ü"}, "percent-encoded"),
        ({"url": f"{URL}/../x"}, "segment"),
        ({"url": f"{URL}/%2e%2E/x"}, "segment"),
        ({"method": "PUT"}, "GET"),
        ({"method": "GET", "body": "{}"}, "no body"),
        ({"headers": {"X-{click_id}": "1"}}, "takes? no macros|take no macros"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "one line"),
        ({"headers": {"Host": "other.example"}}, "connection"),
        ({"headers": {"webhook-id": "1"}}, "signing_secret"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "twice"),
        ({"headers": {"Content-Type": "{event_name}"}}, "no macros"),
        ({"headers": {"Content-Type": "application/xml"}, "body": "<c/>"}, "no escaping"),
        ({"headers": {"Content-Type": "application/xml"}}, "no escaping"),
        ({"headers": {"Content-Type": "text/plain"}, "method": "GET", "body": "x"}, "no body"),
        ({"body": '{"c":{click_id}"}'}, "not valid JSON"),
        ({"body": '{"c":x{click_id}}'}, "not valid JSON"),
        ({"boby": "{}"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_saved(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        build(**options)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "whsec_abcde"])
def test_a_secret_that_cannot_sign_is_refused(secret: str) -> None:
    with pytest.raises(ValidationError, match="Standard Webhooks") as caught:
        build(credentials={"signing_secret": secret})

    assert secret not in str(caught.value).replace("behind whsec_,", "")


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, base64.b64decode(SECRET.removeprefix("whsec_"))),
        (SECRET.removeprefix("whsec_"), base64.b64decode(SECRET.removeprefix("whsec_"))),
        ("any text, not base64!", b"any text, not base64!"),
    ],
)
def test_a_secret_is_base64_or_the_key_itself(secret: str, key: bytes) -> None:
    request = build(conversion(), credentials={"signing_secret": secret}).prepared[0].request

    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_secrets_do_not_show_in_a_destinations_repr() -> None:
    configured = target(
        WEBHOOK, {"signing_secret": SECRET}, {"url": f"{URL}?key=hidden", "headers": {"Authorization": "hidden"}}
    )

    assert "hidden" not in repr(configured)
    assert SECRET not in repr(configured) + repr(configured.credentials)


ROWS = [
    *((200, Kind.DELIVERED), (201, Kind.DELIVERED), (204, Kind.DELIVERED)),
    *((301, Kind.REFUSED), (302, Kind.REFUSED), (308, Kind.REFUSED)),
    *((400, Kind.REFUSED), (422, Kind.REFUSED), (401, Kind.HOLD), (403, Kind.HOLD), (410, Kind.HOLD)),
    *((404, Kind.RETRY), (408, Kind.RETRY), (425, Kind.RETRY), (429, Kind.RETRY)),
    *((500, Kind.RETRY), (502, Kind.RETRY), (503, Kind.RETRY), (599, Kind.RETRY), (101, Kind.RETRY)),
]


@pytest.mark.parametrize(("status", "kind"), ROWS)
def test_answers(status: int, kind: Kind) -> None:
    verdict = read(Response(status, {"retry-after": "30"}, b"secret words of the endpoint"))

    assert (verdict.kind, verdict.code) == (kind, f"http_{status}")
    assert verdict.throttled is (status in (429, 503))
    assert verdict.retry_after == (30 if kind is Kind.RETRY and status != 101 else None)
    assert verdict.remedy or kind not in (Kind.HOLD, Kind.REFUSED)
    assert "secret" not in verdict.message


def test_every_row_of_the_table_has_a_test() -> None:
    for row in ANSWERS:
        assert any(next((r for r in ANSWERS if r.fits(status, "", "")), None) is row for status, _ in ROWS), row


def test_a_private_address_holds_the_destination_and_names_the_setting() -> None:
    verdict = read(TransportFailure("refused_address", "10.0.0.7 is not public", sent=False))

    assert (verdict.kind, verdict.code) == (Kind.HOLD, "refused_address")
    assert "POSTBACKS_WEBHOOK_ALLOW_NETWORKS" in verdict.remedy
    assert "10.0.0.7" not in verdict.message + verdict.remedy


@pytest.mark.parametrize("code", ["timeout", "connect", "reset", "dns", "tls"])
def test_no_answer_is_tried_again(code: str) -> None:
    assert read(TransportFailure(code, "no answer", sent=False)).kind is Kind.RETRY


def test_a_503_that_names_no_time_leaves_the_others_alone() -> None:
    verdict = read(Response(503))

    assert (verdict.kind, verdict.throttled, verdict.retry_after) == (Kind.RETRY, False, None)


def test_the_check_opens_a_connection_and_sends_nothing() -> None:
    configured = target(WEBHOOK, {}, {"url": "https://hooks.example:8443/in/{click_id}?key=secret"})
    request = WEBHOOK.check_request(configured, NOW, None)

    assert (request.method, request.url, request.body) == ("CONNECT", "https://hooks.example:8443/", b"")
    assert (WEBHOOK.read_check(configured, Response(204)).ok, request.headers) == (True, {})


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("dns", "options.url"),
        ("connect", "firewalls"),
        ("timeout", "firewalls"),
        ("tls", "certificate"),
        ("refused_address", "POSTBACKS_WEBHOOK_ALLOW_NETWORKS"),
        ("reset", "firewalls"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_has_a_remedy(code: str, remedy: str) -> None:
    configured = target(WEBHOOK, {}, {"url": URL})
    result = WEBHOOK.read_check(configured, TransportFailure(code, "in words", sent=False))

    assert (result.ok, result.code, bool(result.message)) == (False, code, True)
    assert remedy in result.remedy


def test_no_event_that_ingest_takes_is_too_old() -> None:
    ninety = NOW - timedelta(days=90)
    deadline = WEBHOOK.timing(target(WEBHOOK, {}, {"url": URL})).deadline(ninety, ninety)

    assert deadline > NOW + timedelta(days=30)


def test_every_event_goes_under_its_own_name() -> None:
    assert (WEBHOOK.presets, WEBHOOK.wildcard("level_up")) == ({"*": {}}, {"name": "level_up"})
