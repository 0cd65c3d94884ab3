"""The embedded PostgreSQL: its disk full, its server killed. `postbacks serve` goes on by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from postbacks.sandbox.server import api_bases
from tests.support.processes import Process, batch, figures, free_port
from tests.support.service import ADMIN, CLICKS, KEY, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

MEGABYTE = 1024 * 1024


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own; skips the test where mounting is not allowed."""
    directory = Path(tempfile.mkdtemp(prefix="postbacks-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(directory)],
        capture_output=True,
        check=False,
    )
    try:
        if mounted.returncode:
            pytest.skip("needs the right to mount a small file system; test_no_room.py goes without")
        yield directory
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", str(directory)], check=False)
        shutil.rmtree(directory, ignore_errors=True)


class Served:
    """`postbacks serve` on a data directory, with an app whose one destination is the webhook sink of a sandbox."""

    def __init__(self, directory: Path) -> None:
        port, self.sandbox_url = free_port(), f"http://127.0.0.1:{free_port()}"
        values = {"ADMIN_TOKEN": ADMIN, "ENCRYPTION_KEYS": KEY, "DATA_DIR": str(directory / "data"), "LEASE_SECONDS": 2}
        values |= {"PORT": port, "RETRY_SCHEDULE": "0.2", **api_bases(self.sandbox_url)}
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        environment |= {f"POSTBACKS_{name}": str(value) for name, value in values.items()}
        logs = Path(tempfile.mkdtemp(prefix="postbacks-logs-"))
        self.sandbox = Process(("sandbox", "--port", self.sandbox_url.rpartition(":")[2]), environment, logs)
        self.process = Process(("serve",), environment, logs)
        self.postmaster = directory / "data" / "postgres" / "postmaster.pid"
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)

    async def start(self) -> None:
        await self.sandbox.ready("listen on")
        await self.process.ready("Postbacks listens")
        self.client.headers["Authorization"] = f"Bearer {ADMIN}"
        keys = (await self.client.post("/v1/apps", json={"name": "game"})).json()
        body = {
            "platform": "tiktok",
            "credentials": {"pixel_code": "C9SANDBOX0PIXEL00001", "access_token": "sandbox-tiktok-token"},
            "options": {"event_source_url": "https://game.example/lp"},
        }
        answer = await self.client.put("/v1/apps/game/destinations/tiktok", json=body)
        assert answer.status_code == 201, answer.text
        self.client.headers["Authorization"] = f"Bearer {keys['secret_key']}"
        answer = await self.client.post("/v1/clicks", json={"click_ids": CLICKS, "user_id": "p1"})
        assert answer.status_code == 202, answer.text

    async def send(self, number: int) -> httpx.Response:
        return await self.client.post("/v1/events", json=batch("e", number * 500, 500))

    async def delivered(self) -> int:
        async with httpx.AsyncClient() as control:
            answer = await control.get(f"{self.sandbox_url}/_sandbox/tiktok/received", params={"limit": 0})
        return int(answer.json()["count"])

    async def stop(self) -> None:
        await self.client.aclose()
        for process in (self.process, self.sandbox):
            if process.running:
                process.signal(signal.SIGTERM)
                await process.ends(20)
        shutil.rmtree(self.process.directory, ignore_errors=True)


@pytest.fixture
async def disk() -> AsyncIterator[Path]:
    with small_disk(160) as directory:
        yield directory


async def test_disk_full(disk: Path) -> None:
    """503 while there is no room; once there is, everything accepted is delivered, and the rest can be sent again."""
    served = Served(disk)
    ballast = disk / "ballast"
    try:
        await served.start()
        accepted = [0]
        assert (await served.send(0)).json()["accepted"] == 500
        free = shutil.disk_usage(disk).free
        with ballast.open("wb") as file:
            file.write(b"\0" * max(0, free - MEGABYTE))
        for number in range(1, 200):
            refused = await served.send(number)
            if refused.status_code != 202:
                break
            accepted.append(number)
        assert refused.status_code == 503, refused.text
        assert refused.headers["retry-after"] == "2"
        ballast.unlink()

        async def taken() -> bool:
            return (await served.send(number)).status_code == 202

        await eventually(taken, seconds=40)
        accepted.append(number)
        for old in accepted:
            again = (await served.send(old)).json()
            assert (again["accepted"], again["duplicates"]) == (0, 500)
        await eventually(served.delivered, lambda count: count == 500 * len(accepted), seconds=40)
        figures(events_before_and_after_disk_full=500 * len(accepted), lost=0)
    finally:
        await served.stop()


async def test_the_server_is_killed(tmp_path: Path) -> None:
    """`kill -9` of the embedded server's postmaster: `serve` starts it again."""
    served = Served(tmp_path)
    try:
        await served.start()
        assert (await served.send(0)).status_code == 202
        os.kill(int(served.postmaster.read_text().splitlines()[0]), signal.SIGKILL)

        async def taken() -> bool:
            answer = await served.send(1)
            assert answer.status_code in (202, 503), answer.text
            return answer.status_code == 202

        await eventually(taken, seconds=30)
        await eventually(served.delivered, lambda count: count == 1_000, seconds=30)
        assert "postgres.started_again" in served.process.output
    finally:
        await served.stop()
