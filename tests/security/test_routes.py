"""Every route with every wrong token: refused, and not a byte of another app in the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from postbacks.app import build_app
from tests.support import database, service
from tests.support.service import ADMIN, Service

OPEN = {
    "/healthz", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json", "/sign-in", "/dashboard.css",
    "/postbacks.js", "/postbacks-{version}.js", "/sign-out",
}  # fmt: skip
"""Routes that need no token: for machines, browsers, and for signing in."""

CLICKS = {"/v1/clicks", "/v1/collect", "/collect"}
APPLIES_TO_ADMIN = "/v1/apps"


@dataclass(frozen=True)
class Known:
    """Names and secrets of the app that must stay hidden, `victim`."""

    service: Service
    paths: Mapping[str, str]
    secrets: tuple[str, ...]
    victim: Mapping[str, str]
    other: Mapping[str, str]
    revoked: Mapping[str, str]


@pytest.fixture(scope="module")
async def known(postgres: str) -> AsyncIterator[Known]:
    url = await database.fresh(postgres)
    async with service.simulators() as sandbox, service.running(url, sandbox, app=False, shutdown_seconds=1) as one:
        other = dict(await one.create_app("other"))
        await one.event("install", user_id="other-player")
        victim = dict(await one.create_app("victim"))
        await one.destination("meta", "victim-meta", app="victim")
        await one.click(user_id="victim-player", visitor_id="victim-visitor", click_ids={"fbclid": "VictimClick"})
        event = await one.event("install", user_id="victim-player", event_id="victim-event")
        delivery = event["deliveries"][0]["id"]
        await one.settled(delivery, "delivered")
        fresh = (await one.admin.post("/v1/apps/other/keys")).json()
        assert (await one.admin.delete(f"/v1/apps/other/keys/{fresh['key_id']}")).status_code == 204
        listed = (await one.admin.get("/v1/apps/victim/keys")).json()["items"][0]
        paths = {
            "app": "victim",
            "name": "victim-meta",
            "event_id": "victim-event",
            "delivery_id": delivery,
            "user_id": "victim-player",
            "key_id": listed["key_id"],
            "version": "0",
        }
        secrets = ("victim-player", "victim-visitor", "VictimClick", delivery, victim["secret_key"], "fb.1.")
        yield Known(one, paths, secrets, victim, other, fresh)
    await database.drop(url)


def routes(runtime: Any) -> list[tuple[str, str]]:
    """(method, path) of everything that the application serves."""
    found = []
    for context in iter_route_contexts(build_app(runtime).routes):
        for method in sorted(set(context.methods or ()) - {"HEAD", "OPTIONS"}):
            found.append((method, context.path))
    return found


def filled(path: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    assert "{" not in path, path
    return path


BODY = {
    "name": "install",
    "event_name": "install",
    "user_id": "own-player",
    "visitor_id": "own-visitor",
    "event_id": "own-event",
    "click_ids": {"fbclid": "OwnClick"},
    "platform": "meta",
    "filter": {"app": "victim"},
}


async def call(known: Known, method: str, path: str, token: str | None, query: str = "") -> httpx.Response:
    url = filled(path, known.paths) + query
    async with known.service.client(token) as client:
        body = None if method in ("GET", "DELETE") else BODY
        return await client.request(method, url, json=body)


def nothing_shown(known: Known, answer: httpx.Response, path: str) -> None:
    shown = answer.text
    for name in known.paths.values():
        # An error may repeat the name that was asked for, and so does an export that is empty.
        shown = shown.replace(f"'{name}'", "").replace(f'"user_id":"{name}"', "")
    if "/sign-in?" in answer.headers.get("location", ""):
        return
    leaked = [secret for secret in known.secrets if secret in shown]
    assert not leaked, (path, leaked, answer.text[:500])


@pytest.mark.parametrize("token", [None, "garbage", "sk_" + "x" * 43, "pk_" + "x" * 43, "", "adm_tes", ADMIN + "x"])
async def test_without_a_good_token_every_route_is_shut(known: Known, token: str | None) -> None:
    walked = 0
    for method, path in routes(known.service.runtime):
        if path in OPEN:
            continue
        answer = await call(known, method, path, token)
        walked += 1
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/sign-in"), path
        else:
            assert answer.status_code == 401, (method, path, answer.status_code, answer.text[:200])
            assert answer.headers["www-authenticate"] == "Bearer"
        nothing_shown(known, answer, path)
    assert walked >= 39


async def test_a_revoked_key_opens_nothing(known: Known) -> None:
    for kind in ("publishable_key", "secret_key"):
        for method, path in routes(known.service.runtime):
            if path not in OPEN:
                answer = await call(known, method, path, known.revoked[kind])
                assert answer.status_code in (401, 303), (method, path, answer.status_code)
                nothing_shown(known, answer, path)


async def test_the_publishable_key_registers_clicks_and_nothing_else(known: Known) -> None:
    for method, path in routes(known.service.runtime):
        if path in OPEN:
            continue
        answer = await call(known, method, path, known.victim["publishable_key"])
        if path in CLICKS:
            assert answer.status_code in (200, 202)
        else:
            assert answer.status_code in (403, 303), (method, path, answer.status_code)
            nothing_shown(known, answer, path)


@pytest.mark.parametrize("query", ["", "?app=victim"])
async def test_the_key_of_another_app_sees_and_changes_nothing(known: Known, query: str) -> None:
    before = await dump(known)
    for method, path in routes(known.service.runtime):
        if path in OPEN:
            continue
        answer = await call(known, method, path, known.other["secret_key"], query)
        if path.startswith(APPLIES_TO_ADMIN):
            assert answer.status_code == 403, (method, path, answer.status_code)
        elif query and path.startswith("/v1/") and "{delivery_id}" not in path:
            assert answer.status_code == 403, (method, path, answer.status_code, answer.text[:200])
        nothing_shown(known, answer, path)
    assert await dump(known) == before


@pytest.mark.parametrize("name", ["delivery_id", "event_id", "user_id"])
async def test_ids_of_another_app_are_not_found(known: Known, name: str) -> None:
    found = [(m, p) for m, p in routes(known.service.runtime) if f"{{{name}" in p and p.startswith("/v1/")]
    assert found
    for method, path in found:
        answer = await call(known, method, path, known.other["secret_key"])
        if name == "user_id":
            # A name that anybody can guess: the answer is that of a player who was never seen.
            assert answer.status_code == 200
            nothing_shown(known, answer, path) if method == "DELETE" else None
            assert answer.json()["app"] == "other"
            assert answer.json().get("clicks", []) == []
        else:
            assert answer.status_code in (404, 409), (method, path, answer.status_code)


async def test_listings_hold_the_own_app_only(known: Known) -> None:
    async with known.service.client(known.other["secret_key"]) as client:
        for path in ("/v1/deliveries", "/v1/stats", "/v1/deliveries?user_id=victim-player"):
            nothing_shown(known, await client.get(path), path)
        replay = await client.post("/v1/deliveries/replay", json={"filter": {"app": "victim"}})
        assert replay.status_code == 403
        cursor = await client.get("/v1/deliveries", params={"cursor": known.paths["delivery_id"]})
        nothing_shown(known, cursor, "cursor")


async def dump(known: Known) -> list[tuple[str, list[str]]]:
    """All rows of the victim, but for when its keys were last used."""
    tables = ("clicks", "players", "events", "deliveries", "outbox", "attempts", "destinations", "apps", "erasures")
    found = []
    async with known.service.runtime.database.connection() as connection:
        for table in tables:
            rows = await connection.fetch(
                f"SELECT row_to_json(t)::text AS row FROM {table} t WHERE app_id = 'victim' ORDER BY 1"
            )
            found.append((table, [row["row"] for row in rows]))
    return found
