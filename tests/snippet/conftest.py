"""A real browser, a landing page on one origin and the service's place on another."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from postbacks.snippet import serving
from postbacks.snippet.demo import demo_router

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
CHROMEDRIVER = shutil.which("chromedriver")
KEY = "pk_test"


def eventually(condition: Callable[[], Any], what: str, seconds: float = 15) -> Any:
    """Waits until `condition` is truthy and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Site:
    """Both origins. Pages live on `localhost`, the service on `127.0.0.1`: the browser sees two sites."""

    clicks: list[dict[str, Any]] = field(default_factory=list)
    content_types: list[str] = field(default_factory=list)
    preflights: int = 0
    refuse: int = 0
    """Answers of 503 that are still to be given."""
    answer_visitor: str | None = None
    """The visitor ID of the answer; `None` repeats the one that was sent."""
    pages: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    pages_port: int = 0
    service_port: int = 0
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def service(self) -> str:
        return f"http://127.0.0.1:{self.service_port}"

    def reset(self) -> None:
        self.clicks.clear()
        self.content_types.clear()
        self.preflights = self.refuse = 0
        self.answer_visitor = None

    def tag(self, attributes: str = "", path: str = "/postbacks.js") -> str:
        return f'<script async src="{self.service}{path}" data-key="{KEY}" {attributes}></script>'

    def page(
        self,
        query: str = "",
        *,
        attributes: str = "",
        head: str = "",
        body: str = "",
        tag: str | None = None,
        csp: str = "",
    ) -> str:
        """The address of a fresh landing page that carries the snippet."""
        path = f"/lp/{next(self._numbers)}"
        html = (
            '<!doctype html><html><head><meta charset="utf-8"><link rel="icon" href="data:,">'
            f"{head}{self.tag(attributes) if tag is None else tag}</head><body>{body}</body></html>"
        )
        self.pages[path] = (html, {"Content-Security-Policy": csp} if csp else {})
        return f"http://localhost:{self.pages_port}{path}{query}"

    def received(self, number: int) -> list[dict[str, Any]]:
        """Waits for so many clicks and returns all."""
        eventually(lambda: len(self.clicks) >= number, f"{number} clicks, got {self.clicks}")
        return self.clicks


def _service(site: Site) -> FastAPI:
    app = FastAPI()
    app.include_router(serving.router)
    app.include_router(demo_router(KEY))

    @app.post("/v1/clicks")
    async def clicks(request: Request) -> Response:
        body = json.loads(await request.body())
        headers = {"Access-Control-Allow-Origin": "*"}
        if site.refuse:
            site.refuse -= 1
            return Response(status_code=503, headers=headers)
        site.clicks.append(body)
        site.content_types.append(request.headers["content-type"])
        answer = {"visitor_id": site.answer_visitor or body["visitor_id"], "click_ids": body.get("click_ids", {})}
        return Response(json.dumps(answer), 202, headers, "application/json")

    @app.options("/v1/clicks")
    async def preflight() -> Response:
        site.preflights += 1
        return Response(status_code=403)

    return app


def _pages(site: Site) -> FastAPI:
    app = FastAPI()

    @app.get("/{path:path}")
    async def page(path: str) -> Response:
        html, headers = site.pages.get(f"/{path}", ("<!doctype html><title>elsewhere</title>", {}))
        return Response(html, headers=headers, media_type="text/html")

    return app


def _serve(app: FastAPI) -> tuple[uvicorn.Server, threading.Thread, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    eventually(lambda: server.started, "the server's start")
    return server, thread, listener.getsockname()[1]


@pytest.fixture(scope="session")
def both_origins() -> Iterator[Site]:
    site = Site()
    service, service_thread, site.service_port = _serve(_service(site))
    pages, pages_thread, site.pages_port = _serve(_pages(site))
    yield site
    service.should_exit = pages.should_exit = True
    service_thread.join(10)
    pages_thread.join(10)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or CHROMEDRIVER is None:
        missing = "Chromium" if CHROMIUM is None else "chromedriver"
        pytest.skip(f"{missing} is missing; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile: Path = tmp_path_factory.mktemp("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        # The proxy of the machine, if any, has no business between two addresses of this machine.
        "--no-proxy-server",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    driver.set_script_timeout(15)
    yield driver
    driver.quit()


@pytest.fixture
def site(both_origins: Site) -> Site:
    both_origins.reset()
    return both_origins


@pytest.fixture
def browser(chromium: webdriver.Chrome, site: Site) -> webdriver.Chrome:
    """The browser on an empty page of the landing site, without cookies and with an empty console."""
    chromium.get(f"http://localhost:{site.pages_port}/elsewhere")
    chromium.delete_all_cookies()
    chromium.get_log("browser")
    # What the page that was left still sent does not belong to the next test.
    site.reset()
    return chromium
