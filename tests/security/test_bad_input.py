"""Whatever a client sends, it is told what is wrong with it: never a 500, never a hang, never a byte of another's."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import database, service
from tests.support.service import Service

DEEP = 100_000
JSON_PATHS = ("/v1/events", "/v1/measure", "/v1/clicks", "/v1/collect", "/v1/deliveries/replay")


@pytest.fixture(scope="module")
async def shared(postgres: str) -> AsyncIterator[Service]:
    """One service for the file: nothing here changes what another test looks at."""
    url = await database.fresh(postgres)
    async with service.simulators() as sandbox, service.running(url, sandbox) as one:
        await one.destination("meta")
        yield one
    await database.drop(url)


BODIES: dict[str, bytes] = {
    "deep array": b'{"name":"a","user_id":"u","properties":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep object": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "unclosed": b"[" * 1_000_000,
    "huge number": b'{"name":"a","user_id":"u","currency":"EUR","value":' + b"9" * 100_000 + b"}",
    "huge exponent": b'{"name":"a","user_id":"u","currency":"EUR","value":1e999999999}',
    "huge exponent text": b'{"name":"a","user_id":"u","currency":"EUR","value":"1e999999999"}',
    "huge time": b'{"name":"a","user_id":"u","occurred_at":1e308,"timestamp":1e308,"clicked_at":1e308}',
    "huge time text": b'{"name":"a","user_id":"u","occurred_at":"' + b"9" * 50_000 + b'"}',
    "nan": b'{"name":"a","user_id":"u","currency":"EUR","value":NaN}',
    "infinity": b'{"name":"a","user_id":"u","currency":"EUR","value":-Infinity}',
    "nan text": b'{"name":"a","user_id":"u","currency":"EUR","value":"NaN","occurred_at":"NaN"}',
    "nul escaped": b'{"name":"a","user_id":"u\\u0000","event_name":"a","url":"https://x/\\u0000"}',
    "nul plain": b'{"name":"a","user_id":"u\x00"}',
    "nul in a name": b'{"name":"a","user_id":"u","properties":{"\\u0000":1},"utm":{"\\u0000":"x"},"filter":{"\\u0000":"x"}}',
    "lone surrogate": b'{"name":"a","user_id":"\\ud800","event_name":"a","visitor_id":"\\udfff"}',
    "surrogate bytes": b'{"name":"a","user_id":"\xed\xa0\x80"}',
    "invalid utf-8": b'{"name":"a","user_id":"\xff\xfe\xfa"}',
    "overlong utf-8": b'{"name":"a","user_id":"\xc0\xaf"}',
    "utf-16": '{"name":"a","user_id":"u"}'.encode("utf-16"),
    "utf-32": '{"name":"a","user_id":"u"}'.encode("utf-32"),
    "bom": b"\xef\xbb\xbf" + b'{"name":"a","user_id":"u"}',
    "empty": b"",
    "spaces": b" " * 1_000_000,
    "a text": b'"x"',
    "null": b"null",
    "true": b"true",
    "a list": b"[1,2,3]",
    "events is no list": b'{"events":{"0":{}}}',
    "events is empty": b'{"events":[]}',
    "1,001 events": b'{"events":[' + b",".join([b"{}"] * 1001) + b"]}",
    "all bad events": b'{"events":[' + b",".join([b"null"] * 1000) + b"]}",
    "many keys": json.dumps({f"k{n}": n for n in range(50_000)}).encode(),
    "repeated keys": b"{" + b",".join(b'"user_id":"u"' for _ in range(20_000)) + b"}",
    "long name": b'{"name":"' + b"a" * 1_000_000 + b'","user_id":"u"}',
    "wrong types": b'{"name":[],"user_id":{},"event_name":{},"url":[],"click_ids":[1],"key":1,"filter":[],"consent":"yes"}',
    "numbers for texts": b'{"name":1,"event_name":1,"user_id":1e400,"key":1,"url":1}',
}


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize("kind", BODIES)
async def test_a_bad_body_is_a_client_error(shared: Service, path: str, kind: str) -> None:
    async with shared.client(shared.keys["secret_key"]) as client:
        answer = await client.post(path, content=BODIES[kind], headers={"Content-Type": "application/json"})
    if path in ("/v1/clicks", "/v1/collect", "/v1/deliveries/replay") and answer.status_code < 300:
        return  # these take what they know of a body and leave the rest
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 200_000
    assert {"type", "title", "status", "detail"} <= answer.json().keys()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP"])
async def test_compressed_bodies_are_refused_unread(shared: Service, encoding: str) -> None:
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    answer = await shared.game.post("/v1/events", content=bomb, headers={"Content-Encoding": encoding})
    assert answer.status_code == 400
    assert "Compressed" in answer.json()["detail"]


async def test_ten_thousand_query_parameters(shared: Service) -> None:
    query = "&".join(f"{n:x}=" for n in range(5_000)) + "&" + "&".join("a=b" for _ in range(5_000))
    for path in ("/v1/deliveries", "/v1/stats", "/healthz", "/v1/users/u"):
        answer = await shared.game.get(f"{path}?{query}")
        assert answer.status_code in (200, 400, 422, 431), (path, answer.text[:200])


TEXTS = ("%00", "%FF%FE", "%ED%A0%80", "a" * 5_000, "..%2F..%2Fetc", "%0d%0aX-A:%20b", "%F0%9F%98%80", "'%3B--", "%")
READS = (
    "/v1/users/{}",
    "/v1/events/{}",
    "/v1/deliveries/{}",
    "/v1/apps/{}",
    "/v1/apps/{}/keys",
    "/v1/apps/game/destinations/{}",
    "/apps/{}/events/{}",
    "/deliveries/{}",
    "/postbacks-{}.js",
    "/v1/deliveries?user_id={}",
    "/v1/deliveries?destination={}&event_name={}&event_id={}",
    "/v1/deliveries?app={}",
    "/v1/deliveries?created_after={}&cursor={}",
    "/v1/stats?from={}&to={}&bucket={}",
    "/v1/events/x?app={}",
    "/v1/users/x?app={}",
)


@pytest.mark.parametrize("text", TEXTS)
async def test_strange_texts_in_addresses(shared: Service, text: str) -> None:
    for template in READS:
        for client in (shared.admin, shared.game):
            answer = await client.get(httpx.URL(shared.url + template.replace("{}", text)))
            assert answer.status_code < 500, (template, answer.text[:300])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/users/%00"),
        ("DELETE", "/v1/apps/%00"),
        ("DELETE", "/v1/apps/game/keys/%00"),
        ("POST", "/v1/apps/%00/keys"),
        ("POST", "/v1/apps/game/destinations/%00/pause"),
        ("POST", "/v1/deliveries/%00/retry"),
        ("PATCH", "/v1/apps/%00"),
        ("PUT", "/v1/apps/game/destinations/%00"),
    ],
)
async def test_nul_in_the_address_of_a_change(shared: Service, method: str, path: str) -> None:
    answer = await shared.admin.request(method, shared.url + path + "?app=game", json={"platform": "meta"})
    assert 400 <= answer.status_code < 500, answer.text


async def test_strange_header_values(shared: Service) -> None:
    for name in ("Idempotency-Key", "User-Agent", "X-Forwarded-For", "Cookie", "Content-Type", "Authorization"):
        for value in (b"\xff\xfe\x80", b"\xc3\x28", b"a" * 30_000, b"", b"Bearer \xff", b"Basic eA=="):
            answer = await shared.game.post(
                "/v1/events",
                content=b'{"name":"a","user_id":"u"}',
                headers=[(b"content-type", b"application/json"), (name.encode(), value)]
                if name != "Content-Type"
                else [(b"content-type", value)],
            )
            assert answer.status_code < 500, (name, value[:20], answer.text[:200])


_texts = st.text(st.characters(exclude_categories=[]), max_size=40)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts | st.decimals().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
_fields = (
    "name", "event_id", "occurred_at", "user_id", "visitor_id", "click_ids", "ip", "value", "currency", "platform",
    "storefront", "properties", "consent", "url", "utm", "referrer", "clicked_at", "key", "event_name", "timestamp",
    "filter", "dry_run", "page_url", "clientId",
)  # fmt: skip
_good: dict[str, Any] = {"name": "install", "event_name": "install", "user_id": "u", "url": "https://x/?fbclid=abc"}
_bodies = st.dictionaries(st.sampled_from(_fields), _json, max_size=6).map(lambda changes: {**_good, **changes})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=_bodies | st.fixed_dictionaries({"events": st.lists(_bodies | _json, min_size=1, max_size=5)}))
async def test_any_json_in_any_field(shared: Service, body: dict[str, Any]) -> None:
    try:
        content = json.dumps(body).encode()
    except ValueError:
        content = json.dumps(body, ensure_ascii=True, skipkeys=True).encode()
    answers = await asyncio.gather(
        *(shared.game.post(path, content=content, headers={"Content-Type": "application/json"}) for path in JSON_PATHS)
    )
    for answer in answers:
        assert answer.status_code < 500, (content, answer.text)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=400), kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded"]))
async def test_any_bytes(shared: Service, content: bytes, kind: str) -> None:
    answers = await asyncio.gather(
        *(shared.game.post(path, content=content, headers={"Content-Type": kind}) for path in JSON_PATHS)
    )
    assert all(answer.status_code < 500 for answer in answers), (content, [answer.text for answer in answers])


async def test_memory_does_not_grow_with_refused_bodies(shared: Service) -> None:
    """160 MiB that are refused: what they took is given back."""
    process = psutil.Process()
    body = b"[" * (4 * 1024 * 1024)

    async def send(count: int) -> None:
        for _ in range(count):
            assert (await shared.game.post("/v1/events", content=body)).status_code == 400

    await send(10)
    gc.collect()
    before = process.memory_info().rss
    await send(40)
    gc.collect()
    assert process.memory_info().rss - before < 60 * 1024 * 1024


async def test_the_service_is_well_afterwards(shared: Service) -> None:
    await shared.click(user_id="well")
    event = await shared.event("install", user_id="well", event_id="well-1")
    await shared.settled(event["deliveries"][0]["id"], "delivered")
