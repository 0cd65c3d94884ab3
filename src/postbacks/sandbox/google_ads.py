"""Route A, `uploadClickConversions`: partial failure by index (sheet google, section 1 and rules 5 to 25)."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from postbacks.sandbox.base import Reply, Seen, Stored
from postbacks.sandbox.google_errors import RowError, google_ads, partial_failure, plain, request_id, unreadable
from postbacks.sandbox.google_fields import UPLOAD_CLICK_CONVERSIONS
from postbacks.sandbox.google_json import parse
from postbacks.sandbox.google_rows import UPLOAD, action_of, click_of, moment_of, row_errors
from postbacks.sandbox.google_state import State, Switches, Token, has_access

VERSIONS = range(23, 27)
MOST_CONVERSIONS = 2000
PATH = re.compile(r"/v(\d{1,3})/customers/([^/:]*):uploadClickConversions", re.ASCII)
_LOGIN = re.compile(r"\d{10}", re.ASCII)
_CUSTOMER = re.compile(r"\d+", re.ASCII)
_BAD = (400, "INVALID_ARGUMENT")
_DENIED = (403, "PERMISSION_DENIED")
_NEWCOMER = ("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE")


def not_supported(version: int, switches: Switches) -> Reply | None:
    """Rule 5: versions that are gone, or not there yet."""
    if version in VERSIONS:
        return None
    if not switches["rule_5"]:
        return plain(404, "NOT_FOUND", f"v{version} is not served")
    return google_ads(*_BAD, "requestError", "UNSUPPORTED_VERSION", version=version)


def upload(seen: Seen, version: int, customer: str, token: Token, state: State, switches: Switches) -> Reply:
    """Answers one request whose version and token are good."""
    refuse = partial(google_ads, version=version)
    refused = _caller(seen, customer, refuse, switches)
    if refused is not None:
        return refused
    if switches["newcomer"] and switches["rule_11"]:  # Rule 11
        return newcomer(version)
    body, problems = parse(seen.body, seen.headers.get("content-type", ""), UPLOAD_CLICK_CONVERSIONS)
    if problems:  # Rules 12 and 16
        return unreadable(problems)
    rows: list[dict[str, Any]] = body.get("conversions", [])
    if body.get("partialFailure") is not True:  # Rule 13
        return refuse(*_BAD, "partialFailureError", "PARTIAL_FAILURE_MODE_REQUIRED")
    if not rows and switches["rule_14"]:  # Rule 14
        return refuse(*_BAD, "requestError", "REQUIRED_FIELD_MISSING", field="conversions")
    if not rows:
        return refuse(*_BAD, "fieldError", "REQUIRED_NONEMPTY_LIST", field="conversions")
    if len(rows) > MOST_CONVERSIONS:  # Rule 15
        return refuse(*_BAD, UPLOAD, "TOO_MANY_CONVERSIONS_IN_REQUEST", field="conversions")
    if body.get("jobId", 1) < 1:  # Rule 16
        return refuse(*_BAD, UPLOAD, "INVALID_JOB_ID", field="job_id")
    # An upload of N conversions is taken as N operations (sheet google, 1.6).
    if not state.quotas(token.client).ads_day.take(seen.at, switches["ads_operations_per_day"], len(rows)):
        return throttled(version, switches["retry_delay_seconds"])
    if switches["newcomer"]:  # Rule 11, the variant within a 200
        errors = [RowError(index, *_NEWCOMER, "conversion_action") for index in range(len(rows))]
    else:
        errors = _errors(rows, seen.at, customer, state, switches)
    return _answer(body, rows, errors, seen.at, version, state, switches)


def throttled(version: int, delay: float) -> Reply:
    """A 429 with the time to wait (sheet google, 4.2 and example A2)."""
    quota = {"rateScope": "DEVELOPER", "rateName": "sandbox bucket", "retryDelay": f"{delay:g}s"}
    return google_ads(
        429,
        "RESOURCE_EXHAUSTED",
        "quotaError",
        "RESOURCE_EXHAUSTED",
        version=version,
        details={"quotaErrorDetails": quota},
    )


def newcomer(version: int) -> Reply:
    """Rule 11: closed to whoever did not use it before (sheet google, section 0)."""
    return google_ads(*_DENIED, *_NEWCOMER, version=version)


def _caller(seen: Seen, customer: str, refuse: partial[Reply], switches: Switches) -> Reply | None:
    """Rules 5, 8 and 10. A `developer-token` is not looked at (rule 9)."""
    if not _CUSTOMER.fullmatch(customer):  # Rule 5
        return refuse(*_BAD, "requestError", "INVALID_CUSTOMER_ID")
    login = seen.headers.get("login-customer-id", customer)
    if "login-customer-id" in seen.headers and not _LOGIN.fullmatch(login):  # Rule 8
        return refuse(*_BAD, "headerError", "INVALID_LOGIN_CUSTOMER_ID")
    if not has_access(switches, login, customer):  # Rule 8
        return refuse(*_DENIED, "authorizationError", "USER_PERMISSION_DENIED")
    if switches["access_level"] == "test":  # Rule 10
        return refuse(*_DENIED, "authorizationError", "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION")
    if not switches["customer_enabled"]:  # Rule 10
        return refuse(*_DENIED, "authorizationError", "CUSTOMER_NOT_ENABLED")
    return None


def _errors(
    rows: Sequence[Mapping[str, Any]], now: float, customer: str, state: State, switches: Switches
) -> list[RowError]:
    """Of each row its own errors, and for rows without any, what it repeats (rule 23)."""
    orders = Counter((action_of(row), row["orderId"]) for row in rows if row.get("orderId"))
    moments = Counter(_moment_key(row) for row in rows)
    found: list[RowError] = []
    for index, row in enumerate(rows):
        own = row_errors(index, row, now, customer, switches)
        found += own or _repeats(index, row, orders, moments, state)
    return found


def _moment_key(row: Mapping[str, Any]) -> tuple[str, str, float | None]:
    return action_of(row), click_of(row)[1], moment_of(row)


def _repeats(
    index: int,
    row: Mapping[str, Any],
    orders: Mapping[tuple[str, str], int],
    moments: Mapping[tuple[str, str, float | None], int],
    state: State,
) -> list[RowError]:
    """Rule 23. Within one request none of the twins survives."""
    action, click, _ = key = _moment_key(row)
    order, kind = row.get("orderId", ""), click_of(row)[0]
    stored = _earlier(row, state)
    if stored is not None and stored.key == order:
        return [RowError(index, UPLOAD, "ORDER_ID_ALREADY_IN_USE", "order_id", order)]
    if stored is not None:
        return [RowError(index, UPLOAD, "CLICK_CONVERSION_ALREADY_EXISTS", kind, click)]
    if order and orders[action, order] > 1:
        return [RowError(index, UPLOAD, "DUPLICATE_ORDER_ID", "order_id", order)]
    if click and moments[key] > 1:
        return [RowError(index, UPLOAD, "DUPLICATE_CLICK_CONVERSION_IN_REQUEST", kind, click)]
    return []


def _earlier(row: Mapping[str, Any], state: State) -> Stored | None:
    """What this row repeats: the same order, else the same click at the same moment."""
    action, click, moment = _moment_key(row)
    by_order = state.stored.get((action, row.get("orderId", "")))
    if by_order is not None or moment is None:
        return by_order
    key = state.key_of_click(action, click, moment)
    return None if key is None else state.stored.get((action, key))


def _answer(
    body: Mapping[str, Any],
    rows: Sequence[dict[str, Any]],
    errors: Sequence[RowError],
    now: float,
    version: int,
    state: State,
    switches: Switches,
) -> Reply:
    """Rule 25: 200, results aligned with the rows, `{}` for each that failed."""
    rid = request_id()
    answer: dict[str, Any] = {"jobId": str(body.get("jobId") or 2**31 + secrets.randbelow(2**62))}
    if errors:
        answer["partialFailureError"] = partial_failure(errors, version, rid)
    if not body.get("validateOnly", False):
        bad = {one.row for one in errors}
        if switches["keep"] > 0:
            for index, row in enumerate(rows):
                earlier = _earlier(row, state)
                if earlier is not None:
                    earlier.copies += 1
                elif index not in bad:
                    _store(row, now, state)
            state.trim(switches["keep"])
        answer["results"] = [{} if index in bad else _result(row) for index, row in enumerate(rows)]
    return Reply(200, answer, {"request-id": rid})


def _store(row: dict[str, Any], now: float, state: State) -> None:
    click, action, moment = click_of(row)[1], action_of(row), moment_of(row) or 0.0
    key = row.get("orderId") or f"{click}@{row['conversionDateTime']}"
    value, currency = row.get("conversionValue"), row.get("currencyCode")
    state.add(Stored(key, action, click, moment, value, currency, row, now))


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("gclid", "gbraid", "wbraid", "conversionAction", "conversionDateTime", "userIdentifiers")
    return {name: row[name] for name in names if row.get(name)}
