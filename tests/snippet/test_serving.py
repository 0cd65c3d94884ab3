"""What stands at /postbacks.js, and how large it is."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from postbacks import __version__
from postbacks.errors import NotFound
from postbacks.snippet import serving
from postbacks.snippet.demo import demo_router

BUDGET = 2048


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.include_router(serving.router)
    app.include_router(demo_router('pk_"><script>'))
    return TestClient(app)


def test_the_script_keeps_to_its_budget() -> None:
    assert len(gzip.compress(serving.source(), 9, mtime=0)) <= BUDGET


def test_the_script_needs_no_leave_of_a_strict_policy() -> None:
    text = serving.source().decode()

    assert not re.search(r"\beval\b|\bFunction\(|innerHTML|document\.write|setAttribute\(.on|\.style\b", text)
    assert not re.search(r"\?\.|\?\?|\{ ?\.\.\.|\bimport\b", text), "newer than ES2017"


@pytest.mark.parametrize(
    ("path", "cache_control"),
    [
        ("/postbacks.js", "public, max-age=300"),
        (f"/postbacks-{__version__}.js", "public, max-age=31536000, immutable"),
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip, br"])
def test_headers(client: TestClient, path: str, cache_control: str, encoding: str) -> None:
    answer = client.get(path, headers={"Accept-Encoding": encoding, "Origin": "https://game.example"})
    digest = base64.b64encode(hashlib.sha384(answer.content).digest()).decode()

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == cache_control
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers.get("content-encoding") == ("gzip" if "gzip" in encoding else None)
    assert serving.integrity() == f"sha384-{digest}"


def test_an_unchanged_script_is_not_sent_again(client: TestClient) -> None:
    etag = client.get("/postbacks.js").headers["etag"]

    assert client.get("/postbacks.js", headers={"If-None-Match": f'"other", {etag}'}).status_code == 304
    assert client.get("/postbacks.js", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("version", ["0.0.0", "%20", f"{__version__}.js"])
def test_another_version_does_not_exist(client: TestClient, version: str) -> None:
    with pytest.raises(NotFound, match=re.escape(__version__)):
        client.get(f"/postbacks-{version}.js")


def test_the_demo_page_escapes_its_key_and_allows_no_inline_script(client: TestClient) -> None:
    answer = client.get("/demo")

    assert 'data-key="pk_&#34;&gt;&lt;script&gt;"' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", answer.text)
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("file", ["demo.css", "demo.js"])
def test_the_demo_page_has_its_files(client: TestClient, file: str) -> None:
    assert client.get(f"/demo/{file}").status_code == 200
