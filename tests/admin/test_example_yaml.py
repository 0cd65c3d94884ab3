"""`postbacks.example.yaml` is what newcomers start from: every platform is in it, and every adapter takes its part."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from postbacks.admin.applying import read_file
from postbacks.admin.schemas import AppIn
from postbacks.platforms.registry import ADAPTERS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "postbacks.example.yaml").read_text()
WRITTEN = {destination["name"]: destination for destination in yaml.safe_load(TEXT)["apps"][0]["destinations"]}

_KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
ENVIRONMENT = {
    "GOOGLE_SERVICE_ACCOUNT_JSON": json.dumps(
        {"type": "service_account", "client_email": "postbacks@project.example", "private_key": _KEY}, indent=2
    ),
    "META_ACCESS_TOKEN": "EAABdummy",
    "TIKTOK_ACCESS_TOKEN": "dummy",
    "REDDIT_ACCESS_TOKEN": "dummy",
    "X_PIXEL_TOKEN": "dummy",
    "WAREHOUSE_SIGNING_SECRET": "whsec_ZHVtbXlkdW1teWR1bW15ZHVtbXk=",
}
SECRETS = {"service_account", "access_token", "app_secret", "pixel_token", "signing_secret", "client_secret"}

(APP,) = read_file(TEXT, ENVIRONMENT)
DESTINATIONS = {destination["name"]: destination for destination in APP["destinations"]}


def _check(destination: dict[str, Any]) -> None:
    """Raises where saving the destination would be refused."""
    adapter = ADAPTERS[destination["platform"]]
    credentials = adapter.credentials_model.model_validate(destination.get("credentials", {}))
    options = adapter.options_model.model_validate(destination.get("options", {}))
    events = destination.get("events", adapter.presets)
    for name, mapping in events.items():
        if name != "*" or mapping:
            adapter.mapping_model.model_validate(mapping)
    adapter.validate(credentials, options, events)


def test_every_platform_is_shown() -> None:
    assert {destination["platform"] for destination in DESTINATIONS.values()} == set(ADAPTERS)


@pytest.mark.parametrize("name", DESTINATIONS)
def test_the_adapter_takes_its_part(name: str) -> None:
    _check(DESTINATIONS[name])


@pytest.mark.parametrize("name", DESTINATIONS)
def test_a_typo_in_it_would_be_seen(name: str) -> None:
    options = {**DESTINATIONS[name].get("options", {}), "no_such_option": 1}

    with pytest.raises(ValidationError, match="no_such_option"):
        _check({**DESTINATIONS[name], "options": options})


@pytest.mark.parametrize("name", WRITTEN)
def test_secrets_come_from_the_environment(name: str) -> None:
    secrets = {key: value for key, value in WRITTEN[name]["credentials"].items() if key in SECRETS}

    assert secrets
    assert all(re.fullmatch(r"\$\{\w+\}", value) for value in secrets.values())


@pytest.mark.parametrize("name", DESTINATIONS)
def test_its_guide_exists(name: str) -> None:
    assert (ROOT / "docs" / "platforms" / f"{DESTINATIONS[name]['platform']}.md").exists()


def test_the_app_shows_every_setting_at_its_default() -> None:
    """Whoever changes nothing there gets what an app without settings gets."""
    shown = {key: value for key, value in APP.items() if key != "destinations"}

    assert shown == AppIn(name=APP["name"]).model_dump()
