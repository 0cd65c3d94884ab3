"""`serve --sandbox`: a demo app whose destinations point at the simulators, and the words that lead through it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil

from postbacks.admin.apps import add_keys, app_settings
from postbacks.admin.destinations import store_destination
from postbacks.admin.schemas import AppIn
from postbacks.runtime import Runtime
from postbacks.sandbox.server import SIMULATORS
from postbacks.sandbox.sink import URL_PLACEHOLDER
from postbacks.store import configuration

DEMO = "demo"
_RUNNING = "sandbox.running"


@dataclass(frozen=True, slots=True)
class DemoKeys:
    publishable_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "DemoKeys(…)"


async def create_demo(runtime: Runtime, sandbox_url: str) -> DemoKeys:
    """Creates the demo app if it is not there, points its destinations at the simulators, issues a fresh pair of keys.

    The keys of earlier runs are revoked: only the ones that were just printed work.
    """
    async with runtime.database.transaction() as connection:
        sealed = runtime.vault.seal(secrets.token_bytes(32))
        await configuration.insert_app(connection, DEMO, app_settings(AppIn(name=DEMO)), sealed)
        for key in await configuration.keys(connection, DEMO):
            await configuration.revoke_key(connection, DEMO, key.key_id)
        pair = await add_keys(connection, DEMO)
        for simulator in SIMULATORS:
            body = _pointed_at(simulator.demo_destination(), sandbox_url)
            await store_destination(runtime.admin, connection, DEMO, _name(simulator.name), body)
        await configuration.notify_changed(connection)
    await runtime.admin.changed()
    return DemoKeys(pair.publishable_key, pair.secret_key)


def _name(simulator: str) -> str:
    return "webhook" if simulator == "sink" else simulator


def _pointed_at(body: dict[str, Any], url: str) -> dict[str, Any]:
    pointed: dict[str, Any] = orjson.loads(orjson.dumps(body).replace(URL_PLACEHOLDER.encode(), url.encode()))
    return pointed


@contextmanager
def announced(data_dir: Path, sandbox_url: str) -> Iterator[None]:
    """Tells other commands on the same data directory where the simulators are, as long as they run."""
    file = data_dir / _RUNNING
    # With a database elsewhere the directory may not exist, nor be ours to make; then nothing is told.
    with suppress(OSError):
        data_dir.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{os.getpid()} {sandbox_url}\n")
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def running_sandbox(data_dir: Path) -> str | None:
    """The simulators' URL where a `serve --sandbox` runs on this data directory, also after one that was killed."""
    try:
        pid, url = (data_dir / _RUNNING).read_text().split()
        command = psutil.Process(int(pid)).cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return url if "--sandbox" in command else None


def walk(url: str, sandbox_url: str, admin_token: str, keys: DemoKeys) -> str:
    """What is printed: keys, addresses, and a line to copy for each step."""
    clicks = f'{{"url": "https://game.example/lp?{_ad("Click")}", "user_id": "player-1"}}'
    return f"""
Postbacks listens on {url}; the simulated platforms on {sandbox_url}.

  dashboard        {url}/          (sign in with the admin token)
  API              {url}/docs
  demo page        {url}/demo?{_ad("Page")}
  admin token      {admin_token}
  publishable key  {keys.publishable_key}
  secret key       {keys.secret_key}

1. A click arrives on the landing page (open the demo page, or):
   curl -s {url}/v1/clicks -H 'Authorization: Bearer {keys.publishable_key}' -H 'Content-Type: application/json' \\
     -d '{clicks}'

2. The player installs, and buys something:
   curl -s {url}/v1/events -H 'Authorization: Bearer {keys.secret_key}' -H 'Content-Type: application/json' \\
     -d '{{"name": "install", "user_id": "player-1"}}'
   curl -s {url}/v1/events -H 'Authorization: Bearer {keys.secret_key}' -H 'Content-Type: application/json' \\
     -d '{{"name": "purchase", "user_id": "player-1", "value": 4.99, "currency": "EUR"}}'

3. What happened to it:
   curl -s '{url}/v1/deliveries?limit=20' -H 'Authorization: Bearer {keys.secret_key}'

4. The exact request and answer of every try (with the id of one of them):
   curl -s {url}/v1/deliveries/dlv_… -H 'Authorization: Bearer {keys.secret_key}'

5. What the platforms received:
   curl -s {sandbox_url}/_sandbox/meta/received

Ctrl-C stops it; the data stays.
"""


def _ad(where: str) -> str:
    """What the five platforms would add to a landing page's address; `where` keeps two such clicks apart."""
    digit = len(where)
    return (
        f"fbclid=IwAR0demo{where}&ttclid=E.C.P.demo{where}01&rdt_cid=410020030040050060{digit}"
        f"&twclid=2-4k1zq8examplexx0w7p3m5n{digit}&gclid=Demo-Gclid_{where}_AAA111"
    )
