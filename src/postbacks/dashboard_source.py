"""What the dashboard shows, taken from the same functions that answer the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postbacks.admin.destinations import check_json, destination_json, set_paused
from postbacks.admin.service import Admin
from postbacks.ops.deliveries import detail, find, page
from postbacks.ops.events import explain
from postbacks.ops.replaying import retry_one
from postbacks.ops.service import Ops
from postbacks.store import configuration, stats
from postbacks.web.auth import Principal, Scope

_ADMIN = Principal(Scope.ADMIN)


class DashboardSource:
    """Acts as the admin: the pages are only shown to a signed-in operator."""

    def __init__(self, ops: Ops, admin: Admin) -> None:
        self._ops = ops
        self._admin = admin

    async def list_deliveries(self, filters: Mapping[str, str], limit: int, cursor: str | None) -> dict[str, Any]:
        return await page(self._ops, _ADMIN, dict(filters), limit, cursor)

    async def get_delivery(self, delivery_id: str) -> dict[str, Any]:
        return await detail(self._ops, _ADMIN, delivery_id)

    async def get_event(self, app: str, event_id: str) -> dict[str, Any]:
        return await explain(self._ops, _ADMIN, app, event_id)

    async def list_destinations(self) -> list[dict[str, Any]]:
        found = []
        async with self._ops.database.connection() as connection:
            for row in await configuration.destinations(connection):
                # No credentials on pages, not even masked ones.
                shown = destination_json(row, {}, {})
                shown |= {"held_at": row.held_at, "probe_at": row.probe_at}
                found.append(shown)
            for app in list(self._ops.catalog.apps()):
                counts = await stats.open_counts(connection, app.name)
                for shown in (one for one in found if one["app"] == app.name):
                    mine = [count for count in counts if count["destination"] == shown["name"]]
                    shown["waiting"] = sum(count["n"] for count in mine)
                    shown["expires_at"] = min((count["first_deadline"] for count in mine), default=None)
        return found

    async def list_apps(self) -> list[dict[str, Any]]:
        async with self._ops.database.connection() as connection:
            return [
                {
                    "name": row.app,
                    "keys": [
                        {"publishable_key": key.publishable_key, "revoked_at": key.revoked_at}
                        for key in await configuration.keys(connection, row.app)
                    ],
                }
                for row in await configuration.apps(connection)
            ]

    async def retry(self, delivery_id: str) -> None:
        app, row = await find(self._ops, _ADMIN, delivery_id)
        await retry_one(self._ops, app, row)

    async def pause(self, app: str, name: str) -> None:
        await set_paused(self._admin, app, name, paused=True)

    async def resume(self, app: str, name: str) -> None:
        await set_paused(self._admin, app, name, paused=False)

    async def check(self, app: str, name: str) -> dict[str, Any]:
        return await check_json(self._admin, app, name)
