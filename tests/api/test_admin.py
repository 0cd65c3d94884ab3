"""The contract, sections 4 and 5: who may call what; apps, keys and destinations."""

from __future__ import annotations

import pytest

from tests.api.game import Game, fields, problem

ROUTES = (
    ("POST", "/v1/events", {"publishable"}),
    ("POST", "/v1/measure", {"publishable"}),
    ("GET", "/v1/events/e", {"publishable"}),
    ("GET", "/v1/deliveries", {"publishable"}),
    ("GET", "/v1/deliveries?limit=0", {"publishable"}),
    ("GET", "/v1/deliveries/dlv_0", {"publishable"}),
    ("POST", "/v1/deliveries/dlv_0/retry", {"publishable"}),
    ("POST", "/v1/deliveries/replay", {"publishable"}),
    ("GET", "/v1/stats", {"publishable"}),
    ("GET", "/v1/users/u", {"publishable"}),
    ("DELETE", "/v1/users/u", {"publishable"}),
    ("GET", "/v1/apps", {"publishable", "secret"}),
    ("POST", "/v1/apps", {"publishable", "secret"}),
    ("GET", "/v1/apps/{app}", {"publishable", "secret"}),
    ("PATCH", "/v1/apps/{app}", {"publishable", "secret"}),
    ("DELETE", "/v1/apps/{app}", {"publishable", "secret"}),
    ("POST", "/v1/apps/{app}/keys", {"publishable", "secret"}),
    ("DELETE", "/v1/apps/{app}/keys/k", {"publishable", "secret"}),
    ("PUT", "/v1/apps/{app}/destinations/d", {"publishable", "secret"}),
    ("GET", "/v1/apps/{app}/destinations/d", {"publishable", "secret"}),
    ("DELETE", "/v1/apps/{app}/destinations/d", {"publishable", "secret"}),
    ("POST", "/v1/apps/{app}/destinations/d/pause", {"publishable", "secret"}),
    ("POST", "/v1/apps/{app}/destinations/d/resume", {"publishable", "secret"}),
    ("POST", "/v1/apps/{app}/destinations/d/check", {"publishable", "secret"}),
    ("POST", "/v1/apps/{app}/destinations/d/preview", {"publishable", "secret"}),
)


@pytest.mark.parametrize(("method", "path", "refused"), ROUTES)
async def test_a_token_decides_before_anything_else(game: Game, method: str, path: str, refused: set[str]) -> None:
    path = path.format(app=game.app)
    for token in (None, "sk_unknown", "pk_unknown", "nonsense"):
        problem(await game.client(token).request(method, path), 401)
    answer = await game.client(None).request(method, path, headers={"Authorization": "Basic dTpw"})
    assert problem(answer, 401) and answer.headers["www-authenticate"] == "Bearer"
    problem(await game.page.request(method, path), 403)
    if "secret" in refused:
        problem(await game.game.request(method, path), 403)


async def test_a_key_sees_its_own_app_only(game: Game) -> None:
    other = Game(game.url, game.runtime, game.sandbox, game.admin, app=f"{game.app}-other")
    await other.create_app(other.app)
    await other.to("meta")
    await other.click(user_id="p")
    event = await other.event("install", user_id="p", event_id="theirs")
    delivery = event["deliveries"][0]["id"]

    problem(await game.game.get("/v1/events/theirs"), 404)
    problem(await game.game.get(f"/v1/deliveries/{delivery}"), 404)
    problem(await game.game.post(f"/v1/deliveries/{delivery}/retry"), 404)
    problem(await game.game.get("/v1/deliveries", params={"app": other.app}), 403)
    problem(await game.game.post("/v1/events", params={"app": other.app}, json={"name": "x", "user_id": "u"}), 403)
    assert (await game.game.get("/v1/deliveries")).json()["items"] == []
    assert (await game.game.get("/v1/users/p")).json()["events"] == []
    for path in (f"/v1/deliveries/{delivery}", f"/v1/events/theirs?app={other.app}"):
        assert (await game.admin.get(path)).status_code == 200


async def test_an_app_is_created_read_changed_and_deleted(game: Game) -> None:
    name = f"{game.app}-life"
    made = await game.admin.post("/v1/apps", json={"name": name, "attribution": {"click_window_days": 7}})
    assert made.status_code == 201
    body = made.json()
    assert body["name"] == name
    assert body["publishable_key"].startswith("pk_")
    assert body["secret_key"].startswith("sk_")
    problem(await game.admin.post("/v1/apps", json={"name": name}), 409)

    read = (await game.admin.get(f"/v1/apps/{name}")).json()
    assert read["attribution"] == {
        "click_window_days": 7,
        "ip_window_hours": 24,
        "late_click_hours": 24,
        "install_inheritance_days": 30,
        "ip_shared_threshold": 5,
        "send_to": "every_matched_platform",
    }
    assert read["require_consent"] is False
    assert body["secret_key"] not in (await game.admin.get(f"/v1/apps/{name}")).text
    assert name in {one["name"] for one in (await game.admin.get("/v1/apps")).json()["items"]}

    changed = await game.admin.patch(
        f"/v1/apps/{name}", json={"require_consent": True, "attribution": {"send_to": "last_click"}}
    )
    assert changed.json()["require_consent"] is True
    assert changed.json()["attribution"]["click_window_days"] == 7
    assert fields(await game.admin.patch(f"/v1/apps/{name}", json={"attribution": {"send_to": "nobody"}})) == {
        "send_to"
    }

    assert (await game.admin.delete(f"/v1/apps/{name}")).status_code == 204
    problem(await game.admin.get(f"/v1/apps/{name}"), 404)
    problem(await game.admin.delete(f"/v1/apps/{name}"), 404)
    problem(await game.client(body["secret_key"]).get("/v1/deliveries"), 401)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "no spaces"}, "name"),
        ({"name": "a", "atribution": {}}, "atribution"),
        ({"name": "a", "attribution": {"click_window_days": 0}}, "attribution.click_window_days"),
        ({"name": "a", "attribution": {"ip_shared_threshold": "many"}}, "attribution.ip_shared_threshold"),
    ],
)
async def test_a_wrong_app_names_its_field(game: Game, body: dict[str, object], field: str) -> None:
    assert fields(await game.admin.post("/v1/apps", json=body)) == {field}


