"""Open deliveries: planned with the event, claimed under a lease, settled by whoever still holds the lease.

What a claim took is marked in `postbacks.store.leases`; the outbox itself is only added to and removed from, but for
what goes on after a try.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from postbacks.domain.frozen import frozen
from postbacks.domain.planning import Planned
from postbacks.store import copying, leases, stats
from postbacks.store.codecs import UUID_FOLLOWS, encode_moment
from postbacks.store.database import Connection

WORK = "postbacks_work"
"""Notified after a commit that made work due. Losing one is harmless: dispatchers also look by themselves."""


@frozen
class Postponed:
    """A delivery that goes on: `status` retrying, held, accepted or queued, not before `due`."""

    id: UUID
    status: str
    reason: str | None
    due: datetime
    attempts: int
    tried_at: datetime | None
    tries: int
    ambiguous: int
    alone: bool
    reference: str | None
    reference_index: int | None


@frozen
class Claimed:
    """A row of the outbox as a dispatcher gets it: what it needs to know, in the shape that costs least.

    `status`: queued, retrying, held or accepted.
    `created_at` and `deadline` are Unix seconds. The driver takes 0.7 µs to make a `datetime`, and of a thousand
    deliveries hardly one needs it.
    """

    id: UUID
    click: UUID
    created_at: float
    deadline: float
    status: str
    reason: str | None = None
    attempts: int = 0
    tried_at: datetime | None = None
    tries: int = 0
    ambiguous: int = 0
    alone: bool = False
    reference: str | None = None
    reference_index: int | None = None


@frozen
class Claim:
    """Deliveries that are ours until the lease ends. `failures`: refusals of the whole destination in a row."""

    rows: Sequence[Claimed]
    failures: int


_CLAIMED = (
    "o.id, o.click, date_part('epoch', o.created_at) AS created_at, date_part('epoch', o.deadline) AS deadline, "
    "CASE WHEN o.status <> 'queued' OR o.attempts > 0 OR o.tried_at IS NOT NULL THEN jsonb_build_array(o.status, o.reason, "
    "o.attempts, date_part('epoch', o.tried_at), o.tries, o.ambiguous, o.alone, o.reference, o.reference_index) END AS past"
)
"""In the order of the fields of `Claimed`; those of a delivery that was planned and nothing else has happened to are not
read: they would be as many again."""

_DUE = f"SELECT o.due, {_CLAIMED} FROM outbox o WHERE o.app_id = $1 AND o.destination = $2 AND o.due <= now()"
_BEGIN = (
    "b AS MATERIALIZED (SELECT CASE WHEN $6 THEN '-infinity' ELSE coalesce(max(l.upto), '-infinity') END AS due "
    "FROM leases l WHERE l.app_id = $1 AND l.destination = $2 AND l.until > now())"
)
"""From when on a claim looks: behind what is under lease, or from the beginning."""

_UNBLOCKED = "enabled AND paused_at IS NULL AND held_at IS NULL AND (blocked_until IS NULL OR blocked_until <= now())"
_IN_ORDER = "set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)"
"""For the rest of the transaction rows come in the order of an index. A planner that takes the outbox for empty finds it
as cheap to read all of an app and sort it."""
# The list stands in a sub-select so that its length does not count: a list of 500 looks dear to a planner without
# statistics.
_THESE = "o.app_id = $1 AND o.id = ANY((SELECT $2::uuid[])::uuid[])"
# Which rows of `$2` a statement changed (`done`); NULL for all of them, as nearly always, so that no list has to be read.
_WHICH = "SELECT CASE WHEN count(*) < cardinality($2::uuid[]) THEN coalesce(array_agg(id), '{}') END FROM done"

# A row's place in `$2`, which must be in ascending order. Not a join with a list of values: a planner without statistics
# runs through the whole list for each of its two thousand rows.
_PLACE = "width_bucket(o.id, $2::uuid[])"

IDLE_SECONDS = 5
"""How long a dispatcher that is stopped in the middle of a claim keeps others from claiming."""

WAYS = 8
"""Ways in which the rows of a claim are postponed, up to which there is a statement for each."""


async def database_now(connection: Connection) -> datetime:
    """The transaction's time by PostgreSQL's clock."""
    now: datetime = await connection.fetchval("SELECT now()")
    return now


_COLUMNS = ("app_id", "destination", "due", "created_at", "status", "reason", "deadline", "id", "click")
"""Of a new delivery; first what many of a batch have in common."""


async def insert(
    connection: Connection, app: str, rows: Sequence[tuple[UUID, Planned]], now: datetime, ahead: timedelta
) -> None:
    """Adds planned deliveries under their ids, in the transaction of their events.

    `ahead`: how far the clock that `due` was reckoned with is ahead of PostgreSQL's. When something is due is decided
    by PostgreSQL's clock alone, so that a machine whose clock is wrong delays and hurries nothing.
    """
    shared: dict[tuple[str, datetime, str], bytes] = {}
    parts: list[bytes] = []
    for identifier, one in rows:
        alike = (one.destination, one.due, one.held)
        head = shared.get(alike)
        if head is None:
            head = shared[alike] = b"".join(
                (
                    copying.row_of(_COLUMNS),
                    copying.text(app),
                    copying.text(one.destination),
                    copying.time(one.due - ahead),
                    copying.time(now),
                    copying.text(one.status),
                    copying.text(one.held or None),
                    copying.TIME_FOLLOWS,
                )
            )
        parts += (
            head,
            encode_moment(one.deadline),
            UUID_FOLLOWS,
            identifier.bytes,
            UUID_FOLLOWS,
            one.click.id.bytes,
        )
    await copying.copy(connection, "outbox", _COLUMNS, parts)


async def notify_work(connection: Connection) -> None:
    await connection.execute("SELECT pg_notify($1, '')", WORK)


async def destinations_with_work(connection: Connection, waited: timedelta = timedelta(0)) -> list[tuple[str, str]]:
    """(app, destination) of everything that has been due for so long and could be sent now.

    Also where all of it is under lease: a claim finds that out, with as much reading as it would take here.
    """
    rows = await connection.fetch(
        f"SELECT d.app_id, d.name FROM destinations d WHERE {_UNBLOCKED} AND EXISTS (SELECT 1 FROM outbox o WHERE "
        "o.app_id = d.app_id AND o.destination = d.name AND o.due <= now() - $1::interval)",
        waited,
    )
    return [(row["app_id"], row["name"]) for row in rows]


async def claim(
    connection: Connection, app: str, destination: str, *, limit: int, lease: UUID, seconds: float, sweep: bool = True
) -> Claim:
    """Takes up to `limit` due deliveries of one destination under a lease, the longest due first.

    Must run inside a transaction of its own. It locks the destination, so that claims of it happen one after the other
    and each sees the leases of those before; a statement that waited for a lock would not see them itself. What is
    paused, held or throttled yields nothing, whatever this process believes.

    Without `sweep` it begins where the leases of others end, and turns to what stands before only when that was not
    enough: walking past thousands of rows under lease costs more than all else that a claim does. What came late, or was
    given back, then waits for a claim that sweeps.
    """
    gate = await connection.fetchrow(
        f"SELECT failures, EXISTS ({leases.OVER}) AS some_are_over, {_IN_ORDER}, "
        "set_config('idle_in_transaction_session_timeout', $3, true) FROM destinations "
        f"WHERE app_id = $1 AND name = $2 AND {_UNBLOCKED} FOR NO KEY UPDATE",
        app,
        destination,
        f"{IDLE_SECONDS}s",
    )
    if gate is None:
        return Claim([], 0)
    if gate["some_are_over"]:
        await leases.revoke(connection, app, destination)
    rows = await connection.fetch(
        f"WITH {_BEGIN}, c AS MATERIALIZED ("
        f"({_DUE} AND o.due >= (SELECT due FROM b) AND o.id NOT IN ({leases.TAKEN} "
        "AND coalesce(l.upto, 'infinity') >= (SELECT due FROM b)) ORDER BY o.due LIMIT $3) UNION ALL "
        f"({_DUE} AND o.due < (SELECT due FROM b) AND o.id NOT IN ({leases.TAKEN}) ORDER BY o.due LIMIT $3) LIMIT $3), "
        # From this statement on: the transaction may have waited before it.
        "mine AS (INSERT INTO leases (app_id, id, destination, until, deliveries, upto) "
        "SELECT $1, $4, $2, statement_timestamp() + $5::interval, array_agg(c.id), max(c.due) FROM c "
        "HAVING count(*) > 0) SELECT id, click, created_at, deadline, past FROM c",
        app,
        destination,
        limit,
        lease,
        timedelta(seconds=seconds),
        sweep,
    )
    return Claim([_claimed(*row) for row in rows], gate["failures"])


def _claimed(identifier: UUID, click: UUID, created_at: float, deadline: float, past: Sequence[Any] | None) -> Claimed:
    if past is None:
        return Claimed(identifier, click, created_at, deadline, "queued")
    status, reason, attempts, tried_at, *others = past
    first = None if tried_at is None else datetime.fromtimestamp(tried_at, UTC)
    return Claimed(identifier, click, created_at, deadline, status, reason, attempts, first, *others)


async def take_out(
    connection: Connection, app: str, lease: UUID, staying: Sequence[UUID], ended: int
) -> tuple[datetime, Sequence[UUID] | None] | None:
    """Ends a lease (see `leases.end`) and removes its deliveries but for `staying`; they go into the history in the same
    transaction.

    Returns the transaction's time by PostgreSQL's clock, and which were removed where some were gone already (cancelled,
    erased); `None` for all of them. `None` alone: the lease was gone, and nothing was removed. Raises `RuntimeError` where
    not `ended` deliveries would be removed: one without an outcome must not get lost.
    """
    row = await connection.fetchrow(
        "WITH l AS (DELETE FROM leases WHERE app_id = $1 AND id = $2 RETURNING deliveries), "
        "wanted AS MATERIALIZED (SELECT CASE WHEN cardinality($3::uuid[]) = 0 THEN deliveries "
        "ELSE ARRAY(SELECT unnest(deliveries) EXCEPT SELECT unnest($3::uuid[])) END AS ids FROM l), "
        "done AS (DELETE FROM outbox o WHERE o.app_id = $1 AND o.id = ANY((SELECT ids FROM wanted)::uuid[]) "
        "RETURNING o.id) "
        "SELECT now() AS now, (SELECT cardinality(ids) FROM wanted) AS wanted, CASE WHEN count(*) < "
        "(SELECT cardinality(ids) FROM wanted) THEN coalesce(array_agg(id), '{}') END AS found FROM done",
        app,
        lease,
        staying,
    )
    if row["wanted"] is None:
        return None
    if row["wanted"] != ended:
        raise RuntimeError(f"{row['wanted']} deliveries were under the lease, and {ended} have ended")
    return row["now"], row["found"]


async def postpone(connection: Connection, app: str, rows: Sequence[Postponed], now: datetime) -> set[UUID]:
    """Sets a later time for deliveries. Returns those that were gone already (cancelled, erased).

    `now` as for `insert`. What a platform took to decide later goes on alike, but for its place in the request; what
    is tried again has a time of its own each.
    """
    if not rows:
        return set()
    # A value, not `now() + v.wait`: Citus takes no such sum over a column in an UPDATE.
    ahead = now - await database_now(connection)
    alike: dict[tuple[Any, ...], list[Postponed]] = {}
    for row in rows:
        shared = (row.status, row.reason, row.due, row.attempts, row.tries, row.tried_at, row.ambiguous, row.alone)
        alike.setdefault((*shared, row.reference), []).append(row)
    if len(alike) > WAYS:
        return await _postpone_each(connection, app, rows, ahead)
    lost: set[UUID] = set()
    for group in alike.values():
        lost |= await _postpone_alike(connection, app, group, ahead)
    return lost


async def _postpone_alike(connection: Connection, app: str, rows: Sequence[Postponed], ahead: timedelta) -> set[UUID]:
    """Rows that differ in nothing but their place in the request: a fifth of what `_postpone_each` costs."""
    rows = _sorted(rows)
    identifiers, like = [row.id for row in rows], rows[0]
    updated = await connection.fetchval(
        "WITH done AS (UPDATE outbox o SET status = $4, reason = $5, due = $6, attempts = $7, tries = $8, tried_at = $9, "
        f"ambiguous = $10, alone = $11, reference = $12, reference_index = ($3::int[])[{_PLACE}] "
        f"WHERE {_THESE} RETURNING o.id) {_WHICH}",
        app,
        identifiers,
        [row.reference_index for row in rows],
        like.status,
        like.reason,
        like.due - ahead,
        like.attempts,
        like.tries,
        like.tried_at,
        like.ambiguous,
        like.alone,
        like.reference,
    )
    return _others(identifiers, updated)


async def _postpone_each(connection: Connection, app: str, rows: Sequence[Postponed], ahead: timedelta) -> set[UUID]:
    rows = _sorted(rows)
    identifiers = [row.id for row in rows]
    updated = await connection.fetchval(
        f"WITH done AS (UPDATE outbox o SET status = ($3::text[])[{_PLACE}], reason = ($4::text[])[{_PLACE}], "
        f"due = ($5::timestamptz[])[{_PLACE}], attempts = ($6::int2[])[{_PLACE}], tries = ($7::int2[])[{_PLACE}], "
        f"ambiguous = ($8::int2[])[{_PLACE}], alone = ($9::bool[])[{_PLACE}], reference = ($10::text[])[{_PLACE}], "
        f"reference_index = ($11::int[])[{_PLACE}], tried_at = ($12::timestamptz[])[{_PLACE}] "
        f"WHERE {_THESE} RETURNING o.id) {_WHICH}",
        app,
        identifiers,
        [row.status for row in rows],
        [row.reason for row in rows],
        [row.due - ahead for row in rows],
        [row.attempts for row in rows],
        [row.tries for row in rows],
        [row.ambiguous for row in rows],
        [row.alone for row in rows],
        [row.reference for row in rows],
        [row.reference_index for row in rows],
        [row.tried_at for row in rows],
    )
    return _others(identifiers, updated)


def _sorted(rows: Sequence[Postponed]) -> list[Postponed]:
    """As `_PLACE` needs them."""
    return sorted(rows, key=lambda row: row.id.bytes)


def _others(wanted: Sequence[UUID], found: Sequence[UUID] | None) -> set[UUID]:
    """What of `wanted` a statement that ends in `_WHICH` did not find."""
    return set() if found is None else set(wanted).difference(found)


async def expire_blocked(connection: Connection, app: str, destination: str, platform: str, limit: int) -> int:
    """Ends what grew too old behind a destination that is paused, held or switched off. Returns how many.

    Must run inside a transaction: it locks the destination as a claim does, so that nobody takes what it ends. (It speaks
    of `due` because the index by destination is only for statements that do.)
    """
    await connection.execute(
        "SELECT 1 FROM destinations WHERE app_id = $1 AND name = $2 FOR NO KEY UPDATE", app, destination
    )
    moved = await connection.fetch(
        "WITH old AS MATERIALIZED (SELECT o.id FROM outbox o WHERE o.app_id = $1 AND o.destination = $2 "
        f"AND o.due > '-infinity' AND o.deadline <= now() AND NOT {leases.UNDER_LEASE} LIMIT $4), "
        "mine AS (DELETE FROM outbox o USING old WHERE o.app_id = $1 AND o.id = old.id "
        "RETURNING o.id, o.destination, o.click, o.created_at, o.attempts) "
        "INSERT INTO deliveries (app_id, id, destination, platform, status, reason, attempts, click, created_at, "
        "updated_at) SELECT $1, id, destination, $3, 'expired', 'too_old', attempts, click, created_at, now() FROM mine "
        "RETURNING id",
        app,
        destination,
        platform,
        limit,
    )
    return len(moved)


async def cancel(
    connection: Connection,
    app: str,
    reason: str,
    platforms: Mapping[str, str],
    *,
    destination: str | None = None,
    identifiers: Sequence[UUID] | None = None,
    clicks: Sequence[UUID] | None = None,
) -> int:
    """Ends open deliveries as cancelled: of a destination, by id, or by click; leased ones too, for whoever holds
    the lease will find it gone. `platforms`: destination → platform. Returns how many."""
    moved = await connection.fetch(
        "WITH mine AS (DELETE FROM outbox o WHERE o.app_id = $1 AND ($3::text IS NULL OR o.destination = $3) "
        "AND ($4::uuid[] IS NULL OR o.id = ANY($4)) AND ($5::uuid[] IS NULL OR o.click = ANY($5)) "
        "RETURNING o.id, o.destination, o.click, o.created_at, o.attempts), "
        "names AS (SELECT * FROM unnest($6::text[], $7::text[]) AS n(destination, platform)) "
        "INSERT INTO deliveries (app_id, id, destination, platform, status, reason, attempts, click, created_at, "
        "updated_at) SELECT $1, mine.id, mine.destination, coalesce(names.platform, ''), 'cancelled', $2, mine.attempts, "
        "mine.click, mine.created_at, now() FROM mine LEFT JOIN names ON names.destination = mine.destination "
        "RETURNING destination, updated_at",
        app,
        reason,
        destination,
        list(identifiers) if identifiers is not None else None,
        list(clicks) if clicks is not None else None,
        list(platforms),
        list(platforms.values()),
    )
    # By the time that stands with the delivery, from where a replay takes the count back.
    counts = Counter(
        stats.Count(stats.minute_of(row["updated_at"]), row["destination"], "cancelled", reason) for row in moved
    )
    await stats.add(connection, app, counts)
    return len(moved)


async def hurry(connection: Connection, app: str, identifiers: Sequence[UUID]) -> list[UUID]:
    """Makes waiting deliveries due at once (an operator's retry replaces the pending one)."""
    rows = await connection.fetch(
        "UPDATE outbox o SET due = now(), status = CASE WHEN o.status = 'accepted' THEN o.status ELSE 'queued' END "
        f"WHERE o.app_id = $1 AND o.id = ANY($2::uuid[]) AND NOT {leases.UNDER_LEASE} RETURNING o.id",
        app,
        list(identifiers),
    )
    return [row["id"] for row in rows]
