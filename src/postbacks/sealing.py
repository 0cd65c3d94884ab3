"""What of a destination is stored sealed: its credentials, and options that hold secrets in all but name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postbacks.platforms.registry import ADAPTERS
from postbacks.store.configuration import DestinationRow
from postbacks.vault import Vault

_OPTIONS = "options"
"""Where sealed options stand beside the credentials; no platform has a credential of this name."""


def seal_destination(
    vault: Vault, platform: str, credentials: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The sealed text, and the options that may be stored in the open."""
    secret = ADAPTERS[platform].secret_options
    hidden = {name: value for name, value in options.items() if name in secret}
    sealed = vault.seal_json({**credentials, _OPTIONS: hidden} if hidden else credentials)
    return sealed, {name: value for name, value in options.items() if name not in secret}


def open_destination(vault: Vault, row: DestinationRow) -> tuple[dict[str, Any], dict[str, Any]]:
    """Credentials and all options. Raises `SettingError` where no configured key fits."""
    credentials = dict(vault.open_json(row.credentials))
    hidden = credentials.pop(_OPTIONS, {})
    return credentials, {**row.options, **hidden}
