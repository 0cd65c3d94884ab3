"""A full run with planted secrets, addresses and mail addresses, and then everything that it wrote is read.

The service runs as a process of its own, so its output is all of its output. What must happen for the reading to mean
something is asserted first: conversions arrive with address and token, credentials are refused, code and database fail.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.fernet import Fernet

from postbacks import sandbox_setup
from postbacks.outbound.masking import is_public
from postbacks.sandbox.base import Fault
from postbacks.sandbox.server import Running, api_bases
from tests.security.dump import dump
from tests.security.process import Process, postbacks
from tests.support import database, service
from tests.support.service import ADMIN, CLICKS, KEY, eventually

PLANTED = (
    "planted-signing-secret", "planted-header-secret", "planted-url-token", "planted-body-key", "planted-dead-token",
    "planted-password", "planted-app-secret",
)  # fmt: skip
ADDRESSES = ("203.0.113.201", "2001:db8:5ec2:e7::9", "198.51.100.202")
MAILS = ("in.query@player.example", "in.fragment@player.example", "in.referrer@player.example", "in-userinfo")
PLAYER = "named.player@player.example"
"""A game may call its players by their mail addresses: kept with their events until erased, and in no log."""


@dataclass
class Run:
    """What a full run left behind."""

    output: str
    answers: list[str]
    metrics: str
    pages: str
    database: str
    secrets: list[str]
    keys: dict[str, str]
    sandbox: Running


@pytest.fixture(scope="module")
async def run(postgres: str) -> AsyncIterator[Run]:
    url = await database.fresh(postgres)
    async with service.simulators() as sandbox:
        environment = {f"POSTBACKS_{name}": base for name, base in api_bases(sandbox.url).items()}
        environment |= {
            "POSTBACKS_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "POSTBACKS_TRUSTED_PROXIES": "127.0.0.0/8",
            "POSTBACKS_RETRY_SCHEDULE": "0.1",
            "POSTBACKS_BATCH_LINGER_MS": "5",
            "POSTBACKS_SHUTDOWN_SECONDS": "2",
        }
        async with postbacks("serve", url, environment) as process:
            found = await _scenario(process, sandbox, url)
        yield found
    await database.drop(url)


async def _scenario(process: Process, sandbox: Running, url: str) -> Run:
    answers: list[str] = []
    secrets: list[str] = list(PLANTED)

    async def note(answer: httpx.Response) -> None:
        await answer.aread()
        answers.append(f"{answer.request.method} {answer.request.url.path}\n{answer.headers}\n{answer.text}")

    hooks = {"response": [note]}
    bearer = {"Authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(base_url=process.url, headers=bearer, timeout=30, event_hooks=hooks) as admin:
        keys: dict[str, str] = (await admin.post("/v1/apps", json={"name": "game"})).json()
        answers.clear()  # the one answer that shows the secret key
        for body in _destinations(sandbox):
            secrets += [
                value
                for name, value in body["credentials"].items()
                if isinstance(value, str) and not is_public(name) and len(value) > 5
            ]
            put = await admin.put(f"/v1/apps/game/destinations/{body.pop('name')}", json=body)
            assert put.status_code == 201, put.text
        await admin.put("/v1/apps/game/destinations/bad", json={"platform": "meta", "credentials": {"x": PLANTED[4]}})
        await admin.post("/v1/apps/game/destinations/dead/check")
        secret = {"Authorization": f"Bearer {keys['secret_key']}"}
        async with httpx.AsyncClient(base_url=process.url, headers=secret, timeout=30, event_hooks=hooks) as game:
            await _traffic(admin, game, keys, sandbox)
            await _failures(game, admin, url)
            pages = await _pages(process.url)
            for path in ("/v1/apps", "/v1/apps/game/keys", "/v1/apps/game/destinations", "/v1/stats?app=game"):
                await admin.get(path)
            await _read_all(game)
        metrics = (await admin.get("/metrics")).text
    content = "\n".join((await dump(url)).values())
    secrets += [ADMIN, KEY, keys["secret_key"]]
    return Run(process.output.read_text(), answers, metrics, pages, content, secrets, keys, sandbox)


def _destinations(sandbox: Running) -> list[dict[str, Any]]:
    """All platforms as their simulators want them, with all that may be shared; one with a token that is refused."""
    found = []
    for name, simulator in sandbox.simulators.items():
        body = sandbox_setup._pointed_at(simulator.demo_destination(), sandbox.url)
        if body["platform"] in ("meta", "tiktok"):
            body["options"]["share"] = ["ip", "user_agent"]
        found.append({**body, "name": name})
    dead = sandbox_setup._pointed_at(sandbox.simulators["tiktok"].demo_destination(), sandbox.url)
    dead["credentials"]["access_token"] = PLANTED[4]
    hook = {
        "platform": "webhook",
        "credentials": {"signing_secret": "whsec_" + "cGxhbnRlZC1zaWduaW5nLXNlY3JldA=="},
        "options": {
            "url": f"{sandbox.url}/sink/hook?token={PLANTED[2]}",
            "method": "POST",
            "headers": {"X-Api-Key": PLANTED[1], "Content-Type": "application/json"},
            "body": f'{{"api_key": "{PLANTED[3]}", "click_id": "{{click_id}}"}}',
        },
    }
    proof = sandbox_setup._pointed_at(sandbox.simulators["meta"].demo_destination(), sandbox.url)
    proof["credentials"]["app_secret"] = PLANTED[6]
    return [*found, {**dead, "name": "dead"}, {**hook, "name": "hook"}, {**proof, "name": "proof"}]


async def _traffic(admin: httpx.AsyncClient, game: httpx.AsyncClient, keys: dict[str, str], sandbox: Running) -> None:
    yes = {"attribution": True, "postbacks": True, "ad_personalization": True}
    page = (
        f"https://{MAILS[3]}:{PLANTED[5]}@game.example/lp?fbclid={CLICKS['fbclid']}&mail={MAILS[0]}&ip={ADDRESSES[2]}"
        f"#{MAILS[1]}"
    )
    click = {
        "key": keys["publishable_key"], "url": page, "referrer": f"https://ad.example/?m={MAILS[2]}",
        "click_ids": CLICKS, "user_id": PLAYER, "consent": yes,
    }  # fmt: skip
    for address in ADDRESSES[:2]:
        headers = {"Authorization": f"Bearer {keys['publishable_key']}", "X-Forwarded-For": address}
        await game.post("/v1/clicks", json=click, headers=headers)
    await game.post("/v1/collect", json={"page_url": page, "ip": ADDRESSES[0], "clientId": "c"})
    sandbox.simulators["meta"].add_fault(Fault("html", status=502))
    sandbox.simulators["sink"].add_fault(Fault("garbage"))
    for number, address in enumerate(ADDRESSES):
        body = {"name": "purchase", "user_id": PLAYER, "event_id": f"e{number}", "value": 2, "currency": "EUR"}
        await game.post("/v1/events", json={**body, "ip": address, "consent": yes})
    await game.post("/v1/measure", json={"user_id": PLAYER, "event_name": "game_open", "ip": ADDRESSES[1]})

    async def done() -> bool:
        items = (await game.get("/v1/deliveries?limit=200&destination=meta")).json()["items"]
        return sum(one["status"] == "delivered" for one in items) >= 3

    await eventually(done, seconds=20)

    async def held() -> bool:
        items = (await admin.get("/v1/apps/game/destinations")).json()["items"]
        return any(one["name"] == "dead" and one.get("held_since") for one in items)

    await eventually(held, seconds=20)


async def _failures(game: httpx.AsyncClient, admin: httpx.AsyncClient, url: str) -> None:
    """What the database says of a refused row, and what a bug says, hold the row: neither may be passed on."""
    connection = await asyncpg.connect(url)
    event = {"name": "install", "user_id": PLAYER, "ip": ADDRESSES[0], "properties": {"mail": MAILS[0]}}
    try:
        await connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'no % %', NEW.user_id, NEW.event_id USING DETAIL = row_to_json(NEW)::text; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.event_id = 'refused') "
            "EXECUTE FUNCTION refuse()"
        )
        assert (await game.post("/v1/events", json={**event, "event_id": "refused"})).status_code == 500
        await connection.execute("ALTER TABLE players RENAME TO players_gone")
        assert (await game.get(f"/v1/users/{PLAYER}")).status_code == 500
        await connection.execute("ALTER TABLE players_gone RENAME TO players")
    finally:
        await connection.close()
    for wrong in ({"ip": ADDRESSES[0] + "x"}, {"user_id": [PLANTED[5]]}, {"value": PLANTED[5], "currency": "EUR"}):
        assert (await game.post("/v1/events", json={"name": "x", **wrong})).status_code == 422
    for token in (PLANTED[5], f"sk_{PLANTED[5]}"):
        bad = {"Authorization": f"Bearer {token}"}
        assert (await admin.get("/v1/deliveries", headers=bad)).status_code == 401


async def _read_all(game: httpx.AsyncClient) -> None:
    items = (await game.get("/v1/deliveries?limit=200")).json()["items"]
    for item in items:
        await game.get(f"/v1/deliveries/{item['id']}")
    for number in range(len(ADDRESSES)):
        await game.get(f"/v1/events/e{number}")
    await game.get(f"/v1/users/{PLAYER}")


async def _pages(url: str) -> str:
    """The dashboard's pages, as a signed-in operator sees them."""
    async with httpx.AsyncClient(base_url=url, follow_redirects=True) as browser:
        form = await browser.get("/sign-in")
        token = re.search(r'name="csrf" value="([^"]+)"', form.text)
        assert token
        listed = await browser.post("/sign-in", data={"csrf": token[1], "token": ADMIN})
        assert "Sign out" in listed.text
        found = [listed.text, (await browser.get("/destinations")).text, (await browser.get("/setup")).text]
        for link in sorted(set(re.findall(r'href="(/(?:deliveries|apps)/[^"]+)"', listed.text)))[:60]:
            page = await browser.get(link)
            assert page.status_code == 200, link
            found.append(page.text)
        return "\n".join(found)


