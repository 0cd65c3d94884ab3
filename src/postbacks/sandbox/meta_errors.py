"""How Graph says no: the error object (sheet meta, 8) and the faults that can be asked for (sheet meta, rule 7)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import orjson

from postbacks.sandbox.base import Fault, Reply

GRAPH_METHOD = "GraphMethodException"


def trace_id() -> str:
    """A fresh `fbtrace_id`: 23 characters of base64url."""
    return secrets.token_urlsafe(18)[:23]


@dataclass(frozen=True, slots=True)
class GraphError:
    """One refusal; `reply()` gives it a fresh `fbtrace_id`."""

    code: int
    subcode: int | None = None
    status: int = 400
    message: str = "Invalid parameter"
    type: str = "OAuthException"
    transient: bool = False
    title: str = "Invalid parameter"
    detail: str = "One of the parameters is not valid."
    bare: bool = False
    """Simple errors such as 190 come without `is_transient` and the two texts for users (sheet meta, 8)."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def reply(self) -> Reply:
        error: dict[str, Any] = {"message": self.message, "type": self.type, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if not self.bare:
            error |= {
                "is_transient": self.transient,
                "error_user_title": self.title,
                "error_user_msg": self.detail,
            }
        error["fbtrace_id"] = trace_id()
        return Reply(self.status, {"error": error}, self.headers)


def invalid(title: str, detail: str, subcode: int | None = None) -> GraphError:
    """`E(100, subcode, 400)`: a parameter that Graph does not take (sheet meta, 8.1)."""
    return GraphError(100, subcode, title=title, detail=detail)


def missing(key: str) -> GraphError:
    """`E(100, 2804019, 400)`: a required key is absent (sheet meta, 8.1)."""
    return invalid("Missing Required Parameter", f"Each event needs the parameter {key}.", 2804019)


TOKEN_INVALID = GraphError(190, status=401, message="Invalid OAuth access token - Cannot parse access token", bare=True)
TOKEN_EXPIRED = GraphError(
    190, 463, 401, message="Error validating access token: Session has expired. Generate a new access token.", bare=True
)
TOKEN_ABSENT = GraphError(104, message="An access token is required to request this resource.")
NO_PERMISSION = GraphError(
    200, status=403, message="(#200) The token has no permission to send events to this dataset.", title="No permission"
)
PROOF_ABSENT = GraphError(
    100, message="API calls from the server require an appsecret_proof argument", type=GRAPH_METHOD
)
PROOF_WRONG = GraphError(100, message="Invalid appsecret_proof provided in the API argument", type=GRAPH_METHOD)
UNKNOWN_OBJECT = GraphError(
    100,
    33,
    message=(
        "Unsupported post request. The object does not exist, cannot be loaded due to missing permissions, "
        "or does not support this operation."
    ),
    type=GRAPH_METHOD,
)
UNKNOWN_PATH = GraphError(2500, message="Unknown path components", title="Unknown path")
RETIRED_VERSION = GraphError(
    2635, message="(#2635) You are calling a deprecated version of the Ads API. Please update to a newer version."
)


def _business_usage(fault: Fault) -> GraphError:
    # The time until calls are taken again is in whole minutes (sheet meta, 7).
    minutes = max(1, ceil(fault.seconds / 60))
    usage = {
        "1029384756": [
            {
                "type": "ads_management",
                "call_count": 100,
                "total_cputime": 31,
                "total_time": 27,
                "estimated_time_to_regain_access": minutes,
            }
        ]
    }
    return GraphError(
        80004,
        message="(#80004) There have been too many calls to this ad-account. Wait a bit and try again.",
        title="Too many calls",
        headers={"X-Business-Use-Case-Usage": orjson.dumps(usage).decode()},
    )


_APP_USAGE = {"X-App-Usage": orjson.dumps({"call_count": 100, "total_cputime": 25, "total_time": 25}).decode()}

_THROTTLE_4 = GraphError(
    4,
    status=403,
    message="(#4) Application request limit reached",
    transient=True,
    title="Application request limit reached",
    headers=_APP_USAGE,
)
_THROTTLE_17 = GraphError(
    17, 2446079, message="(#17) User request limit reached", title="Ad account has too many calls"
)
_THROTTLE_613 = GraphError(613, message="(#613) Calls to this api have exceeded the rate limit.", title="Rate limit")
_SERVER_1 = GraphError(1, status=500, message="An unknown error occurred", title="Unknown error")
_SERVER_2 = GraphError(
    2, status=500, message="Service temporarily unavailable", transient=True, title="Service unavailable"
)

FAULTS: Mapping[str, Callable[[Fault], Reply]] = {
    "throttle_4": lambda _: _THROTTLE_4.reply(),
    "throttle_17": lambda _: _THROTTLE_17.reply(),
    "throttle_613": lambda _: _THROTTLE_613.reply(),
    "throttle_80004": lambda fault: _business_usage(fault).reply(),
    "server_1": lambda _: _SERVER_1.reply(),
    "server_2": lambda _: _SERVER_2.reply(),
    "token_expired": lambda _: TOKEN_EXPIRED.reply(),
    "token_invalid": lambda _: TOKEN_INVALID.reply(),
    "wrong_permission": lambda _: NO_PERMISSION.reply(),
    "proof_required": lambda _: PROOF_ABSENT.reply(),
    # Status 429 as a gateway gives it, and with what Graph itself says (sheet meta, 8.1).
    "http_429": lambda _: Reply(429),
    "throttle_429": lambda fault: replace(_business_usage(fault), status=429).reply(),
    # Answers that look like a yes to a client that reads no further than the status.
    "error_200": lambda _: replace(_SERVER_2, status=200).reply(),
    "received_none": lambda _: Reply(200, {"events_received": 0, "messages": [], "fbtrace_id": trace_id()}),
    # A code that no table has.
    "unknown_code": lambda _: GraphError(31337, message="(#31337) Something new").reply(),
}
"""Answers that do not depend on the request; nothing is stored. `throttle_80004` and `throttle_429` take the wait from
`seconds`."""