async def test_further_keys_work_until_they_are_revoked(game: Game) -> None:
    issued = await game.admin.post(f"/v1/apps/{game.app}/keys")
    assert issued.status_code == 201
    pair = issued.json()
    second = game.client(pair["secret_key"])
    assert (await second.get("/v1/deliveries")).status_code == 200
    assert (await game.game.get("/v1/deliveries")).status_code == 200

    assert (await game.admin.delete(f"/v1/apps/{game.app}/keys/{pair['key_id']}")).status_code == 204
    problem(await second.get("/v1/deliveries"), 401)
    problem(await game.client(pair["publishable_key"]).post("/v1/clicks", json={}), 401)
    assert (await game.game.get("/v1/deliveries")).status_code == 200
    problem(await game.admin.delete(f"/v1/apps/{game.app}/keys/key_none"), 404)


async def test_a_destination_is_put_read_without_secrets_and_deleted(game: Game) -> None:
    path = f"/v1/apps/{game.app}/destinations/meta"
    body = {
        "platform": "meta",
        "credentials": {"dataset_id": "998877665544332", "access_token": "EAABsecret"},
        "options": {"event_source_url": "https://game.example/lp"},
        "events": {"install": {"name": "AppInstall"}},
    }
    assert (await game.admin.put(path, json=body)).status_code == 201
    assert (await game.admin.put(path, json=body)).status_code == 200
    read = await game.admin.get(path)
    assert "EAABsecret" not in read.text
    assert read.json()["credentials"] == {"dataset_id": "998877665544332", "access_token": "***"}
    assert read.json()["events"] == {"install": {"name": "AppInstall"}}
    assert (await game.admin.put(path, json={**body, "credentials": read.json()["credentials"]})).status_code == 200

    assert (await game.admin.post(f"{path}/pause")).json()["status"] == "paused"
    assert (await game.admin.post(f"{path}/resume")).json()["status"] == "ok"
    assert (await game.admin.delete(path)).status_code == 204
    for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/check")):
        problem(await game.admin.request(method, path + end), 404)
    problem(await game.admin.put("/v1/apps/nobody/destinations/meta", json=body), 404)


@pytest.mark.parametrize("name", ["url", "body", "headers", "method"])
async def test_an_option_that_is_null_is_no_fault_of_ours(game: Game, name: str) -> None:
    path = f"/v1/apps/{game.app}/destinations/hook"
    body = {"platform": "webhook", "options": {"url": "https://game.example/?c={click_id}", "method": "GET"}}
    for options in ({name: None}, body["options"], {**body["options"], name: None}):
        answer = await game.admin.put(path, json={**body, "options": options})
        assert answer.status_code in (200, 201) or fields(answer), answer.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"platform": "myspace"}, "platform"),
        ({"credentials": {"dataset_id": "998877665544332"}}, "credentials.access_token"),
        ({"options": {"event_sourceurl": "x"}}, "options.event_sourceurl"),
        ({"events": {"install": {"nam": "x"}}}, "events.install.nam"),
        ({"destination": 1}, "destination"),
    ],
)
async def test_a_wrong_destination_names_its_field(game: Game, change: dict[str, object], field: str) -> None:
    body = {"platform": "meta", "credentials": {"dataset_id": "998877665544332", "access_token": "EAAB"}, **change}
    assert field in fields(await game.admin.put(f"/v1/apps/{game.app}/destinations/meta", json=body))
    problem(await game.admin.get(f"/v1/apps/{game.app}/destinations/meta"), 404)


@pytest.mark.parametrize("platform", ["meta", "google", "tiktok", "reddit", "x"])
async def test_a_check_says_whether_credentials_work(game: Game, platform: str) -> None:
    await game.to(platform)
    answer = await game.admin.post(f"/v1/apps/{game.app}/destinations/{platform}/check")
    assert answer.status_code == 200
    assert answer.json()["ok"] is True, answer.text


async def test_a_check_of_wrong_credentials_says_what_to_do(game: Game) -> None:
    await game.to("meta", credentials={"access_token": "EAABwrong"})
    answer = (await game.admin.post(f"/v1/apps/{game.app}/destinations/meta/check")).json()
    assert answer["ok"] is False
    assert answer["message"]
    assert answer["remedy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/nope", 404),
        ("DELETE", "/v1/events", 405),
        ("PUT", "/v1/clicks", 405),
        ("GET", "/v1/apps/%00", 400),
        ("GET", "/v1/stats?bucket=year", 422),
        ("GET", "/v1/stats?from=yesterday", 422),
        ("GET", "/v1/deliveries?limit=201", 422),
        ("GET", "/v1/deliveries?limit=0", 422),
        ("GET", "/v1/deliveries?status=lost", 422),
        ("GET", "/v1/deliveries?platform=myspace", 422),
        ("GET", "/v1/deliveries?created_after=noon", 422),
        ("GET", "/v1/deliveries?cursor=x", 422),
        ("GET", "/v1/deliveries?app=nobody", 404),
        ("GET", "/v1/users/", 404),
        ("DELETE", "/v1/users/", 404),
    ],
)
async def test_every_error_is_a_problem_document(game: Game, method: str, path: str, status: int) -> None:
    problem(await game.admin.request(method, path), status)
