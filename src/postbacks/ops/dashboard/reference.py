"""The API reference at `/docs`, from the OpenAPI document, without any script.

The usual viewers load scripts from a stranger's server into the dashboard's own origin, where they could act as the
signed-in operator; and on a machine without internet they show nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a body, or one parameter. `place`: query, path, or empty for a body's."""

    name: str
    type: str
    required: bool
    description: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    description: str
    body: str


@dataclass(frozen=True, slots=True)
class Operation:
    anchor: str
    method: str
    path: str
    summary: str
    description: str
    tokens: tuple[str, ...]
    parameters: tuple[Field, ...]
    body: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    name: str
    description: str
    fields: tuple[Field, ...]


def operations(document: Json) -> dict[str, list[Operation]]:
    """Tag → its operations, in the order of the document."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                tag = (operation.get("tags") or ["Service"])[0]
                found.setdefault(tag, []).append(_operation(method, path, operation))
    return found


def schemas(document: Json) -> list[Schema]:
    """Every named body, by name."""
    return [
        Schema(name, schema.get("description", ""), tuple(_fields(schema)))
        for name, schema in sorted(document.get("components", {}).get("schemas", {}).items())
    ]


def _operation(method: str, path: str, operation: Json) -> Operation:
    return Operation(
        anchor=operation.get("operationId", f"{method}-{path}"),
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        tokens=tuple(name for one in operation.get("security", ()) for name in one),
        parameters=tuple(_parameter(one) for one in operation.get("parameters", ())),
        body=" or ".join(dict.fromkeys(_bodies(operation.get("requestBody", {})))),
        answers=tuple(
            Answer(status, answer.get("description", ""), " or ".join(dict.fromkeys(_bodies(answer))))
            for status, answer in sorted(operation.get("responses", {}).items())
        ),
    )


def _parameter(one: Json) -> Field:
    schema = one.get("schema", {})
    words = one.get("description") or schema.get("description", "")
    return Field(one["name"], type_of(schema), bool(one.get("required")), words, one.get("in", ""))


def _bodies(content: Json) -> list[str]:
    return [type_of(media.get("schema", {})) for media in content.get("content", {}).values()]


def _fields(schema: Json) -> list[Field]:
    required = set(schema.get("required", ()))
    return [
        Field(name, type_of(part), name in required, part.get("description", ""))
        for name, part in schema.get("properties", {}).items()
    ]


def type_of(schema: Json) -> str:
    """A schema in a few words: `text, 1 to 128 characters`, `EventIn`, `list of Delivery`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    for kind in ("anyOf", "oneOf", "allOf"):
        if kind in schema:
            parts = [type_of(part) for part in schema[kind] if part.get("type") != "null"]
            return " or ".join(dict.fromkeys(part for part in parts if part))
    kinds = schema.get("type", "")
    names = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    return " or ".join(_named(kind, schema) for kind in names)


def _named(kind: str, schema: Json) -> str:
    if kind == "array":
        return f"list of {type_of(schema.get('items', {})) or 'anything'}{_span(schema, 'minItems', 'maxItems', '')}"
    if kind == "object" and schema.get("properties"):
        return "{" + ", ".join(f"{name}: {type_of(part)}" for name, part in schema["properties"].items()) + "}"
    if kind != "string":
        return kind + _span(schema, "minimum", "maximum", "")
    if schema.get("format"):
        return str(schema["format"])
    if schema.get("pattern"):
        return str(schema["pattern"]).removeprefix("^").removesuffix("$")
    return "text" + _span(schema, "minLength", "maxLength", " characters")


def _span(schema: Json, low: str, high: str, unit: str) -> str:
    if high in schema:
        return f", {schema.get(low, 0)} to {schema[high]}{unit}"
    return f", at least {schema[low]}{unit}" if low in schema else ""
