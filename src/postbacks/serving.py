"""Runs the halves of the service in one process, and stops them without losing anything."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog
import uvicorn
from fastapi import APIRouter

from postbacks.app import build_app
from postbacks.errors import SettingError
from postbacks.runtime import Runtime
from postbacks.web.protocol import GuardedProtocol

log = structlog.get_logger(__name__)

KEEP_ALIVE_SECONDS = 20
"""How long an idle keep-alive connection stays open."""


async def run(
    runtime: Runtime,
    *,
    api: bool,
    dispatch: bool,
    extra: Sequence[APIRouter] = (),
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: no new work, what is under way finishes (bounded).

    `started` is told the URL once requests are taken. Raises `SettingError` where the address is taken.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # First, so that an address that is taken stops the start before any work is claimed.
    listener = _listen(runtime.settings.host, runtime.settings.port) if api else None
    dispatcher = runtime.dispatcher() if dispatch else None
    background: list[asyncio.Task[None]] = []
    if dispatcher is not None:
        background += [
            asyncio.create_task(dispatcher.run(), name="dispatcher"),
            asyncio.create_task(runtime.housekeeping().run(), name="housekeeping"),
        ]
    server = _server(runtime, extra) if listener is not None else None
    serving = None
    port = runtime.settings.port
    if server is not None and listener is not None:
        port = listener.getsockname()[1]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait([ready, serving], return_when=asyncio.FIRST_COMPLETED)
    _calm_collector()
    started(f"http://{_shown(runtime.settings.host)}:{port}")
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait([waiting, *background, *([serving] if serving else [])], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    log.info("service.stopping")
    if dispatcher is not None:
        dispatcher.stop()
    if server is not None and serving is not None:
        server.should_exit = True
        await asyncio.wait([serving], timeout=runtime.settings.shutdown_seconds + 5)
    for task in background:
        if task.get_name() == "housekeeping":
            task.cancel()
    if background:
        _, late = await asyncio.wait(background, timeout=runtime.settings.shutdown_seconds)
        for task in late:
            # Its leases run out and somebody else takes over; nothing is lost.
            task.cancel()
        for task in background:
            with suppress(asyncio.CancelledError):
                await task


def _calm_collector() -> None:
    """Lets the cycle collector run seldom. What batches of events leave behind has no cycles, but with Python's
    defaults each batch makes it walk all modules anew: a fifth of the time of ingest, by profile."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000, 50, 50)


class _Server(uvicorn.Server):
    """uvicorn, but signals are handled by `run`, for all halves together."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _server(runtime: Runtime, extra: Sequence[APIRouter]) -> _Server:
    config = uvicorn.Config(
        build_app(runtime, extra),
        loop="none",
        http=GuardedProtocol,
        ws="none",
        log_config=None,
        access_log=False,  # it would write down the addresses of visitors
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(runtime.settings.shutdown_seconds)),
        lifespan="off",
    )
    return _Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY (uvloop always does): else answers wait for a delayed ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Stop what uses the port, or set POSTBACKS_PORT."
        ) from None
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
