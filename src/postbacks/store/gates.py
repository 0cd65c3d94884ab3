"""The health of destinations, shared by all dispatchers: held, blocked for a while, failing in a row."""

from __future__ import annotations

from datetime import timedelta

from postbacks.store.database import Connection


async def hold(
    connection: Connection, app: str, name: str, *, version: int, code: str, message: str, remedy: str, probe: timedelta
) -> None:
    """Holds a destination until a person acts or a probe succeeds. The first cause stays until it is released.

    `version` is the configuration that was tried: an answer to old credentials does not hold new ones.
    """
    # LEAST, which ignores NULL, where COALESCE would say it more plainly: Citus takes no now() inside COALESCE.
    await connection.execute(
        "UPDATE destinations SET held_at = least(held_at, now()), held_code = $4, held_message = $5, "
        "held_remedy = $6, probe_at = now() + $7 WHERE app_id = $1 AND name = $2 AND version = $3",
        app,
        name,
        version,
        code,
        message,
        remedy,
        probe,
    )


async def unhold(connection: Connection, app: str, name: str) -> None:
    """Releases a hold: what waits goes out."""
    await connection.execute(
        "UPDATE destinations SET held_at = NULL, held_code = NULL, held_message = NULL, held_remedy = NULL, "
        "probe_at = NULL WHERE app_id = $1 AND name = $2",
        app,
        name,
    )


async def due_probes(connection: Connection, every: timedelta) -> list[tuple[str, str]]:
    """(app, name) of held destinations whose credentials are to be tried again; each is given to one process."""
    rows = await connection.fetch(
        "SELECT app_id, name FROM destinations WHERE held_at IS NOT NULL AND paused_at IS NULL AND probe_at <= now()"
    )
    taken = []
    for row in rows:
        mine = await connection.fetchrow(
            "UPDATE destinations SET probe_at = now() + $3 WHERE app_id = $1 AND name = $2 AND probe_at <= now() "
            "RETURNING name",
            row["app_id"],
            row["name"],
            every,
        )
        if mine:
            taken.append((row["app_id"], row["name"]))
    return taken


async def block(connection: Connection, app: str, name: str, *, wait: timedelta, reason: str) -> None:
    """Keeps everybody away from a destination for a while; a longer block stays."""
    await connection.execute(
        "UPDATE destinations SET failures = least(failures + 1, 1000), blocked_reason = $4, "
        "blocked_until = greatest(blocked_until, now() + $3) WHERE app_id = $1 AND name = $2",
        app,
        name,
        wait,
        reason,
    )


async def failed(connection: Connection, app: str, name: str) -> None:
    """Counts a failure of the whole destination that does not block it yet."""
    await connection.execute(
        "UPDATE destinations SET failures = least(failures + 1, 1000) WHERE app_id = $1 AND name = $2", app, name
    )


async def recovered(connection: Connection, app: str, name: str) -> None:
    """The destination answers again."""
    await connection.execute(
        "UPDATE destinations SET failures = 0, blocked_until = NULL, blocked_reason = NULL "
        "WHERE app_id = $1 AND name = $2 AND failures > 0",
        app,
        name,
    )


async def blocked_destinations(connection: Connection) -> list[tuple[str, str, str]]:
    """(app, name, platform) of destinations through which nothing goes at the moment."""
    rows = await connection.fetch(
        "SELECT app_id, name, platform FROM destinations WHERE NOT enabled OR paused_at IS NOT NULL "
        "OR held_at IS NOT NULL OR blocked_until > now()"
    )
    return [(row["app_id"], row["name"], row["platform"]) for row in rows]
