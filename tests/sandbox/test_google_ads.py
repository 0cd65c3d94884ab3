"""Route A of the Google simulator: `uploadClickConversions` (sheet google, section 1 and rules 5 to 25)."""

from __future__ import annotations

from typing import Any

import pytest

from postbacks.sandbox.base import Reply
from tests.sandbox.google_driver import DAY, HOUR, NOW, ROW, Driver, ads_error, changed, row_errors, rows, violations

UPLOAD = "conversionUploadError"
AT = 1795179789.0
ONE_PER_CLICK = {"conversion_actions": {"55501": {"counting": "ONE_PER_CLICK"}}}
ACTION = "conversion_action"
DATE = "conversion_date_time"
DATE_CODE = "INVALID_STRING_DATE_TIME_SECONDS_WITH_OFFSET"


def row(**change: Any) -> dict[str, Any]:
    """The good row with fields replaced; `...` removes one."""
    return {name: value for name, value in {**ROW, **change}.items() if value is not ...}


def test_example_a1() -> None:
    driver = Driver()
    broken = row(gclid=..., gbraid="broken!", orderId="evt-0002", conversionValue=..., currencyCode=...)
    reply = driver.upload(rows(ROW, broken, jobId=41))
    failure = reply.body["partialFailureError"]
    rid = failure["details"][0]["requestId"]
    assert reply.headers == {"request-id": rid}
    assert reply.body["jobId"] == "41"
    assert reply.body["results"] == [
        {name: ROW[name] for name in ("gclid", "conversionAction", "conversionDateTime")},
        {},
    ]
    assert failure == {
        "code": 3,
        "message": "unparseable gbraid, at conversions[1].gbraid",
        "details": [
            {
                "@type": "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure",
                "errors": [
                    {
                        "errorCode": {UPLOAD: "UNPARSEABLE_GBRAID"},
                        "message": "unparseable gbraid",
                        "trigger": {"stringValue": "broken!"},
                        "location": {
                            "fieldPathElements": [{"fieldName": "conversions", "index": 1}, {"fieldName": "gbraid"}]
                        },
                    }
                ],
                "requestId": rid,
            }
        ],
    }
    one = driver.sim.stored["55501", "evt-0001"]
    assert (one.click_id, one.occurred_at, one.value, one.currency, one.raw) == (ROW["gclid"], AT, 4.99, "EUR", ROW)
    assert len(driver.sim.stored) == 1


@pytest.mark.parametrize("number", [41, 41.0, "41"])
def test_rule_16_a_job_id_is_echoed_as_text(number: Any) -> None:
    assert Driver().upload(rows(ROW, jobId=number)).body["jobId"] == "41"


def test_rule_25_all_good_has_no_partial_failure() -> None:
    reply = Driver().upload(rows(ROW))
    assert (reply.status, sorted(reply.body)) == (200, ["jobId", "results"])
    assert int(reply.body["jobId"]) >= 2**31


@pytest.mark.parametrize("version", [23, 24, 25, 26])
def test_rule_5_living_versions_and_rule_9_a_developer_token(version: int) -> None:
    reply = Driver().upload(rows(row(gclid="no!")), version=version, developer_token="sunset")
    assert f".v{version}." in reply.body["partialFailureError"]["details"][0]["@type"]


