"""The OpenAPI document: what FastAPI cannot see in routes that read their bodies themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from postbacks.web.openapi_schemas import ANSWERS, SCHEMAS

_METHODS = ("get", "put", "post", "delete", "patch")
_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_PAGE_PATHS = frozenset({"/v1/clicks", "/v1/collect"})
"""What landing pages call: the key may stand in the body, and strangers are limited."""

_CONFLICTS = frozenset({"/v1/events", "/v1/measure", "/v1/apps", "/v1/deliveries/{delivery_id}/retry"})

_SCHEMES = {
    "admin": {"type": "http", "scheme": "bearer", "description": "The operator's token: everything, every app."},
    "secret": {"type": "http", "scheme": "bearer", "description": "`sk_…`, for the game's backend."},
    "publishable": {"type": "http", "scheme": "bearer", "description": "`pk_…`, for web pages: clicks, nothing else."},
}
_WORDS = {
    400: "Not JSON, or not in a shape that can be validated",
    401: "No token, or one that is not known",
    403: "A good token without the right",
    404: "It does not exist, or it belongs to another app",
    409: "It contradicts what is already there",
    413: "The body is over the limit",
    422: "Validation failed; `errors` names each field",
    429: "Too many requests; see `Retry-After`",
    503: "The database cannot be reached, nothing was stored; see `Retry-After`",
}


def install(app: FastAPI) -> None:
    """Serves the completed document at `/openapi.json`; built at the first request and kept."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            bare = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = completed(bare)
        return app.openapi_schema

    # FastAPI's own documented way to change the document is to replace this method.
    app.openapi = document  # type: ignore[method-assign]


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with security, answers and problem documents; schemas of bodies stand under `components`."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for leftover in ("HTTPValidationError", "ValidationError"):
        schemas.pop(leftover, None)
    schemas.update(SCHEMAS)
    components["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete(path, method, operations[method], schemas)
    return document


def _complete(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        media["schema"] = _hoisted(media["schema"], schemas)
    security = _security(path)
    if security:
        operation["security"] = [{name: []} for name in security]
    answers: dict[str, Any] = operation["responses"]
    answers.pop("422", None)
    for status, schema in ANSWERS.get((method, path), {}).items():
        answers[str(status)] = {
            "description": "Success",
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
    if (method, path) == ("get", "/metrics"):
        answers["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    for status in _problems(path, operation):
        answers[str(status)] = {
            "description": _WORDS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


def _security(path: str) -> tuple[str, ...]:
    if path in _OPEN_PATHS:
        return ()
    if path.startswith("/v1/apps"):
        return ("admin",)
    return ("publishable", "secret", "admin") if path in _PAGE_PATHS else ("secret", "admin")


def _problems(path: str, operation: dict[str, Any]) -> Iterator[int]:
    if path == "/readyz":
        yield 503
    if path in _OPEN_PATHS:
        return
    yield from (400, 401, 403, 404)
    if (path in _CONFLICTS and "requestBody" in operation) or path.endswith("/retry"):
        yield 409
    if "requestBody" in operation:
        yield 413
    yield 422
    if path in _PAGE_PATHS:
        yield 429
    yield 503


def _hoisted(schema: Any, schemas: dict[str, Any]) -> Any:
    """A schema whose named parts stand under `components`, where references inside one document must point."""
    if isinstance(schema, list):
        return [_hoisted(one, schemas) for one in schema]
    if not isinstance(schema, dict):
        return schema
    for name, part in schema.pop("$defs", {}).items():
        schemas[name] = _hoisted(part, schemas)
    moved = {name: _hoisted(part, schemas) for name, part in schema.items()}
    if isinstance(moved.get("$ref"), str):
        moved["$ref"] = moved["$ref"].replace("#/$defs/", "#/components/schemas/")
    if moved.get("type") == "object" and isinstance(moved.get("title"), str) and "properties" in moved:
        schemas[moved["title"]] = moved
        return {"$ref": f"#/components/schemas/{moved['title']}"}
    return moved
