"""The routes of the dashboard. `dashboard_router` is all that the composition root needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from postbacks.errors import TooManyRequests
from postbacks.ops.dashboard import formatting, reference
from postbacks.ops.dashboard.guard import Guard, PageRoute, form_of, local_path
from postbacks.ops.dashboard.session import COOKIE, Sessions
from postbacks.ops.dashboard.source import Json, Source
from postbacks.ops.dashboard.templates import Page, page, style
from postbacks.snippet.serving import integrity, versioned_path
from postbacks.web.limits import RateLimit

PAGE_SIZE = 50
FILTERS = ("app", "destination", "platform", "status", "event_name", "event_id", "user_id")
REFRESH_SECONDS = range(2, 301)

_NOTICES = {
    "retry": "Queued for another try.",
    "pause": "Paused. What arrives is held, and goes out on resume.",
    "resume": "Resumed. What was held goes out now.",
}


SIGN_INS_PER_MINUTE = 10
"""Sign-ins that one address may try per minute and process, right and wrong ones together."""


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


def _scheme(request: Request) -> str:
    return request.url.scheme


def dashboard_router(
    source_of: Callable[[Request], Source],
    admin_token_of: Callable[[Request], str],
    signing_key_of: Callable[[Request], bytes],
    *,
    address_of: Callable[[Request], str] = _peer,
    scheme_of: Callable[[Request], str] = _scheme,
) -> APIRouter:
    """The pages at `/`. The functions hand in, per request, what the service knows.

    `signing_key_of`: at least 32 secret bytes, the same in every API process. `address_of`: whose sign-ins are
    counted together. `scheme_of`: what the browser speaks, where a proxy stands before us.
    """
    router = APIRouter(route_class=PageRoute, include_in_schema=False)
    guard = Guard(
        lambda request: Sessions(signing_key_of(request), admin_token_of(request), secure=scheme_of(request) == "https")
    )

    def get(path: str, show: Callable[[Page, Source], Awaitable[Response]]) -> None:
        async def endpoint(request: Request) -> Response:
            seen = guard.seen(request)
            if isinstance(seen, Response):
                return seen
            return await show(seen, source_of(request))

        router.add_api_route(path, endpoint, methods=["GET"], name=path)

    def post(path: str, act: Callable[[Page, Source], Awaitable[Response]]) -> None:
        async def endpoint(request: Request) -> Response:
            allowed = await guard.allowed(request)
            if isinstance(allowed, Response):
                return allowed
            return await act(allowed, source_of(request))

        router.add_api_route(path, endpoint, methods=["POST"], name=path)

    get("/", _deliveries)
    get("/deliveries/{delivery_id}", _delivery)
    get("/apps/{app}/events/{event_id:path}", _event)
    get("/destinations", _destinations)
    get("/setup", partial(_setup, scheme_of=scheme_of))
    post("/deliveries/{delivery_id}/retry", _retry)
    post("/destinations/{app}/{name}/pause", partial(_switch, action="pause"))
    post("/destinations/{app}/{name}/resume", partial(_switch, action="resume"))
    post("/destinations/{app}/{name}/check", _check)
    _sign_in(router, guard, address_of)

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        sessions = guard.sessions(request)
        session = sessions.operator(request) or sessions.new(signed_in=False)
        document = request.app.openapi()
        found = reference.schemas(document)
        return page(
            Page(request, session, sessions.csrf(session)),
            "reference.html",
            operations=reference.operations(document),
            schemas=found,
            names={one.name for one in found},
        )

    @router.get("/dashboard.css")
    async def stylesheet() -> Response:
        return Response(style(), media_type="text/css; charset=utf-8", headers={"Cache-Control": "public, max-age=300"})

    return router


def _sign_in(router: APIRouter, guard: Guard, address_of: Callable[[Request], str]) -> None:
    tries = RateLimit(SIGN_INS_PER_MINUTE, size=10_000)

    def form(request: Request, target: str, status: int = 200, error: str = "") -> Response:
        sessions = guard.sessions(request)
        session = sessions.guest(request)
        response = page(
            Page(request, session, sessions.csrf(session)), "sign_in.html", status, next=target, error=error
        )
        if session.fresh:
            sessions.write(response, session)
        return response

    @router.get("/sign-in")
    async def show(request: Request) -> Response:
        return form(request, local_path(request.query_params.get("next")))

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        fields = await form_of(request)
        sessions = guard.sessions(request)
        target = local_path(fields.get("next"))
        if not sessions.csrf_good(sessions.guest(request), fields.get("csrf", "")):
            return form(request, target, 403, "The form was too old, or this browser keeps no cookies. Try once more.")
        wait = tries.wait(address_of(request))
        if wait:
            raise TooManyRequests("Too many sign-ins from here. Wait a minute.", retry_after=ceil(wait))
        if not sessions.admin_token_good(fields.get("token", "").strip()):
            return form(request, target, 401, "That is not the admin token.")
        response = RedirectResponse(target, 303)
        # A new id at sign-in, so that one planted before it is worth nothing.
        sessions.write(response, sessions.new(signed_in=True))
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        allowed = await guard.allowed(request)
        if isinstance(allowed, Response):
            return allowed
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response


async def _deliveries(seen: Page, source: Source) -> Response:
    query = seen.request.query_params
    filters = {name: query[name].strip() for name in FILTERS if query.get(name, "").strip()}
    seconds = _refresh(query.get("refresh", ""))
    found = await source.list_deliveries(filters, PAGE_SIZE, query.get("cursor") or None)
    kept: dict[str, str] = filters if seconds is None else {**filters, "refresh": str(seconds)}
    older = {**filters, "cursor": found["next_cursor"]} if found.get("next_cursor") else None
    return page(
        seen,
        "deliveries.html",
        items=found["items"],
        filters=filters,
        refresh=seconds,
        first=not query.get("cursor"),
        newest="/?" + urlencode(kept),
        older="/?" + urlencode(older) if older else None,
        switch="/?" + urlencode(filters if seconds else {**filters, "refresh": "5"}),
        statuses=formatting.STATUSES,
        platforms=formatting.PLATFORMS,
    )


def _refresh(text: str) -> int | None:
    # The length comes first: Python refuses to read numbers of thousands of digits.
    if not (len(text) <= 3 and text.isascii() and text.isdigit()):
        return None
    return int(text) if int(text) in REFRESH_SECONDS else None


async def _delivery(seen: Page, source: Source) -> Response:
    found = await source.get_delivery(seen.request.path_params["delivery_id"])
    return page(
        seen,
        "delivery.html",
        delivery=found,
        retryable=found.get("status") in formatting.RETRYABLE,
        notice=_NOTICES.get(seen.request.query_params.get("notice", "")),
    )


async def _event(seen: Page, source: Source) -> Response:
    app, event_id = seen.request.path_params["app"], seen.request.path_params["event_id"]
    return page(seen, "event.html", app=app, event=await source.get_event(app, event_id))


async def _destinations(seen: Page, source: Source, checked: tuple[str, str, Json] | None = None) -> Response:
    return page(
        seen,
        "destinations.html",
        destinations=await source.list_destinations(),
        checked=checked,
        notice=_NOTICES.get(seen.request.query_params.get("notice", "")),
    )


async def _setup(seen: Page, source: Source, *, scheme_of: Callable[[Request], str]) -> Response:
    base = str(seen.request.base_url.replace(scheme=scheme_of(seen.request))).rstrip("/")
    apps = [{"name": app.get("name"), "keys": formatting.publishable_keys(app)} for app in await source.list_apps()]
    return page(seen, "setup.html", apps=apps, base=base, script=base + versioned_path(), integrity=integrity())


async def _retry(allowed: Page, source: Source) -> Response:
    delivery_id = allowed.request.path_params["delivery_id"]
    await source.retry(delivery_id)
    return RedirectResponse(f"/deliveries/{formatting.segment(delivery_id)}?notice=retry", 303)


async def _switch(allowed: Page, source: Source, *, action: str) -> Response:
    app, name = _destination(allowed)
    await {"pause": source.pause, "resume": source.resume}[action](app, name)
    return RedirectResponse(f"/destinations?notice={action}", 303)


async def _check(allowed: Page, source: Source) -> Response:
    app, name = _destination(allowed)
    return await _destinations(allowed, source, (app, name, await source.check(app, name)))


def _destination(allowed: Page) -> tuple[str, str]:
    parameters = allowed.request.path_params
    return parameters["app"], parameters["name"]
