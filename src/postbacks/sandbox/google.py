"""The simulated Google: OAuth token endpoint, Data Manager API (route B) and Google Ads API (route A).

It is written from sheet google alone and shares no code with the adapter: the two must disagree when one is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from postbacks.sandbox import google_ads, google_errors, google_ingest, google_oauth, google_outcomes
from postbacks.sandbox.base import COMMON_FAULTS, Fault, Reply, Seen, Simulator
from postbacks.sandbox.google_state import SCOPE_ADS, SCOPE_DATA_MANAGER, State, Token
from postbacks.sandbox.google_switches import CREDENTIALS, SWITCHES

TOKEN, INGEST, STATUS = "/token", "/v1/events:ingest", "/v1/requestStatus:retrieve"
_DATA_MANAGER, _ADS = "datamanager.googleapis.com", "googleads.googleapis.com"
_TOKEN_FAULTS = frozenset({"token_invalid_grant", "token_server_error"})
_ADS_FAULTS = frozenset({"newcomer"})
_API_FAULTS = frozenset(
    {
        "unauthenticated",
        "scope_insufficient",
        "api_disabled",
        "permission_denied",
        "quota",
        "internal",
        "internal_after",
        "unavailable",
        "deadline_after",
    }
)


class GoogleSimulator(Simulator):
    """Google: OAuth token endpoint, Data Manager API (route B) and Google Ads API (route A).

    The rules are numbered as in sheet google, section 12.

    Paths: `/token`, `/v1/events:ingest`, `/v1/requestStatus:retrieve`, `/v{N}/customers/{id}:uploadClickConversions`.

    Enforced always: rules 3, 4, 7 to 10, 12, 13, 15, 16, 20, 21, 23, 25, 27 to 30, 35, 38, 39, 42, 43, and the parts
    of the others that the sheet is sure of.

    Switchable, because the sheet marks them as uncertain (the default is first):

    - `rule_1`: a token request must be a form / JSON is taken too.
    - `rule_2`: an unknown grant is `unsupported_grant_type` / `invalid_request`.
    - `rule_5`: a version that is gone gets 400 `UNSUPPORTED_VERSION` / a bare 404.
    - `rule_6`: a missing bearer gets a `GoogleAdsFailure` / a plain 401.
    - `rule_11`: with `newcomer` on, the request is refused with 403 / each row within a 200.
    - `rule_14`: no conversions is `requestError` / `fieldError`.
    - `rule_17`: a row without any identifier is refused / taken.
    - `rule_18`: gclid with wbraid, and a braid with user identifiers, are refused / taken; `rule_18_gclid_gbraid`:
      so is gclid with gbraid (strict, since senders do best with exactly one).
    - `rule_19`: a malformed action name is `RESOURCE_NAME_MALFORMED` / `NO_CONVERSION_ACTION_FOUND`.
    - `rule_22`: unknown currencies and negative values are refused / taken.
    - `rule_24`: more than 5 user identifiers are refused / taken.
    - `rule_26`: a 401 of route B carries an `ErrorInfo` / nothing.
    - `rule_31`: `product` that contradicts `accountType` is refused / taken.
    - `rule_32`: an action that is no number is `INVALID_NUMBER_FORMAT` / `INVALID_CONVERSION_ACTION_ID`.
    - `rule_33`: a reference to no destination is refused / the event goes nowhere.
    - `rule_34`: times outside `past_days` (90) and `future_seconds` (60) are refused / taken. The true window is
      unknown; 90 days is the age at which a click stops counting.
    - `rule_36`: more than one click ID is `INVALID_EVENT` / taken, the gclid counting.
    - `rule_37`: `transactionId` is required / optional.
    - `rule_40` (off): a 429 of route B says when to come back, in `RetryInfo` and `Retry-After`.
    - `rule_41`: `validateOnly` answers with a `requestId` / without.
    - `record_indices` (rule 44): numbers / `"text"` / false for the time before API v1.9.
    - `duplicate_mode` (rule 43): 2, a repeat is taken silently / 1, `DUPLICATE_TRANSACTION_ID`.

    All other switches stand, with a word on each, in `google_switches.py`. A conversion of route B is stored on
    arrival and its outcome told once `processing_seconds` have passed.

    Not simulated: externally attributed actions, custom variables (names are not looked up), PII in custom variables,
    cart data beyond its warning, encryption of user data, the data-partner programme beyond rule 31, self-signed JWT
    access without a token call, and the unpublished queries-per-second limits: nothing that this service sends meets
    them. `adPersonalization` on route A is taken
    without a word (rule 24). Enums by number, which protobuf reads too, are refused.

    Faults hit the endpoints that they belong to and wait for them: `token_invalid_grant`, `token_server_error` the
    token endpoint; `newcomer` route A; `unauthenticated`, `scope_insufficient`, `api_disabled`, `permission_denied`,
    `quota` (route A says `seconds` as the delay), `internal`, `unavailable`, and `internal_after`, `deadline_after`
    (stored, then 500 or 504) both routes, status calls included: give `match` a text of the body to spare those.
    """

    name: ClassVar[str] = "google"
    fault_kinds: ClassVar[frozenset[str]] = _TOKEN_FAULTS | _ADS_FAULTS | _API_FAULTS
    switch_defaults: ClassVar[Mapping[str, Any]] = SWITCHES

    def __init__(self) -> None:
        super().__init__()
        self.state = State(self.stored)

    def reset(self) -> None:
        """Forgets everything but access tokens, which clients cache."""
        super().reset()
        self.state.clear()

    @classmethod
    def demo_destination(cls) -> dict[str, Any]:
        return {
            "platform": "google",
            "enabled": True,
            "credentials": {
                "operating_account_id": "1002003004",
                "login_account_id": "9008007006",
                **CREDENTIALS,
            },
            "options": {"route": "data_manager", "hold_hours": 0, "confirm_after_minutes": 0},
            "events": {
                "install": {"conversion_action_id": "55501"},
                "registration": {"conversion_action_id": "55502"},
                "level_up": {"conversion_action_id": "55503"},
                "purchase": {"conversion_action_id": "55504"},
            },
        }

    def answer(self, seen: Seen, fault: Fault | None) -> Reply:
        kind = fault.kind if fault is not None and self._concerns(fault, seen) else ""
        seconds = fault.seconds if fault is not None else 0.0
        if seen.path == TOKEN:
            return self._token(seen, kind)
        upload = google_ads.PATH.fullmatch(seen.path)
        if upload is not None and seen.method == "POST":
            return self._ads(seen, int(upload[1]), upload[2], kind, seconds)
        if (seen.method, seen.path) in {("POST", INGEST), ("GET", STATUS)}:
            return self._data_manager(seen, kind)
        return google_errors.plain(404, "NOT_FOUND", f"nothing is served at {seen.method} {seen.path}")

    @staticmethod
    def _concerns(fault: Fault, seen: Seen) -> bool:
        if fault.kind in COMMON_FAULTS:
            return True
        if seen.path == TOKEN:
            return fault.kind in _TOKEN_FAULTS
        return fault.kind in _API_FAULTS or (fault.kind in _ADS_FAULTS and "/customers/" in seen.path)

    def _take_fault(self, seen: Seen) -> Fault | None:
        # A token refresh must not use up the fault that was meant for the send after it.
        waiting = [fault for fault in self.faults if not self._concerns(fault, seen)]
        self.faults = [fault for fault in self.faults if fault not in waiting]
        taken = super()._take_fault(seen)
        self.faults = [*waiting, *self.faults]
        return taken

    def _token(self, seen: Seen, fault: str) -> Reply:
        if fault == "token_invalid_grant":
            return google_oauth.refusal(400, "invalid_grant", "Token has been expired or revoked.")
        if fault == "token_server_error":
            return google_oauth.refusal(500, "internal_failure", "try again later")
        return google_oauth.token(seen, self.state, self.switches)

    def _data_manager(self, seen: Seen, fault: str) -> Reply:
        refused = self._data_manager_fault(fault) or self._data_manager_gate(seen)
        if refused is not None:
            return refused
        if seen.path == STATUS:
            reply = google_outcomes.status(seen, self.state, self.switches)
        else:
            reply = google_ingest.ingest(seen, self.state, self.switches)
        return self._after(fault) or reply

    def _data_manager_fault(self, fault: str) -> Reply | None:
        match fault:
            case "unauthenticated":
                return self._data_manager_401("ACCESS_TOKEN_EXPIRED")
            case "scope_insufficient":
                return _scope_insufficient(_DATA_MANAGER)
            case "api_disabled":
                return google_errors.service_disabled(_DATA_MANAGER)
            case "permission_denied":
                return google_errors.data_manager(403, "PERMISSION_DENIED", "PERMISSION_DENIED")
            case "quota":
                return self._data_manager_429()
            case "internal":
                return google_errors.data_manager(500, "INTERNAL", "INTERNAL_ERROR")
            case "unavailable":
                return google_errors.plain(503, "UNAVAILABLE", "The service is currently unavailable.")
        return None

    def _data_manager_gate(self, seen: Seen) -> Reply | None:
        caller = google_oauth.bearer(seen, self.state)
        if isinstance(caller, str):  # Rule 26
            reasons = {"missing": "CREDENTIALS_MISSING", "expired": "ACCESS_TOKEN_EXPIRED"}
            return self._data_manager_401(reasons.get(caller, "ACCESS_TOKEN_TYPE_UNSUPPORTED"))
        if SCOPE_DATA_MANAGER not in caller.scopes:  # Rule 27
            return _scope_insufficient(_DATA_MANAGER)
        quotas = self.state.quotas(caller.client)  # Rule 40; status calls count as well (sheet google, 2.3)
        if not quotas.minute.take(seen.at, self.switches["requests_per_minute"]):
            return self._data_manager_429()
        if not quotas.day.take(seen.at, self.switches["requests_per_day"]):
            return self._data_manager_429()
        return None

    def _data_manager_401(self, reason: str) -> Reply:
        message = "Request had invalid authentication credentials. Expected an OAuth 2 access token."
        if self.switches["rule_26"]:
            return google_errors.front_door(401, "UNAUTHENTICATED", reason, message, _DATA_MANAGER)
        return google_errors.plain(401, "UNAUTHENTICATED", message)

    def _data_manager_429(self) -> Reply:
        reply = google_errors.data_manager(429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED")
        if not self.switches["rule_40"]:
            return reply
        delay = self.switches["retry_delay_seconds"]
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{delay:g}s"}
        reply.body["error"]["details"].append(retry)
        return Reply(429, reply.body, {"Retry-After": f"{delay:g}"})

    def _ads(self, seen: Seen, version: int, customer: str, fault: str, seconds: float) -> Reply:
        refused = google_ads.not_supported(version, self.switches)
        if refused is not None:
            return refused
        caller = self._ads_fault(fault, version, seconds) or self._ads_gate(seen, version)
        if isinstance(caller, Reply):
            return caller
        reply = google_ads.upload(seen, version, customer, caller, self.state, self.switches)
        return self._after(fault) or reply

    @staticmethod
    def _ads_fault(fault: str, version: int, seconds: float) -> Reply | None:
        match fault:
            case "unauthenticated":
                return _ads_401("OAUTH_TOKEN_EXPIRED", version)
            case "scope_insufficient":
                return _scope_insufficient(_ADS)
            case "api_disabled":
                return google_errors.service_disabled(_ADS)
            case "permission_denied":
                key, code = "authorizationError", "USER_PERMISSION_DENIED"
                return google_errors.google_ads(403, "PERMISSION_DENIED", key, code, version=version)
            case "newcomer":
                return google_ads.newcomer(version)
            case "quota":
                return google_ads.throttled(version, seconds)
            case "internal":
                key, code = "internalError", "INTERNAL_ERROR"
                return google_errors.google_ads(500, "INTERNAL", key, code, version=version)
            case "unavailable":
                return google_errors.plain(503, "UNAVAILABLE", "The service is currently unavailable.")
        return None

    def _ads_gate(self, seen: Seen, version: int) -> Token | Reply:
        caller = google_oauth.bearer(seen, self.state)
        if caller == "missing" and not self.switches["rule_6"]:  # Rule 6
            return google_errors.plain(401, "UNAUTHENTICATED", "Request is missing an access token.")
        if isinstance(caller, str):  # Rule 6
            return _ads_401("OAUTH_TOKEN_EXPIRED" if caller == "expired" else "OAUTH_TOKEN_INVALID", version)
        if SCOPE_ADS not in caller.scopes:  # Rule 7
            return _scope_insufficient(_ADS)
        return caller

    @staticmethod
    def _after(fault: str) -> Reply | None:
        """Rule 25: stored, and yet an answer that does not say so."""
        if fault == "internal_after":
            return google_errors.plain(500, "INTERNAL", "Internal error encountered.")
        if fault == "deadline_after":
            return google_errors.plain(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")
        return None


def _ads_401(code: str, version: int) -> Reply:
    return google_errors.google_ads(401, "UNAUTHENTICATED", "authenticationError", code, version=version)


def _scope_insufficient(service: str) -> Reply:
    """Rules 7 and 27."""
    message = "Request had insufficient authentication scopes."
    return google_errors.front_door(403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", message, service)
