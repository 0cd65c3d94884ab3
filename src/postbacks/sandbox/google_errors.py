"""Google's error bodies: the templates TG, TP, TB and TJ of sheet google, section 12."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from postbacks.sandbox.base import Reply
from postbacks.sandbox.google_json import Problem

_RPC = "type.googleapis.com/google.rpc"

WORDS = {
    "REQUIRED_FIELD_MISSING": "required field absent",
    "REQUIRED": "required field absent",
    "INVALID_ARGUMENT": "request not acceptable",
    "PERMISSION_DENIED": "the caller has no access to this account",
    "USER_PERMISSION_DENIED": "the caller has no access to this customer; login-customer-id may be missing or wrong",
    "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE": "feature not open to this caller",
    "RESOURCE_EXHAUSTED": "quota used up",
}
"""What goes with a code where its own name in small letters would say too little."""


class Violation(NamedTuple):
    """One entry of route B's `fieldViolations`. `field` is a snake_case path (sheet google, 4.3)."""

    field: str
    reason: str


class RowError(NamedTuple):
    """One entry of route A's partial failure. `key` is the error family, such as `conversionUploadError`."""

    row: int
    key: str
    code: str
    field: str
    trigger: str | None = None


def words(code: str) -> str:
    """A code as a person reads it."""
    return WORDS.get(code) or code.replace("_", " ").lower()


def request_id(prefix: str = "") -> str:
    """A fresh id in the form of the platform's."""
    return prefix + secrets.token_urlsafe(12)


def plain(http: int, status: str, message: str, details: Sequence[Mapping[str, Any]] = ()) -> Reply:
    """The frame that all Google APIs share: `{"error": {"code", "message", "status", "details"?}}`."""
    error: dict[str, Any] = {"code": http, "message": message, "status": status}
    if details:
        error["details"] = list(details)
    return Reply(http, {"error": error})


def error_info(reason: str, domain: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """A `google.rpc.ErrorInfo` detail."""
    return {"@type": f"{_RPC}.ErrorInfo", "reason": reason, "domain": domain, "metadata": dict(metadata)}


def front_door(http: int, status: str, reason: str, message: str, service: str) -> Reply:
    """Refused before the API itself is reached: token, scope, API switched off (domain `googleapis.com`)."""
    return plain(http, status, message, [error_info(reason, "googleapis.com", {"service": service})])


def service_disabled(service: str) -> Reply:
    """The API is off in the Cloud project (sheet google, 4.3 and rule 27)."""
    link = f"https://console.developers.google.com/apis/api/{service}/overview?project=sandbox-project"
    message = f"{service} has not been used in this project before or it is disabled. Enable it at {link}"
    metadata = {"consumer": "projects/sandbox-project", "service": service, "activationUrl": link}
    details = [
        error_info("SERVICE_DISABLED", "googleapis.com", metadata),
        {"@type": f"{_RPC}.LocalizedMessage", "locale": "en-US", "message": message},
        {"@type": f"{_RPC}.Help", "links": [{"description": "Google developers console", "url": link}]},
    ]
    return plain(403, "PERMISSION_DENIED", message, details)


def data_manager(http: int, status: str, reason: str, violations: Sequence[Violation] = ()) -> Reply:
    """TB: an answer of the Data Manager API (sheet google, 4.3)."""
    rid = request_id("t-")
    details: list[dict[str, Any]] = [
        error_info(reason, "datamanager.googleapis.com", {"requestId": rid}),
        {"@type": f"{_RPC}.RequestInfo", "requestId": rid},
    ]
    if violations:
        named = [{"field": one.field, "description": words(one.reason), "reason": one.reason} for one in violations]
        details.append({"@type": f"{_RPC}.BadRequest", "fieldViolations": named})
    return plain(http, status, words(reason), details)


def unreadable(problems: Sequence[Problem]) -> Reply:
    """TJ: JSON that does not fit the message; a lone `BadRequest` (sheet google, section 12)."""
    named = [{"field": one.field, "description": one.description} for one in problems]
    message = "\n".join(one.description for one in problems[:10])
    return plain(400, "INVALID_ARGUMENT", message, [{"@type": f"{_RPC}.BadRequest", "fieldViolations": named}])


def _failure(version: int, errors: Sequence[Mapping[str, Any]], rid: str) -> dict[str, Any]:
    kind = f"type.googleapis.com/google.ads.googleads.v{version}.errors.GoogleAdsFailure"
    return {"@type": kind, "errors": list(errors), "requestId": rid}


def google_ads(
    http: int,
    status: str,
    key: str,
    code: str,
    *,
    version: int,
    field: str = "",
    details: Mapping[str, Any] | None = None,
) -> Reply:
    """TG: a refusal of the whole request by the Google Ads API (sheet google, 4.2)."""
    rid = request_id()
    error: dict[str, Any] = {"errorCode": {key: code}, "message": words(code)}
    if field:
        error["location"] = {"fieldPathElements": [{"fieldName": field}]}
    if details:
        error["details"] = details
    reply = plain(http, status, words(code), [_failure(version, [error], rid)])
    return Reply(http, reply.body, {"request-id": rid})


def partial_failure(errors: Sequence[RowError], version: int, rid: str) -> dict[str, Any]:
    """TP: the `partialFailureError` of a 200 (sheet google, 1.5). Its message tells of the first error only."""
    first = errors[0]
    message = f"{words(first.code)}, at conversions[{first.row}].{first.field}"
    if len(errors) > 1:
        message = f"Several errors, see details. The first: {message}"
    return {"code": 3, "message": message, "details": [_failure(version, [_row(one) for one in errors], rid)]}


def _row(error: RowError) -> dict[str, Any]:
    entry: dict[str, Any] = {"errorCode": {error.key: error.code}, "message": words(error.code)}
    if error.trigger is not None:
        entry["trigger"] = {"stringValue": error.trigger}
    path = [{"fieldName": "conversions", "index": error.row}, {"fieldName": error.field}]
    entry["location"] = {"fieldPathElements": path}
    return entry
