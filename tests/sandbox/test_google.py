"""Route B of the Google simulator: `events:ingest`, rule by rule (sheet google, rules 26 to 41)."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any

import orjson
import pytest

from postbacks.sandbox.base import Fault, Seen
from postbacks.sandbox.google import GoogleSimulator
from postbacks.sandbox.google_state import Ingested, Token
from tests.sandbox.google_driver import DAY, EVENT, HOUR, INGEST, NOW, Driver, changed, violations

E0 = "events.events[0]"
D0 = "destinations[0]"
HASH = sha256(b"player@example.test").hexdigest()
MISSING = "REQUIRED_FIELD_MISSING"
OLD_ACTION = {"type": "UPLOAD_CLICKS", "counting": "MANY_PER_CLICK", "created_at": 0, "owner": "1002003004"}


def people(*identifiers: dict[str, Any], encoding: str = "HEX") -> dict[str, Any]:
    body = changed(INGEST, "events.0.userData", {"userIdentifiers": list(identifiers)})
    return body if not encoding else {**body, "encoding": encoding}


def destinations(*changes: dict[str, Any]) -> dict[str, Any]:
    return {**INGEST, "destinations": [{**INGEST["destinations"][0], **change} for change in changes]}


REFUSED: list[tuple[int, dict[str, Any], str, str]] = [
    (30, changed(INGEST, "destinations", []), "destinations", MISSING),
    (30, changed(INGEST, "destinations", ...), "destinations", MISSING),
    (30, changed(INGEST, "events", []), "events", MISSING),
    (30, destinations({}, *({"reference": f"d{n}"} for n in range(10))), "destinations", "TOO_MANY_DESTINATIONS"),
    (30, changed(INGEST, "events", [EVENT] * 2001), "events", "TOO_MANY_EVENTS"),
    (31, destinations({"operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "100-200-3004"}}),
     f"{D0}.operating_account.account_id", "INVALID_NUMBER_FORMAT"),
    (31, changed(INGEST, "destinations.0.loginAccount.accountId", "x1"),
     f"{D0}.login_account.account_id", "INVALID_NUMBER_FORMAT"),
    (31, changed(INGEST, "destinations.0.operatingAccount", ...), f"{D0}.operating_account", MISSING),
    (31, changed(INGEST, "destinations.0.operatingAccount.accountId", ...),
     f"{D0}.operating_account.account_id", MISSING),
    (31, changed(INGEST, "destinations.0.operatingAccount.accountType", ...),
     f"{D0}.operating_account.account_type", MISSING),
    (31, changed(INGEST, "destinations.0.operatingAccount.accountType", "FLOODLIGHT_CONFIG"),
     f"{D0}.operating_account.account_type", "INVALID_DESTINATION"),
    (31, changed(INGEST, "destinations.0.operatingAccount.product", "DATA_PARTNER"),
     f"{D0}.operating_account.product", "INVALID_DESTINATION"),
    (31, destinations({"linkedAccount": {"accountType": "GOOGLE_ADS", "accountId": "1"}}),
     f"{D0}.linked_account", "LINKED_ACCOUNT_ONLY_ALLOWED_WITH_DATA_PARTNER_LOGIN_ACCOUNT"),
    (32, changed(INGEST, "destinations.0.productDestinationId", ...), f"{D0}.product_destination_id", MISSING),
    (32, destinations({"productDestinationId": "customers/1002003004/conversionActions/55501"}),
     f"{D0}.product_destination_id", "INVALID_NUMBER_FORMAT"),
    (32, destinations({"productDestinationId": "99999"}),
     f"{D0}.product_destination_id", "INVALID_CONVERSION_ACTION_ID"),
    (33, destinations({}, {"productDestinationId": "55502"}),
     "destinations[1].reference", "DUPLICATE_DESTINATION_REFERENCE"),
    (33, changed(INGEST, "events.0.destinationReferences", ["install", "other"]),
     f"{E0}.destination_references", "INVALID_DESTINATION"),
    (34, changed(INGEST, "events.0.eventTimestamp", ...), f"{E0}.event_timestamp", MISSING),
    (34, changed(INGEST, "events.0.eventTimestamp", "2026-11-23T12:01:01Z"),
     f"{E0}.event_timestamp", "EVENT_TIME_INVALID"),
    (34, changed(INGEST, "events.0.eventTimestamp", "2026-08-25T11:59:59Z"),
     f"{E0}.event_timestamp", "EVENT_TIME_INVALID"),
    (35, changed(INGEST, "events.0.eventSource", ...), f"{E0}.event_source", MISSING),
    (35, changed(INGEST, "events.0.eventSource", "EVENT_SOURCE_UNSPECIFIED"), f"{E0}.event_source", MISSING),
    (36, changed(INGEST, "events.0.adIdentifiers", ...), f"{E0}.ad_identifiers", "NO_IDENTIFIERS_PROVIDED"),
    (36, changed(INGEST, "events.0.adIdentifiers", {"gclid": ""}), f"{E0}.ad_identifiers", "NO_IDENTIFIERS_PROVIDED"),
    (36, changed(INGEST, "events.0.adIdentifiers.gclid", "G1"), f"{E0}.ad_identifiers", "INVALID_EVENT"),
    (37, changed(INGEST, "events.0.transactionId", ""), f"{E0}.transaction_id", MISSING),
    (37, changed(INGEST, "events.0.currency", "EURO"), f"{E0}.currency", "INVALID_CURRENCY_CODE"),
    (37, changed(INGEST, "events.0.currency", "eur"), f"{E0}.currency", "INVALID_CURRENCY_CODE"),
    (38, people({"emailAddress": HASH}, encoding=""), "encoding", MISSING),
    (38, people({"emailAddress": "player@example.test"}),
     f"{E0}.user_data.user_identifiers[0]", "INVALID_HEX_ENCODING"),
    (38, people({"phoneNumber": HASH[:-2]}), f"{E0}.user_data.user_identifiers[0]", "INVALID_SHA256_FORMAT"),
    (38, people({"emailAddress": HASH}, {"address": {"givenName": "Ann"}}),
     f"{E0}.user_data.user_identifiers[1]", "INVALID_HEX_ENCODING"),
    (38, people({"emailAddress": "=#="}, encoding="BASE64"),
     f"{E0}.user_data.user_identifiers[0]", "INVALID_BASE64_ENCODING"),
    (38, people({"emailAddress": "aGk="}, encoding="BASE64"),
     f"{E0}.user_data.user_identifiers[0]", "INVALID_SHA256_FORMAT"),
    (38, people(*[{"emailAddress": HASH}] * 11), f"{E0}.user_data.user_identifiers", "TOO_MANY_USER_IDENTIFIERS"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "body", "field", "reason"), REFUSED)
def test_a_broken_rule_is_named_and_nothing_is_stored(rule: int, body: Any, field: str, reason: str) -> None:
    driver = Driver()
    reply = driver.ingest(body)
    assert (reply.status, violations(reply)) == (400, [(field, reason)]), rule
    assert driver.sim.stored == {}


ACTIONS = [
    (32, {"owner": "7777777777"}, "INVALID_CONVERSION_ACTION_ID"),
    (32, {"type": "WEBPAGE"}, "INVALID_CONVERSION_ACTION_TYPE"),
    (32, {"created_at": NOW - 5 * HOUR}, "CONVERSION_ACTION_TOO_RECENTLY_CREATED"),
]


@pytest.mark.parametrize(("rule", "change", "reason"), ACTIONS)
def test_a_conversion_action_must_fit(rule: int, change: dict[str, Any], reason: str) -> None:
    driver = Driver(conversion_actions={"55501": {**OLD_ACTION, **change}})
    assert violations(driver.ingest(INGEST)) == [(f"{D0}.product_destination_id", reason)], rule


SWITCHED = [
    (31, "rule_31", False, changed(INGEST, "destinations.0.operatingAccount.product", "DATA_PARTNER"), []),
    (32, "rule_32", False, destinations({"productDestinationId": "a/b"}),
     [(f"{D0}.product_destination_id", "INVALID_CONVERSION_ACTION_ID")]),
    (33, "rule_33", False, changed(INGEST, "events.0.destinationReferences", ["other"]), []),
    (34, "rule_34", False, changed(INGEST, "events.0.eventTimestamp", "2020-01-01T00:00:00Z"), []),
    (34, "past_days", 200, changed(INGEST, "events.0.eventTimestamp", "2026-06-25T00:00:00Z"), []),
    (34, "future_seconds", 90, changed(INGEST, "events.0.eventTimestamp", "2026-11-23T12:01:01Z"), []),
    (36, "rule_36", False, changed(INGEST, "events.0.adIdentifiers.gclid", "G1"), []),
    (37, "rule_37", False, changed(INGEST, "events.0.transactionId", ...), []),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "switch", "value", "body", "left"), SWITCHED)
def test_an_uncertain_rule_can_be_switched(rule: int, switch: str, value: Any, body: Any, left: Any) -> None:
    reply = Driver(**{switch: value}).ingest(body)
    assert (violations(reply) if left else reply.status) == (left or 200), rule


@pytest.mark.parametrize(
    "body",
    [
        INGEST,
        changed(INGEST, "destinations.0.loginAccount", ...),
        changed(INGEST, "events.0.destinationReferences", ...),
        changed(INGEST, "events.0.adIdentifiers", {"sessionAttributes": "e30"}),
        changed(INGEST, "events.0.adIdentifiers", {"landingPageDeviceInfo": {"ipAddress": "192.0.2.1"}}),
        changed(INGEST, "events.0.eventTimestamp", "2026-08-25T12:00:00Z"),
        changed(INGEST, "events.0.conversionValue", ...),
        changed(INGEST, "events", [{**EVENT, "transactionId": f"t{n}"} for n in range(2000)]),
        people({"emailAddress": HASH}, {"phoneNumber": HASH}),
        {"destinations": INGEST["destinations"], "events": [{**EVENT, "userId": None}], "validate_only": False},
    ],
)
def test_good_requests_are_taken(body: Any) -> None:
    driver = Driver()
    reply = driver.ingest(body)
    assert reply.status == 200, reply.body
    assert list(reply.body) == ["requestId"]
    assert len(driver.sim.stored) == len(body["events"])


def test_what_is_stored_can_be_compared_with_what_was_sent() -> None:
    driver = Driver()
    driver.ingest(INGEST)
    one = driver.sim.stored["55501", "evt-0001"]
    assert (one.key, one.name, one.click_id) == ("evt-0001", "55501", "DemoGbraid22")
    assert (one.value, one.currency, one.copies, one.raw) == (4.99, "EUR", 1, EVENT)
    assert one.occurred_at == 1795179789.0


def test_rule_39_lists_every_violation_and_stores_nothing() -> None:
    driver = Driver()
    good, no_source, twice_bad = EVENT, changed(EVENT, "eventSource", ...), changed(EVENT, "currency", "??")
    del twice_bad["transactionId"]
    body = {**INGEST, "events": [good, no_source, twice_bad]}
    body = changed(body, "destinations.0.productDestinationId", "1")
    assert violations(driver.ingest(body)) == [
        (f"{D0}.product_destination_id", "INVALID_CONVERSION_ACTION_ID"),
        ("events.events[1].event_source", MISSING),
        ("events.events[2].transaction_id", MISSING),
        ("events.events[2].currency", "INVALID_CURRENCY_CODE"),
    ]
    assert driver.sim.stored == {}


def test_the_error_has_the_shape_of_example_b2() -> None:
    reply = Driver().ingest(changed(INGEST, "events.0.eventSource", ...))
    error = reply.body["error"]
    rid = error["details"][1]["requestId"]
    assert rid.startswith("t-")
    assert error == {
        "code": 400,
        "message": "request not acceptable",
        "status": "INVALID_ARGUMENT",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "INVALID_ARGUMENT",
                "domain": "datamanager.googleapis.com",
                "metadata": {"requestId": rid},
            },
            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": rid},
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [
                    {"field": f"{E0}.event_source", "description": "required field absent", "reason": MISSING}
                ],
            },
        ],
    }


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("jobId", 1, "jobId"),
        ("events.0.conversionEnvironment", "APP", "events[0].conversionEnvironment"),
        ("events.0.consent.adUserData", "GRANTED", "events[0].consent.ad_user_data"),
        ("events.0.eventSource", "MOBILE", "events[0].event_source"),
        ("events.0.eventTimestamp", "2026-11-20 14:03:09+01:00", "events[0].event_timestamp"),
        ("events.0.eventTimestamp", "2026-11-20T14:03:09", "events[0].event_timestamp"),
        ("events.0.eventTimestamp", "2026-13-20T14:03:09Z", "events[0].event_timestamp"),
        ("events.0.transactionId", 17, "events[0].transaction_id"),
        ("destinations.0.productDestinationId", 55501, "destinations[0].product_destination_id"),
        ("events.0.conversionValue", "much", "events[0].conversion_value"),
        ("events.0.adIdentifiers", "gclid", "events[0].ad_identifiers"),
        ("validateOnly", "true", "validate_only"),
        ("events", {}, "events"),
        ("events.0.user_id", 3, "events[0].user_id"),
    ],
)
def test_rule_29_json_that_does_not_fit_the_message(path: str, value: Any, field: str) -> None:
    reply = Driver().ingest(changed(INGEST, path, value))
    assert (reply.status, violations(reply)) == (400, [(field, "")])
    assert len(reply.body["error"]["details"]) == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"{", "application/json"), (b"[]", "application/json"), (orjson.dumps(INGEST), "text/plain")],
)
def test_rule_29_bodies_that_are_no_json_object(body: bytes, content_type: str) -> None:
    driver = Driver()
    headers = {**driver.headers(), "content-type": content_type}
    reply = driver.send("POST", "/v1/events:ingest", body, headers)
    assert (reply.status, violations(reply)) == (400, [("", "")])


def test_rule_28_needs_access_to_the_account() -> None:
    driver = Driver(accounts={"1002003004": ["1002003004"]})
    reply = driver.ingest(INGEST)
    assert (reply.status, reply.body["error"]["details"][0]["reason"]) == (403, "PERMISSION_DENIED")
    assert driver.ingest(changed(INGEST, "destinations.0.loginAccount", ...)).status == 200
    assert Driver(accounts={}).ingest(INGEST).status == 200


def test_rule_40_quota_per_minute_and_day() -> None:
    driver = Driver(requests_per_minute=2, requests_per_day=3)
    assert [driver.ingest(INGEST).status for _ in range(3)] == [200, 200, 429]
    driver.now += 61
    replies = [driver.ingest(INGEST), driver.ingest(INGEST)]
    assert [one.status for one in replies] == [200, 429]
    assert replies[1].body["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert replies[1].headers == {}
    driver.token = ""
    driver.now += DAY
    assert driver.ingest(INGEST).status == 200
    assert Driver(requests_per_minute=1, rule_40=True).ingest(INGEST, "quota").headers == {"Retry-After": "120"}


@pytest.mark.parametrize("filled", [True, False])
def test_rule_41_validate_only_stores_nothing(filled: bool) -> None:
    driver = Driver(rule_41=filled)
    reply = driver.ingest({**INGEST, "validateOnly": True})
    assert (reply.status, "requestId" in reply.body, driver.sim.stored) == (200, filled, {})
    if filled:
        assert driver.status(reply.body["requestId"]).status == 400
    assert driver.ingest({**changed(INGEST, "events.0.eventSource", ...), "validateOnly": True}).status == 400


def test_cart_data_with_a_braid_is_taken_with_a_warning() -> None:
    reply = Driver().ingest(changed(INGEST, "events.0.cartData", {"merchantId": "1"}))
    assert reply.status == 200
    assert reply.body["fieldWarnings"][0]["field"] == f"{E0}.cart_data"


@pytest.mark.parametrize(("index", "field"), [(True, "events.events[1]"), (False, "events")])
def test_a_poisoned_event_sinks_the_request(index: bool, field: str) -> None:
    driver = Driver(poison="BOOM", poison_index=index)
    body = {**INGEST, "events": [EVENT, {**EVENT, "transactionId": "xBOOMx"}]}
    assert violations(driver.ingest(body)) == [(field, "INVALID_EVENT")]
    assert driver.ingest(INGEST).status == 200


def test_any_reason_can_be_asked_for() -> None:
    driver = Driver(event_errors={"evt-0001": "EVENT_SOURCE_AND_DESTINATION_MISMATCH"})
    assert violations(driver.ingest(INGEST)) == [(E0, "EVENT_SOURCE_AND_DESTINATION_MISMATCH")]
    driver = Driver(destination_errors={"55501": "NOT_ALLOWLISTED"})
    assert violations(driver.ingest(INGEST)) == [(f"{D0}.product_destination_id", "NOT_ALLOWLISTED")]


@pytest.mark.parametrize(
    ("fault", "status", "reason", "domain"),
    [
        ("unauthenticated", 401, "ACCESS_TOKEN_EXPIRED", "googleapis.com"),
        ("scope_insufficient", 403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com"),
        ("api_disabled", 403, "SERVICE_DISABLED", "googleapis.com"),
        ("permission_denied", 403, "PERMISSION_DENIED", "datamanager.googleapis.com"),
        ("quota", 429, "RESOURCE_EXHAUSTED", "datamanager.googleapis.com"),
        ("internal", 500, "INTERNAL_ERROR", "datamanager.googleapis.com"),
    ],
)
def test_faults_before_anything_is_stored(fault: str, status: int, reason: str, domain: str) -> None:
    driver = Driver()
    reply = driver.ingest(INGEST, fault)
    info = reply.body["error"]["details"][0]
    assert (reply.status, info["reason"], info["domain"]) == (status, reason, domain)
    assert driver.sim.stored == {}
    assert driver.ingest(INGEST).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "stored"), [("unavailable", 503, 0), ("internal_after", 500, 1), ("deadline_after", 504, 1)]
)
def test_faults_without_a_word_of_detail(fault: str, status: int, stored: int) -> None:
    driver = Driver()
    reply = driver.ingest(INGEST, fault)
    assert (reply.status, "details" in reply.body["error"], len(driver.sim.stored)) == (status, False, stored)


def test_a_fault_waits_for_the_endpoint_that_it_belongs_to() -> None:
    sim = GoogleSimulator()
    kinds = ["internal", "newcomer", "token_server_error", "slow"]
    for kind in kinds:
        sim.add_fault(Fault(kind))
    upload = "/v26/customers/1:uploadClickConversions"
    taken = [
        sim._take_fault(Seen("POST", path, path, {}, {}, b"", NOW))
        for path in ("/token", "/token", "/v1/events:ingest", "/v1/events:ingest", upload)
    ]
    assert [one and one.kind for one in taken] == ["token_server_error", "slow", "internal", None, "newcomer"]
    assert sim.faults == []


def test_memory_is_bounded_by_keep() -> None:
    driver = Driver(keep=10)
    for number in range(40):
        driver.ingest(changed(INGEST, "events.0.transactionId", f"t{number}"))
    assert [key for _, key in driver.sim.stored] == [f"t{number}" for number in range(30, 40)]
    sink = Driver(keep=0)
    assert sink.ingest(INGEST).status == 200
    assert sink.sim.stored == {}


def test_tokens_and_requests_are_bounded_too() -> None:
    state = GoogleSimulator().state
    for number in range(60_000):
        state.add_token(f"t{number}", Token("client", frozenset(), NOW))
        state.add_request(f"r{number}", Ingested(NOW, []))
    assert len(state.tokens) <= 10_000
    assert len(state.requests) <= 50_000
    assert "t59999" in state.tokens
    assert "r59999" in state.requests


def test_reset_forgets_all_but_tokens_and_defaults_stay_untouched() -> None:
    driver = Driver()
    before = copy.deepcopy(GoogleSimulator.defaults())
    driver.sim.switches["clicks"]["x"] = 1
    driver.ingest(INGEST)
    driver.sim.reset()
    assert (driver.sim.stored, driver.sim.switches) == ({}, before)
    assert driver.ingest(INGEST).status == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/events:ingest"), ("POST", "/v2/events:ingest")])
def test_other_paths_are_not_served(method: str, path: str) -> None:
    assert Driver().send(method, path).status == 404
