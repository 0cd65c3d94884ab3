"""Leases: the right to work on deliveries until a time. One row stands for all that a dispatcher took at once.

A lease that is over is no lease: the next claim of its destination revokes it, and whoever held it finds it gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from postbacks.store.database import Connection

UNDER_LEASE = "o.id IN (SELECT unnest(l.deliveries) FROM leases l WHERE l.app_id = $1 AND l.until > now())"
"""Whether somebody works on the row `o` of the outbox of the app `$1`."""

TAKEN = "SELECT unnest(l.deliveries) FROM leases l WHERE l.app_id = $1 AND l.destination = $2 AND l.until > now()"
"""What somebody works on of the destination `$2` of the app `$1`."""

OVER = "SELECT 1 FROM leases l WHERE l.app_id = $1 AND l.destination = $2 AND l.until <= now()"
"""The leases of the destination `$2` that are to be revoked before its next claim."""


async def renew(connection: Connection, app: str, lease: UUID, seconds: float) -> bool:
    """Extends a lease; returns whether there still is one."""
    status: str = await connection.execute(
        "UPDATE leases SET until = now() + $3::interval WHERE app_id = $1 AND id = $2",
        app,
        lease,
        timedelta(seconds=seconds),
    )
    return status != "UPDATE 0"


async def narrow(connection: Connection, app: str, lease: UUID, deliveries: Sequence[UUID]) -> None:
    """Keeps a lease for some of its deliveries; the others are free."""
    await connection.execute("UPDATE leases SET deliveries = $3 WHERE app_id = $1 AND id = $2", app, lease, deliveries)


async def end(connection: Connection, app: str, lease: UUID) -> bool:
    """Ends a lease, in the transaction that writes down what became of its deliveries.

    Returns whether there still was one. If not, somebody else may have taken the deliveries over, and nothing may be
    written. If so, nobody can take them over before this transaction ends.
    """
    status: str = await connection.execute("DELETE FROM leases WHERE app_id = $1 AND id = $2", app, lease)
    return status != "DELETE 0"


async def revoke(connection: Connection, app: str, destination: str) -> None:
    """Revokes the leases of a destination that are over. One that is being ended at this moment is waited for."""
    await connection.execute(
        "DELETE FROM leases WHERE app_id = $1 AND destination = $2 AND until <= now()", app, destination
    )


async def forget(connection: Connection, app: str) -> None:
    """Removes what nobody revoked, because its destination is gone or closed."""
    await connection.execute("DELETE FROM leases WHERE app_id = $1 AND until < now() - interval '1 hour'", app)
