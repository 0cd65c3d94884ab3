from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.platforms.base import Built, Prepared, Response, TransportFailure
from postbacks.platforms.reddit import AGE_MARGIN, Reddit
from postbacks.platforms.reddit_answers import ANSWERS
from tests.platforms.conversions import NOW, conversion, conversions, target
from tests.platforms.reddit_schema import REQUEST

REDDIT = Reddit()
CREDENTIALS = {"pixel_id": "a2_abc", "access_token": "eyJ.token"}
SCHEMA = jsonschema.Draft202012Validator(REQUEST)


def reddit_target(**options: Any) -> Any:
    return target(REDDIT, CREDENTIALS, options)


def click(**overrides: Any) -> Conversion:
    defaults = {"click_type": "rdt_cid", "click_value": "4100200300400500601", "mapping": {"name": "Install"}}
    return conversion(**(defaults | overrides))


def build(*events: Conversion, now: datetime = NOW, **options: Any) -> Built:
    return REDDIT.build(reddit_target(**options), events, now, None)


def events_of(prepared: Prepared) -> list[dict[str, Any]]:
    body = orjson.loads(prepared.request.body)
    SCHEMA.validate(body)
    return list(body["data"]["events"])


def only_event(built: Built) -> dict[str, Any]:
    assert not built.unsendable
    (prepared,) = built.prepared
    (event,) = events_of(prepared)
    return event


def read(status: int, body: Any, *, count: int = 1, headers: Mapping[str, str] | None = None) -> Sequence[Verdict]:
    (prepared,) = build(*[click() for _ in range(count)]).prepared
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return REDDIT.read(reddit_target(), prepared, Response(status, headers or {}, raw), NOW)


def error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message}}


def invalid(*fields: tuple[int, str, str]) -> dict[str, Any]:
    return {
        "error": {
            "code": 400,
            "message": f"There were {len(fields)} invalid conversion events. None were processed.",
            "fields": [{"field": f"$.data.events[{at}].{path}", "message": text} for at, path, text in fields],
        }
    }


def test_an_install_with_nothing_but_a_click_id() -> None:
    built = build(click())

    assert only_event(built) == {
        "event_at": 1795425900000,
        "action_source": "APP",
        "click_id": "4100200300400500601",
        "type": {"tracking_type": "CUSTOM", "custom_event_name": "Install"},
        "metadata": {"conversion_id": click().key},
    }
    request = built.prepared[0].request
    assert (request.method, request.url) == (
        "POST",
        "https://ads-api.reddit.com/api/v3/pixels/a2_abc/conversion_events",
    )
    assert request.headers["Authorization"] == "Bearer eyJ.token"
    assert request.headers["Content-Type"] == "application/json"


def test_the_user_agent_is_ours_and_can_be_replaced() -> None:
    ours = build(click()).prepared[0].request.headers["User-Agent"]
    theirs = build(click(), user_agent="server:com.example:2 (by /u/me)").prepared[0].request.headers["User-Agent"]

    assert ours.startswith("server:postbacks.a2_abc:")
    assert ours.endswith("(by /u/postbacks)")
    assert theirs == "server:com.example:2 (by /u/me)"


@pytest.mark.parametrize(
    ("value", "currency", "sent"),
    [
        ("4.99", "EUR", 4.99),
        ("499", "JPY", 499),
        ("1.2345", "KWD", 1.234),
        ("0", "USD", 0),
        ("1e12", "USD", 1e12),
        ("0.30000000000000004", "USD", 0.3),
    ],
)
def test_value_is_in_whole_units(value: str, currency: str, sent: float) -> None:
    event = only_event(build(click(mapping={"name": "PURCHASE"}, value=Decimal(value), currency=currency)))

    assert event["type"] == {"tracking_type": "PURCHASE"}
    assert (event["metadata"]["value"], event["metadata"]["currency"]) == (sent, currency)


