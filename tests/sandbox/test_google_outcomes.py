"""Route B after the 200: asynchronous outcomes, repeats and status (sheet google, 2.4, 2.5 and rules 42 to 44)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.google_driver import DAY, EVENT, HOUR, INGEST, NOW, Driver, changed

PREFIX = "PROCESSING_ERROR_REASON_"
AT = 1795179789.0
"""The time of the example's event."""


def gclid(value: str = "Gclid_1", **more: Any) -> dict[str, Any]:
    return {**INGEST, "events": [{**EVENT, "adIdentifiers": {"gclid": value}, **more}]}


def reasons(told: dict[str, Any]) -> list[tuple[str, list[int]]]:
    return [(one["reason"], one["recordIndices"]) for one in told.get("errorInfo", {}).get("errorCounts", [])]


def test_success_names_the_destination_and_counts_all_events() -> None:
    assert Driver().outcome(INGEST) == {
        "destination": INGEST["destinations"][0],
        "requestStatus": "SUCCESS",
        "eventsIngestionStatus": {"recordCount": "1"},
    }


def test_a_partial_success_as_in_example_b3() -> None:
    driver = Driver(async_outcomes={"young": "TOO_RECENT_CLICK"})
    events = [{**EVENT, "transactionId": name} for name in ("a", "b", "young-c")]
    told = driver.outcome({**INGEST, "events": events})
    assert told["requestStatus"] == "PARTIAL_SUCCESS"
    assert told["eventsIngestionStatus"] == {"recordCount": "3"}
    assert told["errorInfo"] == {
        "errorCounts": [{"recordCount": "1", "reason": f"{PREFIX}TOO_RECENT_CLICK", "recordIndices": [2]}]
    }
    assert [key for _, key in driver.sim.stored] == ["a", "b"]


CASES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("too young", {"clicks": {"Gclid_1": NOW - 5 * HOUR}}, gclid(eventTimestamp="2026-11-23T11:00:00Z"),
     "TOO_RECENT_CLICK"),
    ("before the click", {"clicks": {"Gclid_1": AT + 1}}, gclid(), "CONVERSION_PRECEDES_CLICK"),
    ("too old", {"clicks": {"Gclid_1": NOW - 91 * DAY}}, gclid(), "EVENT_TOO_OLD"),
    ("outside the action's window",
     {"clicks": {"Gclid_1": AT - 31 * DAY}, "conversion_actions": {"55501": {"lookback_days": 30}}}, gclid(),
     "EVENT_TOO_OLD"),
    ("unknown", {"unknown_clicks": "CLICK_NOT_FOUND"}, gclid(), "CLICK_NOT_FOUND"),
    ("invalid", {"unknown_clicks": "INVALID_CLICK"}, gclid(), "INVALID_CLICK"),
    ("of another account", {"click_owners": {"Gclid_1": "42"}}, gclid(), "INVALID_OPERATING_ACCOUNT_FOR_CLICK"),
    ("no gclid", {}, gclid("broken!"), "INVALID_GCLID"),
    ("no gbraid", {}, changed(INGEST, "events.0.adIdentifiers", {"gbraid": "b d"}), "INVALID_GBRAID"),
    ("no wbraid", {}, changed(INGEST, "events.0.adIdentifiers", {"wbraid": "ä"}), "INVALID_WBRAID"),
    ("one per click", {"conversion_actions": {"55501": {"counting": "ONE_PER_CLICK"}}}, INGEST,
     "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID"),
    ("denied", {}, gclid(consent={"adUserData": "CONSENT_DENIED"}), "DENIED_CONSENT"),
    ("denied for all", {}, {**gclid(consent={}), "consent": {"adUserData": "CONSENT_DENIED"}}, "DENIED_CONSENT"),
    ("forced", {"async_outcomes": {"Gclid_1": "INTERNAL_ERROR"}}, gclid(), "INTERNAL_ERROR"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "switches", "body", "reason"), CASES)
def test_rule_43_an_event_is_refused_later(case: str, switches: Any, body: Any, reason: str) -> None:
    driver = Driver(**switches)
    told = driver.outcome(body)
    assert (told["requestStatus"], reasons(told)) == ("FAILED", [(PREFIX + reason, [0])]), case
    assert driver.sim.stored == {}


@pytest.mark.parametrize(
    ("switches", "body"),
    [
        ({"clicks": {"Gclid_1": NOW - 6 * HOUR}}, gclid(eventTimestamp="2026-11-23T11:00:00Z")),
        ({"clicks": {"Gclid_1": AT}}, gclid()),
        ({"clicks": {"Gclid_1": NOW - 90 * DAY}}, gclid()),
        ({"clicks": {"Gclid_1": AT - 30 * DAY}, "conversion_actions": {"55501": {"lookback_days": 30}}}, gclid()),
        ({"click_owners": {"Gclid_1": "1002003004"}}, gclid()),
        ({"conversion_actions": {"55501": {"counting": "ONE_PER_CLICK"}}}, gclid()),
        ({}, {**gclid(), "consent": {"adUserData": "CONSENT_DENIED"}}),
    ],
)
def test_rule_43_limits_and_overrides_that_are_fine(switches: Any, body: Any) -> None:
    assert Driver(**switches).outcome(body)["requestStatus"] == "SUCCESS"


