"""The API reference at `/docs`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from postbacks.ops.dashboard.reference import type_of
from tests.support.service import Service


async def test_every_operation_and_every_body_stands_in_it_and_every_link_leads_somewhere(running: Service) -> None:
    client = running.client(None)
    document = (await client.get("/openapi.json")).json()
    answer = await client.get("/docs")
    html = answer.text

    assert answer.status_code == 200
    assert "script-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in html
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path}" in html
            assert f'id="{operation["operationId"]}"' in html
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in html
    identifiers = re.findall(r' id="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(identifiers)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "maxLength": 64}, "text, 0 to 64 characters"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "integer, at least 1"),
        ({"type": ["string", "null"], "format": "date-time"}, "date-time"),
        (
            {"type": "array", "items": {"$ref": "#/components/schemas/EventIn"}, "maxItems": 9},
            "list of EventIn, 0 to 9",
        ),
        ({"enum": ["GET", "POST"]}, "GET | POST"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "[a-z]+"),
        ({"type": "object", "properties": {"a": {"type": "boolean"}}}, "{a: boolean}"),
        ({}, ""),
    ],
)
def test_a_schema_is_told_in_a_few_words(schema: dict[str, Any], words: str) -> None:
    assert type_of(schema) == words