@pytest.mark.parametrize("name", ["PAGE_VISIT", "VIEW_CONTENT", "SEARCH"])
def test_types_without_a_value_get_none(name: str) -> None:
    event = only_event(build(click(mapping={"name": name}, value=Decimal(1), currency="EUR")))

    assert event["metadata"] == {"conversion_id": click().key}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("SIGN_UP", {"tracking_type": "SIGN_UP"}),
        ("AddToCart", {"tracking_type": "ADD_TO_CART"}),
        ("purchase", {"tracking_type": "PURCHASE"}),
        ("Level 10 🎮", {"tracking_type": "CUSTOM", "custom_event_name": "Level 10 🎮"}),
        ("🎮" * 64, {"tracking_type": "CUSTOM", "custom_event_name": "🎮" * 64}),
        ("CUSTOM", {"tracking_type": "CUSTOM", "custom_event_name": "install"}),
    ],
)
def test_standard_names_and_custom_ones(name: str, sent: dict[str, str]) -> None:
    assert only_event(build(click(mapping={"name": name})))["type"] == sent


@pytest.mark.parametrize("event_name", Reddit.presets)
def test_every_preset_is_a_valid_event(event_name: str) -> None:
    only_event(build(click(event_name=event_name, mapping=Reddit.presets[event_name])))


def test_a_custom_name_of_65_characters_is_skipped() -> None:
    (unsendable,) = build(click(mapping={"name": "x" * 65})).unsendable

    assert (unsendable.verdict.kind, unsendable.verdict.code) == (Kind.SKIPPED, "custom_event_name_length")


def test_an_event_of_the_near_future_is_sent_as_of_now() -> None:
    event = only_event(build(click(occurred_at=NOW + timedelta(minutes=10))))

    assert event["event_at"] == int(NOW.timestamp()) * 1000


def test_milliseconds_are_exact() -> None:
    event = only_event(build(click(occurred_at=NOW - timedelta(microseconds=876_500))))

    assert event["event_at"] == int(NOW.timestamp()) * 1000 - 877


@pytest.mark.parametrize(("younger", "kind"), [(timedelta(seconds=1), None), (timedelta(0), Kind.EXPIRED)])
def test_the_age_limit_stops_an_event_alone(younger: timedelta, kind: Kind | None) -> None:
    old = click(occurred_at=NOW - timedelta(hours=168) + AGE_MARGIN + younger)
    built = build(click(), old)

    assert [unsendable.verdict.kind for unsendable in built.unsendable] == ([] if kind is None else [kind])
    assert built.prepared[0].positions == ((0, 1) if kind is None else (0,))


def test_limited_data_use_where_the_player_refused_personalisation() -> None:
    event = only_event(build(click(consent=Consent(ad_personalization=False))))

    assert event["user"] == {"data_processing_options": {"modes": ["LDU"]}}


def test_a_late_refusal_of_postbacks_is_not_sent() -> None:
    built = build(click(consent=Consent(postbacks=False)))

    assert not built.prepared
    assert built.unsendable[0].verdict.kind is Kind.SKIPPED


def test_test_events_stand_alone() -> None:
    built = build(click(), click(), test_id="t2_test")

    bodies = [orjson.loads(prepared.request.body) for prepared in built.prepared]
    assert [body["data"]["test_id"] for body in bodies] == ["t2_test", "t2_test"]
    assert [len(body["data"]["events"]) for body in bodies] == [1, 1]


def test_long_click_ids_are_untouched_and_requests_stay_under_a_megabyte() -> None:
    built = build(*[click(click_value="c" * 2_000) for _ in range(1_000)])

    assert len(built.prepared) > 1
    assert all(len(prepared.request.body) <= 1_000_000 for prepared in built.prepared)
    assert {event["click_id"] for prepared in built.prepared for event in events_of(prepared)} == {"c" * 2_000}


