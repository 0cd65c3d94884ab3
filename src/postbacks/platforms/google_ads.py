"""The route for grandfathered accounts: the Google Ads API's `uploadClickConversions` (sheet google, 1).

Google answers at once and for each conversion: 200, with a partial failure for every row that it did not take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from postbacks.domain.model import Conversion, Kind, Verdict
from postbacks.domain.money import json_number
from postbacks.platforms.base import Answer, Built, CheckResult, Prepared, Request, Response, TransportFailure
from postbacks.platforms.google_ads_answers import code_of, known_row, pause_of, place_of, row_of
from postbacks.platforms.google_answers import (
    ANSWER_LIMIT,
    NO_CLOCK,
    QUOTA_PAUSE,
    GoogleError,
    Row,
    by_field,
    decisive,
    details,
    failed_check,
    objects,
    read_error,
    refusal,
    unlocated,
    unreadable,
    words,
)
from postbacks.platforms.google_config import ADS_BASE, GoogleTarget, action_id
from postbacks.platforms.google_conversions import conversion_time, sort_out
from postbacks.platforms.reading import json_object, same_for_all, transport_verdict

_ROW = re.compile(r"conversions\[(\d+)\]")

_PROBE_ACTION = "1"

_ABOUT_PROBE = frozenset(
    {
        "NO_CONVERSION_ACTION_FOUND",
        "INVALID_CONVERSION_ACTION_TYPE",
        "UNAUTHORIZED_CUSTOMER",
        "INVALID_CUSTOMER_FOR_CLICK",
    }
)
"""What Google may say of the check's own invented action and click."""

_VERSION_GONE = Row(
    Kind.HOLD,
    "Google knows no such address: this version of its API may be switched off.",
    "Set options.api_version to a live version (v26), or switch route to data_manager.",
)


def build(target: GoogleTarget, conversions: Sequence[Conversion], now: datetime, token: str | None) -> Built:
    """As few requests as have answers that can be read: some hundreds of rows each (Google takes 2,000).

    Two conversions of one click in one second go into different requests: Google refuses both where it meets them in
    one (`DUPLICATE_CLICK_CONVERSION_IN_REQUEST`; sheet google, 4.1).
    """
    sendable, unsendable = sort_out(conversions, now)
    seen: dict[tuple[str, str], int] = {}
    rounds: list[list[int]] = []
    for position in sendable:
        conversion = conversions[position]
        moment = (conversion.click.value, _to_the_second(conversion_time(conversion, now)))
        nth = seen[moment] = seen.get(moment, -1) + 1
        if nth == len(rounds):
            rounds.append([])
        rounds[nth].append(position)
    return Built(
        [
            _prepared(target, positions, conversions, now, token)
            for places in rounds
            for positions in _answerable(places, conversions)
        ],
        unsendable,
    )


def read(target: GoogleTarget, prepared: Prepared, answer: Answer, now: datetime) -> Sequence[Verdict]:
    """One verdict per row, found by its index (sheet google, 1.5), or one for all where the request was refused."""
    count = len(prepared.positions)
    if isinstance(answer, TransportFailure):
        return same_for_all(transport_verdict(answer), count)
    if answer.status == 200:
        body = json_object(answer)
        return same_for_all(unreadable(answer, count), count) if body is None else _by_row(answer, body, count)
    error = read_error(answer)
    if error and error.violations and answer.status == 400 and not error.failures:
        return by_field(error, count, _ROW, {})
    return same_for_all(_whole(answer, error, count, now), count)


def check_request(target: GoogleTarget, now: datetime, token: str | None) -> Request:
    """A `validateOnly` upload of one invented row: Google stores nothing (sheet google, 1.3)."""
    row = {
        "gclid": "postbacks-check",
        "conversionAction": _action_name(target, _PROBE_ACTION),
        "conversionDateTime": _to_the_second(now),
        "orderId": "postbacks_check",
    }
    return _upload(target, orjson.dumps({"partialFailure": True, "validateOnly": True, "conversions": [row]}), token)


def read_check(target: GoogleTarget, answer: Answer) -> CheckResult:
    """Whether identity, account and project work. Complaints about the invented action and click are expected."""
    if isinstance(answer, TransportFailure):
        return failed_check(transport_verdict(answer))
    body = json_object(answer)
    if answer.status != 200 or body is None:
        return failed_check(_whole(answer, read_error(answer), 1, NO_CLOCK))
    for failure in _failures(body):
        row = row_of(failure)
        if row.kind is Kind.HOLD and code_of(failure)[1] not in _ABOUT_PROBE:
            return failed_check(_verdict([failure]))
    return CheckResult(ok=True, message="Google accepts the credentials for this account; nothing was recorded.")


def _answerable(places: Sequence[int], conversions: Sequence[Conversion]) -> Iterable[list[int]]:
    """The places in lists whose answers stay below the length at which a body is cut: Google echoes every row.

    The estimate suits rows that mostly succeed; a longer answer has the request split (`unreadable`).
    """
    chunk: list[int] = []
    length = 0
    for place in places:
        echo = 256 + 2 * len(conversions[place].click.value.encode())
        if chunk and length + echo > ANSWER_LIMIT:
            yield chunk
            chunk, length = [], 0
        chunk.append(place)
        length += echo
    if chunk:
        yield chunk


