"""The token endpoint and bearer tokens of the Google simulator (sheet google, rules 1 to 4, 6, 7, 26, 27)."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.oauth2 import service_account

from postbacks.sandbox.base import Reply
from tests.sandbox.google_driver import FORM, INGEST, NOW, ROW, Driver, ads_error, rows

JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DATA_MANAGER = "https://www.googleapis.com/auth/datamanager"
ADS = "https://www.googleapis.com/auth/adwords"
EMAIL = "sender@project.example"
KEY = rsa.generate_private_key(65537, 2048)
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
CLIENT = "sandbox-client.apps.example"
GOOD: dict[str, Any] = {
    "iss": EMAIL,
    "scope": DATA_MANAGER,
    "aud": "https://oauth2.googleapis.com/token",
    "iat": int(NOW),
    "exp": int(NOW) + 3600,
}


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(claims: dict[str, Any], *, alg: str = "RS256", key: rsa.RSAPrivateKey = KEY) -> str:
    head = part(orjson.dumps({"alg": alg, "typ": "JWT", "kid": "k1"})) + "." + part(orjson.dumps(claims))
    return head + "." + part(key.sign(head.encode(), PKCS1v15(), SHA256()))


def exchange(assertion: str, **switches: Any) -> tuple[Driver, Reply]:
    driver = Driver(service_accounts={EMAIL: PUBLIC}, **switches)
    form = urlencode({"grant_type": JWT, "assertion": assertion}).encode()
    return driver, driver.send("POST", "/token", form, {"content-type": FORM})


def test_a_refresh_token_is_exchanged() -> None:
    reply = Driver().refresh()
    body = dict(reply.body)
    assert body.pop("access_token").startswith("ya29.")
    assert (reply.status, body) == (
        200,
        {"expires_in": 3599, "token_type": "Bearer", "scope": f"{ADS} {DATA_MANAGER}"},
    )


@pytest.mark.parametrize(
    ("rule", "form", "status", "error"),
    [
        (2, {"grant_type": "password"}, 400, "unsupported_grant_type"),
        (2, {"grant_type": ""}, 400, "unsupported_grant_type"),
        (2, {"client_id": "other"}, 401, "invalid_client"),
        (2, {"client_secret": "wrong"}, 401, "invalid_client"),
        (3, {"refresh_token": "revoked"}, 400, "invalid_grant"),
        (3, {"scope": "openid"}, 400, "invalid_scope"),
    ],
)
def test_a_broken_rule_of_the_refresh_grant(rule: int, form: dict[str, str], status: int, error: str) -> None:
    reply = Driver().refresh(**form)
    assert (reply.status, reply.body["error"]) == (status, error), rule
    assert reply.body["error_description"]


def test_rule_2_in_its_other_reading() -> None:
    assert Driver(rule_2=False).refresh(grant_type="password").body["error"] == "invalid_request"


def test_a_refresh_token_belongs_to_its_client() -> None:
    reply = Driver(refresh_tokens={"sandbox-refresh-token": "somebody-else"}).refresh()
    assert (reply.status, reply.body["error"]) == (400, "unauthorized_client")


def test_rule_1_only_a_posted_form() -> None:
    driver = Driver()
    credentials = driver.sim.demo_destination()["credentials"]
    body = orjson.dumps({"grant_type": "refresh_token", **credentials})
    tries = [("GET", FORM, b""), ("POST", "application/json", body), ("POST", "", b"")]
    replies = [driver.send(method, "/token", data, {"content-type": kind}) for method, kind, data in tries]
    assert [(one.status, one.body["error"]) for one in replies] == [(400, "invalid_request")] * 3
    lenient = [
        Driver(rule_1=False).send("POST", "/token", data, {"content-type": "application/json"}) for data in (body, b"{")
    ]
    assert [one.status for one in lenient] == [200, 400]


@pytest.mark.parametrize("aud", ["https://oauth2.googleapis.com/token", "https://sim.example/google/token"])
def test_an_assertion_is_exchanged(aud: str) -> None:
    driver, reply = exchange(signed({**GOOD, "aud": aud}))
    assert (reply.status, sorted(reply.body)) == (200, ["access_token", "expires_in", "token_type"])
    driver.token = reply.body["access_token"]
    assert driver.ingest(INGEST).status == 200


@pytest.mark.parametrize(
    "assertion",
    [
        signed({**GOOD, "exp": NOW + 3601}),
        signed({**GOOD, "iat": NOW + 301, "exp": NOW + 600}),
        signed({**GOOD, "iat": NOW - 3600, "exp": NOW}),
        signed({**GOOD, "aud": "https://elsewhere.example/token"}),
        signed({**GOOD, "iss": "stranger@project.example"}),
        signed({**GOOD, "iat": "now"}),
        signed(GOOD, alg="HS256"),
        signed(GOOD, key=rsa.generate_private_key(65537, 2048)),
        "not.a-jwt",
        "a.b.c",
        "AAAA.AAAA.AAAA",
    ],
)
def test_rule_3_a_bad_assertion(assertion: str) -> None:
    _, reply = exchange(assertion)
    assert (reply.status, reply.body["error"]) == (400, "invalid_grant")


def test_a_key_of_another_kind_verifies_nothing() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    driver = Driver(service_accounts={EMAIL: pem})
    form = urlencode({"grant_type": JWT, "assertion": signed(GOOD)}).encode()
    assert driver.send("POST", "/token", form, {"content-type": FORM}).body["error"] == "invalid_grant"


def test_an_assertion_without_a_scope() -> None:
    _, reply = exchange(signed({**GOOD, "scope": ""}))
    assert (reply.status, reply.body["error"]) == (400, "invalid_scope")


def test_scopes_of_an_account_can_be_narrowed() -> None:
    driver, reply = exchange(signed(GOOD), scopes={EMAIL: ADS})
    driver.token = reply.body["access_token"]
    assert driver.ingest(INGEST).status == 403


def test_googles_own_library_is_understood() -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    info = {"client_email": EMAIL, "private_key": pem, "private_key_id": "k1", "token_uri": "https://sim.example/t"}
    credentials = service_account.Credentials.from_service_account_info(info, scopes=[DATA_MANAGER])
    driver = Driver(service_accounts={EMAIL: PUBLIC})
    assertion = credentials._make_authorization_grant_assertion()
    claims = orjson.loads(base64.urlsafe_b64decode(assertion.split(b".")[1] + b"=="))
    driver.now = float(claims["iat"])
    form = urlencode({"grant_type": JWT, "assertion": assertion}).encode()
    assert driver.send("POST", "/token", form, {"content-type": FORM}).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [("token_invalid_grant", 400, "invalid_grant"), ("token_server_error", 500, "internal_failure")],
)
def test_token_faults(fault: str, status: int, error: str) -> None:
    reply = Driver().refresh(fault)
    assert (reply.status, reply.body["error"]) == (status, error)


@pytest.mark.parametrize(
    ("token", "later", "ads", "data_manager"),
    [
        ("", 0, "OAUTH_TOKEN_INVALID", "CREDENTIALS_MISSING"),
        ("made-up", 0, "OAUTH_TOKEN_INVALID", "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ("good", 60, "OAUTH_TOKEN_EXPIRED", "ACCESS_TOKEN_EXPIRED"),
    ],
)
def test_rules_4_6_and_26_a_token_must_be_good(token: str, later: int, ads: str, data_manager: str) -> None:
    driver = Driver(token_seconds=60)
    driver.token = driver.refresh().body["access_token"] if token == "good" else token
    driver.now += later
    headers = {"authorization": f"Bearer {driver.token}", "content-type": "application/json"}
    path = "/v26/customers/1002003004:uploadClickConversions"
    refused = driver.send("POST", path, orjson.dumps(rows(ROW)), headers)
    assert ads_error(refused) == (401, "UNAUTHENTICATED", "authenticationError", ads)
    for method, where in (("POST", "/v1/events:ingest"), ("GET", "/v1/requestStatus:retrieve")):
        error = driver.send(method, where, orjson.dumps(INGEST), headers).body["error"]
        assert (error["code"], error["details"][0]["reason"]) == (401, data_manager)
        assert error["details"][0]["domain"] == "googleapis.com"


def test_rules_6_and_26_without_details() -> None:
    driver = Driver(rule_6=False, rule_26=False)
    for path in ("/v26/customers/1002003004:uploadClickConversions", "/v1/events:ingest"):
        reply = driver.send("POST", path)
        assert (reply.status, "details" in reply.body["error"]) == (401, False)


def test_rules_7_and_27_the_scope_of_the_other_route_is_not_enough() -> None:
    only_ads, only_data_manager = Driver(scopes={CLIENT: ADS}), Driver(scopes={CLIENT: DATA_MANAGER})
    assert only_ads.upload(rows(ROW)).status == only_data_manager.ingest(INGEST).status == 200
    for reply in (only_ads.ingest(INGEST), only_data_manager.upload(rows(ROW))):
        error = reply.body["error"]
        assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
        assert error["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
        assert error["details"][0]["domain"] == "googleapis.com"