@settings(max_examples=60, deadline=None)
@given(st.lists(conversions(("rdt_cid",), ({"name": "Install"}, {"name": "PURCHASE"}, {"name": "🎮"})), max_size=4))
def test_every_conversion_stands_in_exactly_one_place(drawn: list[Conversion]) -> None:
    built = build(*drawn)

    places = [place for prepared in built.prepared for place in prepared.positions]
    assert sorted([*places, *(unsendable.position for unsendable in built.unsendable)]) == list(range(len(drawn)))
    for prepared in built.prepared:
        events = events_of(prepared)
        assert [orjson.loads(part) for part in prepared.parts] == events
        assert ",".join(prepared.parts).encode() in prepared.request.body
        assert [event["metadata"]["conversion_id"] for event in events] == [drawn[at].key for at in prepared.positions]


def test_success() -> None:
    body = {"data": {"message": "Successfully processed 3 conversion events."}}

    assert [verdict.kind for verdict in read(200, body, count=3)] == [Kind.DELIVERED] * 3


@pytest.mark.parametrize(
    ("body", "count", "kind"),
    [
        ({"data": {"message": "Successfully processed 1 conversion events."}}, 2, Kind.SPLIT),
        ({"data": {"message": "Successfully processed 0 conversion events."}}, 1, Kind.RETRY),
        ({"message": "Successfully processed 1 conversion events.", "invalid_events": [{}]}, 1, Kind.RETRY),
        ({"data": {"message": "Successfully processed 1 conversion events.", "invalid_events": [{}]}}, 1, Kind.RETRY),
        ({"data": {"message": "Successfully processed 1 conversion events."}, "errors": [{}]}, 1, Kind.RETRY),
        ({"data": {"message": "There were 1 invalid conversion events. None were processed."}}, 1, Kind.RETRY),
        ({"data": {"message": "OK"}}, 1, Kind.RETRY),
        ({"message": "Unauthorized"}, 1, Kind.RETRY),
        ({"data": {"message": "Successfully processed , conversion events."}}, 1, Kind.RETRY),
        (b"", 1, Kind.RETRY),
        (b"[]", 1, Kind.RETRY),
        (b"<html>sign in</html>", 1, Kind.RETRY),
        ({}, 1, Kind.RETRY),
    ],
)
def test_a_2xx_that_counts_too_little_is_no_success(body: Any, count: int, kind: Kind) -> None:
    assert {verdict.kind for verdict in read(200, body, count=count)} == {kind}


def test_a_number_may_be_written_with_commas() -> None:
    body = {"data": {"message": "Successfully processed 1,000 conversion events."}}

    assert read(200, body)[0].kind is Kind.DELIVERED


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"ratelimit": '"events";r=0;t=42'}, 42),
        ({"ratelimit": '"events";r=7;t=42'}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, 9),
        ({"x-ratelimit-remaining": "0.0", "x-ratelimit-reset": "9"}, 9),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "9"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
    ],
)
def test_a_spent_window_is_known_before_the_next_request(headers: dict[str, str], wait: float | None) -> None:
    (verdict,) = read(200, {"data": {"message": "Successfully processed 1 conversion events."}}, headers=headers)

    assert (verdict.kind, verdict.retry_after, verdict.throttled) == (Kind.DELIVERED, wait, wait is not None)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("event_at timestamp must be less than 168h0m0s old", Kind.EXPIRED),
        ("event_at timestamp must not be in the future", Kind.RETRY),
        ("missing action_source", Kind.REFUSED),
    ],
)
def test_a_bare_reason_is_read_once_its_event_is_alone(message: str, kind: Kind) -> None:
    assert {verdict.kind for verdict in read(400, error(400, message), count=2)} == {Kind.SPLIT}
    assert [verdict.kind for verdict in read(400, error(400, message))] == [kind]