def _prepared(
    target: GoogleTarget, positions: Sequence[int], conversions: Sequence[Conversion], now: datetime, token: str | None
) -> Prepared:
    parts = [orjson.dumps(_row(target, conversions[position], now)) for position in positions]
    body = b'{"partialFailure":true,"conversions":[' + b",".join(parts) + b"]}"
    return Prepared(_upload(target, body, token), tuple(positions), tuple(part.decode() for part in parts))


def _row(target: GoogleTarget, conversion: Conversion, now: datetime) -> dict[str, Any]:
    row: dict[str, Any] = {
        conversion.click.type: conversion.click.value,
        "conversionAction": _action_name(target, action_id(conversion.mapping)),
        "conversionDateTime": _to_the_second(conversion_time(conversion, now)),
        "orderId": conversion.key,
    }
    if conversion.value is not None and conversion.currency:
        row["conversionValue"] = json_number(conversion.value, conversion.currency)
        row["currencyCode"] = conversion.currency
    environment = target.options.conversion_environment or ("APP" if target.options.event_source == "APP" else None)
    if environment:
        row["conversionEnvironment"] = environment
    if conversion.consent.postbacks is not None:
        # adPersonalization is for Google's user-list services alone, although the schema takes it (sheet google, 1.3).
        row["consent"] = {"adUserData": "GRANTED" if conversion.consent.postbacks else "DENIED"}
    return row


def _action_name(target: GoogleTarget, action: str) -> str:
    return f"customers/{target.credentials.operating_account_id}/conversionActions/{action}"


def _to_the_second(moment: datetime) -> str:
    """`2026-11-20 13:03:09+00:00`. Rounded up: cut off, a conversion could come to lie before its click."""
    if moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1)
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")


def _upload(target: GoogleTarget, body: bytes, token: str | None) -> Request:
    credentials = target.credentials
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if credentials.login_account_id:
        headers["login-customer-id"] = credentials.login_account_id
    customer = f"{target.options.api_version}/customers/{credentials.operating_account_id}"
    return Request("POST", f"{target.bases[ADS_BASE]}/{customer}:uploadClickConversions", headers, body)


def _failures(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    status = body.get("partialFailureError")
    if not isinstance(status, dict):
        return []
    return [failure for detail in details(status, ".GoogleAdsFailure") for failure in objects(detail.get("errors"))]


def _by_row(answer: Response, body: Mapping[str, Any], count: int) -> Sequence[Verdict]:
    by_place: dict[int, list[dict[str, Any]]] = {}
    common: list[dict[str, Any]] = []
    for failure in _failures(body):
        place = place_of(failure)
        if place is None or not 0 <= place < count:
            common.append(failure)
        else:
            by_place.setdefault(place, []).append(failure)
    listed = body.get("results")
    results = listed if isinstance(listed, list) and len(listed) == count else [None] * count
    verdicts: list[Verdict] = []
    for place, result in enumerate(results):
        if place in by_place:
            verdicts.append(_verdict(by_place[place]))
        elif result:
            verdicts.append(Verdict(Kind.DELIVERED, excerpt=orjson.dumps(result).decode()))
        elif common:
            verdicts.append(_verdict(common))
        else:
            # Neither a result nor a failure. A repeat is safe: the orderId counts once.
            verdicts.append(replace(unreadable(answer), code="no_result", ambiguous=True))
    return verdicts


def _verdict(failures: Sequence[Mapping[str, Any]]) -> Verdict:
    """The verdict for one row from all that Google says about it."""
    rows = {code_of(failure)[1] or "UNKNOWN": (failure, row_of(failure)) for failure in failures}
    code, row = decisive([(code, row) for code, (_, row) in rows.items()])
    failure = rows[code][0]
    verdict = row.verdict(code, words(failure.get("message")), orjson.dumps(list(failures)).decode())
    if code_of(failure)[0] != "quotaError":
        return verdict
    return replace(verdict, retry_after=pause_of(failure) or QUOTA_PAUSE, throttled=True)


def _whole(answer: Response, error: GoogleError | None, count: int, now: datetime) -> Verdict:
    """The verdict for a request that was refused whole (sheet google, 4.2).

    A code that the tables know to need a person wins over the status; else 401, 403, 429 and 5xx speak for themselves.
    """
    failures = error.failures if error else ()
    known = [failure for failure in failures if known_row(failure)]
    lead = _verdict(known) if known else None
    if lead and lead.kind is Kind.HOLD:
        return replace(lead, excerpt=None)
    code = lead.code if lead else code_of(failures[0])[1] if failures else ""
    refused = refusal(answer, error, now, code=code, pause=lead.retry_after if lead else None)
    if refused:
        return refused
    if lead and lead.kind is Kind.RETRY:
        return replace(lead, excerpt=None)
    if answer.status == 404:
        return _VERSION_GONE.verdict("http_404")
    if error is None or answer.status != 400:
        return unreadable(answer, count)
    return unlocated(error, count, code=code, said=lead.message if lead else "")
