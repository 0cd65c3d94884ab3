"""What a newcomer sees: `postbacks serve --sandbox` as a process, a landing page in a real browser, two curls."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Chrome

from tests.snippet.conftest import Site

COMMAND = [sys.executable, "-m", "postbacks.cli", "serve", "--sandbox"]


@dataclass
class Printed:
    """What the command printed for its user."""

    url: str
    sandbox: str
    admin: str
    publishable: str
    secret: str


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(directory: Path, port: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "POSTBACKS_DATA_DIR": str(directory), "POSTBACKS_PORT": str(port)}
    return subprocess.Popen(COMMAND, env=environment, cwd=directory, stdout=subprocess.PIPE, text=True)


def read(process: subprocess.Popen[str]) -> Printed:
    assert process.stdout is not None
    text = ""
    while "Ctrl-C" not in text:
        line = process.stdout.readline()
        assert line, f"it ended with {process.wait()}"
        text += line

    def after(words: str) -> str:
        found = re.search(rf"{words}\s+(\S+)", text)
        assert found, text
        return found.group(1)

    return Printed(
        url=after("listens on").rstrip(";"),
        sandbox=after("simulated platforms on").rstrip("."),
        admin=after("admin token"),
        publishable=after("publishable key"),
        secret=after("secret key"),
    )


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="postbacks-run-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def served(directory: Path) -> Iterator[Printed]:
    process = start(directory, free_port())
    try:
        yield read(process)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def eventually_all_delivered(served: Printed, count: int) -> list[dict[str, object]]:
    headers = {"Authorization": f"Bearer {served.secret}"}
    deadline = time.monotonic() + 10
    while True:
        items = httpx.get(f"{served.url}/v1/deliveries", headers=headers).json()["items"]
        if len(items) == count and all(item["status"] == "delivered" for item in items):
            return items
        assert time.monotonic() < deadline, items
        time.sleep(0.05)


@pytest.mark.browser
def test_a_click_in_a_browser_becomes_conversions(served: Printed, browser: Chrome, site: Site) -> None:
    tag = f'<script async src="{served.url}/postbacks.js" data-key="{served.publishable}"></script>'
    browser.get(site.page("?fbclid=IwAR0browser&TTCLID=E.C.P.browser01", tag=tag))
    browser.set_script_timeout(10)
    visitor = browser.execute_async_script(
        "var done = arguments[0], wait = setInterval(function () {"
        " if (window.postbacks && postbacks.live) { clearInterval(wait); postbacks('visitor', done); } }, 20)"
    )

    headers = {"Authorization": f"Bearer {served.secret}"}
    install = httpx.post(
        f"{served.url}/v1/events", headers=headers, json={"name": "install", "visitor_id": visitor, "user_id": "p1"}
    ).json()
    purchase = httpx.post(
        f"{served.url}/v1/events",
        headers=headers,
        json={"name": "purchase", "user_id": "p1", "value": 4.99, "currency": "EUR"},
    ).json()

    assert install["match"] == {"method": "visitor_id", "platforms": ["meta", "tiktok"]}
    assert purchase["match"] == {"method": "user_id", "platforms": ["meta", "tiktok"]}
    eventually_all_delivered(served, 6)  # two events to Meta, TikTok and the webhook
    meta = httpx.get(f"{served.sandbox}/_sandbox/meta/received").json()["items"]
    assert {one["name"] for one in meta} == {"AppInstall", "Purchase"}
    assert {one["click_id"] for one in meta} == {"IwAR0browser"}


def test_it_starts_again_after_a_kill_with_its_data(directory: Path) -> None:
    port = free_port()
    first = start(directory, port)
    printed = read(first)
    headers = {"Authorization": f"Bearer {printed.secret}"}
    body = {"name": "install", "event_id": "e1", "click_ids": {"fbclid": "IwAR0kill"}}
    assert httpx.post(f"{printed.url}/v1/events", headers=headers, json=body).status_code == 202
    first.kill()
    first.wait(10)

    second = start(directory, port)
    try:
        again = read(second)
        answer = httpx.post(
            f"{again.url}/v1/events", headers={"Authorization": f"Bearer {again.secret}"}, json=body
        ).json()
        assert answer["duplicate"] is True
        eventually_all_delivered(again, 2)
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
