"""`serve --sandbox`: a demo app whose destinations point at the simulators, and the words that lead through it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import orjson

from postbacks.admin.apps import add_keys, app_settings
from postbacks.admin.destinations import store_destination
from postbacks.admin.schemas import AppIn
from postbacks.runtime import Runtime
from postbacks.sandbox.server import SIMULATORS
from postbacks.sandbox.sink import URL_PLACEHOLDER
from postbacks.store import configuration

DEMO = "demo"


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


def walk(url: str, sandbox_url: str, admin_token: str, keys: DemoKeys) -> str:
    """What is printed: keys, addresses, and a line to copy for each step."""
    clicks = (
        '{"url": "https://game.example/lp?fbclid=IwAR0demoClick&ttclid=E.C.P.demoClick01&rdt_cid=4100200300400500601'
        '&twclid=2-4k1zq8examplexx0w7p3m5n9&gclid=Demo-Gclid_AAA111", "user_id": "player-1"}'
    )
    return f"""
Postbacks listens on {url}; the simulated platforms on {sandbox_url}.

  dashboard        {url}/          (sign in with the admin token)
  API              {url}/docs
  demo page        {url}/demo?fbclid=IwAR0demoPage&ttclid=E.C.P.demoPage01
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

4. What the platforms received:
   curl -s {sandbox_url}/_sandbox/meta/received

Ctrl-C stops it; the data stays.
"""
