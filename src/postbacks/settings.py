"""Every setting: its unit, its default and what it is for. Environment variables, prefix `POSTBACKS_`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from postbacks.errors import SettingError

Network = IPv4Network | IPv6Network


class Settings(BaseSettings):
    """Read once at the start; frozen afterwards. `repr` shows no secret."""

    model_config = SettingsConfigDict(
        env_prefix="POSTBACKS_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: str | None = Field(None, repr=False)
    """`postgresql://…`; unset means an embedded PostgreSQL in `data_dir`."""
    data_dir: Path = Path(".postbacks")
    admin_token: str | None = Field(None, repr=False)
    encryption_keys: Annotated[tuple[str, ...], NoDecode] = Field((), repr=False)
    """Fernet keys; the first encrypts, all decrypt."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)

    meta_api_base: str | None = None
    tiktok_api_base: str | None = None
    reddit_api_base: str | None = None
    x_api_base: str | None = None
    google_data_manager_api_base: str | None = None
    google_ads_api_base: str | None = None
    google_token_url: str | None = None

    retry_schedule: Annotated[tuple[float, ...], NoDecode] = (10, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
    """Seconds between tries; the last repeats."""
    give_up_after_hours: float = Field(72, gt=0, le=24 * 365)
    batch_linger_ms: float = Field(50, ge=0, le=60_000)
    """How long a send may wait for companions. Small enough that a person sees no delay."""
    lease_seconds: float = Field(60, ge=1, le=3600)
    """After which the work of a dispatcher that died is taken over."""
    retention_days: int = Field(30, ge=1, le=3650)
    webhook_allow_networks: Annotated[tuple[Network, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()

    database_pool: int = Field(10, ge=2, le=200)
    """Connections of one process, at most; dispatch uses a third at a time."""
    sends_per_destination: int = Field(4, ge=1, le=64)
    """Requests under way to one destination from one dispatcher, at most."""
    sends_in_flight: int = Field(64, ge=1, le=1000)
    """Batches, and connections, under way from one dispatcher to one platform, at most."""
    shutdown_seconds: float = Field(20, ge=0, le=600)
    """How long requests and sends under way may take to finish after SIGTERM."""
    probe_minutes: float = Field(15, gt=0, le=24 * 60)
    """How often the credentials of a held destination are tried again."""
    address_key_hours: float = Field(24, ge=1, le=24 * 30)
    """After which a new key is used for address hashes; old ones are kept for the matching window."""
    clicks_per_minute: int = Field(3_000, ge=1)
    """Clicks that one address may register with publishable keys, per minute and process."""
    key_clicks_per_minute: int = Field(60_000, ge=1)
    """Clicks that one publishable key may register, per minute and process."""

    @field_validator("encryption_keys", "retry_schedule", "webhook_allow_networks", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Comma-separated lists, as an environment variable holds them."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("encryption_keys")
    @classmethod
    def _fernet(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        return _fernet_keys(keys)

    @field_validator("retry_schedule")
    @classmethod
    def _schedule(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if not steps or any(not 0 <= step <= 30 * 86400 for step in steps):
            raise ValueError("needs one or more numbers of seconds, each from 0 to 2592000")
        return steps

    @field_validator("webhook_allow_networks", "trusted_proxies", mode="after")
    @classmethod
    def _networks(cls, networks: tuple[Network, ...]) -> tuple[Network, ...]:
        return tuple(ip_network(network) for network in networks)

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in ("postgresql", "postgres"):
            raise ValueError("must be a postgresql:// URL")
        return url

    @field_validator(
        "meta_api_base",
        "tiktok_api_base",
        "reddit_api_base",
        "x_api_base",
        "google_data_manager_api_base",
        "google_ads_api_base",
        "google_token_url",
    )
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("must be an http:// or https:// URL")
        return url.rstrip("/")

    @property
    def embedded(self) -> bool:
        """Whether PostgreSQL runs as our own child in `data_dir`."""
        return self.database_url is None

    def api_base(self, name: str) -> str | None:
        """An override of a platform's address, by the adapter's name for it (`META_API_BASE`)."""
        value = getattr(self, name.lower(), None)
        return value if isinstance(value, str) else None


def load_settings(**overrides: Any) -> Settings:
    """Reads the environment and `.env`. Raises `SettingError` with one line per wrong setting."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        words: dict[str, str] = {}
        for one in error.errors(include_input=False, include_url=False):
            # Of a list, the first item that is wrong; of several shapes that a value might have, the first.
            words.setdefault(f"POSTBACKS_{one['loc'][0]}".upper(), one["msg"].removeprefix("Value error, "))
        raise SettingError(
            "; ".join(f"{name}: {message}" for name, message in words.items()) + ". See .env.example for every setting."
        ) from None


def with_secrets(settings: Settings) -> Settings:
    """Completes `admin_token` and `encryption_keys`.

    With an embedded database both are generated once into `data_dir` (mode 0600). With a database of its own a
    process must be told them, because every process needs the same. Raises `SettingError` otherwise.
    """
    values: dict[str, Any] = {}
    if not settings.admin_token:
        values["admin_token"] = _secret(settings, "admin_token", lambda: "adm_" + secrets.token_urlsafe(32))
    if not settings.encryption_keys:
        raw = _secret(settings, "encryption_keys", lambda: Fernet.generate_key().decode())
        try:
            values["encryption_keys"] = _fernet_keys(tuple(part.strip() for part in raw.split(",") if part.strip()))
        except ValueError as error:
            raise SettingError(f"{settings.data_dir / 'encryption_keys'}: {error}. Restore it from a backup.") from None
    return settings.model_copy(update=values) if values else settings


def _fernet_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys, once each is known to be one. Raises `ValueError`."""
    for key in keys:
        try:
            Fernet(key)
        except ValueError:
            raise ValueError("each must be a Fernet key (32 bytes in URL-safe base64)") from None
    return keys


def _secret(settings: Settings, name: str, generate: Callable[[], str]) -> str:
    if not settings.embedded:
        raise SettingError(
            f"POSTBACKS_{name.upper()} is not set. It is generated only for the embedded database; with "
            "POSTBACKS_DATABASE_URL every process must be given the same value."
        )
    path = settings.data_dir / name
    try:
        return _kept(path, generate)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{path} cannot be written or read: {getattr(error, 'strerror', None) or error}. Set POSTBACKS_DATA_DIR to "
            "a directory that may be written to."
        ) from None


def _kept(path: Path, generate: Callable[[], str]) -> str:
    """The secret in a file, which is made if it is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(generate() + "\n")
    except FileExistsError:
        pass
    value = path.read_text().strip()
    if not value:
        raise SettingError(f"{path} is empty. Delete it to have a new value generated.")
    return value