def leaks(text: str, *planted: str) -> list[str]:
    return [one for one in planted if one in text]


async def test_the_run_did_what_could_leak(run: Run) -> None:
    meta = run.sandbox.simulators["meta"].received()
    assert any(one["raw"]["user_data"].get("client_ip_address") in ADDRESSES for one in meta), "the address was sent"
    assert run.sandbox.simulators["sink"].received(), "the webhook was called"
    failed = [json.loads(line) for line in run.output.splitlines() if '"request.failed"' in line]
    assert [(one["method"], one["route"]) for one in failed] == [
        ("POST", "/v1/events"),
        ("GET", "/v1/users/{user_id:path}"),
    ], "bugs were logged, with the route and without what stood in the path"
    assert '"exception"' in run.output and "asyncpg" in run.output, "with where they happened"
    assert "destination.held" in run.output
    assert '"attempt_log":[{' in "".join(run.answers)


async def test_nothing_secret_stands_in_the_logs(run: Run) -> None:
    assert (
        leaks(run.output, *run.secrets, run.keys["publishable_key"], *ADDRESSES, *MAILS, PLAYER, *CLICKS.values()) == []
    )


async def test_the_log_is_a_line_of_json_per_fact(run: Run) -> None:
    lines = [line for line in run.output.splitlines() if line.startswith("{")]
    assert len(lines) >= 3
    assert all({"event", "level", "timestamp"} <= json.loads(line).keys() for line in lines)
    assert [line for line in run.output.splitlines() if not line.startswith(("{", "Postbacks listens on "))] == []
    assert "locals" not in run.output and "Traceback" not in run.output


