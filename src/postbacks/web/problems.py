"""Errors over HTTP: RFC 9457 problem documents, everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from postbacks.errors import BadRequest, FieldError, Invalid, Problem, SettingError, Unavailable
from postbacks.store.database import OUTAGES

log = structlog.get_logger(__name__)


def problem_response(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(document),
        status_code=document["status"],
        media_type="application/problem+json",
        headers=dict(headers or {}),
    )


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SettingError, _setting)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(asyncpg.exceptions.CharacterNotInRepertoireError, _unstorable)
    for outage in OUTAGES:
        app.add_exception_handler(outage, _outage)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - narrows the type that Starlette's signature leaves open
    return problem_response(error.document(), error.headers)


async def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = [
        FieldError(".".join(str(part) for part in one["loc"][1:]) or "body", one["msg"]) for one in error.errors()
    ]
    return problem_response(Invalid("A parameter is not valid.", errors=errors).document())


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    document = {
        "type": "about:blank",
        "title": str(error.detail),
        "status": error.status_code,
        "detail": str(error.detail),
    }
    return problem_response(document, error.headers)


async def _setting(_: Request, error: Exception) -> Response:
    return problem_response({**Problem(str(error)).document(), "title": "Wrong setting"})


async def _gone(_: Request, __: Exception) -> Response:
    # Nobody reads this answer; without it every client that hangs up would put a traceback into the log.
    return problem_response(BadRequest("The connection was closed before the request was complete.").document())


async def _unstorable(_: Request, __: Exception) -> Response:
    return problem_response(
        BadRequest("The address of the request has a character that no text may hold (NUL).").document()
    )


async def _outage(_: Request, error: Exception) -> Response:
    log.warning("database.unavailable", error=type(error).__name__)
    problem = Unavailable("The database cannot be reached. Nothing was stored; send the request again.")
    return problem_response(problem.document(), problem.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    # The traceback goes to the log, never to the caller.
    log.error("request.failed", method=request.method, route=_route(request), exc_info=error)
    return problem_response(Problem("Something went wrong here; the log says what.").document())


def _route(request: Request) -> str:
    """The route, not the path: that one may hold a player's name. A shortcut has none, and its path no parameters."""
    found = getattr(request.scope.get("route"), "path", None)
    if found is None:
        found = request.url.path if request.url.path in request.app.openapi()["paths"] else ""
    return str(found)
