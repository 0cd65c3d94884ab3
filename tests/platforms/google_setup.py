"""What the Google tests share: a destination per route, a signing key, and answers in Google's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from postbacks.domain.model import Conversion, Verdict
from postbacks.platforms.base import Adapter, Built, Prepared, Response, Target
from postbacks.platforms.google import Google
from tests.platforms.conversions import NOW, conversion, target

GOOGLE: Final = Google()
REFRESH: Final = {"client_id": "id.apps", "client_secret": "s3cret", "refresh_token": "1//grant"}
ACCOUNTS: Final = {"operating_account_id": "100-200-3004", "login_account_id": "9008007006"}
TOKEN: Final = "ya29.demo"
CLICKED_AT: Final = NOW - timedelta(hours=7)


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def service_account() -> dict[str, Any]:
    """A service account's JSON key, with the members that we do not need too."""
    pem = private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "kid-1",
        "private_key": pem,
        "client_email": "sender@demo.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def destination(route: str = "data_manager", **options: Any) -> Target[Any, Any]:
    adapter: Adapter[Any, Any] = GOOGLE
    return target(adapter, {**ACCOUNTS, **REFRESH}, {"route": route, **options})


def google_conversion(**overrides: Any) -> Conversion:
    """An install by gclid, seven hours after whose click Google is asked."""
    facts = {
        "mapping": {"conversion_action_id": "55501"},
        "click_type": "gclid",
        "click_value": "Demo-Gclid_AAA111",
        "clicked_at": CLICKED_AT,
    }
    return conversion(**{**facts, **overrides})


def batch(count: int, **overrides: Any) -> list[Conversion]:
    return [google_conversion(key=f"dlv_{n:032x}", click_value=f"Gclid-{n}", **overrides) for n in range(count)]


def build(where: Target[Any, Any], *conversions: Conversion) -> Built:
    return GOOGLE.build(where, conversions, NOW, TOKEN)


def sent(where: Target[Any, Any], *conversions: Conversion) -> dict[str, Any]:
    """The body of the only request."""
    [prepared] = build(where, *conversions).prepared
    body: dict[str, Any] = orjson.loads(prepared.request.body)
    return body


def answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body))


def read(where: Target[Any, Any], count: int, said: Any) -> Sequence[Verdict]:
    """The verdicts for a batch of `count` that got this answer."""
    [prepared] = build(where, *batch(count)).prepared
    return GOOGLE.read(where, prepared, said, NOW)


def rpc_error(
    status: int, canonical: str, reason: str = "", violations: Sequence[tuple[str, str]] = (), **info: Any
) -> Response:
    """A refusal in the shape of sheet google, 4.3."""
    details: list[dict[str, Any]] = []
    if reason:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, **info})
    if violations:
        fields = [{"field": field, "description": "demo words", "reason": why} for field, why in violations]
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": fields})
    return answer(
        status, {"error": {"code": status, "message": "not acceptable", "status": canonical, "details": details}}
    )


def ads_failure(kind: str, code: str, place: int | None = None, field: str = "", **more: Any) -> dict[str, Any]:
    """One `GoogleAdsError` (sheet google, 1.5)."""
    failure: dict[str, Any] = {"errorCode": {kind: code}, "message": "demo words", **more}
    if place is not None:
        path: list[dict[str, Any]] = [{"fieldName": "conversions", "index": place}]
        failure["location"] = {"fieldPathElements": [*path, {"fieldName": field}] if field else path}
    return failure


def ads_details(*failures: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "@type": "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure",
            "errors": list(failures),
            "requestId": "reqDemo",
        }
    ]


def ads_error(status: int, canonical: str, *failures: Mapping[str, Any], headers: Any = None) -> Response:
    """A refused request of the Ads API (sheet google, 4.2)."""
    error = {"code": status, "message": "not acceptable", "status": canonical, "details": ads_details(*failures)}
    return answer(status, {"error": error}, headers)


def ads_partial(count: int, *failures: Mapping[str, Any]) -> Response:
    """200 with some rows failed (sheet google, 1.5)."""
    failed = {
        element["index"]
        for failure in failures
        for element in failure.get("location", {}).get("fieldPathElements", [])
        if "index" in element
    }
    results = [{} if n in failed else {"gclid": f"Gclid-{n}"} for n in range(count)]
    body: dict[str, Any] = {"results": results, "jobId": "41"}
    if failures:
        first = {"code": 3, "message": "Multiple errors. First: x, at conversions[0].gclid"}
        body["partialFailureError"] = {**first, "details": ads_details(*failures)}
    return answer(200, body)


def prepared_of(built: Built) -> Prepared:
    [prepared] = built.prepared
    return prepared
