"""Reading request bodies: bounded, and with words for what is wrong."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect

from postbacks.errors import BadRequest, TooLarge

MAX_BODY = 5 * 1024 * 1024


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The body. Raises `TooLarge` before more than `limit` bytes were taken in."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(f"The body has {declared} bytes; at most {limit} are accepted.")
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise BadRequest("Compressed bodies are not accepted; send the body as it is.")
    chunks, total, more = [], 0, True
    while more:
        # Not `request.stream()`: nearly every body is one message, and a generator costs as much as reading it.
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        total += len(chunk)
        if total > limit:
            raise TooLarge(f"The body has more than {limit} bytes.")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse_json(body: bytes) -> Any:
    """The JSON value. Raises `BadRequest` that says where it breaks."""
    if not body.strip():
        raise BadRequest("The body is empty; it must be JSON.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None


async def read_json(request: Request, limit: int = MAX_BODY) -> Any:
    return parse_json(await read_body(request, limit))


async def read_object(request: Request, limit: int = MAX_BODY) -> dict[str, Any]:
    """A JSON object. Raises `BadRequest` for every other value."""
    value = await read_json(request, limit)
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


async def read_json_or_form(request: Request, limit: int = MAX_BODY) -> dict[str, Any]:
    """A JSON object, or the fields of a form (the last of each name)."""
    body = await read_body(request, limit)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=False, max_num_fields=200))
        except ValueError:
            raise BadRequest("The body is not a valid form in UTF-8 with at most 200 fields.") from None
    value = parse_json(body)
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object or a form.")
    return value
