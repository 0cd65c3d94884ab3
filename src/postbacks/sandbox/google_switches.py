"""The switches of the simulated Google, with their defaults. What each `rule_N` does stands at `GoogleSimulator`."""

from __future__ import annotations

from typing import Any

from postbacks.sandbox.google_state import SCOPE_ADS, SCOPE_DATA_MANAGER

CREDENTIALS = {
    "client_id": "sandbox-client.apps.example",
    "client_secret": "sandbox-client-secret",
    "refresh_token": "sandbox-refresh-token",
}
"""Published on purpose: they open the simulator and nothing else."""
OPERATING_ACCOUNT = "1002003004"
LOGIN_ACCOUNT = "9008007006"

_ACTION = {"type": "UPLOAD_CLICKS", "counting": "MANY_PER_CLICK", "created_at": 0, "owner": OPERATING_ACCOUNT}

SWITCHES: dict[str, Any] = {
    # OAuth
    "clients": {CREDENTIALS["client_id"]: CREDENTIALS["client_secret"]},  # client id: secret
    "refresh_tokens": {CREDENTIALS["refresh_token"]: CREDENTIALS["client_id"]},  # refresh token: client id
    "scopes": {
        CREDENTIALS["client_id"]: f"{SCOPE_DATA_MANAGER} {SCOPE_ADS}"
    },  # client id or service account: what it was granted
    "service_accounts": {},  # e-mail address: public key, PEM
    "token_seconds": 3599,
    # Accounts; for `accounts`, operating account: login accounts that give access to it, empty lets everybody
    "accounts": {OPERATING_ACCOUNT: [OPERATING_ACCOUNT, LOGIN_ACCOUNT]},
    "conversion_actions": {number: dict(_ACTION) for number in ("55501", "55502", "55503", "55504")},
    "access_level": "standard",  # or "test" (rule 10)
    "customer_enabled": True,  # rule 10
    "customer_data_terms": True,  # rule 24
    "allowlisted": False,  # rule 24
    "newcomer": False,  # rule 11
    # Clicks
    "clicks": {},  # click id: Unix seconds of the click
    "click_owners": {},  # click id: the account that was clicked
    "unknown_clicks": "accept",  # or "CLICK_NOT_FOUND", "INVALID_CLICK"
    # Quotas; 0 is no limit
    "requests_per_minute": 300,
    "requests_per_day": 100_000,
    "ads_operations_per_day": 0,
    "retry_delay_seconds": 120.0,
    # Outcomes of route B
    "processing_seconds": 0.0,
    "record_indices": True,  # or "text", False
    "error_info": True,  # False: a failure says nothing about its reasons
    "failed_status": "FAILED",  # or "FAILURE", as the guide's prose has it
    "async_outcomes": {},  # text in a click id or transactionId: reason
    "unknown_reason": "",  # every event ends with this reason
    "duplicate_mode": 2,
    # Refusals on demand; the texts are looked for in the JSON of each event or row
    "poison": "",
    "poison_index": True,  # False: route B names no event
    "destination_errors": {},  # route B, conversion action: reason of a fieldViolation at its destination
    "event_errors": {},  # route B, text: reason of a fieldViolation
    "row_errors": {},  # route A, text: "conversionUploadError.TOO_RECENT_EVENT", …
    # Rules that the sheet marks as uncertain
    "rule_1": True,
    "rule_2": True,
    "rule_5": True,
    "rule_6": True,
    "rule_11": True,
    "rule_14": True,
    "rule_17": True,
    "rule_18": True,
    "rule_18_gclid_gbraid": True,
    "rule_19": True,
    "rule_22": True,
    "rule_24": True,
    "rule_26": True,
    "rule_31": True,
    "rule_32": True,
    "rule_33": True,
    "rule_34": True,
    "past_days": 90,
    "future_seconds": 60,
    "rule_36": True,
    "rule_37": True,
    "rule_40": False,
    "rule_41": True,
}
