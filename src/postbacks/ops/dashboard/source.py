"""What the pages ask of the service. They see plain dictionaries and no SQL.

Times are RFC 3339 strings or aware datetimes. Keys that are missing are shown as empty, so an implementation may
give more or less than is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Json = dict[str, Any]


class Source(Protocol):
    """Each method raises `postbacks.errors.Problem` (`NotFound`, `Conflict`, `Unavailable`, …); the pages show it."""

    async def list_deliveries(self, filters: Mapping[str, str], limit: int, cursor: str | None) -> Json:
        """`{"items": [...], "next_cursor"}` as `GET /v1/deliveries` answers, newest first.

        `filters`: any of `app, destination, platform, status, event_name, event_id, user_id`, never empty strings.
        An item may also have `deadline`, the time after which the platform refuses it.
        """

    async def get_delivery(self, delivery_id: str) -> Json:
        """As `GET /v1/deliveries/{id}`: an item with `idempotency_key`, `match` and `attempt_log`."""

    async def get_event(self, app: str, event_id: str) -> Json:
        """The event's fields (`event_id, name, occurred_at, user_id, visitor_id, value, currency, status, match`, …).

        Beside them `clicks` (each `type, value, clicked_at, method, taken, why`), `deliveries` (items), and
        `not_sent` (each `destination, platform, reason`).
        """

    async def list_destinations(self) -> list[Json]:
        """Every destination of every app: `app, name, platform, enabled`, and what of its health is known.

        `paused_at`; `held_at, held_code, held_message, held_remedy, probe_at` (its credentials were refused);
        `blocked_until, blocked_reason` (the platform asked for a pause); `waiting` (open deliveries),
        `expires_at` (when the first of them is too old for its platform).
        """

    async def list_apps(self) -> list[Json]:
        """Every app: `name`, and `publishable_key` or `keys` (each `publishable_key`, `revoked_at`)."""

    async def retry(self, delivery_id: str) -> None:
        """As `POST /v1/deliveries/{id}/retry`."""

    async def pause(self, app: str, name: str) -> None: ...

    async def resume(self, app: str, name: str) -> None: ...

    async def check(self, app: str, name: str) -> Json:
        """What `postbacks doctor` finds: `ok, code, message, remedy`."""
