"""Pages from templates. Everything that is not markup of ours is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import Request, Response
from jinja2 import ChainableUndefined, Environment, PackageLoader

from postbacks import __version__
from postbacks.errors import Problem
from postbacks.ops.dashboard import formatting
from postbacks.ops.dashboard.session import Session


@dataclass(frozen=True, slots=True)
class Page:
    """A request that may be answered with a page, and the token for the forms on it."""

    request: Request
    session: Session
    csrf: str


def page(seen: Page, template: str, status: int = 200, **values: Any) -> Response:
    """Renders `template` from `pages/`."""
    html = (
        _environment()
        .get_template(template)
        .render(
            csrf=seen.csrf,
            signed_in=seen.session.signed_in,
            path=seen.request.url.path,
            now=datetime.now(UTC),
            **values,
        )
    )
    return Response(html, status, media_type="text/html; charset=utf-8")


def problem_page(problem: Problem) -> Response:
    """What went wrong, in the words that the API would use."""
    html = _environment().get_template("problem.html").render(problem=problem.document())
    return Response(html, problem.status, problem.headers, "text/html; charset=utf-8")


@cache
def style() -> bytes:
    """The style sheet."""
    return files("postbacks.ops.dashboard").joinpath("pages", "dashboard.css").read_bytes()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("postbacks.ops.dashboard", "pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=ChainableUndefined,
    )
    environment.filters |= {
        name: getattr(formatting, name)
        for name in ("ago", "gated", "left", "pretty", "reason", "segment", "ticks", "tone", "when")
    }
    environment.globals |= {"version": __version__, "style_version": sha256(style()).hexdigest()[:12]}
    return environment
