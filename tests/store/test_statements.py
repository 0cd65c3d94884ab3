"""Every statement that the service sends goes to a cluster that is sharded by app as it is (decision 7).

PostgreSQL itself writes down what arrives, whoever sends it. The run below calls every function of the store; one that
is added later and not called here fails the test.
"""

from __future__ import annotations

import inspect
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from postbacks.admin.applying import apply_file
from postbacks.dashboard_source import DashboardSource
from postbacks.sandbox.base import Fault
from postbacks.sandbox.server import Running
from postbacks.store import (
    attempts,
    clicks,
    configuration,
    events,
    gates,
    history,
    leases,
    outbox,
    partitions,
    personal,
    reading,
    stats,
    upkeep,
)
from tests.store.shapes import refused, touches_us
from tests.support import service
from tests.support.service import CLICKS, PLATFORMS, Service, eventually

MODULES = (
    attempts,
    clicks,
    configuration,
    events,
    gates,
    history,
    leases,
    outbox,
    partitions,
    personal,
    reading,
    stats,
    upkeep,
)


def counted(module: ModuleType, called: set[str], patch: pytest.MonkeyPatch) -> set[str]:
    """Wraps the module's public coroutines; their names."""
    names = set()
    for name, function in vars(module).items():
        if inspect.iscoroutinefunction(function) and function.__module__ == module.__name__ and name[0] != "_":
            full = f"{module.__name__.rpartition('.')[2]}.{name}"
            names.add(full)
            patch.setattr(module, name, _counting(function, full, called))
    return names


def _counting(function: Callable[..., Any], name: str, called: set[str]) -> Callable[..., Any]:
    @wraps(function)
    async def call(*arguments: Any, **named: Any) -> Any:
        called.add(name)
        return await function(*arguments, **named)

    return call


