"""Keys: shown once, listed by prefix, revoked at once everywhere; and what a publishable key may not do."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from postbacks.errors import Unauthorized
from postbacks.runtime import open_runtime
from postbacks.sandbox.server import Running
from postbacks.store import configuration
from postbacks.web import auth
from postbacks.web.auth import Keyring
from tests.support import service
from tests.support.service import Service, eventually

PROXY = {"trusted_proxies": (ip_network("127.0.0.0/8"),)}


async def rows(running: Service, statement: str, *arguments: object) -> list[dict[str, object]]:
    async with running.runtime.database.connection() as connection:
        return [dict(row) for row in await connection.fetch(statement, *arguments)]


async def test_keys_are_long_and_listed_by_prefix(running: Service) -> None:
    secret, publishable = running.keys["secret_key"], running.keys["publishable_key"]
    assert len(secret) == len(publishable) == 3 + 43  # 256 bits in base64
    answers = [await running.admin.get(path) for path in ("/v1/apps", "/v1/apps/game", "/v1/apps/game/keys")]
    assert all(secret not in answer.text for answer in answers)
    listed = answers[2].json()["items"][0]
    assert listed["publishable_key"] == publishable
    assert secret.startswith(listed["secret_key_prefix"]) and len(listed["secret_key_prefix"]) <= 12
    stored = str(await rows(running, "SELECT row_to_json(k)::text AS k FROM api_keys k"))
    assert secret not in stored


async def test_last_use_is_noted(running: Service) -> None:
    assert (await running.admin.get("/v1/apps/game/keys")).json()["items"][0]["last_used_at"] is None
    await running.deliveries()
    assert (await running.admin.get("/v1/apps/game/keys")).json()["items"][0]["last_used_at"] is not None


async def test_a_revocation_counts_at_once_here_and_soon_elsewhere(running: Service, database_url: str) -> None:
    fresh = (await running.admin.post("/v1/apps/game/keys")).json()
    complete = service.settings(running.sandbox)
    async with open_runtime(complete, database_url, "second") as second, running.client(fresh["secret_key"]) as client:
        assert (await client.get("/v1/deliveries")).status_code == 200
        assert (await second.keyring.principal(fresh["secret_key"])).app == "game"
        assert (await running.admin.delete(f"/v1/apps/game/keys/{fresh['key_id']}")).status_code == 204
        assert (await client.get("/v1/deliveries")).status_code == 401

        async def refused_elsewhere() -> bool:
            try:
                await second.keyring.principal(fresh["secret_key"])
            except Exception as error:
                return type(error).__name__ == "Unauthorized"
            return False

        await eventually(refused_elsewhere, seconds=2)
    assert (await running.game.get("/v1/deliveries")).status_code == 200, "the other pair still works"


async def test_a_look_up_under_way_does_not_outlive_a_revocation(
    running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = (await running.admin.post("/v1/apps/game/keys")).json()
    keyring = Keyring(running.runtime.database, "")
    touch = configuration.touch_key

    async def revoked_meanwhile(*given: Any) -> None:
        await touch(*given)
        assert (await running.admin.delete(f"/v1/apps/game/keys/{fresh['key_id']}")).status_code == 204
        keyring.forget()

    monkeypatch.setattr(configuration, "touch_key", revoked_meanwhile)
    assert (await keyring.principal(fresh["secret_key"])).app == "game"
    with pytest.raises(Unauthorized):
        await keyring.principal(fresh["secret_key"])


async def test_without_word_from_the_database_a_revocation_counts_within_seconds(
    running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine whose listening connection is broken hears of nothing; what it believed runs out."""
    assert auth.CACHE_SECONDS <= 5
    monkeypatch.setattr(auth, "CACHE_SECONDS", 0.3)
    deaf = Keyring(running.runtime.database, "")
    fresh = (await running.admin.post("/v1/apps/game/keys")).json()
    assert (await deaf.principal(fresh["secret_key"])).app == "game"
    await running.admin.delete(f"/v1/apps/game/keys/{fresh['key_id']}")

    async def refused() -> bool:
        try:
            await deaf.principal(fresh["secret_key"])
        except Unauthorized:
            return True
        return False

    await eventually(refused, seconds=2)


@pytest.mark.parametrize("setting", ["", None])
async def test_an_empty_admin_token_makes_nobody_the_admin(running: Service, setting: str | None) -> None:
    keyring = Keyring(running.runtime.database, setting or "")
    assert not keyring.is_admin("")


