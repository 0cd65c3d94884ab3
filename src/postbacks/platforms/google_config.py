"""What an operator writes for a Google destination (contract, section 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from postbacks.platforms.base import ConfigModel, Target

OAUTH_URL = "GOOGLE_TOKEN_URL"
DATA_MANAGER_BASE = "GOOGLE_DATA_MANAGER_API_BASE"
ADS_BASE = "GOOGLE_ADS_API_BASE"

API_BASES: Mapping[str, str] = {
    DATA_MANAGER_BASE: "https://datamanager.googleapis.com",
    ADS_BASE: "https://googleads.googleapis.com",
    OAUTH_URL: "https://oauth2.googleapis.com/token",
}

_DIGITS = re.compile(r"[0-9]+")


def _text_of_number(value: object) -> object:
    """YAML reads an unquoted ID as a number; `True` is one too and is left to be refused."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _account_id(value: object) -> object:
    value = _text_of_number(value)
    if not isinstance(value, str):
        return value
    digits = value.strip().replace("-", "")
    if not _DIGITS.fullmatch(digits):
        raise ValueError("a Google Ads account ID is a number such as 100-200-3004 (hyphens are optional)")
    return digits


def _conversion_action_id(value: object) -> object:
    value = _text_of_number(value)
    if not isinstance(value, str):
        return value
    value = value.strip()
    if "/" in value:
        raise ValueError(
            "conversion_action_id is the number alone (the last part of "
            "customers/…/conversionActions/NUMBER, or ctId= in the Google Ads URL), not the resource name"
        )
    if not _DIGITS.fullmatch(value):
        raise ValueError("conversion_action_id is a number; Google Ads shows it as ctId= in the action's URL")
    return value


def _json_key(value: object) -> object:
    """The service account's key as an object, whether the operator gave it as one or as its JSON text."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise ValueError("service_account is the JSON key itself (the text of the file), not a path") from None


def _private_key(value: object) -> object:
    """Undoes a doubled escape: shells and secret stores often turn the key's line breaks into a literal `\\n`."""
    return value.replace("\\n", "\n") if isinstance(value, str) else value


AccountId = Annotated[str, BeforeValidator(_account_id)]


class ServiceAccount(ConfigModel):
    """The parts of a service account's JSON key that sign a token request; its other members are dropped."""

    model_config = ConfigDict(extra="ignore")

    client_email: str = Field(min_length=3)
    private_key: Annotated[str, BeforeValidator(_private_key)] = Field(min_length=1, repr=False)
    private_key_id: str | None = None


class GoogleCredentials(ConfigModel):
    """The Ads account, and one identity that may write to it: a service account or an OAuth refresh token."""

    operating_account_id: AccountId
    """Owner of the conversion actions: with cross-account conversion tracking the manager (sheet google, 9 no. 2)."""
    login_account_id: AccountId | None = None
    """The manager account through which the identity has access; absent where it has access directly."""
    service_account: Annotated[ServiceAccount | None, BeforeValidator(_json_key)] = Field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = Field(default=None, repr=False)
    refresh_token: str | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _one_identity(self) -> GoogleCredentials:
        oauth = {name: getattr(self, name) for name in ("client_id", "client_secret", "refresh_token")}
        missing = [name for name, value in oauth.items() if not value]
        if self.service_account and len(missing) < len(oauth):
            raise ValueError("give either service_account or client_id, client_secret and refresh_token, not both")
        if self.service_account or not missing:
            return self
        if len(missing) == len(oauth):
            raise ValueError("give service_account (the JSON key), or client_id, client_secret and refresh_token")
        raise ValueError(f"an OAuth client needs all three of its values; missing: {', '.join(missing)}")


class GoogleOptions(ConfigModel):
    """How conversions go to Google."""

    route: Literal["data_manager", "ads_api"] = "data_manager"
    """`ads_api` is open only to Cloud projects that used it before 15 June 2026 (sheet google, 0)."""
    api_version: str = Field(default="v26", pattern=r"^v[0-9]+$")
    """Version of the Google Ads API; the Data Manager API has the single version v1."""
    hold_hours: float = Field(default=6, ge=0, le=168)
    """Hours after the click before which nothing is sent (sheet google, 4.5)."""
    confirm_after_minutes: float = Field(default=30, ge=0, le=1440)
    """Minutes after which the outcome of an accepted request is asked for (sheet google, 2.4)."""
    event_source: Literal["WEB", "APP", "IN_STORE", "PHONE", "MESSAGE", "OTHER"] = "WEB"
    conversion_environment: Literal["WEB", "APP"] | None = None
    """`ads_api` only. Unset: `APP` where `event_source` is `APP`, else the field is left out, because an account that
    is not on the allow-list may be refused for it (sheet google, 1.3)."""


class GoogleMapping(ConfigModel):
    """An event's entry: the conversion action that counts it. Google has no event names of its own."""

    conversion_action_id: Annotated[str, BeforeValidator(_conversion_action_id)]


GoogleTarget = Target[GoogleCredentials, GoogleOptions]


def action_id(mapping: Mapping[str, Any]) -> str:
    """The conversion action of a validated mapping."""
    return str(mapping["conversion_action_id"])


def distinct_actions(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The conversion actions of validated mappings, each once, in their order."""
    return list(dict.fromkeys(action_id(mapping) for mapping in mappings if "conversion_action_id" in mapping))