BAD = (400, "INVALID_ARGUMENT")
DENIED = (403, "PERMISSION_DENIED")
NOT_ALLOWED = ("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE")
REQUESTS: list[tuple[int, dict[str, Any], dict[str, Any], Any, tuple[Any, ...]]] = [
    (5, {}, {"version": 22}, rows(ROW), (*BAD, "requestError", "UNSUPPORTED_VERSION")),
    (5, {}, {"customer": "100-200-3004"}, rows(ROW), (*BAD, "requestError", "INVALID_CUSTOMER_ID")),
    (8, {}, {"login_customer_id": "900-800-7006"}, rows(ROW), (*BAD, "headerError", "INVALID_LOGIN_CUSTOMER_ID")),
    (8, {}, {"login_customer_id": "1111111111"}, rows(ROW),
     (*DENIED, "authorizationError", "USER_PERMISSION_DENIED")),
    (10, {"access_level": "test"}, {}, rows(ROW),
     (*DENIED, "authorizationError", "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION")),
    (10, {"customer_enabled": False}, {}, rows(ROW), (*DENIED, "authorizationError", "CUSTOMER_NOT_ENABLED")),
    (11, {"newcomer": True}, {}, rows(ROW), (*DENIED, *NOT_ALLOWED)),
    (13, {}, {}, rows(ROW, partialFailure=False), (*BAD, "partialFailureError", "PARTIAL_FAILURE_MODE_REQUIRED")),
    (13, {}, {}, {"conversions": [ROW]}, (*BAD, "partialFailureError", "PARTIAL_FAILURE_MODE_REQUIRED")),
    (14, {}, {}, rows(), (*BAD, "requestError", "REQUIRED_FIELD_MISSING")),
    (14, {"rule_14": False}, {}, {"partialFailure": True}, (*BAD, "fieldError", "REQUIRED_NONEMPTY_LIST")),
    (15, {}, {}, rows(*[ROW] * 2001), (*BAD, UPLOAD, "TOO_MANY_CONVERSIONS_IN_REQUEST")),
    (16, {}, {}, rows(ROW, jobId=0), (*BAD, UPLOAD, "INVALID_JOB_ID")),
    (16, {}, {}, rows(ROW, jobId=-3), (*BAD, UPLOAD, "INVALID_JOB_ID")),
    (25, {"ads_operations_per_day": 1}, {}, rows(ROW, row(orderId="b")),
     (429, "RESOURCE_EXHAUSTED", "quotaError", "RESOURCE_EXHAUSTED")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "switches", "call", "body", "error"), REQUESTS)
def test_a_broken_rule_of_the_request(rule: int, switches: Any, call: Any, body: Any, error: Any) -> None:
    driver = Driver(**switches)
    assert ads_error(driver.upload(body, **call)) == error, rule
    assert driver.sim.stored == {}


def test_rule_5_in_its_other_reading() -> None:
    assert Driver(rule_5=False).upload(rows(ROW), version=22).status == 404


def test_rule_8_a_manager_is_needed_where_there_is_no_direct_access() -> None:
    driver = Driver(accounts={"1002003004": ["9008007006"]})
    path, headers = "/v26/customers/1002003004:uploadClickConversions", driver.headers()
    reply = driver.send("POST", path, b"{}", headers)
    assert ads_error(reply) == (*DENIED, "authorizationError", "USER_PERMISSION_DENIED")
    assert driver.upload(rows(ROW)).status == 200


def test_rule_11_as_a_partial_failure() -> None:
    driver = Driver(newcomer=True, rule_11=False)
    assert row_errors(driver.upload(rows(ROW, ROW))) == [(0, *NOT_ALLOWED, ACTION), (1, *NOT_ALLOWED, ACTION)]
    assert driver.sim.stored == {}


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("debugEnabled", True, "debugEnabled"),
        ("conversions.0.eventSource", "APP", "conversions[0].eventSource"),
        ("conversions.0.consent.adUserData", "CONSENT_GRANTED", "conversions[0].consent.ad_user_data"),
        ("conversions.0.conversionEnvironment", "MOBILE", "conversions[0].conversion_environment"),
        ("conversions.0.orderId", 7, "conversions[0].order_id"),
        ("conversions.0.conversionValue", "x", "conversions[0].conversion_value"),
        ("partialFailure", "true", "partial_failure"),
        ("jobId", 2**31, "job_id"),
        ("conversions.0.sessionAttributesEncoded", None, None),
    ],
)
def test_rules_12_and_16_json_that_does_not_fit(path: str, value: Any, field: str | None) -> None:
    reply = Driver().upload(changed(rows(ROW), path, value))
    if field is None:
        assert reply.status == 200
    else:
        assert (reply.status, violations(reply)) == (400, [(field, "")])


