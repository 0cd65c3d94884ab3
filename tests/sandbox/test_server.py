"""The sandbox over real HTTP on the loopback: routing, common faults, control API."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from postbacks.sandbox.server import SIMULATORS, Running, api_bases, start

META_PATH = "/meta/v26.0/998877665544332/events"
BEARER = {"Authorization": "Bearer sandbox-meta-token"}


def level(event_id: str = "lvl-10") -> dict[str, Any]:
    return {
        "event_name": "LevelAchieved",
        "event_time": int(time.time()) - 5,
        "event_id": event_id,
        "action_source": "system_generated",
        "user_data": {"fbc": "fb.1.1795420000123.IwZXh0bgNhZW0BMABhZGlkAasSYNTH"},
    }


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    running = await start("127.0.0.1", 0)
    yield running
    await running.stop()


@pytest.fixture
async def http(sandbox: Running) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=sandbox.url) as session:
        yield session


async def send(http: aiohttp.ClientSession, *event_ids: str, limit: float = 5.0) -> tuple[int, bytes]:
    body = {"data": [level(one) for one in event_ids or ("lvl-10",)]}
    timeout = aiohttp.ClientTimeout(total=limit)
    async with http.post(META_PATH, json=body, headers=BEARER, timeout=timeout) as answer:
        return answer.status, await answer.read()


async def control(
    http: aiohttp.ClientSession, method: str, path: str, body: Any = None, status: int = 200
) -> dict[str, Any]:
    async with http.request(method, f"/_sandbox/{path}", json=body) as answer:
        assert answer.status == status, await answer.text()
        result: dict[str, Any] = await answer.json()
        return result


async def test_a_conversion_is_taken_recorded_and_shown_without_its_token(
    sandbox: Running, http: aiohttp.ClientSession
) -> None:
    status, body = await send(http)
    received = await control(http, "GET", "meta/received")
    requests = await control(http, "GET", "meta/requests")

    assert (status, orjson.loads(body)["events_received"]) == (200, 1)
    assert received["count"] == 1
    assert received["items"][0]["key"] == "lvl-10"
    (entry,) = requests["items"]
    assert (entry["status"], entry["fault"], entry["headers"]["authorization"]) == (200, None, "***")
    assert "sandbox-meta-token" not in str(requests)
    assert sandbox.simulators["meta"].requests[0]["body"] == entry["body"]


async def test_tokens_in_query_and_body_are_masked_too(http: aiohttp.ClientSession) -> None:
    body = {"data": [level()], "access_token": "sandbox-meta-token", "appsecret_proof": "abc"}
    await http.post(META_PATH, json=body)
    await http.post(META_PATH, params={"access_token": "sandbox-meta-token"}, json={"data": [level()]})
    await http.post(META_PATH, data={"access_token": "sandbox-meta-token", "data": "[]"})
    await http.post("/tiktok/open_api/v1.3/event/track/", json={}, headers={"Access-Token": "sandbox-tiktok-token"})
    await http.post("/x/12/measurement/conversions/o8z6j", json={}, headers={"X-Pixel-Token": "secret-pixel-token"})

    for name in ("meta", "tiktok", "x"):
        shown = await control(http, "GET", f"{name}/requests")
        assert shown["items"]
        assert not any(secret in str(shown) for secret in ("sandbox-meta-token", "sandbox-tiktok", "secret-pixel"))


async def test_hang_answers_nothing_and_stores_nothing(sandbox: Running, http: aiohttp.ClientSession) -> None:
    await control(http, "POST", "meta/faults", {"kind": "hang", "seconds": 0.1}, 201)

    with pytest.raises(aiohttp.ClientConnectionError):
        await send(http)
    assert not sandbox.simulators["meta"].stored


async def test_a_client_may_give_up_on_a_hang(http: aiohttp.ClientSession) -> None:
    await control(http, "POST", "meta/faults", {"kind": "hang", "seconds": 0.3}, 201)

    with pytest.raises(TimeoutError):
        await send(http, limit=0.1)
    assert (await send(http))[0] == 200


async def test_slow_answers_well_but_late(http: aiohttp.ClientSession) -> None:
    await control(http, "POST", "meta/faults", {"kind": "slow", "seconds": 0.2}, 201)
    started = time.monotonic()

    assert (await send(http))[0] == 200
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(("kind", "stored"), [("cut_before", 0), ("cut_after", 1)])
async def test_a_cut_leaves_the_client_in_doubt(
    kind: str, stored: int, sandbox: Running, http: aiohttp.ClientSession
) -> None:
    await control(http, "POST", "meta/faults", {"kind": kind}, 201)

    with pytest.raises(aiohttp.ClientConnectionError):
        await send(http)
    assert len(sandbox.simulators["meta"].stored) == stored


async def test_trickle_never_completes(http: aiohttp.ClientSession) -> None:
    await control(http, "POST", "meta/faults", {"kind": "trickle", "seconds": 0.2}, 201)

    with pytest.raises(aiohttp.ClientPayloadError):
        await send(http)


async def test_garbage_is_a_200_that_is_not_json(http: aiohttp.ClientSession) -> None:
    await control(http, "POST", "meta/faults", {"kind": "garbage"}, 201)
    status, body = await send(http)

    assert status == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)


@pytest.mark.parametrize(
    ("fault", "status", "start_"),
    [
        ({"kind": "html"}, 502, b"<html>"),
        ({"kind": "html", "status": 504}, 504, b"<html>"),
        ({"kind": "status", "status": 503}, 503, b""),
        ({"kind": "throttle_4"}, 403, b'{"error"'),
        ({"kind": "http_429"}, 429, b""),
    ],
)
async def test_faults_that_answer(
    fault: dict[str, Any], status: int, start_: bytes, http: aiohttp.ClientSession
) -> None:
    await control(http, "POST", "meta/faults", fault, 201)
    answer = await send(http)

    assert answer[0] == status
    assert answer[1].startswith(start_)
    assert (await send(http))[0] == 200


async def test_a_fault_hits_as_often_as_told_and_only_what_matches(http: aiohttp.ClientSession) -> None:
    await control(http, "POST", "meta/faults", {"kind": "server_1", "times": 2, "match": "bad"}, 201)
    statuses = [(await send(http, event_id))[0] for event_id in ("good", "bad", "good", "bad", "bad")]

    assert statuses == [200, 500, 200, 500, 200]


async def test_faults_are_listed_and_cleared(http: aiohttp.ClientSession) -> None:
    await control(http, "POST", "meta/faults", {"kind": "server_1", "times": 3}, 201)
    listed = await control(http, "GET", "meta/faults")
    await control(http, "DELETE", "meta/faults")

    assert [one["kind"] for one in listed["faults"]] == ["server_1"]
    assert (await send(http))[0] == 200


async def test_the_index_tells_everything_that_can_be_set(http: aiohttp.ClientSession) -> None:
    index = (await control(http, "GET", ""))["simulators"]

    assert set(index) == {"meta", "google", "tiktok", "reddit", "x", "sink"}
    assert {"hang", "throttle_80004"} <= set(index["meta"]["fault_kinds"])
    assert index["meta"]["switches"]["keep"] == 200_000
    assert all(one["description"] and one["prefix"] == f"/{name}" for name, one in index.items())


async def test_switches_change_behaviour_until_reset(sandbox: Running, http: aiohttp.ClientSession) -> None:
    await control(http, "PUT", "meta/switches", {"tokens": {"mine": ["998877665544332"]}, "rule_9": False})
    switches = await control(http, "GET", "meta/switches")
    refused = await send(http)
    await control(http, "POST", "meta/reset")

    assert (switches["rule_9"], switches["rule_12"]) == (False, True)
    assert (refused[0], (await send(http))[0]) == (401, 200)


async def test_reset_forgets_one_or_all(sandbox: Running, http: aiohttp.ClientSession) -> None:
    for path in ("meta/reset", "reset"):
        await send(http)
        await http.post("/sink/anything")
        await control(http, "POST", path)
        meta, sink = sandbox.simulators["meta"], sandbox.simulators["sink"]
        assert (len(meta.stored), len(meta.requests)) == (0, 0)
        assert len(sink.stored) == (0 if path == "reset" else 1)


async def test_defaults_survive_what_was_changed_in_place(sandbox: Running) -> None:
    meta = sandbox.simulators["meta"]
    meta.switches["tokens"]["mine"] = []
    meta.reset()

    assert "mine" not in meta.switches["tokens"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "nobody/received", None, 404, "There are: meta"),
        ("POST", "nobody/reset", None, 404, "no simulator 'nobody'"),
        ("GET", "meta/nothing", None, 404, "/_sandbox/"),
        ("POST", "meta/faults", {"kind": "earthquake"}, 400, "it knows: cut_after"),
        ("POST", "meta/faults", {}, 400, "kind"),
        ("POST", "meta/faults", [], 400, "object"),
        ("POST", "meta/faults", {"kind": "hang", "times": 0}, 400, "times"),
        ("POST", "meta/faults", {"kind": "hang", "seconds": -1}, 400, "seconds"),
        ("POST", "meta/faults", {"kind": "status", "status": "503"}, 400, "status"),
        ("POST", "meta/faults", {"kind": "hang", "match": 7}, 400, "match"),
        ("POST", "meta/faults", {"kind": "hang", "duration": 7}, 400, "duration"),
        ("PUT", "meta/switches", {"rule_99": True}, 400, "it has: app_secret"),
        ("PUT", "meta/switches", {"rule_9": "no"}, 400, "same type"),
        ("PUT", "meta/switches", {"tokens": ["mine"]}, 400, "same type"),
        ("PUT", "sink/switches", {"keep": True}, 400, "same type"),
        ("GET", "meta/received?limit=-1", None, 400, "limit"),
    ],
)
async def test_mistakes_are_explained(
    method: str, path: str, body: Any, status: int, words: str, http: aiohttp.ClientSession
) -> None:
    assert words in (await control(http, method, path, body, status))["error"]


@pytest.mark.parametrize("value", ["text", False])
async def test_a_switch_may_have_named_modes(value: Any, http: aiohttp.ClientSession) -> None:
    switches = await control(http, "PUT", "google/switches", {"record_indices": value})

    assert switches["record_indices"] == value


async def test_a_body_that_is_not_json_is_explained(http: aiohttp.ClientSession) -> None:
    async with http.post("/_sandbox/meta/faults", data=b"{") as answer:
        assert answer.status == 400
        assert "not JSON" in (await answer.json())["error"]


async def test_an_unknown_platform_is_explained(http: aiohttp.ClientSession) -> None:
    async with http.post("/snapchat/v3/events") as answer:
        assert answer.status == 404
        assert "/meta/" in (await answer.json())["error"]


async def test_received_can_be_limited_and_filtered(http: aiohttp.ClientSession) -> None:
    await send(http, "a", "b", "c")
    newest = await control(http, "GET", "meta/received?limit=2")
    none = await control(http, "GET", "meta/received?limit=0")
    one = await control(http, "GET", "meta/received?key=a")

    assert (newest["count"], [item["key"] for item in newest["items"]]) == (3, ["b", "c"])
    assert (none["count"], none["items"]) == (3, [])
    assert [item["key"] for item in one["items"]] == ["a"]


async def test_the_sink_takes_any_request_and_keeps_one_entry_each(
    sandbox: Running, http: aiohttp.ClientSession
) -> None:
    query = {"event_id": "e1", "event_name": "install", "click_id": "abc", "value": "4.99", "currency": "EUR"}
    async with http.get("/sink/demo", params=query, headers=BEARER) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    await http.put("/sink/else", json={"event_id": "e2", "value": None}, headers={"webhook-id": "w2"})
    await http.post("/sink/demo", data=b"\xff\x00")
    first, second, third = sandbox.simulators["sink"].received()

    assert (first["key"], first["name"], first["click_id"]) == ("e1", "install", "abc")
    assert (first["value"], first["currency"]) == (4.99, "EUR")
    assert first["raw"]["method"] == "GET" and first["raw"]["path"] == "/demo"
    assert first["raw"]["headers"]["authorization"] == "***"
    assert (second["key"], second["value"], second["name"]) == ("w2", None, "/else")
    assert (third["key"], third["copies"]) == ("", 1)


async def test_no_more_is_remembered_than_keep_says(sandbox: Running, http: aiohttp.ClientSession) -> None:
    await control(http, "PUT", "sink/switches", {"keep": 2})
    for number in range(4):
        await http.post(f"/sink/{number}")

    assert [one["name"] for one in sandbox.simulators["sink"].received()] == ["/2", "/3"]


async def test_only_the_newest_long_bodies_are_remembered_whole(sandbox: Running, http: aiohttp.ClientSession) -> None:
    for _ in range(51):
        await http.post("/sink/long", data=b"x" * 20_000)
    lengths = [len(entry["body"]) for entry in sandbox.simulators["sink"].requests]

    assert lengths == [16_385] + [20_000] * 50


async def test_each_platform_answers_under_its_base(sandbox: Running, http: aiohttp.ClientSession) -> None:
    for base in api_bases(sandbox.url).values():
        async with http.post(base.removeprefix(sandbox.url) + "/anything", json={}) as answer:
            # A refusal in the platform's own shape, not the sandbox's "Nothing is here".
            assert b"/_sandbox/" not in await answer.read()


def test_the_bases_name_every_setting_of_the_contract() -> None:
    assert api_bases("http://127.0.0.1:9/") == {
        "META_API_BASE": "http://127.0.0.1:9/meta",
        "TIKTOK_API_BASE": "http://127.0.0.1:9/tiktok",
        "REDDIT_API_BASE": "http://127.0.0.1:9/reddit",
        "X_API_BASE": "http://127.0.0.1:9/x",
        "GOOGLE_DATA_MANAGER_API_BASE": "http://127.0.0.1:9/google",
        "GOOGLE_ADS_API_BASE": "http://127.0.0.1:9/google",
        "GOOGLE_TOKEN_URL": "http://127.0.0.1:9/google/token",
    }


@pytest.mark.parametrize("kind", SIMULATORS)
def test_each_demo_destination_has_the_contracts_shape(kind: Any) -> None:
    body = kind.demo_destination()

    assert {"platform", "credentials"} <= body.keys() <= {"platform", "enabled", "credentials", "options", "events"}
    assert orjson.loads(orjson.dumps(body)) == body


async def test_stopping_does_not_wait_for_what_hangs() -> None:
    running = await start("127.0.0.1", 0)
    arrived = asyncio.Event()

    def clock() -> float:
        arrived.set()
        return time.time()

    running.simulators["meta"].now = clock
    async with aiohttp.ClientSession(base_url=running.url) as http:
        await control(http, "POST", "meta/faults", {"kind": "hang", "seconds": 60}, 201)
        hanging = asyncio.create_task(send(http, limit=30))
        await arrived.wait()
        started = time.monotonic()
        await running.stop()

        assert time.monotonic() - started < 10
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(OSError, match="address"):
            await start("127.0.0.1", taken.getsockname()[1])
