"""The service as it runs in production: processes of its own, which can be killed, stopped and restarted.

Nothing here waits for a time to pass: every wait is for a condition, with a limit after which the test fails and
shows the log of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from postbacks.sandbox.server import api_bases
from postbacks.sandbox_setup import _pointed_at
from tests.support.service import ADMIN, CLICKS, KEY, eventually

FULL = os.environ.get("POSTBACKS_CHAOS") == "full"
"""`make chaos`: the counts that the guarantees are stated with. Without it, what fits into `make test`."""

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("postbacks")
DEDUPLICATING = ("meta", "tiktok", "reddit")
"""Platforms that drop a repeat of a key for certain (sheets meta 6, tiktok 6, reddit 6)."""


def scaled(bounded: int, full: int) -> int:
    return full if FULL else bounded


def figures(**values: float) -> None:
    """Says what was measured; `make chaos` shows it, and docs/guarantees.md quotes it."""
    sys.stdout.write("\n" + ", ".join(f"{name.replace('_', ' ')}: {value:g}" for name, value in values.items()) + "\n")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Process:
    """One `postbacks …`. Its output goes to `log`."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    command: Sequence[str] = (str(COMMAND),)
    popen: subprocess.Popen[bytes] = field(init=False)
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = Path(tempfile.mkstemp(prefix=f"{self.arguments[0]}-", suffix=".log", dir=self.directory)[1])
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(
                [*self.command, *self.arguments],
                env=dict(self.environment),
                cwd=self.directory,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """`kill -9`."""
        self.popen.kill()
        self.popen.wait()

    async def ready(self, words: str, seconds: float = 30.0) -> None:
        """Until the process prints `words`."""

        async def said() -> bool:
            assert self.running, f"{self.arguments} ended with {self.popen.returncode}:\n{self.output}"
            return words in self.output

        await eventually(said, seconds=seconds)

    async def ends(self, seconds: float = 30.0) -> int:
        """The exit code, once there is one."""

        async def code() -> int | None:
            return self.popen.poll()

        try:
            result: int = await eventually(code, lambda value: value is not None, seconds=seconds)
        except AssertionError:
            raise AssertionError(f"{self.arguments} still runs after {seconds} s:\n{self.output[-4000:]}") from None
        return result

    async def terminate(self, seconds: float = 30.0) -> int:
        """`SIGTERM`; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ends(seconds)


@dataclass
class Sandbox:
    """The simulators' process, over its control API."""

    url: str
    client: httpx.AsyncClient

    async def fault(self, platform: str, kind: str, **facts: Any) -> None:
        answer = await self.client.post(f"/_sandbox/{platform}/faults", json={"kind": kind, **facts})
        assert answer.status_code == 201, answer.text

    async def clear(self, platform: str) -> None:
        await self.client.delete(f"/_sandbox/{platform}/faults")

    async def switch(self, platform: str, **values: Any) -> None:
        answer = await self.client.put(f"/_sandbox/{platform}/switches", json=values)
        assert answer.status_code == 200, answer.text

    async def received(self, platform: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/_sandbox/{platform}/received", params={"limit": 200_000})
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def count(self, platform: str) -> int:
        answer = await self.client.get(f"/_sandbox/{platform}/received", params={"limit": 0})
        return int(answer.json()["count"])

    async def requests(self, platform: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/_sandbox/{platform}/requests")
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@dataclass
class Fleet:
    """Processes around one database, with an app `game`."""

    database_url: str
    directory: Path
    sandbox: Sandbox
    environment: dict[str, str]
    api_port: int
    database: asyncpg.Pool
    processes: list[Process] = field(default_factory=list)
    secret_key: str = ""
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    command: Sequence[str] = (str(COMMAND),)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def spawn(self, *arguments: str, **settings: Any) -> Process:
        """Starts a process and does not wait for it. `settings` without the prefix: `LEASE_SECONDS=2`."""
        extra = {f"POSTBACKS_{name}": str(value) for name, value in settings.items()}
        process = Process(arguments, {**self.environment, **extra}, self.directory, self.command)
        self.processes.append(process)
        return process

    async def dispatcher(self, **settings: Any) -> Process:
        process = self.spawn("dispatch", **settings)
        await process.ready("The dispatcher runs.")
        return process

    async def api(self, **settings: Any) -> Process:
        process = self.spawn("api", "--port", str(self.api_port), **settings)
        await process.ready("Postbacks listens")
        return process

    def client(self, token: str, **options: Any) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, **{"timeout": 30, **options}
        )
        self.clients.append(client)
        return client

    async def create_app(self, name: str = "game") -> httpx.AsyncClient:
        """A client with the app's secret key; one click of every platform, two hours old, belongs to player `p1`."""
        answer = await self.client(ADMIN).post("/v1/apps", json={"name": name})
        assert answer.status_code == 201, answer.text
        game = self.client(answer.json()["secret_key"])
        click = await game.post(
            "/v1/clicks", json={"click_ids": CLICKS, "user_id": "p1", "clicked_at": time.time() - 7200}
        )
        assert click.status_code == 202, click.text
        return game

    async def destination(self, platform: str, app: str = "game", name: str | None = None) -> None:
        """Puts the destination that the platform's simulator accepts (`sink`: a webhook)."""
        from postbacks.sandbox.server import SIMULATORS

        kind = {one.name: one for one in SIMULATORS}[platform]
        body = _pointed_at(kind.demo_destination(), self.sandbox.url)
        answer = await self.client(ADMIN).put(f"/v1/apps/{app}/destinations/{name or platform}", json=body)
        assert answer.status_code in (200, 201), answer.text

    async def value(self, statement: str, *arguments: Any) -> Any:
        return await self.database.fetchval(statement, *arguments)

    async def open_deliveries(self) -> int:
        return int(await self.value("SELECT count(*) FROM outbox"))

    async def ended(self, status: str = "delivered") -> int:
        return int(await self.value("SELECT count(*) FROM deliveries WHERE status = $1", status))

    async def tries(self) -> list[asyncpg.Record]:
        """Every try of every delivery: delivery, number, verdict, code."""
        rows: list[asyncpg.Record] = await self.database.fetch(
            "SELECT delivery, number, verdict, code FROM attempts UNION ALL SELECT d.id, d.attempts, x.verdict, x.code "
            "FROM deliveries d JOIN exchanges x ON x.app_id = d.app_id AND x.id = d.exchange"
        )
        return rows

    async def drained(self, seconds: float = 60.0) -> None:
        """Until no delivery is open."""
        await eventually(self.open_deliveries, lambda count: count == 0, seconds=seconds)


def batch(prefix: str, start: int, count: int) -> dict[str, Any]:
    """The body of a batch of purchases of player `p1`, numbered."""
    return {
        "events": [
            {
                "name": "purchase",
                "event_id": f"{prefix}-{number}",
                "user_id": "p1",
                "value": 1 + number % 100,
                "currency": "EUR",
            }
            for number in range(start, start + count)
        ]
    }


@contextlib.asynccontextmanager
async def fleet(database_url: str, *platforms: str, clock: Path | None = None, **settings: Any) -> AsyncIterator[Fleet]:
    """A sandbox process and an API process with the app `game` and its destinations.

    Short retries and a lease of 2 seconds, so that a takeover does not take a minute. `clock`: a file with the seconds
    by which the clocks of all processes but the sandbox's are wrong.
    """
    directory = Path(tempfile.mkdtemp(prefix="postbacks-fleet-"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    values = {
        "DATABASE_URL": database_url,
        "ADMIN_TOKEN": ADMIN,
        "ENCRYPTION_KEYS": KEY,
        "LEASE_SECONDS": 2,
        "RETRY_SCHEDULE": "0.2,0.5,1",
        "BATCH_LINGER_MS": 5,
        "SHUTDOWN_SECONDS": 10,
        "WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        **api_bases(url),
        **settings,
    }
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    environment |= {f"POSTBACKS_{name}": str(value) for name, value in values.items()}
    async with httpx.AsyncClient(base_url=url, timeout=30) as control:
        pool = await asyncpg.create_pool(database_url, min_size=0, max_size=4, command_timeout=60)
        one = Fleet(database_url, directory, Sandbox(url, control), environment, free_port(), pool)
        try:
            await one.spawn("sandbox", "--port", str(port)).ready("listen on")
            if clock is not None:
                one.environment["PYTHONPATH"] = str(ROOT)
                one.command = (sys.executable, "-m", "tests.support.shifted", str(clock))
            await one.api()
            game = await one.create_app()
            one.secret_key = game.headers["authorization"].removeprefix("Bearer ")
            for platform in platforms:
                await one.destination(platform)
            yield one
        finally:
            for process in one.processes:
                if process.running:
                    process.kill()
            for client in one.clients:
                await client.aclose()
            try:
                await asyncio.wait_for(pool.close(), 5)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()
            shutil.rmtree(directory, ignore_errors=True)
