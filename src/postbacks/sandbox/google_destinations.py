"""Which destinations route B takes: accounts and conversion actions (sheet google, rules 28 and 30 to 33)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from postbacks.sandbox.google_errors import Violation
from postbacks.sandbox.google_state import YOUNG_CLICK, Switches, has_access

MOST_DESTINATIONS = 10
_ACCOUNTS = {
    "operatingAccount": "operating_account",
    "loginAccount": "login_account",
    "linkedAccount": "linked_account",
}
_MISSING = "REQUIRED_FIELD_MISSING"


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def account_violations(destinations: Sequence[Mapping[str, Any]], switches: Switches) -> list[Violation]:
    """Rules 30, 31 and 33: everything that can be said before it is asked whose accounts these are."""
    if not destinations:  # Rule 30
        return [Violation("destinations", _MISSING)]
    found: list[Violation] = []
    if len(destinations) > MOST_DESTINATIONS:  # Rule 30
        found.append(Violation("destinations", "TOO_MANY_DESTINATIONS"))
    references: set[str] = set()
    for n, destination in enumerate(destinations):
        path = f"destinations[{n}]"
        if "operatingAccount" not in destination:  # Rule 31
            found.append(Violation(f"{path}.operating_account", _MISSING))
        for name, snake in _ACCOUNTS.items():
            if name in destination:
                found += _account(destination[name], f"{path}.{snake}", switches)
        if "linkedAccount" in destination and _type(destination, "loginAccount") != "DATA_PARTNER":  # Rule 31
            reason = "LINKED_ACCOUNT_ONLY_ALLOWED_WITH_DATA_PARTNER_LOGIN_ACCOUNT"
            found.append(Violation(f"{path}.linked_account", reason))
        # Conversion actions live in Google Ads accounts only (sheet google, 2.2).
        if _type(destination, "operatingAccount") not in {"GOOGLE_ADS", "ACCOUNT_TYPE_UNSPECIFIED", ""}:
            found.append(Violation(f"{path}.operating_account.account_type", "INVALID_DESTINATION"))
        reference = destination.get("reference", "")
        if reference and reference in references:  # Rule 33
            found.append(Violation(f"{path}.reference", "DUPLICATE_DESTINATION_REFERENCE"))
        references.add(reference)
    return found


def _type(destination: Mapping[str, Any], account: str) -> str:
    return str(destination.get(account, {}).get("accountType", ""))


def _account(account: Mapping[str, Any], path: str, switches: Switches) -> list[Violation]:
    found: list[Violation] = []
    number = account.get("accountId", "")
    if not number:
        found.append(Violation(f"{path}.account_id", _MISSING))
    elif not _digits(number):
        found.append(Violation(f"{path}.account_id", "INVALID_NUMBER_FORMAT"))
    kind = account.get("accountType", "ACCOUNT_TYPE_UNSPECIFIED")
    if kind == "ACCOUNT_TYPE_UNSPECIFIED":
        found.append(Violation(f"{path}.account_type", _MISSING))
    elif switches["rule_31"] and account.get("product", kind) != kind:
        found.append(Violation(f"{path}.product", "INVALID_DESTINATION"))
    return found


def permitted(destinations: Sequence[Mapping[str, Any]], switches: Switches) -> bool:
    """Rule 28: whether the caller may act for every operating account, through the login account if one is named."""
    for destination in destinations:
        operating = destination["operatingAccount"]["accountId"]
        login = destination.get("loginAccount", {}).get("accountId", operating)
        if not has_access(switches, login, operating):
            return False
    return True


def action_violations(destinations: Sequence[Mapping[str, Any]], now: float, switches: Switches) -> list[Violation]:
    """Rule 32: the conversion action of each destination."""
    found: list[Violation] = []
    for n, destination in enumerate(destinations):
        reason = _action(destination, now, switches)
        if reason:
            found.append(Violation(f"destinations[{n}].product_destination_id", reason))
    return found


def _action(destination: Mapping[str, Any], now: float, switches: Switches) -> str:
    number = destination.get("productDestinationId", "")
    if not number:
        return _MISSING
    if not _digits(number):
        return "INVALID_NUMBER_FORMAT" if switches["rule_32"] else "INVALID_CONVERSION_ACTION_ID"
    if number in switches["destination_errors"]:
        return str(switches["destination_errors"][number])
    action = switches["conversion_actions"].get(number)
    operating = destination.get("operatingAccount", {}).get("accountId", "")
    # Whose action it is can only be asked of an account that can be read; rule 31 tells of the others.
    if action is None or (_digits(operating) and action.get("owner", operating) != operating):
        return "INVALID_CONVERSION_ACTION_ID"
    if action.get("type", "UPLOAD_CLICKS") != "UPLOAD_CLICKS":
        return "INVALID_CONVERSION_ACTION_TYPE"
    if now - action.get("created_at", 0) < YOUNG_CLICK:
        return "CONVERSION_ACTION_TOO_RECENTLY_CREATED"
    return ""
