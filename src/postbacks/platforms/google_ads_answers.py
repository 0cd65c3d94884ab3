"""What the Google Ads API's error codes mean, as tables in the order of the sheet (sheet google, 4.1 and 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postbacks.domain.model import Kind
from postbacks.platforms.google_answers import ONE_DAY, PARKED, SIX_HOURS, Row, seconds, text

_UNCHANGED = "The landing page must pass the click ID on unchanged: whole, with its upper and lower case."
_ACTION = (
    "Set conversion_action_id to an action of the type “Import from clicks” (UPLOAD_CLICKS) that belongs to "
    "operating_account_id."
)
_ACCOUNT = (
    "Set operating_account_id to the account (or its conversion customer, the manager) whose ads bring the clicks, "
    "and login_account_id to the manager through which you have access."
)
_TERMS = "Accept the customer data terms in Google Ads: Goals › Conversions › Settings."
_ACCESS = (
    "Add the service account's e-mail address (or the user) under Admin › Access and security of the Ads account. "
    "With access through a manager account, set login_account_id to the manager's ID: a missing one looks just so."
)
_OPEN_PROJECT = "Apply for Explorer access or higher on the Cloud console's “Google Ads API Overview” page."
_BUG = "This is a fault in Postbacks or an outdated api_version: set options.api_version to a live version (v26)."
_SWITCH = (
    "Switch route to data_manager (options.route). Google closed click uploads through the Google Ads API to "
    "newcomers on 15 June 2026."
)


def _refused(*codes: str, meaning: str, remedy: str = "") -> dict[str, Row]:
    return {code: Row(Kind.REFUSED, meaning, remedy) for code in codes}


def _hold(*codes: str, meaning: str, remedy: str) -> dict[str, Row]:
    return {code: Row(Kind.HOLD, meaning, remedy) for code in codes}


_TOO_RECENT = Row(
    Kind.RETRY,
    "Click or conversion action is younger than six hours.",
    "Nothing to do: it is sent again by itself.",
    retry_after=SIX_HOURS,
)
_NOT_FOUND = Row(
    Kind.RETRY,
    "Google does not find the click (yet).",
    "If no click is ever found: check operating_account_id and that auto-tagging is on in the Ads account.",
    retry_after=ONE_DAY,
    may_last=True,
)
_REPEATED = Row(Kind.RETRY, "Google met it twice in one request and processed neither; it is sent again.")

UPLOAD_ERRORS: Mapping[str, Row] = {
    # Retry later: time.
    "TOO_RECENT_EVENT": _TOO_RECENT,
    "TOO_RECENT_CONVERSION_ACTION": _TOO_RECENT,
    "TOO_RECENT_CALL": _TOO_RECENT,
    # Retry a few times.
    "EVENT_NOT_FOUND": _NOT_FOUND,
    "CLICK_NOT_FOUND": _NOT_FOUND,
    # Already delivered.
    "CLICK_CONVERSION_ALREADY_EXISTS": Row(Kind.DELIVERED, "Google already had a conversion of this click and time."),
    "ORDER_ID_ALREADY_IN_USE": Row(Kind.DELIVERED, "Google already had this conversion."),
    # Fix the batch.
    "DUPLICATE_ORDER_ID": _REPEATED,
    "DUPLICATE_CLICK_CONVERSION_IN_REQUEST": _REPEATED,
    "TOO_MANY_CONVERSIONS_IN_REQUEST": Row(Kind.SPLIT, "Google wants fewer conversions in one request."),
    "INVALID_JOB_ID": Row(Kind.RETRY, "Google refused the number that it gave the request itself."),
    # Permanent: data.
    **_refused("UNPARSEABLE_GCLID", meaning="Google cannot read the gclid.", remedy=_UNCHANGED),
    **_refused("UNPARSEABLE_WBRAID", meaning="Google cannot read the wbraid.", remedy=_UNCHANGED),
    **_refused("UNPARSEABLE_GBRAID", meaning="Google cannot read the gbraid.", remedy=_UNCHANGED),
    **_refused(
        "EXPIRED_EVENT",
        meaning="The click is outside the conversion action's window.",
        remedy="Lengthen the click-through window of the conversion action (at most 90 days).",
    ),
    **_refused(
        "CONVERSION_PRECEDES_EVENT",
        meaning="The conversion is dated before its click.",
        remedy="Check the game backend's clock.",
    ),
    **_refused("GBRAID_WBRAID_BOTH_SET", meaning="Google takes one click ID only."),
    **_refused("ORDER_ID_CONTAINS_PII", meaning="Google takes the order ID for personal data."),
    **_refused("CUSTOM_VARIABLE_VALUE_CONTAINS_PII", meaning="A custom variable holds personal data."),
    **_refused("INVALID_USER_IDENTIFIER", "UNSUPPORTED_USER_IDENTIFIER", meaning="Google refuses a user identifier."),
    **_refused(
        "CONVERSION_NOT_COMPLIANT_WITH_ATT_POLICY",
        meaning="The player did not allow tracking (Apple's App Tracking Transparency); this is final.",
    ),
    **_refused(
        "CONVERSION_TRACKING_NOT_ENABLED_AT_IMPRESSION_TIME",
        meaning="Conversion tracking was off in the Ads account when the ad was clicked.",
    ),
    **_refused(
        "EXTERNAL_ATTRIBUTION_DATA_SET_FOR_NON_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION",
        "EXTERNAL_ATTRIBUTION_DATA_NOT_SET_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION",
        "ORDER_ID_NOT_PERMITTED_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION",
        "EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION_NOT_PERMITTED_WITH_USER_IDENTIFIER",
        meaning="The conversion action is attributed externally.",
        remedy="Use a conversion action with Google's own attribution.",
    ),
    # Permanent until an administrator acts.
    **_hold("NO_CONVERSION_ACTION_FOUND", meaning="Google does not know the conversion action.", remedy=_ACTION),
    **_hold(
        "INVALID_CONVERSION_ACTION_TYPE", meaning="The conversion action is not one for click imports.", remedy=_ACTION
    ),
    **_hold(
        "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID",
        meaning="The conversion action counts one per click, which gbraid and wbraid do not allow.",
        remedy="Set the conversion action's count to “Every” in Google Ads.",
    ),
    **_hold("CUSTOM_VARIABLE_NOT_ENABLED", meaning="The custom variable is off.", remedy="Enable it in Google Ads."),
    **_hold("UNAUTHORIZED_CUSTOMER", meaning="The click belongs to an Ads account without access.", remedy=_ACCOUNT),
    **_hold("INVALID_CUSTOMER_FOR_CLICK", meaning="The click belongs to another Ads account.", remedy=_ACCOUNT),
    **_hold(
        "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS",
        meaning="The customer data terms were not accepted.",
        remedy=_TERMS,
    ),
    **_hold(
        "CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS",
        meaning="Enhanced conversions for leads are off.",
        remedy="Turn them on in Google Ads: Goals › Conversions › Settings.",
    ),
    **_hold(
        "CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS",
        meaning="Google's customer data policy bars the Ads account.",
        remedy="Ask Google's support or your Google representative.",
    ),
}
"""`ConversionUploadError` → meaning (sheet google, 4.1)."""

NOT_ALLOWLISTED = Row(Kind.HOLD, "Google does not open click uploads on this route to the caller.", _SWITCH)

ENVIRONMENT_NOT_ALLOWLISTED = Row(
    Kind.HOLD,
    "The Ads account may not send conversionEnvironment.",
    "Remove options.conversion_environment, and leave options.event_source at WEB.",
)
"""The same code, where it points to the field `conversion_environment` (sheet google, 1.3)."""

OTHER_ERRORS: Mapping[str, Mapping[str, Row]] = {
    "notAllowlistedError": {"CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE": NOT_ALLOWLISTED},
    "partialFailureError": _hold(
        "PARTIAL_FAILURE_MODE_REQUIRED", meaning="Google misses partialFailure in the request.", remedy=_BUG
    ),
    "requestError": {
        **_hold("INVALID_CUSTOMER_ID", meaning="Google does not know the Ads account.", remedy=_ACCOUNT),
        **_hold(
            "UNSUPPORTED_VERSION",
            meaning="Google has switched this version of its API off.",
            remedy="Set options.api_version to a live version (v26), or switch route to data_manager.",
        ),
        "RPC_DEADLINE_TOO_SHORT": Row(Kind.RETRY, "Google ran out of time."),
        **_refused("REQUIRED_FIELD_MISSING", "RESOURCE_NAME_MALFORMED", meaning="Google refuses the request's form."),
    },
    "headerError": _hold(
        "INVALID_LOGIN_CUSTOMER_ID",
        meaning="Google does not accept login_account_id.",
        remedy="Set login_account_id to the ten digits of the manager account, or leave it out.",
    ),
    "authenticationError": {
        **_hold(
            "OAUTH_TOKEN_REVOKED",
            meaning="The grant was revoked.",
            remedy="Make a new refresh token, or a new key for the service account.",
        ),
        **_hold(
            "NOT_ADS_USER",
            meaning="The identity belongs to no Google Ads account.",
            remedy=_ACCESS,
        ),
        **_hold("CUSTOMER_NOT_FOUND", meaning="Google does not know the Ads account.", remedy=_ACCOUNT),
    },
    "authorizationError": {
        **_hold("USER_PERMISSION_DENIED", meaning="The identity may not write to this Ads account.", remedy=_ACCESS),
        **_hold(
            "CUSTOMER_NOT_ENABLED",
            meaning="The Ads account is not active.",
            remedy="Finish or reactivate the Ads account in Google Ads.",
        ),
        **_hold(
            "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION",
            "DEVELOPER_TOKEN_NOT_APPROVED",
            meaning="The Cloud project may only reach test accounts.",
            remedy=_OPEN_PROJECT,
        ),
        **_hold(
            "PROJECT_DISABLED",
            meaning="The Cloud project is disabled for the Google Ads API.",
            remedy="Enable it in the Cloud console, or use another project.",
        ),
        **_hold(
            "MISSING_TOS",
            meaning="The terms of the Google Ads API were not accepted.",
            remedy="Accept them on the Cloud console's “Google Ads API Overview” page.",
        ),
        **_hold(
            "ACTION_NOT_PERMITTED_FOR_SUSPENDED_ACCOUNT",
            meaning="The Ads account is suspended.",
            remedy="Resolve the suspension in Google Ads.",
        ),
        **_hold(
            "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION",
            meaning="login_account_id does not manage operating_account_id.",
            remedy="Set login_account_id to the manager account of operating_account_id, or leave it out.",
        ),
    },
    "quotaError": {
        code: Row(Kind.RETRY, "The Cloud project's quota is used up for now.")
        for code in ("RESOURCE_EXHAUSTED", "RESOURCE_TEMPORARILY_EXHAUSTED")
    },
    "internalError": {
        code: Row(Kind.RETRY, "A passing fault at Google.")
        for code in ("INTERNAL_ERROR", "TRANSIENT_ERROR", "DEADLINE_EXCEEDED")
    },
    "databaseError": {"CONCURRENT_MODIFICATION": Row(Kind.RETRY, "Another request changed the same data.")},
}
"""Other kinds of error → code → meaning, in a row or for the request (sheet google, 4.1 and 4.2)."""

DATA_ERRORS = frozenset({"fieldError", "dateError", "currencyCodeError", "stringFormatError", "rangeError"})
"""Kinds of error of which every code means that the row's own data is refused."""