def test_a_503_that_says_when_to_come_back_pauses_the_destination() -> None:
    (verdict,) = read(503, b"", headers={"retry-after": "30"})

    assert (verdict.kind, verdict.retry_after, verdict.throttled) == (Kind.RETRY, 30, True)


def test_plain_words_are_shown_and_markup_is_not() -> None:
    plain = read(401, b"Authorization Required", headers={"content-type": "text/plain; charset=utf-8"})
    page = read(401, b"<html>Authorization Required</html>", headers={"content-type": "text/html"})

    assert plain[0].message == "Authorization Required"
    assert "<" not in page[0].message


def test_only_the_named_events_are_taken_out() -> None:
    body = invalid(
        (1, "action_source", "action_source: invalid action_source: website"),
        (3, "event_at", "event_at timestamp must be less than 168h0m0s old"),
        (3, "user.UUID", "user.UUID: invalid UUID: UUID must be RFC-4122 compliant"),
    )
    verdicts = read(400, body, count=4)

    assert [verdict.kind for verdict in verdicts] == [Kind.RETRY, Kind.REFUSED, Kind.RETRY, Kind.EXPIRED]
    assert verdicts[0].retry_after == verdicts[2].retry_after == 0
    assert verdicts[1].message == "action_source: invalid action_source: website"
    assert "168h" not in (verdicts[1].excerpt or "")
    assert "action_source" not in (verdicts[0].excerpt or "")


def test_a_clock_ahead_of_reddits_is_no_fault_of_the_event() -> None:
    (verdict,) = read(400, invalid((0, "event_at", "event_at timestamp must not be in the future")))

    assert (verdict.kind, verdict.retry_after) == (Kind.RETRY, None)
    assert "clock" in verdict.remedy


@pytest.mark.parametrize(
    "body",
    [
        error(400, "Bad Request"),
        error(400, 'JSON error "unknown field" on field "value_decimal"'),
        error(400, "missing action_source"),
        invalid((7, "event_at", "an index that we did not send")),
        b"<html>400</html>",
    ],
)
def test_a_400_that_names_no_event_is_split_until_one_is_left(body: Any) -> None:
    assert {verdict.kind for verdict in read(400, body, count=3)} == {Kind.SPLIT}
    assert [verdict.kind for verdict in read(400, body)] == [Kind.REFUSED]


ROWS = [
    (401, error(401, "No bearer token provided"), Kind.HOLD),
    (401, error(401, "UNAUTHORIZED"), Kind.HOLD),
    (401, b"Authorization Required", Kind.HOLD),
    (401, {"success": False, "error": {"reason": "UNAUTHORIZED", "explanation": "no"}}, Kind.HOLD),
    (403, error(403, "You're not authorized to post conversions to Pixel ID a2_abc."), Kind.HOLD),
    (403, error(403, "Missing adsconversions scope to post conversions to Pixel."), Kind.HOLD),
    (404, error(404, "Not Found"), Kind.HOLD),
    (413, b"", Kind.SPLIT),
    (429, error(429, "Your user agent was automatically ratelimited."), Kind.RETRY),
    (429, error(429, "Too many requests/events within timeframe."), Kind.RETRY),
    (500, error(500, "The service is currently unavailable. No conversion events were processed."), Kind.RETRY),
    (502, b"<html>bad gateway</html>", Kind.RETRY),
    (503, b"", Kind.RETRY),
    (504, b"", Kind.RETRY),
    (302, b"", Kind.RETRY),
    (418, b"", Kind.RETRY),
]


@pytest.mark.parametrize(("status", "body", "kind"), ROWS)
def test_answers_for_the_whole_request(status: int, body: Any, kind: Kind) -> None:
    verdicts = read(status, body, count=2)

    assert {verdict.kind for verdict in verdicts} == {kind}
    assert all(verdict.message and verdict.code == f"http_{status}" for verdict in verdicts)
    assert all(verdict.remedy for verdict in verdicts if kind is Kind.HOLD)
    assert {verdict.throttled for verdict in verdicts} == {status == 429}


