"""What Data Manager's reasons mean, as tables in the order of the sheet (sheet google, 4.3 and 4.4)."""

from __future__ import annotations

from collections.abc import Mapping

from postbacks.domain.model import Kind
from postbacks.platforms.google_answers import ONE_DAY, PARKED, SIX_HOURS, Row

_ACTION = (
    "Set conversion_action_id to an action of the type “Import from clicks” (UPLOAD_CLICKS) that belongs to "
    "operating_account_id; with cross-account conversion tracking that is the manager account."
)
_TERMS = "Accept the customer data terms in Google Ads: Goals › Conversions › Settings."
_OTHER_ACCOUNT = (
    "If all clicks fail so: set operating_account_id to the account (or its conversion customer, the manager) whose "
    "ads bring the clicks, then replay."
)
_UNCHANGED = "The landing page must pass the click ID on unchanged: whole, with its upper and lower case."

REQUEST_REASONS: Mapping[str, Row] = {
    # Retry.
    "CONVERSION_ACTION_TOO_RECENTLY_CREATED": Row(
        Kind.RETRY,
        "The conversion action was created less than six hours ago.",
        "Nothing to do: it is sent again by itself.",
        retry_after=SIX_HOURS,
    ),
    "INTERNAL_ERROR": Row(Kind.RETRY, "A passing fault at Google."),
    "DEADLINE_EXCEEDED": Row(Kind.RETRY, "A passing fault at Google."),
    "INVALID_REQUEST_ID": Row(Kind.RETRY, "Google no longer knows the request; a repeat is not counted twice."),
    "REQUEST_TOO_OLD": Row(Kind.RETRY, "Google has forgotten the request; a repeat is not counted twice."),
    # Fix the batch.
    "TOO_MANY_EVENTS": Row(Kind.SPLIT, "Google wants fewer events in one request."),
    # Refused for good.
    "INVALID_AD_IDENTIFIER_FOR_ACCOUNT": Row(
        Kind.REFUSED, "The click belongs to another Ads account.", "Check operating_account_id if all clicks fail so."
    ),
    "EVENT_TIME_INVALID": Row(Kind.REFUSED, "Google refuses the event's time.", "Check the game backend's clock."),
    "NO_IDENTIFIERS_PROVIDED": Row(Kind.REFUSED, "The event carries no click ID.", _UNCHANGED),
    "INVALID_EVENT": Row(Kind.REFUSED, "Google refuses the event."),
    "INVALID_CURRENCY_CODE": Row(Kind.REFUSED, "Google does not know the currency."),
    "CUSTOM_VARIABLE_VALUE_CONTAINS_PII": Row(Kind.REFUSED, "A custom variable holds personal data."),
    # Until an administrator acts.
    "INVALID_CONVERSION_ACTION_ID": Row(Kind.HOLD, "Google does not know the conversion action.", _ACTION),
    "INVALID_CONVERSION_ACTION_TYPE": Row(Kind.HOLD, "The conversion action is not one for click imports.", _ACTION),
    "INVALID_DESTINATION": Row(Kind.HOLD, "Google refuses the destination.", _ACTION),
    "EVENT_SOURCE_AND_DESTINATION_MISMATCH": Row(
        Kind.HOLD, "The conversion action does not take this event source.", "Set options.event_source (usually WEB)."
    ),
    "OPERATING_ACCOUNT_LOGIN_ACCOUNT_MISMATCH": Row(
        Kind.HOLD,
        "login_account_id does not manage operating_account_id.",
        "Set login_account_id to the manager account of operating_account_id, or leave it out.",
    ),
    "DESTINATION_ACCOUNT_TYPE_MISMATCH": Row(
        Kind.HOLD, "The account is not a Google Ads account.", "Check operating_account_id and login_account_id."
    ),
    "NOT_ALLOWLISTED": Row(
        Kind.HOLD, "The account may not use this feature.", "Ask Google's support to open it for the Ads account."
    ),
    "TERMS_AND_CONDITIONS_NOT_SIGNED": Row(Kind.HOLD, "The customer data terms were not accepted.", _TERMS),
    "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED": Row(
        Kind.HOLD, "The customer data terms were not accepted.", _TERMS
    ),
    "CUSTOM_VARIABLE_NOT_FOUND": Row(Kind.HOLD, "The custom variable does not exist.", "Create it in Google Ads."),
    "CUSTOM_VARIABLE_NOT_ENABLED": Row(Kind.HOLD, "The custom variable is off.", "Enable it in Google Ads."),
}
"""Reason of a refused request or of one of its field violations → meaning (sheet google, 4.3)."""

DESTINATION_REFUSED = Row(
    Kind.HOLD,
    "Google refuses the destination.",
    "Check operating_account_id, login_account_id and the event's conversion_action_id; Google's words name the field.",
)
"""A violation under `destinations[…]` whose reason has no row above."""