def code_of(failure: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and code of a `GoogleAdsError`: `errorCode` is an object with a single key (sheet google, 1.5)."""
    error_code = failure.get("errorCode")
    if not isinstance(error_code, dict) or not error_code:
        return "", ""
    kind, code = next(iter(error_code.items()))
    return kind, text(code)


def known_row(failure: Mapping[str, Any]) -> Row | None:
    """The table's row, or `None` where this version knows no such code."""
    kind, code = code_of(failure)
    if kind == "notAllowlistedError" and field_path(failure)[-1:] == ["conversion_environment"]:
        return ENVIRONMENT_NOT_ALLOWLISTED
    if kind in DATA_ERRORS:
        return Row(Kind.REFUSED, "Google refuses the conversion's data.")
    return UPLOAD_ERRORS.get(code) if kind == "conversionUploadError" else OTHER_ERRORS.get(kind, {}).get(code)


def row_of(failure: Mapping[str, Any]) -> Row:
    """The row of a conversion's own failure; what this version does not know is parked."""
    return known_row(failure) or PARKED


def field_path(failure: Mapping[str, Any]) -> list[str]:
    """Names of the field to which the failure points, outermost first; names are snake_case (sheet google, 1.5)."""
    return [text(element.get("fieldName")) for element in _elements(failure)]


def place_of(failure: Mapping[str, Any]) -> int | None:
    """The row that the failure is about: the index of the element `conversions`, never read from the message."""
    for element in _elements(failure):
        if element.get("fieldName") == "conversions" and isinstance(element.get("index"), int):
            return int(element["index"])
    return None


def pause_of(failure: Mapping[str, Any]) -> float | None:
    """Seconds of `quotaErrorDetails.retryDelay`."""
    found = failure.get("details")
    quota = found.get("quotaErrorDetails") if isinstance(found, dict) else None
    return seconds(quota.get("retryDelay")) if isinstance(quota, dict) else None


def _elements(failure: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    location = failure.get("location")
    elements = location.get("fieldPathElements") if isinstance(location, dict) else None
    return [element for element in elements if isinstance(element, dict)] if isinstance(elements, list) else []
