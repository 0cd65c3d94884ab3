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
    GoogleError,
    Row,
    by_field,
    decisive,
    details,
    failed_check,
    objects,
    reached,
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

MAX_PROBED = 100
"""Conversion actions that a check asks about, far below what Google takes in one request."""

_ABOUT_ACTION = frozenset({"NO_CONVERSION_ACTION_FOUND", "INVALID_CONVERSION_ACTION_TYPE"})
"""What Google says of the action that a check invents where the destination has none."""

_ABOUT_PROBED_CLICK = frozenset({"UNAUTHORIZED_CUSTOMER", "INVALID_CUSTOMER_FOR_CLICK"})
"""What Google may say of the click that every check invents."""

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
        moment = (conversion.click.value, _moment(conversion, now))
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


def check_request(target: GoogleTarget, actions: Sequence[str], now: datetime, token: str | None) -> Request:
    """A `validateOnly` upload, one invented row for each of `actions`: Google stores nothing (sheet google, 1.3).

    Without any action the row names one that does not exist.
    """
    rows = [
        {
            "gclid": f"postbacks-check-{place}",
            "conversionAction": _action_name(target, action),
            "conversionDateTime": _to_the_second(now),
            "orderId": f"postbacks_check_{place}",
        }
        for place, action in enumerate(actions[:MAX_PROBED] or [_PROBE_ACTION])
    ]
    return _upload(target, orjson.dumps({"partialFailure": True, "validateOnly": True, "conversions": rows}), token)


def read_check(target: GoogleTarget, actions: Sequence[str], answer: Answer) -> CheckResult:
    """Whether identity, account, project and actions work. Complaints about the invented clicks are expected."""
    if isinstance(answer, TransportFailure):
        return failed_check(transport_verdict(answer))
    body = json_object(answer)
    if answer.status != 200 or body is None:
        return failed_check(_whole(answer, read_error(answer), 1, NO_CLOCK))
    expected = _ABOUT_PROBED_CLICK if actions else _ABOUT_PROBED_CLICK | _ABOUT_ACTION
    for failure in _failures(body):
        if row_of(failure).kind is Kind.HOLD and code_of(failure)[1] not in expected:
            verdict = _verdict([failure])
            place = place_of(failure)
            if place is not None and 0 <= place < len(actions):
                verdict = replace(verdict, message=f"{verdict.message} (conversion_action_id {actions[place]})")
            return failed_check(verdict)
    return reached(actions, MAX_PROBED)


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
        "conversionDateTime": _moment(conversion, now),
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


def _moment(conversion: Conversion, now: datetime) -> str:
    """The conversion's time in whole seconds, which is all that the format has.

    Cut off, so that it never lies in the future; rounded up only where it would come to lie before its click.
    """
    moment = conversion_time(conversion, now)
    cut = moment.replace(microsecond=0)
    return _to_the_second(cut if cut >= conversion.click.clicked_at else cut + timedelta(seconds=1))


def _to_the_second(moment: datetime) -> str:
    """`2026-11-20 13:03:09+00:00`."""
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
    return replace(verdict, retry_after=pause_of(failure), throttled=True)


def _whole(answer: Response, error: GoogleError | None, count: int, now: datetime) -> Verdict:
    """The verdict for a request that was refused whole (sheet google, 4.2).

    A code that the tables know to need a person wins over the status; else 401, 403, 429 and 5xx speak for themselves.
    A 401 always has the token fetched anew, once: what the code says counts where the fresh one is refused too.
    """
    failures = error.failures if error else ()
    known = [failure for failure in failures if known_row(failure)]
    lead = _verdict(known) if known else None
    if lead and lead.kind is Kind.HOLD and answer.status != 401:
        return replace(lead, excerpt=None)
    code = lead.code if lead else code_of(failures[0])[1] if failures else ""
    refused = refusal(answer, error, now, code=code, pause=lead.retry_after if lead else None)
    if refused:
        return replace(refused, remedy=lead.remedy) if lead and lead.remedy else refused
    if lead and lead.kind is Kind.RETRY:
        return replace(lead, excerpt=None)
    if answer.status == 404:
        return _VERSION_GONE.verdict("http_404")
    if error is None or answer.status != 400:
        return unreadable(answer, count)
    return unlocated(error, count, code=code, said=lead.message if lead else "")