BRAID = {"gclid": ..., "gbraid": "B1"}
ROWS: list[tuple[int, dict[str, Any], dict[str, Any], tuple[str, str, str]]] = [
    (17, {}, row(gclid=...), ("fieldError", "REQUIRED", "gclid")),
    (18, {}, row(gclid=..., gbraid="B1", wbraid="W1"), (UPLOAD, "GBRAID_WBRAID_BOTH_SET", "gbraid")),
    (18, {}, row(wbraid="W1"), ("fieldError", "VALUE_MUST_BE_UNSET", "gclid")),
    (18, {}, row(gbraid="B1"), ("fieldError", "VALUE_MUST_BE_UNSET", "gclid")),
    (18, {}, row(**BRAID, userIdentifiers=[{"hashedEmail": "x"}]),
     ("fieldError", "VALUE_MUST_BE_UNSET", "user_identifiers")),
    (19, {}, row(conversionAction=...), ("fieldError", "REQUIRED", ACTION)),
    (19, {}, row(conversionAction="55501"), ("requestError", "RESOURCE_NAME_MALFORMED", ACTION)),
    (19, {"rule_19": False}, row(conversionAction="55501"), (UPLOAD, "NO_CONVERSION_ACTION_FOUND", ACTION)),
    (19, {}, row(conversionAction="customers/1/conversionActions/9"), (UPLOAD, "NO_CONVERSION_ACTION_FOUND", ACTION)),
    (19, {"conversion_actions": {"55501": {"type": "WEBPAGE"}}}, ROW,
     (UPLOAD, "INVALID_CONVERSION_ACTION_TYPE", ACTION)),
    (19, {"conversion_actions": {"55501": {"created_at": NOW - 5 * HOUR}}}, ROW,
     (UPLOAD, "TOO_RECENT_CONVERSION_ACTION", ACTION)),
    (19, ONE_PER_CLICK, row(**BRAID),
     (UPLOAD, "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID", ACTION)),
    (20, {}, row(conversionDateTime=...), ("fieldError", "REQUIRED", DATE)),
    (20, {}, row(conversionDateTime="2026-11-20T14:03:09+01:00"), ("dateError", DATE_CODE, DATE)),
    (20, {}, row(conversionDateTime="2026-11-20 14:03:09Z"), ("dateError", DATE_CODE, DATE)),
    (20, {}, row(conversionDateTime="2026-11-20 14:03:09.5+01:00"), ("dateError", DATE_CODE, DATE)),
    (20, {}, row(conversionDateTime="2026-11-20 14:03:09"), ("dateError", DATE_CODE, DATE)),
    (20, {}, row(conversionDateTime="2026-11-31 14:03:09+01:00"), ("dateError", DATE_CODE, DATE)),
    (21, {"clicks": {ROW["gclid"]: AT + 1}}, ROW, (UPLOAD, "CONVERSION_PRECEDES_EVENT", DATE)),
    (21, {"clicks": {ROW["gclid"]: NOW - HOUR}}, row(conversionDateTime="2026-11-23 11:30:00+00:00"),
     (UPLOAD, "TOO_RECENT_EVENT", "gclid")),
    (21, {"clicks": {ROW["gclid"]: NOW - 91 * DAY}}, ROW, (UPLOAD, "EXPIRED_EVENT", "gclid")),
    (21, {"clicks": {ROW["gclid"]: AT - 31 * DAY}, "conversion_actions": {"55501": {"lookback_days": 30}}}, ROW,
     (UPLOAD, "EXPIRED_EVENT", "gclid")),
    (21, {"unknown_clicks": "CLICK_NOT_FOUND"}, ROW, (UPLOAD, "EVENT_NOT_FOUND", "gclid")),
    (21, {"click_owners": {ROW["gclid"]: "42"}}, ROW, (UPLOAD, "INVALID_CUSTOMER_FOR_CLICK", "gclid")),
    (21, {}, row(gclid="no good"), (UPLOAD, "UNPARSEABLE_GCLID", "gclid")),
    (21, {}, row(gclid=..., wbraid="no good"), (UPLOAD, "UNPARSEABLE_WBRAID", "wbraid")),
    (22, {}, row(currencyCode="ABC"), ("currencyCodeError", "UNSUPPORTED", "currency_code")),
    (22, {}, row(conversionValue=-1), ("fieldError", "INVALID_VALUE", "conversion_value")),
    (22, {}, row(conversionValue="NaN"), ("fieldError", "INVALID_VALUE", "conversion_value")),
    (23, {}, row(orderId="player@example.test"), (UPLOAD, "ORDER_ID_CONTAINS_PII", "order_id")),
    (24, {}, row(userIpAddress="192.0.2.1"), (*NOT_ALLOWED, "user_ip_address")),
    (24, {}, row(sessionAttributesEncoded="e30="), (*NOT_ALLOWED, "session_attributes_encoded")),
    (24, {}, row(sessionAttributesKeyValuePairs={"keyValuePairs": []}),
     (*NOT_ALLOWED, "session_attributes_key_value_pairs")),
    (24, {}, row(userIdentifiers=[{"hashedEmail": "x"}] * 6), ("collectionSizeError", "TOO_MANY", "user_identifiers")),
    (24, {"customer_data_terms": False}, row(userIdentifiers=[{"hashedEmail": "x"}]),
     (UPLOAD, "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS", "user_identifiers")),
    (25, {"row_errors": {"evt-0001": "internalError.TRANSIENT_ERROR"}}, ROW,
     ("internalError", "TRANSIENT_ERROR", "gclid")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "switches", "bad", "error"), ROWS)
