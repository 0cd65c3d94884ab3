"""All simulators behind one port: `/{name}/…` is the platform, `/_sandbox/…` the control API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from postbacks.sandbox.base import Simulator
from postbacks.sandbox.control import SIMULATORS_KEY, ControlError, answer, routes
from postbacks.sandbox.google import GoogleSimulator
from postbacks.sandbox.meta import MetaSimulator
from postbacks.sandbox.reddit import RedditSimulator
from postbacks.sandbox.sink import SinkSimulator
from postbacks.sandbox.tiktok import TikTokSimulator
from postbacks.sandbox.x import XSimulator

SIMULATORS: tuple[type[Simulator], ...] = (
    MetaSimulator,
    GoogleSimulator,
    TikTokSimulator,
    RedditSimulator,
    XSimulator,
    SinkSimulator,
)

MAX_BODY = 64 * 1024 * 1024
"""Bytes that a request may have; more than any platform takes, so that the platform's own limit answers first."""

STOP_SECONDS = 1.0
"""How long requests in flight, hanging ones among them, may go on when the sandbox stops."""


def api_bases(url: str) -> dict[str, str]:
    """The service's settings (without the prefix `POSTBACKS_`) that point every platform at a sandbox at `url`."""
    url = url.rstrip("/")
    return {
        "META_API_BASE": f"{url}/meta",
        "TIKTOK_API_BASE": f"{url}/tiktok",
        "REDDIT_API_BASE": f"{url}/reddit",
        "X_API_BASE": f"{url}/x",
        "GOOGLE_DATA_MANAGER_API_BASE": f"{url}/google",
        "GOOGLE_ADS_API_BASE": f"{url}/google",
        "GOOGLE_TOKEN_URL": f"{url}/google/token",
    }


def build(simulators: Iterable[Simulator]) -> web.Application:
    """The web application that serves these simulators and their control API."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_errors_as_json])
    app[SIMULATORS_KEY] = {one.name: one for one in simulators}
    app.add_routes(routes)
    app.router.add_route("*", "/{name}/{tail:.*}", _simulate)
    return app


async def _simulate(request: web.Request) -> web.StreamResponse:
    simulators = request.app[SIMULATORS_KEY]
    simulator = simulators.get(request.match_info["name"])
    if simulator is None:
        raise ControlError(404, f"Nothing is here. Platforms stand under {_prefixes(simulators)}; see /_sandbox/.")
    return await simulator.handle(request)


def _prefixes(names: Iterable[str]) -> str:
    return ", ".join(f"/{name}/" for name in names)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ControlError as error:
        return answer({"error": str(error)}, error.status)
    except web.HTTPRequestEntityTooLarge:
        return answer({"error": f"The body is longer than {MAX_BODY} bytes."}, 413)
    except web.HTTPException as error:
        return answer({"error": f"{error.reason}; see /_sandbox/."}, error.status)


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that listens."""

    port: int
    url: str
    """Without a slash at the end; reachable from this machine also where it listens on all addresses."""
    simulators: dict[str, Simulator]
    """By name; tests may look into them and switch them directly."""
    _runner: web.AppRunner

    async def stop(self) -> None:
        """Stops listening, and cuts what still hangs after `STOP_SECONDS`."""
        await self._runner.cleanup()


async def start(host: str, port: int) -> Running:
    """Starts fresh simulators of all platforms. Port 0 takes a free one. Raises `OSError` if the port is taken."""
    simulators = [kind() for kind in SIMULATORS]
    runner = web.AppRunner(build(simulators), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound: int = runner.addresses[0][1]
    return Running(bound, f"http://{_reachable(host)}:{bound}", {one.name: one for one in simulators}, runner)


def _reachable(host: str) -> str:
    if host in ("", "0.0.0.0"):  # noqa: S104 - the address is compared, not bound.
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
