"""The peers, each with the settings that made it fastest here; the README says how they were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peer:
    """A job queue that is compared with us."""

    name: str
    script: str
    language: str
    storage: str
    package: str
    processes: int
    settings: Mapping[str, int]
    """Handed to the script as PEER_<NAME>; printed in the table."""
    notes: str

    @property
    def path(self) -> Path:
        return HERE / self.script

    @property
    def key(self) -> str:
        """Its name in file and database names."""
        return self.path.stem.removeprefix("queue_")

    def described(self) -> str:
        """The settings as the table shows them."""
        numbers = [f"{name} {value or 'unlimited'}" for name, value in self.settings.items()]
        processes = f"{self.processes} process{'es' if self.processes > 1 else ''}"
        return ", ".join([processes, *numbers, self.notes])


PEERS = (
    Peer(
        name="Celery with Redis",
        script="queue_celery.py",
        language="Python",
        storage="redis",
        package="celery",
        processes=2,
        settings={"concurrency": 100},
        notes="gevent pool, prefetch multiplier 4, results ignored, early acknowledgement, geventhttpclient",
    ),
    Peer(
        name="arq",
        script="queue_arq.py",
        language="Python",
        storage="redis",
        package="arq",
        processes=1,
        settings={"concurrency": 50, "prefetch": 100},
        notes="poll delay 10 ms, no results kept, uvloop, aiohttp, hiredis",
    ),
    Peer(
        name="procrastinate",
        script="queue_procrastinate.py",
        language="Python",
        storage="postgres",
        package="procrastinate",
        processes=2,
        settings={"concurrency": 10, "connections": 12},
        notes="psycopg with its C speed-ups, uvloop, aiohttp",
    ),
    Peer(
        name="pgqueuer",
        script="queue_pgqueuer.py",
        language="Python",
        storage="postgres",
        package="pgqueuer",
        processes=2,
        settings={"prefetch": 100, "tasks": 0, "concurrency": 100},
        notes="asyncpg, its autovacuum settings, its default durability, uvloop, aiohttp",
    ),
    Peer(
        name="awa-pg",
        script="queue_awa.py",
        language="Python",
        storage="postgres",
        package="awa-pg",
        processes=1,
        settings={"concurrency": 100, "connections": 10},
        notes="queue storage, uvloop, aiohttp",
    ),
    Peer(
        name="graphile-worker",
        script="queue_graphile.mjs",
        language="Node",
        storage="postgres",
        package="graphile-worker",
        processes=1,
        settings={"concurrency": 24, "connections": 25, "prefetch": 500},
        notes="local queue, completeJobBatchDelay 0, failJobBatchDelay 0 (its performance page), undici pool",
    ),
)
