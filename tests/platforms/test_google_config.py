"""What an operator may write for a Google destination, and what is said where it is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from postbacks.platforms.google_config import GoogleCredentials, GoogleMapping, GoogleOptions
from tests.platforms.conversions import NOW
from tests.platforms.google_setup import ACCOUNTS, CLICKED_AT, GOOGLE, REFRESH, destination, service_account

KEY = service_account()


@pytest.mark.parametrize("key", [KEY, orjson.dumps(KEY).decode()])
def test_takes_the_service_account_as_object_or_as_text(key: Any) -> None:
    credentials = GoogleCredentials.model_validate({**ACCOUNTS, "service_account": key})

    assert credentials.operating_account_id == "1002003004"
    assert credentials.service_account is not None
    assert credentials.service_account.private_key_id == "kid-1"
    GOOGLE.validate(credentials, GoogleOptions(), {})


def test_settings_read_back_from_storage_are_the_same() -> None:
    credentials = GoogleCredentials.model_validate({**ACCOUNTS, "service_account": KEY})

    assert GoogleCredentials.model_validate(credentials.model_dump(mode="json")) == credentials


def test_undoes_doubled_line_breaks_of_a_private_key() -> None:
    mangled = {**KEY, "private_key": KEY["private_key"].replace("\n", "\\n")}

    credentials = GoogleCredentials.model_validate({**ACCOUNTS, "service_account": mangled})

    GOOGLE.validate(credentials, GoogleOptions(), {})


def test_an_unquoted_number_of_yaml_is_an_account() -> None:
    credentials = GoogleCredentials.model_validate({"operating_account_id": 1002003004, **REFRESH})

    assert credentials.operating_account_id == "1002003004"
    assert credentials.login_account_id is None


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        ({**ACCOUNTS}, "give service_account"),
        ({**ACCOUNTS, **REFRESH, "service_account": KEY}, "not both"),
        ({**ACCOUNTS, "client_id": "x", "service_account": KEY}, "not both"),
        ({**ACCOUNTS, "client_id": "x", "client_secret": ""}, "missing: client_secret, refresh_token"),
        ({**ACCOUNTS, "service_account": "/etc/key.json"}, "not a path"),
        ({**ACCOUNTS, "service_account": {"type": "service_account"}}, "client_email"),
        ({**ACCOUNTS, "service_account": ""}, "give service_account"),
        ({**REFRESH}, "operating_account_id"),
        ({**REFRESH, "operating_account_id": "customers/1"}, "account ID is a number"),
        ({**REFRESH, "operating_account_id": "١٢٣"}, "account ID is a number"),
        ({**REFRESH, "operating_account_id": True}, "operating_account_id"),
        ({**REFRESH, **ACCOUNTS, "login_account_id": "mine"}, "account ID is a number"),
        ({**REFRESH, **ACCOUNTS, "developer_token": "x"}, "developer_token"),
    ],
)
def test_refuses_credentials_with_words(credentials: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        GoogleCredentials.model_validate(credentials)

    assert words in str(refused.value)
    assert "PRIVATE KEY" not in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_refuses_a_private_key_that_cannot_sign() -> None:
    broken = {**KEY, "private_key": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"}
    credentials = GoogleCredentials.model_validate({**ACCOUNTS, "service_account": broken})

    with pytest.raises(ValueError, match="not a readable RSA key"):
        GOOGLE.validate(credentials, GoogleOptions(), {})


@pytest.mark.parametrize("given", ["55501", " 55501 ", 55501])
def test_takes_the_number_of_a_conversion_action(given: Any) -> None:
    assert GoogleMapping.model_validate({"conversion_action_id": given}).conversion_action_id == "55501"


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({}, "conversion_action_id"),
        ({"name": "purchase"}, "conversion_action_id"),
        ({"conversion_action_id": "customers/1/conversionActions/55501"}, "not the resource name"),
        ({"conversion_action_id": "AW-55501"}, "is a number"),
        ({"conversion_action_id": True}, "conversion_action_id"),
        ({"conversion_action_id": -5}, "is a number"),
    ],
)
def test_refuses_a_mapping_with_words(mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GoogleMapping.model_validate(mapping)


def test_the_contract_s_defaults() -> None:
    options = GoogleOptions()

    assert (options.route, options.api_version, options.event_source) == ("data_manager", "v26", "WEB")
    assert (options.hold_hours, options.confirm_after_minutes) == (6, 30)
    assert options.conversion_environment is None


@pytest.mark.parametrize(
    "options",
    [
        {"route": "firebase"},
        {"api_version": "26"},
        {"api_version": "v26/../v1"},
        {"hold_hours": -1},
        {"event_source": "MOBILE"},
        {"conversion_environment": "IOS"},
        {"job_id": 1},
    ],
)
def test_refuses_unknown_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GoogleOptions.model_validate(options)


def test_google_has_no_event_names_of_its_own() -> None:
    assert not GOOGLE.presets
    assert GOOGLE.wildcard("level_up") is None


@pytest.mark.parametrize("hours", [0, 0.5, 6])
def test_waits_for_the_hold_and_for_nothing_else(hours: float) -> None:
    where = destination(hold_hours=hours)
    for occurred_at in (CLICKED_AT, CLICKED_AT + timedelta(days=2), NOW + timedelta(minutes=10)):
        due = GOOGLE.timing(where).not_before(occurred_at, CLICKED_AT)

        assert due == CLICKED_AT + timedelta(hours=hours)


def test_the_deadline_counts_from_the_click() -> None:
    ninety_days = NOW + timedelta(days=90)

    deadline = GOOGLE.timing(destination()).deadline(NOW + timedelta(days=80), NOW)

    assert ninety_days - timedelta(hours=2) < deadline < ninety_days
