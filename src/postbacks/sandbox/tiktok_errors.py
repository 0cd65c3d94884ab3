"""How TikTok says no: a code in a body that mostly comes with status 200 (sheet tiktok, 8), and the faults (rule 5)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from postbacks.sandbox.base import Reply


def request_id(at: float) -> str:
    """14 digits of UTC time and 20 upper-case hexadecimal digits (sheet tiktok, rule 30)."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%S") + secrets.token_hex(10).upper()


@dataclass(frozen=True, slots=True)
class Refusal:
    """`E(code, message)`; the status is 200 unless the sheet says otherwise."""

    code: int
    message: str
    status: int = 200

    def reply(self, at: float) -> Reply:
        """`at`: Unix seconds, for the `request_id`."""
        body = {"code": self.code, "message": self.message, "request_id": request_id(at), "data": {}}
        return Reply(self.status, body)


def parameter(message: str) -> Refusal:
    """`E(40002, message)`: PARAM_ERROR."""
    return Refusal(40002, message)


TOKEN_EMPTY = Refusal(40104, "Access token is empty.")
TOKEN_REVOKED = Refusal(40105, "Access token is incorrect or has been revoked.")
TOKEN_EXPIRED = Refusal(40102, "Access token has expired.")
OK = Refusal(0, "OK")
PARTIAL = Refusal(20001, "partial success")


def no_permission(source_id: str) -> Refusal:
    """`E(40001)` in the words of the sheet's rule 9."""
    return Refusal(40001, f"No permission to operate pixel code: {source_id}")


FAULTS: Mapping[str, Refusal] = {
    "throttle_40100": Refusal(40100, "Too many requests. Please retry in some time."),
    "throttle_40132": Refusal(40132, "Request frequency is limited. Please retry in some time."),
    "sys_50000": Refusal(50000, "System error."),
    "sys_50002": Refusal(50002, "System timeout."),
    "sys_51012": Refusal(51012, "Pixel service error."),
    "maintenance_60001": Refusal(60001, "The service is under maintenance. Please retry later."),
    # The same two with a status that says so, too.
    "throttle_429": Refusal(40100, "Too many requests. Please retry in some time.", 429),
    "sys_500": Refusal(50000, "System error.", 500),
    # A code that no table has.
    "unknown_code": Refusal(49999, "Something new."),
    "token_expired": TOKEN_EXPIRED,
    "token_revoked": TOKEN_REVOKED,
}
"""Answers that do not depend on the request; nothing is stored."""