def test_every_row_of_the_table_has_a_test() -> None:
    texts = [(status, body.decode() if isinstance(body, bytes) else str(body)) for status, body, _ in ROWS]
    texts += [(400, "JSON error"), (400, "")]

    for row in ANSWERS:
        assert any(next((r for r in ANSWERS if r.fits(status, "", text)), None) is row for status, text in texts), row


def test_the_scope_and_the_user_agent_have_remedies_of_their_own() -> None:
    assert "scope" in read(403, error(403, "Missing adsconversions scope to post conversions to Pixel."))[0].remedy
    assert "user_agent" in read(429, error(429, "Your user agent was automatically ratelimited."))[0].remedy


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"ratelimit": '"ads-conversion-events-rps";r=0;t=42'}, 42),
        ({"ratelimit": '"a";r=5;t=90, "b";r=0;t=3'}, 3),
        ({"x-ratelimit-reset": "12.5"}, 12.5),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 30)}, 30),
        ({"x-ratelimit-reset": "soon"}, None),
    ],
)
def test_a_429_waits_as_long_as_its_headers_say(headers: dict[str, str], seconds: float | None) -> None:
    (verdict,) = read(429, error(429, "Too many requests/events within timeframe."), headers=headers)

    assert (verdict.retry_after, verdict.throttled) == (seconds, True)


def test_no_answer_may_have_been_stored() -> None:
    (prepared,) = build(click()).prepared
    (verdict,) = REDDIT.read(reddit_target(), prepared, TransportFailure("timeout", "no answer", sent=True), NOW)

    assert (verdict.kind, verdict.ambiguous) == (Kind.RETRY, True)


def test_the_check_sends_no_event() -> None:
    request = REDDIT.check_request(reddit_target(), NOW, None)

    assert orjson.loads(request.body) == {"data": {"events": []}}


@pytest.mark.parametrize(
    ("status", "message", "ok", "remedy"),
    [
        (400, "Bad Request", True, ""),
        (401, "UNAUTHORIZED", False, "access_token"),
        (403, "You're not authorized to post conversions to Pixel ID a2_abc.", False, "pixel_id"),
        (404, "Not Found", False, "pixel_id"),
        (500, "The service is currently unavailable.", False, "try again"),
    ],
)
def test_the_check_tells_a_good_token_from_a_bad_one(status: int, message: str, ok: bool, remedy: str) -> None:
    result = REDDIT.read_check(reddit_target(), Response(status, {}, orjson.dumps(error(status, message))))

    assert result.ok is ok
    assert remedy in result.remedy


@pytest.mark.parametrize(
    ("status", "body"), [(400, b"<html>Bad Request</html>"), (200, b"<html>sign in</html>"), (200, b""), (200, b"{}")]
)
def test_the_check_believes_only_reddit_itself(status: int, body: bytes) -> None:
    result = REDDIT.read_check(reddit_target(), Response(status, {}, body))

    assert (result.ok, result.code) == (False, f"http_{status}")
    assert "POSTBACKS_REDDIT_API_BASE" in result.remedy


@pytest.mark.parametrize(
    ("credentials", "options"),
    [
        ({"pixel_id": "a2/abc"}, {}),
        ({"access_token": "Bearer eyJ"}, {}),
        ({}, {"action_source": "PHYSICAL_STORE"}),
        ({}, {"user_agent": "python-requests/2.32"}),
        ({}, {"user_agent": "a\r\nX-Evil: 1"}),
        ({}, {"test_mode": True}),
    ],
)
def test_settings_that_reddit_would_refuse_are_refused_when_saved(
    credentials: dict[str, str], options: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        target(REDDIT, CREDENTIALS | credentials, options)


def test_action_source_in_lower_case_is_understood() -> None:
    assert only_event(build(click(), action_source="website"))["action_source"] == "WEBSITE"
