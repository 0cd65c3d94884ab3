"""Asking for an access token, and what the token endpoint's answers mean."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import Target, Token, TransportFailure
from postbacks.platforms.google_oauth import REMEDIES
from tests.platforms.conversions import NOW, target
from tests.platforms.google_setup import ACCOUNTS, GOOGLE, REFRESH, answer, destination, private_key, service_account

REAL = "https://oauth2.googleapis.com/token"


def form(where: Target[Any, Any]) -> dict[str, str]:
    request = GOOGLE.token_request(where, NOW)
    assert (request.method, request.url) == ("POST", where.bases["GOOGLE_TOKEN_URL"])
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    return {name: value for name, [value] in parse_qs(request.body.decode(), strict_parsing=True).items()}


def member(assertion: str, place: int) -> dict[str, Any]:
    """Header (0) or claims (1) of a JWT."""
    decoded: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(assertion.split(".")[place] + "=="))
    return decoded


def test_a_refresh_token_is_exchanged() -> None:
    assert form(destination()) == {"grant_type": "refresh_token", **REFRESH}


@pytest.mark.parametrize(
    ("route", "scope"),
    [
        ("data_manager", "https://www.googleapis.com/auth/datamanager"),
        ("ads_api", "https://www.googleapis.com/auth/adwords"),
    ],
)
def test_a_service_account_signs_for_the_scope_of_the_route(route: str, scope: str) -> None:
    where = target(GOOGLE, {**ACCOUNTS, "service_account": service_account()}, {"route": route})

    sent = form(where)

    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    header, claims = (member(sent["assertion"], n) for n in (0, 1))
    assert (header["alg"], header["kid"]) == ("RS256", "kid-1")
    assert claims["iss"] == "sender@demo.iam.gserviceaccount.com"
    assert (claims["scope"], claims["aud"]) == (scope, REAL)
    assert claims["iat"] == int(NOW.timestamp())
    assert claims["exp"] == claims["iat"] + 3600


def test_the_assertion_verifies_with_the_public_key() -> None:
    where = target(GOOGLE, {**ACCOUNTS, "service_account": service_account()})

    signed, _, signature = form(where)["assertion"].rpartition(".")

    raw = base64.urlsafe_b64decode(signature + "==")
    private_key().public_key().verify(raw, signed.encode(), PKCS1v15(), SHA256())


def asking(url: str) -> Target[Any, Any]:
    plain = target(GOOGLE, {**ACCOUNTS, "service_account": service_account()})
    return Target(plain.credentials, plain.options, {**plain.bases, "GOOGLE_TOKEN_URL": url})


def test_behind_a_proxy_the_audience_is_still_google_s_own() -> None:
    """Google reads the assertion, whoever passes it on, and refuses any other audience (sheet google, 3)."""
    assert member(form(asking("http://proxy:1/token"))["assertion"], 1)["aud"] == REAL


@pytest.mark.parametrize(
    ("setting", "asked"),
    [
        ("http://proxy:1/oauth", "http://proxy:1/oauth"),
        ("http://proxy:1", "http://proxy:1/token"),
        ("http://proxy:1/", "http://proxy:1/token"),
        (REAL, REAL),
    ],
)
def test_the_token_url_may_be_scheme_and_host_alone(setting: str, asked: str) -> None:
    assert GOOGLE.token_request(asking(setting), NOW).url == asked


@pytest.mark.parametrize(("life", "expected"), [(3599, 3599.0), ("120", 120.0), (None, 3599.0)])
def test_reads_a_token(life: Any, expected: float) -> None:
    said = answer(200, {"access_token": "ya29.x", "expires_in": life, "token_type": "Bearer"})

    assert GOOGLE.read_token(said) == Token("ya29.x", expected)


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_a_dead_grant_holds_the_destination_with_a_remedy(code: str) -> None:
    verdict = GOOGLE.read_token(answer(400, {"error": code, "error_description": "demo: grant no longer valid"}))

    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.code, verdict.message) == (Kind.HOLD, code, "demo: grant no longer valid")
    assert verdict.remedy == REMEDIES[code]


def test_an_unknown_oauth_error_holds_too() -> None:
    verdict = GOOGLE.read_token(answer(401, {"error": "novel_error"}))

    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.code) == (Kind.HOLD, "novel_error")
    assert verdict.remedy


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (answer(500, {"error": "internal_failure"}), "http_500"),
        (answer(503, b"<html>busy</html>"), "http_503"),
        (answer(429, {"error": "rate_limit_exceeded"}), "http_429"),
        (answer(400, {"error": "temporarily_unavailable"}), "http_400"),
        (answer(404, b"<html>proxy</html>"), "http_404"),
        (answer(200, {"token_type": "Bearer"}), "no_access_token"),
        (answer(200, b"<html>login</html>"), "no_access_token"),
        (TransportFailure("timeout", "no answer in 30 s", sent=True), "timeout"),
    ],
)
def test_passing_faults_are_tried_again(said: Any, code: str) -> None:
    verdict = GOOGLE.read_token(said)

    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.code) == (Kind.RETRY, code)
    assert verdict.throttled is (code == "http_429")