async def test_nothing_secret_stands_in_the_database(run: Run) -> None:
    assert leaks(run.database, *run.secrets, *ADDRESSES, *MAILS) == []
    assert leaks(run.database, PLAYER, CLICKS["fbclid"]) == [PLAYER, CLICKS["fbclid"]], "this is what it is for"


async def test_no_answer_and_no_page_shows_a_secret_or_an_address(run: Run) -> None:
    for answer in run.answers:
        assert leaks(answer, *run.secrets, *ADDRESSES, *MAILS) == [], answer[:3000]
    assert leaks(run.pages, *run.secrets, *ADDRESSES, *MAILS) == []


async def test_metrics_name_no_player_and_no_secret(run: Run) -> None:
    personal = (*ADDRESSES, *MAILS, PLAYER, *CLICKS.values(), run.keys["publishable_key"])
    assert leaks(run.metrics, *run.secrets, *personal) == []
    assert "postbacks_" in run.metrics


async def test_rotation_seals_everything_anew(postgres: str) -> None:
    """`postbacks rotate-keys` with the new key in front; then the old one can go, and every secret still opens."""
    url = await database.fresh(postgres)
    new = Fernet.generate_key().decode()
    async with service.simulators() as sandbox:
        async with service.running(url, sandbox) as one:
            await one.destination("meta", options={"share": ["ip"]})
            body = {"click_ids": {"fbclid": "c"}, "ip": ADDRESSES[0], "user_id": "p", "consent": {"postbacks": True}}
            assert (await one.game.post("/v1/clicks", json=body)).status_code == 202
            await one.event("install", user_id="erased", event_id="a")
            await one.game.delete("/v1/users/erased")
            key = one.keys["secret_key"]
        rotated = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "postbacks.cli", "rotate-keys"],
            env={
                "PATH": "/usr/bin:/bin",
                "POSTBACKS_DATABASE_URL": url,
                "POSTBACKS_ADMIN_TOKEN": ADMIN,
                "POSTBACKS_ENCRYPTION_KEYS": f"{new},{KEY}",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert rotated.stdout.startswith("4 secrets"), rotated
        assert new not in rotated.stdout + rotated.stderr
        async with service.running(url, sandbox, app=False, encryption_keys=(new,)) as one, one.client(key) as game:
            events = [
                (await game.post("/v1/events", json={"name": "install", "user_id": name})).json()
                for name in ("p", "erased")
            ]
            assert [event["status"] for event in events] == ["matched", "suppressed"]
            one.game = game
            await one.settled(events[0]["deliveries"][0]["id"], "delivered")
            assert one.received("meta")[-1]["raw"]["user_data"]["client_ip_address"] == ADDRESSES[0]
    await database.drop(url)
