"""Route B after the 200: what becomes of each event, and `requestStatus:retrieve` (rules 42 to 44).

The outcome is decided when the request arrives and told once `processing_seconds` have passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from postbacks.sandbox.base import Reply, Seen, Stored
from postbacks.sandbox.google_destinations import permitted
from postbacks.sandbox.google_errors import data_manager
from postbacks.sandbox.google_state import (
    CLICK_FIELDS,
    DAY,
    OLD_CLICK,
    YOUNG_CLICK,
    Ingested,
    Outcome,
    State,
    Switches,
    decodable,
    first_match,
    lookback,
)

PREFIX = "PROCESSING_ERROR_REASON_"
KEPT_DAYS = 50
"""For so long the status of a request can be asked for (sheet google, 2.4)."""


def settle(
    request_id: str, body: Mapping[str, Any], times: Sequence[float], now: float, state: State, switches: Switches
) -> None:
    """Stores what is accepted of a request and remembers why the rest is not."""
    outcomes = [Outcome(destination) for destination in body["destinations"]]
    shared_consent = body.get("consent", {})
    keep = switches["keep"]
    for index, (event, at) in enumerate(zip(body["events"], times, strict=True)):
        named = event.get("destinationReferences")
        for outcome in outcomes:
            if named and outcome.destination.get("reference") not in named:
                continue
            outcome.count += 1
            action = outcome.destination["productDestinationId"]
            reason = _refusal(event, at, action, shared_consent, now, state, switches)
            if not reason and keep > 0:
                reason = _store(event, at, action, now, state, switches)
            if reason:
                outcome.failures.setdefault(reason, []).append(index)
    state.trim(keep)
    state.add_request(request_id, Ingested(now, outcomes))


def _refusal(
    event: Mapping[str, Any],
    at: float,
    action: str,
    shared_consent: Mapping[str, Any],
    now: float,
    state: State,
    switches: Switches,
) -> str:
    """Rule 43: why this event does not count, or nothing."""
    kind, click = _click(event)
    transaction = event.get("transactionId", "")
    if switches["async_outcomes"]:
        forced = first_match(switches["async_outcomes"], click, transaction)
        if forced:
            return forced if forced.startswith("PROCESSING_") else PREFIX + forced
    if switches["unknown_reason"]:  # Rule 44
        return str(switches["unknown_reason"])
    if click:
        if not decodable(click):
            return f"{PREFIX}INVALID_{kind.upper()}"
        if kind != "gclid" and switches["conversion_actions"][action].get("counting") == "ONE_PER_CLICK":
            return PREFIX + "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID"
        reason = _click_refusal(click, at, action, now, switches)
        if reason:
            return PREFIX + reason
    if event.get("consent", shared_consent).get("adUserData", shared_consent.get("adUserData")) == "CONSENT_DENIED":
        return PREFIX + "DENIED_CONSENT"
    if kind == "gclid" and state.key_of_click(action, click, at) not in {None, _key(event, click)}:
        return PREFIX + "DUPLICATE_GCLID"
    return ""


def _click(event: Mapping[str, Any]) -> tuple[str, str]:
    identifiers = event.get("adIdentifiers", {})
    for kind in CLICK_FIELDS:
        if identifiers.get(kind):
            return kind, identifiers[kind]
    return "", ""


def _key(event: Mapping[str, Any], click: str) -> str:
    return event.get("transactionId") or f"{click}@{event['eventTimestamp']}"


def _click_refusal(click: str, at: float, action: str, now: float, switches: Switches) -> str:
    owner = switches["click_owners"].get(click)
    if owner is not None and owner != switches["conversion_actions"][action].get("owner", owner):
        return "INVALID_OPERATING_ACCOUNT_FOR_CLICK"
    clicked_at = switches["clicks"].get(click)
    if clicked_at is None:
        return "" if switches["unknown_clicks"] == "accept" else str(switches["unknown_clicks"])
    if at < clicked_at:
        return "CONVERSION_PRECEDES_CLICK"
    if now - clicked_at < YOUNG_CLICK:
        return "TOO_RECENT_CLICK"
    if now - clicked_at > OLD_CLICK or at - clicked_at > lookback(switches["conversion_actions"][action]):
        return "EVENT_TOO_OLD"
    return ""


def _store(event: dict[str, Any], at: float, action: str, now: float, state: State, switches: Switches) -> str:
    """Counts the event, once per action and transaction; a repeat adjusts value and currency (sheet google, 2.5)."""
    click = _click(event)[1]
    key = _key(event, click)
    value, currency = event.get("conversionValue"), event.get("currency")
    earlier = state.stored.get((action, key))
    if earlier is None:
        state.add(Stored(key, action, click, at, value, currency, event, now))
        return ""
    earlier.copies += 1
    if (earlier.value, earlier.currency) != (value, currency):
        earlier.value, earlier.currency = value, currency
        return ""
    return PREFIX + "DUPLICATE_TRANSACTION_ID" if switches["duplicate_mode"] == 1 else ""


def status(seen: Seen, state: State, switches: Switches) -> Reply:
    """Answers `requestStatus:retrieve` (rule 42)."""
    request = state.requests.get(seen.query.get("requestId", ""))
    if request is None:
        return data_manager(400, "INVALID_ARGUMENT", "INVALID_REQUEST_ID")
    if seen.at - request.at > KEPT_DAYS * DAY:
        return data_manager(400, "INVALID_ARGUMENT", "REQUEST_TOO_OLD")
    if not permitted([one.destination for one in request.outcomes], switches):  # Rule 28; sheet google, 2.4
        return data_manager(403, "PERMISSION_DENIED", "PERMISSION_DENIED")
    done = seen.at >= request.at + switches["processing_seconds"]
    told = [_told(one, switches) if done else _processing(one) for one in request.outcomes]
    return Reply(200, {"requestStatusPerDestination": told})


def _processing(outcome: Outcome) -> dict[str, Any]:
    return {"destination": outcome.destination, "requestStatus": "PROCESSING"}


def _told(outcome: Outcome, switches: Switches) -> dict[str, Any]:
    refused = sum(map(len, outcome.failures.values()))
    state = "SUCCESS"
    if refused:
        state = "PARTIAL_SUCCESS" if refused < outcome.count else switches["failed_status"]
    told = {
        "destination": outcome.destination,
        "requestStatus": state,
        "eventsIngestionStatus": {"recordCount": str(outcome.count)},
    }
    if refused and switches["error_info"]:
        told["errorInfo"] = {"errorCounts": [_count(*one, switches) for one in outcome.failures.items()]}
    return told


def _count(reason: str, indexes: Sequence[int], switches: Switches) -> dict[str, Any]:
    count: dict[str, Any] = {"recordCount": str(len(indexes)), "reason": reason}
    if switches["record_indices"] == "text":
        count["recordIndices"] = [str(index) for index in indexes]
    elif switches["record_indices"]:  # Rule 44
        count["recordIndices"] = list(indexes)
    return count
