"""The OpenAPI document says what the service does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.api.game import Game

OPERATIONS = {
    ("post", "/v1/apps"): {"201", "401", "403", "409", "413", "422", "503"},
    ("get", "/v1/apps"): {"200", "401", "403"},
    ("get", "/v1/apps/{app}"): {"200", "404"},
    ("patch", "/v1/apps/{app}"): {"200", "404", "422"},
    ("delete", "/v1/apps/{app}"): {"204", "404"},
    ("post", "/v1/apps/{app}/keys"): {"201", "404"},
    ("delete", "/v1/apps/{app}/keys/{key_id}"): {"204", "404"},
    ("put", "/v1/apps/{app}/destinations/{name}"): {"200", "201", "404", "422"},
    ("get", "/v1/apps/{app}/destinations/{name}"): {"200", "404"},
    ("delete", "/v1/apps/{app}/destinations/{name}"): {"204", "404"},
    ("post", "/v1/apps/{app}/destinations/{name}/pause"): {"200", "404"},
    ("post", "/v1/apps/{app}/destinations/{name}/resume"): {"200", "404"},
    ("post", "/v1/apps/{app}/destinations/{name}/check"): {"200", "404"},
    ("post", "/v1/clicks"): {"202", "401", "403", "413", "422", "429", "503"},
    ("post", "/v1/events"): {"202", "401", "403", "409", "413", "422", "503"},
    ("get", "/v1/events/{event_id}"): {"200", "404"},
    ("post", "/v1/measure"): {"200", "409", "422"},
    ("post", "/v1/collect"): {"200", "422"},
    ("get", "/v1/users/{user_id}"): {"200", "401", "403"},
    ("delete", "/v1/users/{user_id}"): {"200", "401", "403"},
    ("get", "/v1/deliveries"): {"200", "422"},
    ("get", "/v1/deliveries/{delivery_id}"): {"200", "404"},
    ("post", "/v1/deliveries/{delivery_id}/retry"): {"202", "404", "409"},
    ("post", "/v1/deliveries/replay"): {"200", "422"},
    ("get", "/v1/stats"): {"200", "422"},
    ("get", "/healthz"): {"200"},
    ("get", "/readyz"): {"200", "503"},
    ("get", "/metrics"): {"200"},
}


@pytest.fixture
async def document(game: Game) -> dict[str, Any]:
    return (await game.client(None).get("/openapi.json")).json()


def schemas_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every schema of the paths."""
    if isinstance(value, dict):
        if isinstance(value.get("schema"), dict):
            yield value["schema"]
        for inner in value.values():
            yield from schemas_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from schemas_in(inner)


def references_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references_in(inner)


async def test_every_endpoint_stands_in_it_with_its_answers(document: dict[str, Any]) -> None:
    for (method, path), statuses in OPERATIONS.items():
        operation = document["paths"][path][method]
        assert statuses <= operation["responses"].keys(), (method, path)
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"] == {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }
            elif status != "204":
                assert response["content"], (method, path, status)
        assert bool(operation.get("security")) is path.startswith("/v1/")
        for scheme in operation.get("security", []):
            assert scheme.keys() <= document["components"]["securitySchemes"].keys()
        takes_a_body = method in ("put", "patch") or path in (
            "/v1/apps",
            "/v1/clicks",
            "/v1/events",
            "/v1/deliveries/replay",
        )
        assert ("requestBody" in operation) is (
            (takes_a_body and method != "get") or path in ("/v1/measure", "/v1/collect")
        )
    assert {"application/json", "text/plain"} == document["paths"]["/v1/clicks"]["post"]["requestBody"][
        "content"
    ].keys()


async def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for schema in (*schemas.values(), *schemas_in(document["paths"])):
        Draft202012Validator.check_schema(schema)
    for reference in references_in(document):
        assert reference.removeprefix("#/components/schemas/") in schemas
    identifiers = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(identifiers) == len(set(identifiers))


async def test_answers_satisfy_their_schemas(game: Game, document: dict[str, Any]) -> None:
    await game.to("meta")
    click = await game.click(user_id="u")
    event = await game.event("install", user_id="u", event_id="e")
    delivery = await game.settled(event["deliveries"][0]["id"], "delivered")
    found: dict[str, Any] = {"ClickAnswer": click, "EventAnswer": event, "DeliveryDetail": delivery}
    batch = {"events": [{"name": "login", "user_id": "u"}, {"name": "x y", "user_id": "u"}]}
    found["BatchAnswer"] = (await game.game.post("/v1/events", json=batch)).json()
    found["Problem"] = (await game.game.post("/v1/events", json={})).json()
    app = f"/v1/apps/{game.app}"
    for name, client, path in (
        ("DeliveryPage", game.game, "/v1/deliveries"),
        ("EventDetail", game.game, "/v1/events/e"),
        ("Stats", game.game, "/v1/stats"),
        ("Export", game.game, "/v1/users/u"),
        ("App", game.admin, app),
        ("AppList", game.admin, "/v1/apps"),
        ("KeyList", game.admin, f"{app}/keys"),
        ("Destination", game.admin, f"{app}/destinations/meta"),
        ("DestinationList", game.admin, f"{app}/destinations"),
    ):
        found[name] = (await client.get(path)).json()
    found["CheckAnswer"] = (await game.admin.post(f"{app}/destinations/meta/check")).json()
    found["Erasure"] = (await game.game.delete("/v1/users/u")).json()
    for name, value in found.items():
        Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]}).validate(
            value
        )
