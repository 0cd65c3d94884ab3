from __future__ import annotations

import stat
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from postbacks.errors import SettingError
from postbacks.settings import Settings, load_settings, with_secrets

KEY, OLD_KEY = (Fernet.generate_key().decode() for _ in range(2))
VARIABLES = [f"POSTBACKS_{name.upper()}" for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"POSTBACKS_{name}", value)
    return load_settings()


def test_without_any_setting_everything_has_the_documented_default() -> None:
    settings = load_settings()

    assert settings.embedded
    assert settings.data_dir == Path(".postbacks")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.retry_schedule == (10, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
    assert (settings.give_up_after_hours, settings.batch_linger_ms, settings.lease_seconds) == (72, 50, 60)
    assert settings.retention_days == 30
    assert settings.webhook_allow_networks == settings.trusted_proxies == ()
    assert settings.meta_api_base is None


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(
        monkeypatch,
        DATABASE_URL="postgresql://u:p@db.example/postbacks",
        RETRY_SCHEDULE=" 1, 2.5 ,60,",
        WEBHOOK_ALLOW_NETWORKS="10.0.0.0/8, fd00::/8",
        ENCRYPTION_KEYS=f"{KEY},{OLD_KEY}",
        META_API_BASE="http://127.0.0.1:9000/",
        PORT="0",
    )

    assert not settings.embedded
    assert settings.retry_schedule == (1, 2.5, 60)
    assert settings.webhook_allow_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.encryption_keys == (KEY, OLD_KEY)
    assert settings.api_base("META_API_BASE") == "http://127.0.0.1:9000"
    assert settings.api_base("X_API_BASE") is None
    assert settings.port == 0


def test_a_dot_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("POSTBACKS_PORT=9001\nPOSTBACKS_HOST=0.0.0.0\nOTHER=1\nPOSTBACKS_UNKNOWN=1\n")

    settings = loaded(monkeypatch, PORT="9002")

    assert (settings.host, settings.port) == ("0.0.0.0", 9002)


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_setting_means_not_set(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and shells pass an absent value on as an empty one."""
    default = load_settings()

    monkeypatch.setenv(variable, "")

    assert load_settings() == default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://user:hunter2@db/x"),
        ("DATABASE_URL", "hunter2"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("ENCRYPTION_KEYS", "hunter2"),
        pytest.param("ENCRYPTION_KEYS", f"{KEY},hunter2", id="one good and one bad key"),
        ("RETRY_SCHEDULE", "10,soon"),
        ("RETRY_SCHEDULE", ","),
        ("RETRY_SCHEDULE", "-1"),
        ("RETRY_SCHEDULE", "nan"),
        ("RETRY_SCHEDULE", "inf"),
        ("RETRY_SCHEDULE", "2592001"),
        ("GIVE_UP_AFTER_HOURS", "0"),
        ("GIVE_UP_AFTER_HOURS", "inf"),
        ("PROBE_MINUTES", "inf"),
        ("BATCH_LINGER_MS", "-1"),
        ("LEASE_SECONDS", "0"),
        ("RETENTION_DAYS", "0"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "proxy.example"),
        ("WEBHOOK_ALLOW_NETWORKS", "10.0.0.0/33"),
        ("META_API_BASE", "graph.facebook.com"),
        ("META_API_BASE", "ftp://graph.example"),
        ("GOOGLE_TOKEN_URL", "http://["),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_without_its_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingError) as caught:
        loaded(monkeypatch, **{name: value})

    message = str(caught.value)
    assert message.startswith(f"POSTBACKS_{name}: ")
    assert message.endswith("See .env.example for every setting.")
    assert "\n" not in message
    assert "hunter2" not in message
    assert caught.value.__suppress_context__


def test_every_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"POSTBACKS_PORT: .*; POSTBACKS_RETENTION_DAYS: "):
        loaded(monkeypatch, PORT="x", RETENTION_DAYS="x")


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(
        monkeypatch, DATABASE_URL="postgresql://u:hunter2@db/x", ADMIN_TOKEN="hunter2", ENCRYPTION_KEYS=KEY
    )

    assert "hunter2" not in repr(settings)
    assert KEY not in repr(settings)


def test_with_the_embedded_database_secrets_are_made_once_and_only_the_owner_may_read_them(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "deep" / "data")

    first, again = with_secrets(settings), with_secrets(settings)

    assert first == again
    assert str(first.admin_token).startswith("adm_")
    assert Fernet(first.encryption_keys[0])
    for name in ("admin_token", "encryption_keys"):
        path = settings.data_dir / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_that_was_set_is_not_replaced(tmp_path: Path) -> None:
    settings = with_secrets(load_settings(data_dir=tmp_path, admin_token="mine", encryption_keys=(KEY,)))

    assert (settings.admin_token, settings.encryption_keys) == ("mine", (KEY,))
    assert list(tmp_path.iterdir()) == []


def test_generated_keys_can_be_rotated_in_their_file(tmp_path: Path) -> None:
    (tmp_path / "encryption_keys").write_text(f"{KEY}, {OLD_KEY}\n")

    assert with_secrets(load_settings(data_dir=tmp_path)).encryption_keys == (KEY, OLD_KEY)


@pytest.mark.parametrize(("name", "text"), [("admin_token", ""), ("encryption_keys", "\n"), ("encryption_keys", "x")])
def test_a_damaged_secret_file_is_named_with_what_to_do(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(SettingError, match=rf"{name}.*(Delete it|Restore it)"):
        with_secrets(load_settings(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"encryption_keys": (KEY,)}, "ADMIN_TOKEN"), ({"admin_token": "mine"}, "ENCRYPTION_KEYS")],
)
def test_with_a_database_of_its_own_a_missing_secret_stops_the_start(given: dict[str, object], missing: str) -> None:
    """Every process needs the same one; a generated one would differ from machine to machine."""
    with pytest.raises(SettingError, match=f"POSTBACKS_{missing} is not set"):
        with_secrets(load_settings(database_url="postgresql://db.example/x", **given))
