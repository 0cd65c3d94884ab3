"""How the snippet is served: a moving address for convenience, an immutable one for subresource integrity."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from postbacks import __version__
from postbacks.errors import NotFound

MOVING_SECONDS = 300
"""How long a browser keeps `/postbacks.js`: short, so that a fix reaches every landing page within minutes."""

router = APIRouter(include_in_schema=False)


@cache
def source() -> bytes:
    """The script, byte for byte as it is served and hashed."""
    return files("postbacks.snippet").joinpath("postbacks.js").read_bytes()


@cache
def integrity() -> str:
    """The value of the `integrity` attribute: `sha384-` and the base64 digest of `source()`."""
    return "sha384-" + base64.b64encode(hashlib.sha384(source()).digest()).decode()


def versioned_path() -> str:
    """The path of the immutable copy."""
    return f"/postbacks-{__version__}.js"


@router.api_route("/postbacks.js", methods=["GET", "HEAD"])
async def moving(request: Request) -> Response:
    """The newest version."""
    return _script(request, f"public, max-age={MOVING_SECONDS}")


@router.api_route("/postbacks-{version}.js", methods=["GET", "HEAD"])
async def immutable(request: Request, version: str) -> Response:
    """One version for ever. Raises `NotFound` for every version but this service's own."""
    if version != __version__:
        raise NotFound(f"This service serves version {__version__} of the snippet: {versioned_path()}")
    return _script(request, "public, max-age=31536000, immutable")


@cache
def _compressed() -> bytes:
    return gzip.compress(source(), 9, mtime=0)


@cache
def _etag() -> str:
    # Weak, because the compressed and the plain answer share it.
    return f'W/"{hashlib.sha256(source()).hexdigest()[:32]}"'


def _script(request: Request, cache_control: str) -> Response:
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": cache_control,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": _etag(),
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    known = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {"*", _etag(), _etag().removeprefix("W/")}:
        return Response(status_code=304, headers=headers)
    body = source()
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = _compressed()
    return Response(body, media_type="text/javascript; charset=utf-8", headers=headers)