async def test_too_many_clicks_from_one_address(database_url: str, sandbox: Running) -> None:
    async with service.running(database_url, sandbox, dispatch=False, clicks_per_minute=5, **PROXY) as one:

        async def click(address: str, number: int) -> httpx.Response:
            return await one.page.post(
                "/v1/clicks", json={"click_ids": {"fbclid": f"c{number}"}}, headers={"X-Forwarded-For": address}
            )

        first = [(await click("203.0.113.9", n)).status_code for n in range(6)]
        assert first == [202] * 5 + [429]
        refused = await click("203.0.113.9", 7)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"].startswith("urn:") and refused.json()["status"] == 429
        assert refused.headers["access-control-allow-origin"] == "*"
        assert (await click("203.0.113.10", 8)).status_code == 202, "another visitor is not slowed"
        # Of an IPv6 /64 everybody has 2^64 addresses.
        six = [(await click(f"2001:db8:1:2::{n:x}", 20 + n)).status_code for n in range(1, 8)]
        assert six == [202] * 5 + [429] * 2
        assert (await click("2001:db8:1:3::1", 40)).status_code == 202
        backend = [await one.game.post("/v1/clicks", json={"click_ids": {"fbclid": f"b{n}"}}) for n in range(8)]
        assert {answer.status_code for answer in backend} == {202}, "a secret key is not limited"


async def test_too_many_clicks_with_one_key(database_url: str, sandbox: Running) -> None:
    async with service.running(database_url, sandbox, dispatch=False, key_clicks_per_minute=3, **PROXY) as one:
        answers = [
            await one.page.post(
                "/v1/clicks",
                json={"click_ids": {"fbclid": f"k{n}"}},
                headers={"X-Forwarded-For": f"198.51.100.{n}"},
            )
            for n in range(5)
        ]
        assert [answer.status_code for answer in answers] == [202] * 3 + [429] * 2
        assert len(await rows(one, "SELECT 1 FROM clicks")) == 3


async def test_a_browser_cannot_register_a_click_for_another_address(database_url: str, sandbox: Running) -> None:
    async with service.running(database_url, sandbox, dispatch=False) as one:
        body = {"click_ids": {"fbclid": "poison"}, "ip": "203.0.113.50", "user_agent": "Forged/1.0"}
        answer = await one.page.post("/v1/clicks", json=body, headers={"X-Forwarded-For": "203.0.113.50"})
        assert answer.status_code == 202
        event = await one.event("install", user_id="victim", ip="203.0.113.50")
        assert event["status"] == "waiting", "the body's address and an untrusted header are not believed"
        own = await one.event("install", user_id="me", ip="127.0.0.1")
        assert own["match"]["method"] == "ip"
        assert (await rows(one, "SELECT user_agent FROM clicks"))[0]["user_agent"] != "Forged/1.0"


async def test_a_trusted_proxy_names_the_visitor_and_nobody_before_it(database_url: str, sandbox: Running) -> None:
    async with service.running(database_url, sandbox, dispatch=False, **PROXY) as one:
        await one.page.post(
            "/v1/clicks",
            json={"click_ids": {"fbclid": "c"}},
            headers={"X-Forwarded-For": "203.0.113.77, 198.51.100.7, 127.0.0.9"},
        )
        assert (await one.event("install", user_id="a", ip="203.0.113.77"))["status"] == "waiting"
        assert (await one.event("install", user_id="b", ip="198.51.100.7"))["match"]["method"] == "ip"


async def test_a_known_click_id_is_never_overwritten(running: Service) -> None:
    await running.click(click_ids={"fbclid": "mine"}, visitor_id="first", url="https://game.example/a")
    before = await rows(running, "SELECT row_to_json(c)::text AS c FROM clicks c")
    again = await running.click(click_ids={"fbclid": "mine"}, visitor_id="second", url="https://evil.example/b")
    assert again["visitor_id"] == "first"
    assert await rows(running, "SELECT row_to_json(c)::text AS c FROM clicks c") == before


async def test_behind_a_tls_proxy_the_session_is_secure(database_url: str, sandbox: Running) -> None:
    async with service.running(database_url, sandbox, dispatch=False, **PROXY) as one, one.client(None) as browser:
        for scheme, secure in (("https", True), ("http", False)):
            form = await browser.get("/sign-in", headers={"X-Forwarded-Proto": scheme})
            assert ("Secure" in form.headers["set-cookie"]) is secure
            browser.cookies.clear()