def test_a_broken_rule_of_a_row_leaves_the_others_alone(rule: int, switches: Any, bad: Any, error: Any) -> None:
    switches = {"conversion_actions": {}, **switches}
    switches["conversion_actions"] = {"55501": {}, "55502": {}, **switches["conversion_actions"]}
    driver = Driver(**switches)
    good = row(gclid=..., wbraid="Good_1", orderId="good", conversionAction="customers/7/conversionActions/55502")
    if switches.get("unknown_clicks"):
        driver.sim.set_switches({"clicks": {"Good_1": NOW - DAY * 30}})
    reply = driver.upload(rows(good, bad))
    assert row_errors(reply) == [(1, *error)], rule
    assert [bool(one) for one in reply.body["results"]] == [True, False]
    assert list(driver.sim.stored) == [("55502", "good")]


@pytest.mark.parametrize(
    ("switches", "fine"),
    [
        ({"rule_17": False}, row(gclid=...)),
        ({"rule_18": False}, row(wbraid="W1")),
        ({"rule_18_gclid_gbraid": False}, row(gbraid="B1")),
        ({"rule_22": False}, row(currencyCode="ABC", conversionValue=-1)),
        ({"rule_24": False}, row(userIdentifiers=[{"hashedEmail": "x"}] * 6)),
        ({"allowlisted": True}, row(userIpAddress="192.0.2.1")),
        ({}, row(consent={"adUserData": "GRANTED", "adPersonalization": "GRANTED"})),
        ({}, row(conversionAction="customers/7/conversionActions/55501")),
        ({}, row(gclid=..., userIdentifiers=[{"hashedEmail": "x"}])),
        ({"clicks": {ROW["gclid"]: NOW - 90 * DAY}}, ROW),
        ({"clicks": {ROW["gclid"]: AT - 30 * DAY}, "conversion_actions": {"55501": {"lookback_days": 30}}}, ROW),
        (ONE_PER_CLICK, ROW),
    ],
)
def test_rows_that_are_taken(switches: Any, fine: Any) -> None:
    assert row_errors(Driver(**switches).upload(rows(fine))) == []


def again(first: dict[str, Any], second: dict[str, Any]) -> tuple[Driver, Reply]:
    driver = Driver()
    driver.upload(rows(first))
    return driver, driver.upload(rows(second))


def test_rule_23_an_order_that_was_seen_before() -> None:
    driver, reply = again(ROW, row(gclid="Another"))
    assert row_errors(reply) == [(0, UPLOAD, "ORDER_ID_ALREADY_IN_USE", "order_id")]
    assert driver.sim.stored["55501", "evt-0001"].copies == 2


@pytest.mark.parametrize("order", [..., "evt-0002"])
def test_rule_23_a_click_and_time_that_were_seen_before(order: Any) -> None:
    driver, reply = again(row(orderId=...), row(orderId=order))
    assert row_errors(reply) == [(0, UPLOAD, "CLICK_CONVERSION_ALREADY_EXISTS", "gclid")]
    assert [one.copies for one in driver.sim.stored.values()] == [2]


