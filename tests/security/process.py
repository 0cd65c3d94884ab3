"""The service as a process of its own, with all that it writes kept for reading."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.service import ADMIN, KEY


@dataclass(frozen=True)
class Process:
    url: str
    pid: int
    output: Path
    """Standard output and standard error together."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def postbacks(command: str, database_url: str, environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """`postbacks serve` or `api` until it is ready; stopped by SIGTERM, and it must then exit with 0."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output.txt"
        with output.open("wb") as file:
            running = subprocess.Popen(
                [sys.executable, "-m", "postbacks.cli", command, "--port", str(port)],
                cwd=directory,
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("POSTBACKS_")},
                    "POSTBACKS_DATABASE_URL": database_url,
                    "POSTBACKS_ADMIN_TOKEN": ADMIN,
                    "POSTBACKS_ENCRYPTION_KEYS": KEY,
                    **environment,
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        process = Process(f"http://127.0.0.1:{port}", running.pid, output)
        try:
            await _ready(process, running)
            yield process
            running.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(running.wait, 30)
            assert code == 0, output.read_text()[-4000:]
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()


async def _ready(process: Process, running: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=process.url) as client:
        while True:
            assert running.poll() is None, process.output.read_text()[-4000:]
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, process.output.read_text()[-4000:]
            await asyncio.sleep(0.05)
