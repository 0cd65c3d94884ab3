"""Who may see a page, who may act, and the headers that every answer carries."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from postbacks.errors import BadRequest, Forbidden, Problem, TooLarge
from postbacks.ops.dashboard.session import Sessions
from postbacks.ops.dashboard.templates import Page, problem_page

MAX_FORM_BYTES = 16 * 1024

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'none'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageRoute(APIRoute):
    """Shows a problem as a page instead of as JSON, and puts the security headers on every answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                response = await inner(request)
            except Problem as problem:
                response = problem_page(problem)
            response.headers.setdefault("Cache-Control", "no-store")
            response.headers.update(_HEADERS)
            return response

        return handler


class Guard:
    """Decides from the request alone. `sessions` gives the reader of its cookies."""

    def __init__(self, sessions: Callable[[Request], Sessions]) -> None:
        self.sessions = sessions

    def seen(self, request: Request) -> Page | Response:
        """The page of an operator, or the way to the sign-in form."""
        sessions = self.sessions(request)
        session = sessions.operator(request)
        if session is None:
            path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            target = path if request.method == "GET" else "/"
            return RedirectResponse("/sign-in?" + urlencode({"next": target}), 303)
        return Page(request, session, sessions.csrf(session))

    async def allowed(self, request: Request) -> Page | Response:
        """As `seen`, for an action. Raises `Forbidden` for a form that did not come from this session's page."""
        seen = self.seen(request)
        if isinstance(seen, Response):
            return seen
        fields = await form_of(request)
        if not self.sessions(request).csrf_good(seen.session, fields.get("csrf", "")):
            raise Forbidden("The form does not belong to this session. Go back, reload the page and try once more.")
        return seen


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded form. Raises `TooLarge` before a long body is read whole, `BadRequest` for others."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise TooLarge(f"A form of this page has at most {MAX_FORM_BYTES} bytes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise BadRequest("The body is no URL-encoded form.") from None


def local_path(target: str | None) -> str:
    """`target` where it is a path of this site, else `/`: a sign-in must never lead to a stranger's page."""
    if not target or not target.startswith("/") or target.startswith("//"):
        return "/"
    # Browsers read a backslash as a slash and drop control characters, so "/\\host" would leave the site.
    if "\\" in target or any(ord(character) < 0x21 for character in target):
        return "/"
    return target if not urlsplit(target).netloc else "/"