OUTCOME_REASONS: Mapping[str, Row] = {
    # Retry.
    "TOO_RECENT_CLICK": Row(
        Kind.RETRY,
        "Google has not processed the click yet.",
        "Nothing to do: it is sent again by itself. If it is frequent, raise options.hold_hours.",
        retry_after=SIX_HOURS,
    ),
    "DESTINATION_TOO_RECENTLY_CREATED": Row(
        Kind.RETRY,
        "The conversion action was created less than six hours ago.",
        "Nothing to do: it is sent again by itself.",
        retry_after=SIX_HOURS,
    ),
    "INTERNAL_ERROR": Row(Kind.RETRY, "A passing fault at Google."),
    "CLICK_NOT_FOUND": Row(
        Kind.RETRY,
        "Google does not find the click (yet).",
        "If no click is ever found: check operating_account_id and that auto-tagging is on in the Ads account.",
        retry_after=ONE_DAY,
        may_last=True,
    ),
    # Delivered.
    "DUPLICATE_TRANSACTION_ID": Row(Kind.DELIVERED, "Google already had this conversion."),
    "DUPLICATE_GCLID": Row(Kind.DELIVERED, "Google already had a conversion of this click at this time."),
    # Permanent: data.
    "INVALID_GCLID": Row(Kind.REFUSED, "Google cannot read the gclid.", _UNCHANGED),
    "INVALID_GBRAID": Row(Kind.REFUSED, "Google cannot read the gbraid.", _UNCHANGED),
    "INVALID_WBRAID": Row(Kind.REFUSED, "Google cannot read the wbraid.", _UNCHANGED),
    "INVALID_CLICK": Row(Kind.REFUSED, "Google does not accept the click.", _UNCHANGED),
    "EVENT_TOO_OLD": Row(
        Kind.REFUSED,
        "The click is outside the conversion action's window.",
        "Lengthen the click-through window of the conversion action (at most 90 days).",
    ),
    "CONVERSION_PRECEDES_CLICK": Row(
        Kind.REFUSED, "The conversion is dated before its click.", "Check the game backend's clock."
    ),
    "INVALID_AD_IDENTIFIERS": Row(Kind.REFUSED, "Google cannot read the click ID.", _UNCHANGED),
    "INVALID_EVENT": Row(Kind.REFUSED, "Google does not accept the event."),
    "INVALID_FORMAT": Row(Kind.REFUSED, "Google cannot read a field of the event."),
    "INVALID_CUSTOM_VARIABLE": Row(Kind.REFUSED, "Google does not accept a custom variable."),
    # Consent: terminal, counted apart by its code.
    "DENIED_CONSENT": Row(Kind.REFUSED, "The player refused that Google uses the data; this is final."),
    "NO_CONSENT": Row(
        Kind.REFUSED, "Google has no consent for this conversion.", "Pass the player's consent with click or event."
    ),
    "UNKNOWN_CONSENT": Row(
        Kind.REFUSED, "Google has no consent for this conversion.", "Pass the player's consent with click or event."
    ),
    # Configuration. The request was taken, so that identity and accounts work; what is wrong concerns this click or
    # this conversion action. The delivery ends, the destination goes on, and a replay after the repair sends it again.
    "OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER": Row(
        Kind.REFUSED,
        "The click belongs to another Ads account.",
        _OTHER_ACCOUNT,
    ),
    "INVALID_OPERATING_ACCOUNT_FOR_CLICK": Row(
        Kind.REFUSED,
        "The click belongs to another Ads account.",
        _OTHER_ACCOUNT,
    ),
    "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID": Row(
        Kind.REFUSED,
        "The conversion action counts one per click, which gbraid and wbraid do not allow.",
        "Set the conversion action's count to “Every” in Google Ads, then replay.",
    ),
    "CUSTOM_VARIABLE_NOT_ENABLED": Row(
        Kind.REFUSED, "The custom variable is off.", "Enable it in Google Ads, then replay."
    ),
    "DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED": Row(
        Kind.REFUSED, "The customer data terms were not accepted.", f"{_TERMS} Then replay."
    ),
    "EXTERNAL_ATTRIBUTION_DATA_MISSING": Row(
        Kind.REFUSED,
        "The conversion action is attributed externally, which Data Manager does not support.",
        "Use a conversion action with Google's own attribution, then replay.",
    ),
}
"""`ProcessingErrorReason` without its prefix → meaning (sheet google, 4.4)."""


def outcome_code(reason: str) -> str:
    """The reason without its prefix; one reason of the enum has a shorter one than the rest (sheet google, 4.4)."""
    return reason.removeprefix("PROCESSING_ERROR_").removeprefix("REASON_")


def outcome_row(code: str) -> Row:
    """The row of an `outcome_code`; a reason that is not in the table is parked."""
    return OUTCOME_REASONS.get(code, PARKED)
