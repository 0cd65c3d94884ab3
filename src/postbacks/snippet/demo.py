"""A landing page of an invented game that carries the snippet, for `postbacks serve --sandbox`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response
from jinja2 import Environment, PackageLoader

from postbacks.snippet.serving import integrity, versioned_path

# The policy that a careful studio has. The snippet must work under it, so the demo is under it too.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Content-Type-Options": "nosniff",
}


def demo_router(publishable_key: str) -> APIRouter:
    """`GET /demo` and its two files. The page registers clicks with `publishable_key` (`pk_…`)."""
    page = (
        Environment(loader=PackageLoader("postbacks.snippet", "pages"), autoescape=True)
        .get_template("demo.html")
        .render(key=publishable_key, script=versioned_path(), integrity=integrity())
    )
    router = APIRouter(include_in_schema=False)

    @router.get("/demo")
    async def demo() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=_HEADERS)

    @router.get("/demo/demo.css")
    async def style() -> Response:
        return Response(_file("demo.css"), media_type="text/css; charset=utf-8", headers=_HEADERS)

    @router.get("/demo/demo.js")
    async def script() -> Response:
        return Response(_file("demo.js"), media_type="text/javascript; charset=utf-8", headers=_HEADERS)

    return router


@cache
def _file(name: str) -> bytes:
    return files("postbacks.snippet").joinpath("pages", name).read_bytes()
