"""The contract, section 7: events, one and many, and what makes a repeat a repeat."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from tests.api.game import Game, fields, problem

LIMIT = 5 * 1024 * 1024


async def test_a_single_event_is_answered_in_full(game: Game) -> None:
    await game.to("meta")
    await game.click(click_ids={"fbclid": "Full"}, user_id="u")
    answer = await game.game.post("/v1/events", json={"name": "install", "user_id": "u", "event_id": "e1"})
    assert answer.status_code == 202
    body = answer.json()
    assert body["event_id"] == "e1"
    assert body["status"] == "matched"
    assert body["duplicate"] is False
    assert body["match"] == {"method": "user_id", "platforms": ["meta"]}
    assert [(one["destination"], one["platform"], one["status"]) for one in body["deliveries"]] == [
        ("meta", "meta", "queued")
    ]
    assert body["deliveries"][0]["id"].startswith("dlv_")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"name": "no spaces"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "x" * 129}, "event_id"),
        ({"event_id": "a\nb"}, "event_id"),
        ({"occurred_at": time.time() + 3600}, "occurred_at"),
        ({"occurred_at": time.time() - 91 * 86400}, "occurred_at"),
        ({"occurred_at": "2026-11-23 10:00"}, "occurred_at"),
        ({"user_id": None}, "user_id"),
        ({"value": 1}, "currency"),
        ({"currency": "EUR"}, "value"),
        ({"value": -0.01, "currency": "EUR"}, "value"),
        ({"value": 1000000000001, "currency": "EUR"}, "value"),
        ({"value": 1, "currency": "EURO"}, "currency"),
        ({"value": 1, "currency": "XQX"}, "currency"),
        ({"ip": "not.an.address"}, "ip"),
        ({"visitor_id": "no spaces"}, "visitor_id"),
        ({"click_ids": {"msclkid": "x"}}, "click_ids"),
        ({"properties": {"x": "y" * 4096}}, "properties"),
        ({"properties": []}, "properties"),
        ({"consent": {"postbacks": "perhaps"}}, "consent.postbacks"),
    ],
)
async def test_a_wrong_event_names_its_field(game: Game, change: dict[str, Any], field: str) -> None:
    body = {"name": "install", "user_id": "u", **change}
    body = {name: value for name, value in body.items() if value is not None}
    assert fields(await game.game.post("/v1/events", json=body)) == {field}


@pytest.mark.parametrize(
    "change",
    [
        {"occurred_at": time.time() + 9 * 60},
        {"occurred_at": str(int(time.time()) - 89 * 86400)},
        {"occurred_at": "2026-11-20T10:00:00.123+02:00"},
        {"event_id": "x" * 128},
        {"event_id": "bestellung #7 – größe/ü"},
        {"value": 0, "currency": "EUR"},
        {"value": 1e12, "currency": "jpy"},
        {"value": "4.99", "currency": "EUR"},
        {"properties": {"x": "y" * 4000}},
        {"user_id": 12345},
        {"some_new_field": 1},
    ],
)
async def test_the_limits_themselves_are_accepted(game: Game, change: dict[str, Any]) -> None:
    if str(change.get("occurred_at", "")).startswith("2026-11-20") and time.time() > 1771500000 + 90 * 86400:
        change = {"occurred_at": time.strftime("%Y-%m-%dT%H:%M:%S.123+00:00", time.gmtime(time.time() - 60))}
    answer = await game.game.post("/v1/events", json={"name": "install", "user_id": "u", **change})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"value": NaN}', b"[" * 5000])
async def test_what_is_no_json_object_is_refused(game: Game, content: bytes) -> None:
    problem(await game.game.post("/v1/events", content=content), 400)


async def test_the_same_event_again_is_a_duplicate_and_other_content_a_conflict(game: Game) -> None:
    await game.to("meta")
    await game.click(click_ids={"fbclid": "Twice"}, user_id="u")
    body = {"name": "purchase", "user_id": "u", "event_id": "order/7", "value": 1.5, "currency": "EUR"}
    first = (await game.game.post("/v1/events", json=body)).json()
    again = await game.game.post("/v1/events", json=body)
    assert again.status_code == 202
    assert again.json()["duplicate"] is True
    assert again.json()["deliveries"][0]["id"] == first["deliveries"][0]["id"]
    problem(await game.game.post("/v1/events", json={**body, "value": 2}), 409)
    assert (await game.explain("order%2F7"))["value"] == 1.5
    assert (await game.explain("order/7"))["event_id"] == "order/7"
    assert len(await game.deliveries(event_id="order/7")) == 1


async def test_the_header_is_an_event_id_too(game: Game) -> None:
    body = {"name": "install", "user_id": "u"}
    header = {"Idempotency-Key": "from-header"}
    answers = [(await game.game.post("/v1/events", json=body, headers=header)).json() for _ in range(2)]
    assert [one["event_id"] for one in answers] == ["from-header"] * 2
    assert [one["duplicate"] for one in answers] == [False, True]
    problem(await game.game.post("/v1/events", json={**body, "name": "login"}, headers=header), 409)
    own = await game.game.post("/v1/events", json={**body, "event_id": "own"}, headers=header)
    assert own.json()["event_id"] == "own"


async def test_without_an_id_an_exact_repeat_is_one_event(game: Game) -> None:
    at = int(time.time()) - 5
    for who in ({"user_id": "u"}, {"ip": "203.0.113.5"}, {"click_ids": {"fbclid": "Repeat"}}):
        body = {"name": "level_up", "occurred_at": at, **who}
        first, again = [(await game.game.post("/v1/events", json=body)).json() for _ in range(2)]
        assert again["event_id"] == first["event_id"]
        assert (first["duplicate"], again["duplicate"]) == (False, True)
    other = (await game.game.post("/v1/events", json={"name": "level_up", "occurred_at": at, "user_id": "v"})).json()
    assert other["duplicate"] is False


async def test_the_same_event_at_the_same_moment_is_stored_once(game: Game) -> None:
    body = {"name": "install", "user_id": "u", "event_id": "race"}
    answers = await asyncio.gather(*(game.game.post("/v1/events", json=body) for _ in range(20)))
    assert {one.status_code for one in answers} == {202}
    assert sorted(one.json()["duplicate"] for one in answers) == [False] + [True] * 19


async def test_a_batch_has_one_result_per_item_in_order(game: Game) -> None:
    await game.event("install", user_id="old", event_id="before")
    items: list[Any] = [
        {"name": "install", "user_id": "a", "event_id": "a"},
        {"name": "install", "user_id": "a"} | {"event_id": "a"},
        {"name": "login", "user_id": "a", "event_id": "a"},
        {"name": "bad name", "user_id": "a", "event_id": "c"},
        "nonsense",
        {"name": "install", "user_id": "old", "event_id": "before"},
        {"name": "login", "user_id": "z"},
    ]
    answer = await game.game.post("/v1/events", json={"events": items})
    assert answer.status_code == 202
    body = answer.json()
    counts = {name: body[name] for name in ("accepted", "duplicates", "conflicts", "rejected")}
    assert counts == {"accepted": 2, "duplicates": 2, "conflicts": 1, "rejected": 2}
    statuses = [(one["status"], one.get("duplicate")) for one in body["results"]]
    assert statuses == [
        ("waiting", False),
        ("waiting", True),
        ("conflict", False),
        ("rejected", None),
        ("rejected", None),
        ("waiting", True),
        ("waiting", False),
    ]
    assert body["results"][3]["errors"][0]["field"] == "name"
    assert body["results"][6]["event_id"]
    assert (await game.explain("a"))["name"] == "install"


@pytest.mark.parametrize("events", [[], "x", None, [{"name": "install", "user_id": "u"}] * 1001])
async def test_a_batch_has_1_to_1000_items(game: Game, events: Any) -> None:
    assert fields(await game.game.post("/v1/events", json={"events": events})) == {"events"}


async def test_a_batch_without_a_good_event_is_refused(game: Game) -> None:
    answer = await game.game.post("/v1/events", json={"events": [{"name": "x y", "user_id": "u"}, 5]})
    assert fields(answer) == {"events.0.name", "events.1.body"}


async def test_a_thousand_large_events_twice_are_a_thousand_events(game: Game) -> None:
    await game.to("webhook")
    await game.click(click_ids={"fbclid": "Thousand"}, user_id="u")
    events = [
        {"name": "level_up", "user_id": "u", "event_id": f"{n:04}", "properties": {"pad": "x" * 4070, "n": n}}
        for n in range(1000)
    ]
    content = orjson.dumps({"events": events})
    assert 4_100_000 < len(content) <= LIMIT
    first, again = [(await game.game.post("/v1/events", content=content)).json() for _ in range(2)]
    assert (first["accepted"], first["duplicates"]) == (1000, 0)
    assert (again["accepted"], again["duplicates"]) == (0, 1000)
    pages, cursor = 0, None
    seen: list[str] = []
    while True:
        page = (
            await game.game.get("/v1/deliveries", params={"limit": 200, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [one["id"] for one in page["items"]]
        pages, cursor = pages + 1, page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 1000
    assert seen == sorted(seen, reverse=True)
    assert pages == 5


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("over", [0, 1])
async def test_five_mebibytes_are_the_limit(game: Game, chunked: bool, over: int) -> None:
    frame = orjson.dumps({"name": "install", "user_id": "u", "pad": ""})
    content = frame[:-2] + b"x" * (LIMIT - len(frame) + over) + b'"}'

    async def pieces() -> Any:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    answer = await game.game.post("/v1/events", content=pieces() if chunked else content)
    if over:
        problem(answer, 413)
    else:
        assert answer.status_code == 202, answer.text


async def test_a_compressed_body_is_refused_in_words(game: Game) -> None:
    answer = await game.game.post("/v1/events", content=b"{}", headers={"Content-Encoding": "gzip"})
    assert "ompressed" in problem(answer, 400)["detail"]


@pytest.mark.parametrize("path", ["/v1/measure", "/measure"])
@pytest.mark.parametrize("form", [False, True])
async def test_tracks_events(game: Game, path: str, form: bool) -> None:
    await game.to("meta")
    await game.click(click_ids={"fbclid": "Tracks"}, user_id="u")
    at = int(time.time())
    bodies = [
        {
            "user_id": "u",
            "event_name": "game_open",
            "ip": "203.0.113.4",
            "timestamp": str(at),
            "platform": "pc",
            "storefront": "steam",
        },
        {"user_id": "u", "event_name": "game_open", "ip": "203.0.113.4", "time_stamp": str(at + 1), "platform": "pc"},
    ]
    answers = [await game.game.post(path, **({"data": body} if form else {"json": body})) for body in bodies]
    assert [one.status_code for one in answers] == [200, 200]
    first, later = [one.json() for one in answers]
    assert first.keys() == {"event_id", "status", "duplicate", "match", "deliveries"}
    assert [(await game.explain(one["event_id"]))["name"] for one in (first, later)] == ["install", "game_open"]
    assert len(first["deliveries"]) == 1
    again = (await game.game.post(path, json=bodies[0])).json()
    assert (again["event_id"], again["duplicate"]) == (first["event_id"], True)
    assert fields(await game.game.post(path, json={"user_id": "u"})) == {"event_name"}
    problem(await game.page.post(path, json=bodies[0]), 403)


async def test_a_database_that_is_gone_is_503_with_retry_after(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    from postbacks.store import events as event_store

    async def gone(*_: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(event_store, "claim_keys", gone)
    answer = await game.game.post("/v1/events", json={"name": "install", "user_id": "u", "event_id": "lost"})
    problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    assert (await game.event("install", user_id="u", event_id="lost"))["duplicate"] is False
