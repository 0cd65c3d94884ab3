"""The newcomer's walk, as README.md and `serve --sandbox` print it: each command is run as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Process, free_port
from tests.support.service import PLATFORMS, eventually

README = Path(__file__).parents[2] / "README.md"
EVERYWHERE = {*PLATFORMS, "webhook"}


@pytest.fixture
async def printed(tmp_path: Path) -> AsyncIterator[str]:
    """What `postbacks serve --sandbox` prints; it runs."""
    settings = {"POSTBACKS_DATA_DIR": str(tmp_path / "data"), "POSTBACKS_PORT": str(free_port())}
    process = Process(("serve", "--sandbox"), {"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | settings, tmp_path)
    try:
        await process.ready("Ctrl-C")
        yield process.output
        assert await process.terminate() == 0
    finally:
        if process.running:
            process.kill()


def word(printed: str, before: str) -> str:
    found = re.search(rf"{before} +(\S+)", printed)
    assert found, printed
    return found[1].rstrip(";.")


def run(command: str, variables: dict[str, str]) -> Any:
    done = subprocess.run(
        ["bash", "-euc", command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.replace("}{", "}\n{").splitlines()]


async def delivered(command: str, variables: dict[str, str], count: int) -> list[dict[str, Any]]:
    """The deliveries that a command lists, once `count` have arrived."""

    async def listed() -> list[dict[str, Any]]:
        [page] = await asyncio.to_thread(run, command, variables)
        items: list[dict[str, Any]] = page["items"]
        return items

    return await eventually(
        listed, lambda items: len(items) == count and all(one["status"] == "delivered" for one in items)
    )


def seconds(delivery: dict[str, Any]) -> float:
    begin, end = (datetime.fromisoformat(delivery[name]) for name in ("created_at", "delivered_at"))
    return (end - begin).total_seconds()


async def test_the_walk_of_the_readme_reaches_all_five_platforms(printed: str) -> None:
    walk = README.read_text().split("## From click to delivered")[1].split("## How it works")[0]
    _, click, events, status, detail = re.findall(r"```sh\n(.*?)```", walk, re.DOTALL)
    variables = {
        "PK": word(printed, "publishable key"),
        "SK": word(printed, "secret key"),
        "URL": word(printed, "listens on"),
    }

    [answer] = run(click, variables)
    assert len(answer["click_ids"]) == 5
    install, purchase = run(events, variables)
    for event in (install, purchase):
        assert (event["status"], event["match"]["method"]) == ("matched", "user_id")
        assert {one["destination"] for one in event["deliveries"]} == EVERYWHERE
    items = await delivered(status, variables, 6)
    assert {one["platform"] for one in items} == EVERYWHERE
    assert max(map(seconds, items)) < 5, "a loaded machine; within a second on an idle one"

    meta = next(one["id"] for one in items if one["platform"] == "meta")
    [one] = run(detail.replace("dlv_…", meta), variables)
    assert one["attempt_log"][0]["http_status"] == 200
    sandbox = word(printed, "simulated platforms on")
    [received] = run(f"curl -s {sandbox}/_sandbox/meta/received", {})
    assert one["idempotency_key"] in {item["key"] for item in received["items"]}


async def test_the_walk_that_is_printed_works_by_copying(printed: str) -> None:
    commands = [
        one.replace("\n", " ") for one in re.findall(r"^   (curl (?:[^\n]*\\\n)*[^\n]*)", printed, re.MULTILINE)
    ]
    click, install, purchase, status, detail, received = (one.replace("\\ ", " ") for one in commands)

    run(click, {})
    for event in (install, purchase):
        [answer] = run(event, {})
        assert {one["destination"] for one in answer["deliveries"]} == EVERYWHERE
    items = await delivered(status, {}, 12)
    [one] = run(detail.replace("dlv_…", items[0]["id"]), {})
    assert one["id"] == items[0]["id"]
    [stored] = run(received, {})
    assert stored["count"] == 2
    page = word(printed, "demo page")
    assert all(f"{name}=" in page for name in ("fbclid", "ttclid", "rdt_cid", "twclid", "gclid"))
