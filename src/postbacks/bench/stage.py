"""The stage of a bench: a fresh database, the sink, and the processes that are measured."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
from cryptography.fernet import Fernet

from postbacks.bench.seeding import APP, PLATFORMS, Seeder
from postbacks.errors import SettingError
from postbacks.store import migrating
from postbacks.store.embedded import embedded_database, ensure_database

START_SECONDS = 30.0

DESTINATIONS: Mapping[str, Mapping[str, Any]] = {
    "meta": {
        "credentials": {"dataset_id": "998877665544332", "access_token": "bench-meta-token"},
        "options": {"event_source_url": "https://game.example/lp"},
        "events": {"purchase": {"name": "Purchase"}},
    },
    "google": {
        "credentials": {
            "operating_account_id": "1002003004",
            "client_id": "bench.apps.example",
            "client_secret": "bench-client-secret",
            "refresh_token": "bench-refresh-token",
        },
        "options": {"hold_hours": 0},
        "events": {"purchase": {"conversion_action_id": "55504"}},
    },
    "tiktok": {
        "credentials": {"pixel_code": "C4BENCHPIXELCODE1234", "access_token": "bench-tiktok-token"},
        "options": {"event_source_url": "https://game.example/lp"},
        "events": {"purchase": {"name": "Purchase"}},
    },
    "reddit": {
        "credentials": {"pixel_id": "a2_benchpixel", "access_token": "bench-reddit-token"},
        "events": {"purchase": {"name": "PURCHASE"}},
    },
    "x": {
        "credentials": {"pixel_id": "o1abc", "pixel_token": "bench-x-token"},
        "events": {"purchase": {"event_id": "tw-o1abc-o1p07"}},
    },
}
"""One destination for each platform, named like it; the sink takes any credentials."""


@dataclass
class Stage:
    """What the measurements work with."""

    url: str
    sink: str
    connection: asyncpg.Connection
    seeder: Seeder
    http: aiohttp.ClientSession
    environment: Mapping[str, str] = field(repr=False)
    secret_key: str = field(default="", repr=False)

    @asynccontextmanager
    async def api(self) -> AsyncIterator[int]:
        """An API process; its port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        async with process("postbacks.cli", "api", "--port", str(port), environment=self.environment) as running:
            await first_line(running)
            yield port

    @asynccontextmanager
    async def dispatcher(self, **settings: str) -> AsyncIterator[int]:
        """A dispatcher process; its process id."""
        async with process("postbacks.cli", "dispatch", environment={**self.environment, **settings}) as running:
            await first_line(running)
            yield running.pid

    async def load(self, *ports: int, **load: Any) -> dict[str, float]:
        """Runs a client process to its end. `ports`: of one API process each."""
        arguments = {"ports": ports, "key": self.secret_key, "tag": secrets.token_hex(4), **load}
        return await run_to_end("postbacks.bench.client", arguments, self.environment)

    async def ceiling(self, **arguments: Any) -> float:
        """The rate of the bare statements."""
        result = await run_to_end("postbacks.bench.raw", {"url": self.url, **arguments}, self.environment)
        return result["events_per_second"]

    async def received(self) -> tuple[dict[str, int], dict[str, float]]:
        """Conversions at the sink by platform, and when the last one came (Unix seconds)."""
        async with self.http.get(f"{self.sink}/_sink") as response:
            seen = orjson.loads(await response.read())
        return seen["received"], seen["last"]

    async def slow(self, platform: str, seconds: float) -> None:
        """Lets a platform take its time for each answer."""
        async with self.http.get(f"{self.sink}/_sink/slow/{platform}/{seconds}") as response:
            await response.read()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A fresh embedded PostgreSQL with its default durability, a sink, an app with five destinations, its players."""
    with (
        tempfile.TemporaryDirectory(prefix="postbacks-bench-", ignore_cleanup_errors=True) as directory,
        embedded_database(Path(directory)) as url,
    ):
        await ensure_database(url)
        await migrating.migrate(url)
        async with (
            process("postbacks.bench.sink", environment=os.environ) as sink_process,
            aiohttp.ClientSession() as http,
        ):
            sink = f"http://127.0.0.1:{await first_line(sink_process)}"
            connection = await asyncpg.connect(url)
            try:
                one = Stage(url, sink, connection, Seeder(connection), http, _environment(url, sink))
                await one.seeder.players()
                await _configure(one)
                yield one
            finally:
                await connection.close()


def _environment(url: str, sink: str) -> dict[str, str]:
    bases = ("META", "TIKTOK", "REDDIT", "X", "GOOGLE_DATA_MANAGER", "GOOGLE_ADS")
    own = {name: value for name, value in os.environ.items() if not name.startswith("POSTBACKS_")}
    return own | {
        "POSTBACKS_DATABASE_URL": url,
        "POSTBACKS_ADMIN_TOKEN": secrets.token_urlsafe(24),
        "POSTBACKS_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "POSTBACKS_BATCH_LINGER_MS": "50",
        **{f"POSTBACKS_{base}_API_BASE": sink for base in bases},
        "POSTBACKS_GOOGLE_TOKEN_URL": f"{sink}/token",
    }


async def _configure(one: Stage) -> None:
    headers = {"Authorization": f"Bearer {one.environment['POSTBACKS_ADMIN_TOKEN']}"}
    async with one.api() as port:
        base = f"http://127.0.0.1:{port}/v1/apps"
        async with one.http.post(base, json={"name": APP}, headers=headers) as answer:
            one.secret_key = orjson.loads(await _body(answer))["secret_key"]
        for platform in PLATFORMS:
            body = {"platform": platform, "enabled": True, **DESTINATIONS[platform]}
            async with one.http.put(f"{base}/{APP}/destinations/{platform}", json=body, headers=headers) as answer:
                await _body(answer)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = await answer.read()
    if answer.status not in (200, 201):
        raise SettingError(f"The bench could not set up its app: {body.decode()}")
    return body


@asynccontextmanager
async def process(
    module: str, *arguments: str, environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs `python -m module`; ends it with SIGTERM."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=dict(environment), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(running.wait(), 30)
            except TimeoutError:
                running.kill()
                await running.wait()


async def run_to_end(module: str, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, float]:
    """Runs `python -m module` with JSON and returns the JSON that it prints. Raises `SettingError` where it fails."""
    text = orjson.dumps(arguments).decode()
    async with process(module, text, environment=environment) as running:
        out, _ = await running.communicate()
    if running.returncode:
        raise SettingError(f"A part of the bench failed: {module} ended with {running.returncode}.")
    result: dict[str, float] = orjson.loads(out)
    return result


async def first_line(running: asyncio.subprocess.Process) -> str:
    assert running.stdout is not None  # noqa: S101 - it was asked for
    line = await asyncio.wait_for(running.stdout.readline(), START_SECONDS)
    if not line:
        raise SettingError("A process of the bench did not start; its own words stand above.")
    return line.decode().strip()
