"""The service as its users see it: real HTTP over loopback, real PostgreSQL, simulated platforms."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import httpx
from cryptography.fernet import Fernet

from postbacks import sandbox_setup
from postbacks.runtime import Runtime, open_runtime
from postbacks.sandbox.server import Running, api_bases
from postbacks.sandbox.server import start as start_sandbox
from postbacks.serving import _server
from postbacks.settings import Settings

ADMIN = "adm_test"
KEY = Fernet.generate_key().decode()

CLICKS = {
    "fbclid": "IwAR0testClick",
    "gclid": "Test-Gclid_AAA111",
    "ttclid": "E.C.P.testClick01",
    "rdt_cid": "4100200300400500601",
    "twclid": "2-4k1zq8examplexx0w7p3m5n9",
}
"""One click ID per platform, each as that platform writes them."""

PLATFORMS = ("meta", "google", "tiktok", "reddit", "x")


def settings(sandbox: Running | None = None, **overrides: Any) -> Settings:
    """Complete settings that point at the simulators; retries within a fraction of a second."""
    values: dict[str, Any] = {
        "database_url": "postgresql://unused",
        "admin_token": ADMIN,
        "encryption_keys": (KEY,),
        "retry_schedule": (0.05, 0.1, 0.2),
        "batch_linger_ms": 5,
        "lease_seconds": 10,
        "shutdown_seconds": 5,
        "webhook_allow_networks": (ip_network("127.0.0.0/8"),),
        "host": "127.0.0.1",
        "port": 0,
    }
    if sandbox is not None:
        values |= {name.lower(): base for name, base in api_bases(sandbox.url).items()}
    return Settings(_env_file=None, **{**values, **overrides})


async def eventually(
    probe: Callable[[], Awaitable[Any]], until: Callable[[Any], Any] = bool, *, seconds: float = 10.0
) -> Any:
    """The first value of `probe` that satisfies `until`; fails with the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = await probe()
        if until(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; last seen: {value!r}"[:4000])
        await asyncio.sleep(0.02)


@dataclass
class Service:
    """A running service with one app `game`, and clients for each of its users."""

    url: str
    runtime: Runtime
    sandbox: Running
    admin: httpx.AsyncClient
    game: httpx.AsyncClient = field(init=False)
    page: httpx.AsyncClient = field(init=False)
    keys: Mapping[str, str] = field(init=False, default_factory=dict)

    async def create_app(self, name: str = "game", **body: Any) -> Mapping[str, str]:
        """Creates an app; `game` and `page` become clients with its keys."""
        answer = await self.admin.post("/v1/apps", json={"name": name, **body})
        assert answer.status_code == 201, answer.text
        self.keys = answer.json()
        self.game = self.client(self.keys["secret_key"])
        self.page = self.client(self.keys["publishable_key"])
        return self.keys

    def client(self, token: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    def demo(self, platform: str, **changes: Any) -> dict[str, Any]:
        """The destination that the simulator of a platform accepts (`webhook`: the sink)."""
        name = "sink" if platform == "webhook" else platform
        body = sandbox_setup._pointed_at(self.sandbox.simulators[name].demo_destination(), self.sandbox.url)
        for key, value in changes.items():
            body[key] = {**body.get(key, {}), **value} if isinstance(value, dict) and key != "events" else value
        return body

    async def destination(self, platform: str, name: str | None = None, app: str = "game", **changes: Any) -> None:
        """Puts a destination that points at the platform's simulator."""
        answer = await self.admin.put(
            f"/v1/apps/{app}/destinations/{name or platform}", json=self.demo(platform, **changes)
        )
        assert answer.status_code in (200, 201), answer.text

    async def click(self, **body: Any) -> dict[str, Any]:
        """Registers a click with the publishable key; all five platforms' click IDs unless told otherwise."""
        body.setdefault("click_ids", CLICKS)
        body.setdefault("url", "https://game.example/lp?utm_source=x")
        answer = await self.page.post("/v1/clicks", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def event(self, name: str, **body: Any) -> dict[str, Any]:
        answer = await self.game.post("/v1/events", json={"name": name, **body})
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def deliveries(self, **filters: Any) -> list[dict[str, Any]]:
        answer = await self.game.get("/v1/deliveries", params={"limit": 200, **filters})
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    async def delivery(self, identifier: str) -> dict[str, Any]:
        answer = await self.game.get(f"/v1/deliveries/{identifier}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def settled(self, identifier: str, *statuses: str, seconds: float = 10.0) -> dict[str, Any]:
        """Waits until a delivery has one of the statuses."""
        return await eventually(
            lambda: self.delivery(identifier), lambda one: one["status"] in statuses, seconds=seconds
        )

    def received(self, platform: str) -> list[dict[str, Any]]:
        return self.sandbox.simulators[platform].received()


@asynccontextmanager
async def running(
    url: str, sandbox: Running, *, dispatch: bool = True, app: bool = True, **overrides: Any
) -> AsyncIterator[Service]:
    """API and dispatcher in this process, on a free port."""
    complete = settings(sandbox, **overrides)
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(open_runtime(complete, url, "test"))
        # With the protocol named, asyncio sets TCP_NODELAY; without, every answer waits 40 ms for a delayed ACK.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        listener.setblocking(False)
        server = _server(runtime, [])
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.ready.wait()
        tasks = []
        dispatcher = None
        if dispatch:
            dispatcher = runtime.dispatcher()
            tasks = [asyncio.create_task(dispatcher.run()), asyncio.create_task(runtime.housekeeping().run())]
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        admin = httpx.AsyncClient(base_url=address, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=30)
        service = Service(address, runtime, sandbox, admin)
        try:
            if app:
                await service.create_app()
            yield service
        finally:
            if dispatcher is not None:
                dispatcher.stop()
            for task in tasks[1:]:
                task.cancel()
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=8)
                for task in late:
                    task.cancel()
            server.should_exit = True
            await serving
            await admin.aclose()


@asynccontextmanager
async def simulators() -> AsyncIterator[Running]:
    running_sandbox = await start_sandbox("127.0.0.1", 0)
    try:
        yield running_sandbox
    finally:
        await running_sandbox.stop()