@pytest.mark.parametrize(("mode", "expected"), [(1, [(f"{PREFIX}DUPLICATE_TRANSACTION_ID", [0])]), (2, [])])
def test_rule_43_a_repeat_counts_once(mode: int, expected: Any) -> None:
    driver = Driver(duplicate_mode=mode)
    assert reasons(driver.outcome(gclid())) == []
    assert reasons(driver.outcome(gclid())) == expected
    assert [one.copies for one in driver.sim.stored.values()] == [2]


def test_rule_43_another_value_adjusts_the_first() -> None:
    driver = Driver(duplicate_mode=1)
    driver.outcome(gclid())
    assert driver.outcome(gclid(conversionValue=9.5, currency="USD"))["requestStatus"] == "SUCCESS"
    (one,) = driver.sim.stored.values()
    assert (one.value, one.currency, one.copies) == (9.5, "USD", 2)


def test_rule_43_the_same_click_and_time_under_another_transaction() -> None:
    driver = Driver()
    driver.outcome(gclid())
    assert reasons(driver.outcome(gclid(transactionId="evt-0002"))) == [(f"{PREFIX}DUPLICATE_GCLID", [0])]
    other_action = changed(gclid(transactionId="evt-0003"), "destinations.0.productDestinationId", "55504")
    assert driver.outcome(other_action)["requestStatus"] == "SUCCESS"
    assert driver.outcome(changed(INGEST, "events.0.transactionId", "evt-0004"))["requestStatus"] == "SUCCESS"


def test_events_go_to_the_destinations_that_they_name() -> None:
    driver = Driver(async_outcomes={"bad": "INVALID_EVENT"})
    first = INGEST["destinations"][0]
    both = [first, {**first, "reference": "purchase", "productDestinationId": "55504"}]
    events = [
        {**EVENT, "transactionId": "to-install"},
        {**EVENT, "transactionId": "bad-to-purchase", "destinationReferences": ["purchase"]},
        {**EVENT, "transactionId": "to-both", "destinationReferences": []},
    ]
    answer = driver.ingest({**INGEST, "destinations": both, "events": events})
    install, purchase = driver.status(answer.body["requestId"]).body["requestStatusPerDestination"]
    assert (install["requestStatus"], install["eventsIngestionStatus"]["recordCount"]) == ("SUCCESS", "2")
    assert (purchase["requestStatus"], reasons(purchase)) == ("PARTIAL_SUCCESS", [(f"{PREFIX}INVALID_EVENT", [1])])
    assert set(driver.sim.stored) == {("55501", "to-install"), ("55501", "to-both"), ("55504", "to-both")}


def test_rule_42_processing_until_the_time_has_passed() -> None:
    driver = Driver(processing_seconds=1800)
    request_id = driver.ingest(INGEST).body["requestId"]
    driver.now += 1799
    told = driver.status(request_id).body["requestStatusPerDestination"]
    assert told == [{"destination": INGEST["destinations"][0], "requestStatus": "PROCESSING"}]
    driver.now += 1
    assert driver.status(request_id).body["requestStatusPerDestination"][0]["requestStatus"] == "SUCCESS"


def test_rule_42_unknown_and_old_requests() -> None:
    driver = Driver(token_seconds=100 * DAY)
    unknown = driver.status("never-heard-of")
    assert (unknown.status, unknown.body["error"]["details"][0]["reason"]) == (400, "INVALID_REQUEST_ID")
    request_id = driver.ingest(INGEST).body["requestId"]
    driver.now += 50 * DAY + 1
    old = driver.status(request_id)
    assert (old.status, old.body["error"]["details"][0]["reason"]) == (400, "REQUEST_TOO_OLD")


def test_rule_28_holds_for_the_status_too() -> None:
    driver = Driver()
    request_id = driver.ingest(INGEST).body["requestId"]
    driver.sim.set_switches({"accounts": {"1002003004": []}})
    assert driver.status(request_id).status == 403


@pytest.mark.parametrize(("switch", "indices"), [(True, [0]), ("text", ["0"]), (False, None)])
def test_rule_44_record_indices(switch: Any, indices: Any) -> None:
    told = Driver(record_indices=switch).outcome(gclid("broken!"))
    assert told["errorInfo"]["errorCounts"][0].get("recordIndices") == indices


def test_rule_44_a_reason_that_nobody_knows() -> None:
    driver = Driver(unknown_reason="SOMETHING_NEW")
    assert reasons(driver.outcome(INGEST)) == [("SOMETHING_NEW", [0])]


def test_a_failure_may_come_in_other_words_or_without_any() -> None:
    told = Driver(failed_status="FAILURE", error_info=False).outcome(gclid("broken!"))
    assert (told["requestStatus"], "errorInfo" in told) == ("FAILURE", False)