class Log:
    """The server's log from now on, of one database."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._start = file.stat().st_size

    def statements(self) -> set[str]:
        with self._file.open("rb") as log:
            log.seek(self._start)
            text = log.read().decode()
        found = set()
        for entry in re.split(r"\n(?=\d{4}-\d\d-\d\d )", text):
            match = re.search(r"LOG:  (?:statement|execute [^:]*): (.*)", entry, re.DOTALL)
            if match:
                found.add(match[1].replace("\n\t", "\n"))
        return found


async def recording(url: str) -> Log:
    """Lets the server write down every statement of new connections to this database."""
    connection = await asyncpg.connect(url)
    try:
        name, directory = await connection.fetchrow("SELECT current_database(), current_setting('data_directory')")
        await connection.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
        return Log(Path(directory) / "log")
    finally:
        await connection.close()


async def test_a_cluster_takes_every_statement(
    database_url: str, sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()
    functions = set().union(*(counted(module, called, monkeypatch) for module in MODULES))
    log = await recording(database_url)
    async with service.running(database_url, sandbox, lease_seconds=1.5, probe_minutes=0.001) as one:
        await _everything(one)
    statements = {statement for statement in log.statements() if touches_us(statement)}

    assert functions - called == set(), "not called by this run"
    assert len(statements) > 80
    assert {statement.split()[0] for statement in statements} == {
        "COPY",
        "DELETE",
        "INSERT",
        "SELECT",
        "UPDATE",
        "WITH",
    }
    problems = {statement: why for statement in statements if (why := refused(statement))}
    assert not problems, "\n".join(f"{', '.join(why)}: {statement}" for statement, why in problems.items())


async def _everything(one: Service) -> None:
    await _configure(one)
    await _ingest(one)
    await _trouble(one)
    await _operate(one)
    await _housekeep(one)
    await _leave(one)


async def _configure(one: Service) -> None:
    await one.destination("google", options={"hold_hours": 0})
    for platform in ("meta", "tiktok", "reddit", "x", "webhook"):
        await one.destination(platform)
    await one.destination("webhook", "second")
    for path in ("/v1/apps", "/v1/apps/game", "/v1/apps/game/keys", "/v1/apps/game/destinations/meta"):
        assert (await one.admin.get(path)).status_code == 200
    await one.admin.patch("/v1/apps/game", json={"attribution": {"ip_window_hours": 24}})
    pair = (await one.admin.post("/v1/apps/game/keys")).json()
    await one.admin.delete(f"/v1/apps/game/keys/{pair['key_id']}")
    await one.admin.post("/v1/apps/game/destinations/meta/check")
    document = "apps:\n  - name: other\n    destinations:\n      - name: gone\n        platform: webhook\n        enabled: false\n"
    with pytest.raises(Exception, match="other"):
        await apply_file(one.runtime.admin, document, dry_run=False)
    await apply_file(one.runtime.admin, "apps:\n  - name: other\n", dry_run=False)


async def _ingest(one: Service) -> None:
    # A click long ago, one that is told twice with other consent, one by address; players, visitors, both IP versions.
    long_ago = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    hours_ago = (datetime.now(UTC) - timedelta(hours=7)).isoformat()
    await one.game.post("/v1/clicks", json={"click_ids": CLICKS, "user_id": "p", "clicked_at": hours_ago})
    await one.game.post("/v1/clicks", json={"click_ids": {"fbclid": "Old"}, "user_id": "old", "clicked_at": long_ago})
    for consent in ({}, {"consent": {"attribution": False}}):
        await one.click(click_ids={"fbclid": "Told"}, visitor_id="v", user_agent="A/1", **consent)
    await one.click(click_ids={}, visitor_id="v", consent={"postbacks": True})
    for address in ("203.0.113.9", "2001:db8::9"):
        body = {"click_ids": {"ttclid": f"at-{address}"}, "visitor_id": f"v-{address}", "ip": address}
        await one.game.post("/v1/clicks", json=body)
        await one.event("install", event_id=f"by-{address}", user_id=f"u-{address}", ip=address)
    sent = await one.event("install", user_id="p", event_id="i")
    assert {delivery["platform"] for delivery in sent["deliveries"]} >= set(PLATFORMS)
    assert (await one.event("install", user_id="p", event_id="i"))["duplicate"]
    many = [{"name": "purchase", "event_id": f"b{n}", "user_id": "p", "value": 1, "currency": "EUR"} for n in range(40)]
    await one.game.post("/v1/events", json={"events": many})
    await one.game.post("/v1/measure", json={"user_id": "tracks", "event_name": "game_open"})
    # Too old for Meta when it comes.
    old = (datetime.now(UTC) - timedelta(days=15)).isoformat()
    await one.event("install", event_id="old", user_id="old", occurred_at=old)
    # Waits, and is found by its click.
    await one.event("install", event_id="early", visitor_id="late", user_id="late-player")
    await one.click(click_ids={"ttclid": "Late"}, visitor_id="late", clicked_at=hours_ago)
    await eventually(lambda: _status(one, "early"), lambda status: status == "matched")
    google = next(delivery["id"] for delivery in sent["deliveries"] if delivery["platform"] == "google")
    await one.settled(google, "accepted", "delivered")
    await one.game.post(f"/v1/deliveries/{google}/retry")
    await one.settled(google, "delivered")


async def _status(one: Service, event: str) -> str:
    return str((await one.game.get(f"/v1/events/{event}")).json()["status"])


async def _purchases(one: Service, count: int) -> None:
    tag = secrets.token_hex(4)
    many = [
        {"name": "purchase", "event_id": f"{tag}-{n}", "user_id": "p", "value": 1, "currency": "EUR"}
        for n in range(count)
    ]
    answer = await one.game.post("/v1/events", json={"events": many})
    assert answer.status_code in (200, 202), answer.text


async def _quiet(one: Service) -> None:
    await eventually(lambda: _open(one), lambda count: count == 0, seconds=20)


async def _open(one: Service) -> int:
    async with one.runtime.database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM outbox WHERE status NOT IN ('held', 'accepted')"))


async def _trouble(one: Service) -> None:
    meta, sink = one.sandbox.simulators["meta"], one.sandbox.simulators["sink"]
    # One failure of the destination, then more than a probation's worth of work; a slow answer outlives a heartbeat.
    meta.add_fault(Fault("status", status=503, times=2))
    meta.add_fault(Fault("slow", seconds=1.0))
    await _purchases(one, 30)
    await _quiet(one)
    one.sandbox.simulators["reddit"].add_fault(Fault("throttle", seconds=1))
    await _purchases(one, 1)
    await _quiet(one)
    # Refused for good, taken back by a replay.
    sink.add_fault(Fault("status", status=400, times=2))
    await _purchases(one, 1)
    await _quiet(one)
    for dry_run in (True, False):
        await one.game.post("/v1/deliveries/replay", json={"filter": {"status": "failed"}, "dry_run": dry_run})
    await _quiet(one)
    # Held, asked by the housekeeping, released.
    meta.add_fault(Fault("token_expired"))
    await _purchases(one, 1)
    await _quiet(one)


async def _operate(one: Service) -> None:
    for filters in (
        {"destination": "meta"},
        {"platform": "meta", "status": "failed,queued"},
        {"event_name": "install", "user_id": "p"},
        {"event_id": "i"},
        {"created_after": "2020-01-01T00:00:00Z", "created_before": "2100-01-01T00:00:00Z"},
    ):
        found = await one.deliveries(**filters)
    await one.delivery(found[0]["id"])
    await one.admin.get(f"/v1/deliveries/{found[0]['id']}")
    for path in ("/v1/stats", "/metrics", "/readyz"):
        await one.admin.get(path)
    source = DashboardSource(one.runtime.ops, one.runtime.admin)
    await source.list_destinations()
    await source.list_apps()
    await source.list_deliveries({}, 50, None)
    await source.get_event("game", "i")
    async with one.runtime.database.transaction() as connection:
        await configuration.rotate_secrets(connection, one.runtime.vault.rotate)


async def _housekeep(one: Service) -> None:
    await one.admin.post("/v1/apps/game/destinations/meta/pause")
    await _purchases(one, 2)
    held = await one.deliveries(status="held", destination="meta")
    await one.game.post(f"/v1/deliveries/{held[0]['id']}/retry")
    job = one.runtime.housekeeping()
    async with one.runtime.database.connection() as connection:
        await outbox.expire_blocked(connection, "game", "meta", "meta", 10)
        await leases.renew(connection, "game", uuid4(), 1)
        await leases.narrow(connection, "game", uuid4(), [uuid4()])
        await leases.revoke(connection, "game", "meta")
        await gates.failed(connection, "game", "meta")
        await gates.unhold(connection, "game", "meta")
    await job.beat()
    await job.frequent()
    await job._merge()
    await job._forget()
    await one.admin.post("/v1/apps/game/destinations/meta/resume")


async def _leave(one: Service) -> None:
    assert (await one.game.get("/v1/users/p")).status_code == 200
    assert (await one.game.delete("/v1/users/p")).status_code == 200
    assert (await one.admin.delete("/v1/apps/game/destinations/second")).status_code == 204
    assert (await one.admin.delete("/v1/apps/other")).status_code == 204


# --- the rules themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "WITH c AS (SELECT id FROM outbox WHERE due <= now() LIMIT 5 FOR UPDATE SKIP LOCKED) "
        "UPDATE outbox o SET click = $2 FROM c WHERE o.app_id = $1 AND o.id = c.id",
        "SELECT * FROM unnest($1::text[], $2::uuid[]) AS e(app_id, key) LEFT JOIN LATERAL (SELECT 1 FROM waiting w "
        "WHERE w.app_id = e.app_id AND w.key = e.key LIMIT 1) x ON true",
        "INSERT INTO clicks (app_id, id) VALUES ($1, $2) ON CONFLICT (click_key) DO NOTHING",
        "INSERT INTO dispatchers (app_id, dispatcher) VALUES ('', $1) ON CONFLICT (app_id, dispatcher) "
        "DO UPDATE SET seen_at = now()",
        "INSERT INTO stats (minute, app_id) VALUES ($1, $2)",
        "INSERT INTO apps (app_id, secret) VALUES ($1, (SELECT secret FROM apps WHERE app_id = $2))",
        "INSERT INTO waiting (app_id, key) SELECT e.app_id, e.id FROM events e",
        "UPDATE outbox SET app_id = $1 WHERE app_id = $2",
        "UPDATE destinations SET held_at = coalesce(held_at, now()) WHERE app_id = $1",
        "UPDATE destinations SET held_at = CASE WHEN held_at IS NULL THEN now() ELSE held_at END WHERE app_id = $1",
        "UPDATE outbox o SET due = now() + v.wait FROM unnest($2::interval[]) AS v(wait) WHERE o.app_id = $1",
        "UPDATE outbox SET click = gen_random_uuid() WHERE app_id = $1",
        "UPDATE outbox SET reason = NULL WHERE due < now()",
        "UPDATE outbox SET reason = NULL WHERE app_id = $1 RETURNING id, now()",
        "DELETE FROM players WHERE click = $1",
        "SELECT * FROM outbox o JOIN clicks c ON c.id = o.click WHERE o.app_id = $1",
        "SELECT * FROM destinations d WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.destination = d.name)",
        'COPY "outbox"("id", "app_id") FROM STDIN',
    ],
)
def test_what_a_cluster_refuses_is_told(statement: str) -> None:
    assert refused(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT d.app_id FROM destinations d WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.app_id = d.app_id)",
        "SELECT app_id FROM outbox WHERE id = $1 UNION ALL SELECT app_id FROM deliveries WHERE id = $1 LIMIT 1",
        "SELECT c.id FROM unnest($2::text[]) AS u(user_id) CROSS JOIN LATERAL (SELECT * FROM players q WHERE q.app_id = $1 "
        "AND q.user_id = u.user_id LIMIT $3) p JOIN clicks c ON c.app_id = $1 AND c.id = p.click",
        "UPDATE destinations SET held_at = least(held_at, now()), probe_at = now() + $2 WHERE app_id = $1",
        "WITH mine AS (DELETE FROM outbox o WHERE o.app_id = $1 RETURNING o.id) "
        "INSERT INTO deliveries (app_id, id) SELECT $1, id FROM mine RETURNING id",
        'COPY "outbox"("app_id", "id") FROM STDIN',
    ],
)
def test_what_a_cluster_takes_is_not_refused(statement: str) -> None:
    assert refused(statement) == []
