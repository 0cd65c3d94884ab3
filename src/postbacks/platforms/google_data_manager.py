"""The default route to Google: the Data Manager API's `events:ingest` (sheet google, 2).

Google answers a request at once only for its form, all or nothing. What became of each event is asked for later
with the `requestId`; `google_outcomes` reads that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.domain.money import json_number
from postbacks.platforms.base import Answer, Built, CheckResult, Prepared, Request, TransportFailure
from postbacks.platforms.google_answers import (
    NO_CLOCK,
    Violation,
    by_field,
    failed_check,
    reached,
    read_error,
    refusal,
    text,
    unreadable,
)
from postbacks.platforms.google_config import DATA_MANAGER_BASE, GoogleTarget, action_id
from postbacks.platforms.google_conversions import MAX_BATCH, chunks, conversion_time, sort_out
from postbacks.platforms.google_data_manager_answers import DESTINATION_REFUSED, REQUEST_REASONS
from postbacks.platforms.reading import json_object, same_for_all, transport_verdict
from postbacks.platforms.times import zulu

_EVENT = re.compile(r"(?:events\.)?events\[(\d+)\]")
"""Google writes `events.events[0].event_source` (sheet google, 4.3), and `events[0]` for JSON that it cannot read."""

_DESTINATION = re.compile(r"destinations\[(\d+)\]")

MAX_DESTINATIONS = 10
"""Destinations in one request (sheet google, 2.2)."""

PROBE_ACTION = "1"
"""Conversion action of a check that has none to ask about. None has this ID, so that Google's complaint about it proves
all that precedes."""

_ABOUT_ACTION = frozenset({"INVALID_CONVERSION_ACTION_ID", "INVALID_CONVERSION_ACTION_TYPE"})


def build(target: GoogleTarget, conversions: Sequence[Conversion], now: datetime, token: str | None) -> Built:
    """One request per conversion action, each with a single destination and at most 2,000 events.

    A request could carry ten destinations, but Google refuses it whole for a fault in one of them, and reports
    outcomes per destination; with one, a wrong conversion action stops only its own events and `recordIndices`
    (API v1.9) are plainly places in the body. Where Google leaves the indices out, `google_outcomes` has the requests
    split instead of sending small ones always: the quota is 300 requests a minute, polls included (sheet google,
    2.3 and 2.4).
    """
    sendable, unsendable = sort_out(conversions, now)
    by_action: dict[str, list[int]] = {}
    for position in sendable:
        by_action.setdefault(action_id(conversions[position].mapping), []).append(position)
    return Built(
        [
            _prepared(target, action, positions, conversions, now, token)
            for action, places in by_action.items()
            for positions in chunks(places, MAX_BATCH)
        ],
        unsendable,
    )


def read(target: GoogleTarget, prepared: Prepared, answer: Answer, now: datetime) -> Sequence[Verdict]:
    """ACCEPTED with the `requestId`, to be confirmed; or why Google stored nothing (sheet google, 4.3)."""
    count = len(prepared.positions)
    if isinstance(answer, TransportFailure):
        return same_for_all(transport_verdict(answer), count)
    if answer.status == 200:
        request_id = text((json_object(answer) or {}).get("requestId"))
        accepted = Verdict(
            Kind.ACCEPTED,
            message="Google took the events and decides about each of them later.",
            reference=request_id,
            retry_after=target.options.confirm_after_minutes * 60,
        )
        return same_for_all(accepted if request_id else unreadable(answer, count), count)
    error = read_error(answer)
    whole = refusal(answer, error, now)
    if whole:
        return same_for_all(whole, count)
    if error is None or answer.status != 400:
        return same_for_all(unreadable(answer, count), count)
    return by_field(error, count, _EVENT, REQUEST_REASONS, DESTINATION_REFUSED)


def confirm_request(target: GoogleTarget, reference: str, token: str | None) -> Request:
    """Asks what became of an accepted request; needs no account, only the identity (sheet google, 2.4)."""
    url = f"{target.bases[DATA_MANAGER_BASE]}/v1/requestStatus:retrieve?requestId={quote(reference, safe='')}"
    return Request("GET", url, _bearer(token))


def check_request(target: GoogleTarget, actions: Sequence[str], now: datetime, token: str | None) -> Request:
    """A `validateOnly` request: Google tests token, accounts, actions and form, and stores nothing (sheet google, 2.2).

    It goes to the first ten of `actions`, as many as a request may name; without any, to one that does not exist.
    """
    probed = _probed(actions)
    event = {
        "destinationReferences": probed,
        "transactionId": "postbacks_check",
        "eventTimestamp": zulu(now),
        "eventSource": target.options.event_source,
        "adIdentifiers": {"gclid": "postbacks-check"},
    }
    destinations = [_destination(target, action) for action in probed]
    body = {"validateOnly": True, "destinations": destinations, "events": [event]}
    return _ingest(target, orjson.dumps(body), token)


def read_check(target: GoogleTarget, actions: Sequence[str], answer: Answer) -> CheckResult:
    """Whether identity, accounts and actions work. Complaints about what the check itself invents are expected."""
    if isinstance(answer, TransportFailure):
        return failed_check(transport_verdict(answer))
    if answer.status == 200 and json_object(answer) is not None:
        return reached(actions, MAX_DESTINATIONS)
    error = read_error(answer)
    whole = refusal(answer, error, NO_CLOCK)
    if whole:
        return failed_check(whole)
    if error is None or answer.status != 400:
        return failed_check(unreadable(answer))
    left = [
        replace(violation, description=_naming(violation, actions))
        for violation in error.violations
        if not _expected(violation, actions)
    ]
    if not left and (error.violations or _expected(Violation("", error.reason, "", {}), actions)):
        return reached(actions, MAX_DESTINATIONS)
    return failed_check(by_field(replace(error, violations=left), 1, _EVENT, REQUEST_REASONS, DESTINATION_REFUSED)[0])


def _probed(actions: Sequence[str]) -> list[str]:
    return list(actions[:MAX_DESTINATIONS]) or [PROBE_ACTION]


def _expected(violation: Violation, actions: Sequence[str]) -> bool:
    """Whether Google only complains of what the check invents (a click, an action), or of what passes by itself."""
    row = REQUEST_REASONS.get(violation.reason)
    if row is not None and row.kind is Kind.RETRY and row.retry_after:
        return True
    about_action = violation.reason in _ABOUT_ACTION or violation.field.endswith("product_destination_id")
    if about_action:
        return not actions
    of_settings = row is not None and row.kind is Kind.HOLD
    return bool(_EVENT.match(violation.field) and violation.reason and not of_settings)


def _naming(violation: Violation, actions: Sequence[str]) -> str:
    """Google's words, with the number of the conversion action where they are about one."""
    words = violation.description or violation.reason
    match = _DESTINATION.match(violation.field)
    if match and int(match[1]) < len(actions):
        return f"{words} (conversion_action_id {actions[int(match[1])]})"
    return words


