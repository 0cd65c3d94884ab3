"""Talks to the Google simulator without a network, with a clock that stands still."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from postbacks.sandbox.base import Fault, Reply, Seen
from postbacks.sandbox.google import GoogleSimulator

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600, 86_400
FORM = "application/x-www-form-urlencoded"

EVENT: dict[str, Any] = {
    "destinationReferences": ["install"],
    "transactionId": "evt-0001",
    "eventTimestamp": "2026-11-20T14:03:09+01:00",
    "eventSource": "APP",
    "adIdentifiers": {"gbraid": "DemoGbraid22"},
    "conversionValue": 4.99,
    "currency": "EUR",
    "consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_DENIED"},
}
"""The event of the sheet's example B1."""
INGEST: dict[str, Any] = {
    "destinations": [
        {
            "reference": "install",
            "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "1002003004"},
            "loginAccount": {"accountType": "GOOGLE_ADS", "accountId": "9008007006"},
            "productDestinationId": "55501",
        }
    ],
    "events": [EVENT],
}
"""The sheet's example B1."""
ROW: dict[str, Any] = {
    "gclid": "Demo-Gclid_AAA111",
    "conversionAction": "customers/1002003004/conversionActions/55501",
    "conversionDateTime": "2026-11-20 14:03:09+01:00",
    "conversionValue": 4.99,
    "currencyCode": "EUR",
    "orderId": "evt-0001",
    "conversionEnvironment": "APP",
    "consent": {"adUserData": "GRANTED"},
}
"""The good row of the sheet's example A1."""


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at `a.0.b` replaced; `...` removes it."""
    body = copy.deepcopy(base)
    spot: Any = body
    *way, last = path.split(".")
    for step in way:
        spot = spot[int(step)] if isinstance(spot, list) else spot.setdefault(step, {})
    if value is ...:
        del spot[last]
    else:
        spot[last] = value
    return body


def rows(*conversions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"partialFailure": True, "conversions": list(conversions), **more}


class Driver:
    def __init__(self, **switches: Any) -> None:
        self.sim = GoogleSimulator()
        self.sim.set_switches(switches)
        self.now = NOW
        self.token = ""

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        fault: str = "",
    ) -> Reply:
        url = "https://sim.example/google" + path
        seen = Seen(method, path, url, query or {}, headers or {}, body, self.now)
        return self.sim.answer(seen, Fault(fault, seconds=7) if fault else None)

    def refresh(self, fault: str = "", **form: str) -> Reply:
        credentials = self.sim.demo_destination()["credentials"]
        fields = {name: credentials[name] for name in ("client_id", "client_secret", "refresh_token")}
        data = {"grant_type": "refresh_token", **fields, **form}
        return self.send("POST", "/token", urlencode(data).encode(), {"content-type": FORM}, fault=fault)

    def headers(self) -> dict[str, str]:
        self.token = self.token or self.refresh().body["access_token"]
        return {"authorization": f"Bearer {self.token}", "content-type": "application/json"}

    def ingest(self, body: Any, fault: str = "") -> Reply:
        return self.send("POST", "/v1/events:ingest", orjson.dumps(body), self.headers(), fault=fault)

    def status(self, request_id: str) -> Reply:
        return self.send("GET", "/v1/requestStatus:retrieve", b"", self.headers(), {"requestId": request_id})

    def outcome(self, body: Any) -> dict[str, Any]:
        """The status of the first destination after one accepted request."""
        answer = self.ingest(body)
        assert answer.status == 200, answer.body
        told: dict[str, Any] = self.status(answer.body["requestId"]).body["requestStatusPerDestination"][0]
        return told

    def upload(
        self, body: Any, *, version: int = 26, customer: str = "1002003004", fault: str = "", **headers: str
    ) -> Reply:
        path = f"/v{version}/customers/{customer}:uploadClickConversions"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {**self.headers(), "login-customer-id": "9008007006", **named}
        return self.send("POST", path, orjson.dumps(body), sent, fault=fault)


def violations(reply: Reply) -> list[tuple[str, str]]:
    """Field and reason of each violation in a `BadRequest` detail; TJ has no reasons."""
    found = [one for one in reply.body["error"]["details"] if one["@type"].endswith("google.rpc.BadRequest")]
    return [(one["field"], one.get("reason", "")) for one in found[0]["fieldViolations"]]


def ads_error(reply: Reply) -> tuple[int, str, str, str]:
    """HTTP status, canonical status, error family and code of a request refused by route A."""
    error = reply.body["error"]
    assert error["details"][0]["@type"].startswith("type.googleapis.com/google.ads.googleads.v")
    ((key, code),) = error["details"][0]["errors"][0]["errorCode"].items()
    return reply.status, error["status"], key, code


def row_errors(reply: Reply) -> list[tuple[int, str, str, str]]:
    """Index, family, code and field of each row error."""
    assert reply.status == 200, reply.body
    found = []
    failure = reply.body.get("partialFailureError")
    for error in failure["details"][0]["errors"] if failure else []:
        ((key, code),) = error["errorCode"].items()
        row, field = error["location"]["fieldPathElements"]
        assert row["fieldName"] == "conversions"
        found.append((row["index"], key, code, field["fieldName"]))
    return found