def test_rule_23_another_action_is_another_conversion() -> None:
    _, reply = again(ROW, row(conversionAction="customers/1/conversionActions/55504"))
    assert row_errors(reply) == []


def test_rule_23_twins_in_one_request_are_all_refused() -> None:
    driver = Driver()
    reply = driver.upload(rows(ROW, row(gclid="Another"), row(gclid="T", orderId=...), row(gclid="T", orderId=...)))
    assert row_errors(reply) == [
        (0, UPLOAD, "DUPLICATE_ORDER_ID", "order_id"),
        (1, UPLOAD, "DUPLICATE_ORDER_ID", "order_id"),
        (2, UPLOAD, "DUPLICATE_CLICK_CONVERSION_IN_REQUEST", "gclid"),
        (3, UPLOAD, "DUPLICATE_CLICK_CONVERSION_IN_REQUEST", "gclid"),
    ]
    assert driver.sim.stored == {}


def test_a_row_may_have_several_errors_and_the_message_names_the_first() -> None:
    reply = Driver().upload(rows(row(currencyCode="ABC", conversionAction=...)))
    assert [code for _, _, code, _ in row_errors(reply)] == ["REQUIRED", "UNSUPPORTED"]
    message = reply.body["partialFailureError"]["message"]
    assert message.endswith("required field absent, at conversions[0].conversion_action")


def test_rule_25_validate_only() -> None:
    driver = Driver()
    driver.upload(rows(ROW))
    reply = driver.upload(rows(ROW, row(gclid="New", orderId="evt-0009"), validateOnly=True))
    assert row_errors(reply) == [(0, UPLOAD, "ORDER_ID_ALREADY_IN_USE", "order_id")]
    assert "results" not in reply.body
    assert [(key, one.copies) for key, one in driver.sim.stored.items()] == [(("55501", "evt-0001"), 1)]


def test_poison_is_found_at_its_index() -> None:
    driver = Driver(poison="BOOM")
    reply = driver.upload(rows(ROW, row(orderId="xBOOMx", gclid="G2")))
    assert row_errors(reply) == [(1, UPLOAD, "UNPARSEABLE_GCLID", "gclid")]
    assert list(driver.sim.stored) == [("55501", "evt-0001")]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unauthenticated", (401, "UNAUTHENTICATED", "authenticationError", "OAUTH_TOKEN_EXPIRED")),
        ("permission_denied", (*DENIED, "authorizationError", "USER_PERMISSION_DENIED")),
        ("newcomer", (*DENIED, *NOT_ALLOWED)),
        ("quota", (429, "RESOURCE_EXHAUSTED", "quotaError", "RESOURCE_EXHAUSTED")),
        ("internal", (500, "INTERNAL", "internalError", "INTERNAL_ERROR")),
    ],
)
def test_faults_with_a_google_ads_failure(fault: str, error: Any) -> None:
    driver = Driver()
    assert ads_error(driver.upload(rows(ROW), fault=fault)) == error
    assert driver.sim.stored == {}


def test_a_throttled_caller_is_told_for_how_long() -> None:
    reply = Driver().upload(rows(ROW), fault="quota")
    error = reply.body["error"]["details"][0]["errors"][0]
    assert error["details"]["quotaErrorDetails"]["retryDelay"] == "7s"
    assert error["details"]["quotaErrorDetails"]["rateScope"] == "DEVELOPER"


@pytest.mark.parametrize(
    ("fault", "status", "stored"),
    [
        ("unavailable", 503, 0),
        ("api_disabled", 403, 0),
        ("scope_insufficient", 403, 0),
        ("internal_after", 500, 1),
        ("deadline_after", 504, 1),
    ],
)
def test_faults_without_a_google_ads_failure(fault: str, status: int, stored: int) -> None:
    driver = Driver()
    reply = driver.upload(rows(ROW), fault=fault)
    kinds = [one["@type"] for one in reply.body["error"].get("details", [])]
    assert (reply.status, len(driver.sim.stored)) == (status, stored)
    assert not any("GoogleAdsFailure" in kind for kind in kinds)