def _prepared(
    target: GoogleTarget,
    action: str,
    positions: Sequence[int],
    conversions: Sequence[Conversion],
    now: datetime,
    token: str | None,
) -> Prepared:
    parts = [orjson.dumps(_event(target, action, conversions[position], now)) for position in positions]
    destinations = orjson.dumps([_destination(target, action)])
    body = b'{"destinations":' + destinations + b',"events":[' + b",".join(parts) + b"]}"
    return Prepared(_ingest(target, body, token), tuple(positions), tuple(part.decode() for part in parts))


def _event(target: GoogleTarget, action: str, conversion: Conversion, now: datetime) -> dict[str, Any]:
    event: dict[str, Any] = {
        # With one destination Google needs no reference; it tells a reader of the attempt log which action this was.
        "destinationReferences": [action],
        "transactionId": conversion.key,
        "eventTimestamp": zulu(conversion_time(conversion, now)),
        "eventSource": target.options.event_source,
        "adIdentifiers": {conversion.click.type: conversion.click.value},
    }
    if conversion.value is not None and conversion.currency:
        event["conversionValue"] = json_number(conversion.value, conversion.currency)
        event["currency"] = conversion.currency
    if consent := _consent(conversion.consent):
        event["consent"] = consent
    return event


def _consent(consent: Consent) -> Mapping[str, str]:
    if consent.postbacks is None and consent.ad_personalization is None:
        return {}
    flags = {"adUserData": consent.postbacks, "adPersonalization": consent.ad_personalization}
    return {name: "CONSENT_GRANTED" if flag else "CONSENT_DENIED" for name, flag in flags.items() if flag is not None}


def _destination(target: GoogleTarget, action: str) -> dict[str, Any]:
    credentials = target.credentials
    destination: dict[str, Any] = {"reference": action, "operatingAccount": _account(credentials.operating_account_id)}
    if credentials.login_account_id:
        destination["loginAccount"] = _account(credentials.login_account_id)
    return destination | {"productDestinationId": action}


def _account(account_id: str) -> Mapping[str, str]:
    return {"accountType": "GOOGLE_ADS", "accountId": account_id}


def _ingest(target: GoogleTarget, body: bytes, token: str | None) -> Request:
    headers = {**_bearer(token), "Content-Type": "application/json"}
    return Request("POST", f"{target.bases[DATA_MANAGER_BASE]}/v1/events:ingest", headers, body)


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
