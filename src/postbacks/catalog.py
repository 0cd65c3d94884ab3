"""What a process knows of apps and destinations: decrypted, validated, ready to plan and to send with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from postbacks.domain.matching import Rules, SendTo
from postbacks.domain.planning import Timing
from postbacks.errors import SettingError
from postbacks.platforms.base import Adapter, Target
from postbacks.platforms.registry import ADAPTERS
from postbacks.sealing import open_destination
from postbacks.settings import Settings
from postbacks.store.configuration import AppRow, DestinationRow
from postbacks.vault import Vault, user_hash

_NEVER = Timing(age=timedelta(0))
"""Of a destination that cannot be used: nothing is planned for it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination with its adapter; it is an `Outlet` for planning."""

    app: str
    name: str
    adapter: Adapter[Any, Any] = field(repr=False)
    target: Target[Any, Any] = field(repr=False)
    events: Mapping[str, Mapping[str, Any]]
    enabled: bool
    version: int
    broken: str = ""
    """Why it cannot be used although it is stored (a key is missing, a setting is no longer known)."""
    timing: Timing = _NEVER

    @property
    def platform(self) -> str:
        return self.adapter.name

    @property
    def any_click(self) -> bool:
        return self.adapter.any_click

    def mapping_for(self, event_name: str) -> Mapping[str, Any] | None:
        entry = self.events.get(event_name)
        if entry is not None:
            return entry or self.adapter.wildcard(event_name)
        return self.adapter.wildcard(event_name) if "*" in self.events else None


@dataclass(frozen=True, slots=True)
class App:
    """An app's settings and destinations, in the order of their names."""

    name: str
    rules: Rules
    late_click: timedelta
    secret: bytes = field(repr=False)
    destinations: Mapping[str, Destination]
    paused: Collection[str] = frozenset()
    """Destinations that an operator has paused. (What a platform's refusal holds changes by itself, and is asked of
    the database.)"""

    def user_key(self, user_id: str) -> UUID:
        """What is kept of a player whose data is gone."""
        return user_hash(self.secret, user_id)

    @property
    def shares_addresses(self) -> bool:
        """Whether a destination sends the address along, so that it has to be kept (sealed) with the click."""
        return any("ip" in getattr(d.target.options, "share", ()) for d in self.destinations.values())


class Catalog:
    """All apps. Replaced as a whole when something changed; readers hold on to what they got."""

    def __init__(self, vault: Vault, settings: Settings) -> None:
        self._vault = vault
        self._settings = settings
        self._apps: Mapping[str, App] = {}
        self._rows: dict[tuple[str, str], tuple[datetime, Destination]] = {}

    def app(self, name: str) -> App | None:
        return self._apps.get(name)

    def apps(self) -> Iterable[App]:
        return self._apps.values()

    def replace(self, apps: Iterable[AppRow], destinations: Iterable[DestinationRow]) -> None:
        """Takes what the database holds. Rows that did not change are not decrypted again."""
        by_app: dict[str, dict[str, Destination]] = {}
        rows: dict[tuple[str, str], tuple[datetime, Destination]] = {}
        paused: dict[str, set[str]] = {}
        for row in sorted(destinations, key=lambda row: row.name):
            known = self._rows.get((row.app, row.name))
            destination = known[1] if known and known[0] == row.updated_at else self.destination(row)
            rows[row.app, row.name] = (row.updated_at, destination)
            by_app.setdefault(row.app, {})[row.name] = destination
            if row.paused_at is not None:
                paused.setdefault(row.app, set()).add(row.name)
        self._rows = rows
        self._apps = {row.app: self._app(row, by_app.get(row.app, {}), paused.get(row.app, set())) for row in apps}

    def destination(self, row: DestinationRow) -> Destination:
        """A destination from its row. One that cannot be used is disabled and says why."""
        adapter = ADAPTERS[row.platform]
        broken = ""
        credentials: Any = None
        options: Any = None
        try:
            opened_credentials, opened_options = open_destination(self._vault, row)
            credentials = adapter.credentials_model.model_validate(opened_credentials)
            options = adapter.options_model.model_validate(opened_options)
        except SettingError as error:
            broken = str(error)
        except ValidationError as error:
            broken = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        target = Target(credentials, options, self.bases(adapter))
        return Destination(
            app=row.app,
            name=row.name,
            adapter=adapter,
            target=target,
            events=row.events if row.events is not None else adapter.presets,
            enabled=row.enabled and not broken,
            version=row.version,
            broken=broken,
            timing=_NEVER if broken else adapter.timing(target),
        )

    def bases(self, adapter: Adapter[Any, Any]) -> Mapping[str, str]:
        """The addresses of a platform: the real ones, or the overrides of the settings."""
        return {name: self._settings.api_base(name) or real for name, real in adapter.api_bases.items()}

    def _app(self, row: AppRow, destinations: Mapping[str, Destination], paused: Collection[str]) -> App:
        attribution = row.settings.get("attribution", {})
        defaults = Rules()
        return App(
            name=row.app,
            rules=Rules(
                click_window=timedelta(days=attribution.get("click_window_days", 30)),
                ip_window=timedelta(hours=attribution.get("ip_window_hours", 24)),
                install_inheritance=timedelta(days=attribution.get("install_inheritance_days", 30)),
                ip_shared_threshold=attribution.get("ip_shared_threshold", defaults.ip_shared_threshold),
                send_to=SendTo(attribution.get("send_to", defaults.send_to)),
                require_consent=bool(row.settings.get("require_consent", False)),
            ),
            late_click=timedelta(hours=attribution.get("late_click_hours", 24)),
            secret=self._vault.open(row.secret),
            destinations=destinations,
            paused=frozenset(paused),
        )
