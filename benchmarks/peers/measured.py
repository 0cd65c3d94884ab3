"""One measurement of a peer: its jobs are enqueued beforehand, then its workers drain them into the sink."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

import asyncpg

from postbacks.bench import measuring
from postbacks.bench.seeding import PLATFORMS
from postbacks.bench.stage import Stage

from installing import interpreter
from peers import HERE, Peer

PEERS_GO_TO = ("meta",)
"""As which the sink counts what is posted to the peers' path."""

STALL_SECONDS = 60.0
COMPLETION_SECONDS = 60.0
STOP_SECONDS = 10.0


class CannotMeasure(Exception):
    """A peer did not do its work; says what it did instead."""


@dataclass(frozen=True, slots=True)
class Measured:
    """`rate`: jobs per second until the last request arrived. `enqueued_seconds` is no part of it.

    `completed_seconds`: after the last request until the queue itself held no more job.
    """

    rate: float
    seconds: float
    enqueued_seconds: float
    completed_seconds: float
    duplicates: int


async def measure(peer: Peer, stage: Stage, jobs: int) -> Measured:
    """Measures one peer. Raises `CannotMeasure`."""
    async with AsyncExitStack() as stack:
        storage = _database(stage, peer.key) if peer.storage == "postgres" else _redis()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("POSTBACKS_")},
            "PEER_SINK": stage.sink,
            **{f"PEER_{name.upper()}": str(value) for name, value in peer.settings.items()},
            **await stack.enter_async_context(storage),
        }
        started = time.perf_counter()
        await _to_end(peer, environment, "enqueue", str(jobs))
        enqueued = time.perf_counter() - started
        if url := environment.get("PEER_DATABASE_URL"):
            await _settle(url)
        before, _ = await _arrived(stage, PEERS_GO_TO)
        workers = [await stack.enter_async_context(_worker(peer, environment)) for _ in range(peer.processes)]
        seconds, rate = await _drained(stage, before, jobs, workers)
        last = time.perf_counter()
        await _completed(peer, environment)
        completed = time.perf_counter() - last
        duplicates = (await _arrived(stage, PEERS_GO_TO))[0] - before - jobs
        return Measured(rate, seconds, enqueued, completed, duplicates)


async def measure_ours(stage: Stage, jobs: int, dispatchers: int) -> Measured:
    """Measures our dispatcher: one delivery for each job, over five platforms.

    All dispatchers are up before the work is released: starting one takes as long as it needs for some ten thousand.
    The time runs from the release, not from the first request: by then thousands of deliveries are half done.
    """
    await stage.seeder.empty()
    await stage.connection.execute("UPDATE destinations SET paused_at = now()")
    started = time.perf_counter()
    await stage.seeder.backlog(jobs)
    enqueued = time.perf_counter() - started
    await _settle(stage.url)
    before, _ = await _arrived(stage, PLATFORMS)
    async with AsyncExitStack() as processes:
        for _ in range(dispatchers):
            await processes.enter_async_context(stage.dispatcher())
        released = time.time()
        await stage.connection.execute("UPDATE destinations SET paused_at = NULL")
        await stage.seeder.wake()
        _, at = await _all_arrived(stage, PLATFORMS, before + jobs, [])
        last = time.perf_counter()
        await measuring.nothing_queued(stage)
        completed = time.perf_counter() - last
    duplicates = (await _arrived(stage, PLATFORMS))[0] - before - jobs
    return Measured(jobs / (at - released), at - released, enqueued, completed, duplicates)


async def _drained(stage: Stage, before: int, jobs: int, workers: list[_Worker]) -> tuple[float, float]:
    """Seconds from the first request to the arrival of all, and jobs per second, by the sink's clock.

    The first look at the sink may come after several requests: those do not count, nor does their time.
    """
    seen, at = before, time.time()
    moved = time.monotonic()
    while seen == before:
        _check(workers, moved, "no request came")
        await asyncio.sleep(0.002)
        seen, at = await _arrived(stage, PEERS_GO_TO)
    first, first_at = seen, at
    seen, at = await _all_arrived(stage, PEERS_GO_TO, before + jobs, workers)
    seconds = max(at - first_at, 1e-6)
    return seconds, (seen - first) / seconds


async def _all_arrived(
    stage: Stage, platforms: Sequence[str], wanted: int, workers: list[_Worker]
) -> tuple[int, float]:
    """How many came in the end, and when the last one did, by the sink's clock. Raises `CannotMeasure`."""
    moved, (seen, at) = time.monotonic(), await _arrived(stage, platforms)
    while seen < wanted:
        _check(workers, moved, f"{wanted - seen} conversions are missing")
        await asyncio.sleep(0.02)
        now, at = await _arrived(stage, platforms)
        if now != seen:
            seen, moved = now, time.monotonic()
    return seen, at


def _check(workers: list[_Worker], moved: float, what: str) -> None:
    ended = [worker for worker in workers if worker.process.returncode is not None]
    if ended:
        raise CannotMeasure(f"{what}, then a worker ended: {ended[0].words()}")
    if time.monotonic() - moved > STALL_SECONDS:
        words = f": {workers[0].words()}" if workers else ""
        raise CannotMeasure(f"{what}, then none for {STALL_SECONDS:.0f} s{words}")


async def _arrived(stage: Stage, platforms: Sequence[str]) -> tuple[int, float]:
    """How many conversions came, and when the last one did."""
    counts, last = await stage.received()
    return sum(counts.get(name, 0) for name in platforms), max(last.get(name, 0.0) for name in platforms)


async def _completed(peer: Peer, environment: Mapping[str, str]) -> None:
    """Waits until the queue says itself that nothing is left: a request without its completion is half a job."""
    stop = time.monotonic() + COMPLETION_SECONDS
    while left := int(await _to_end(peer, environment, "left")):
        if time.monotonic() > stop:
            raise CannotMeasure(f"all requests came, but {left} jobs were never completed")


async def _to_end(peer: Peer, environment: Mapping[str, str], *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        interpreter(peer),
        str(peer.path),
        *arguments,
        env=dict(environment),
        cwd=HERE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, words = await process.communicate()
    if process.returncode:
        raise CannotMeasure(f"`{arguments[0]}` failed: {_last(words.decode(errors='replace'))}")
    return out.decode().strip()


@dataclass(frozen=True, slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    log: Path

    def words(self) -> str:
        """What it said last."""
        return _last(self.log.read_text(errors="replace"))


def _last(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:]) or "it said nothing"


@asynccontextmanager
async def _worker(peer: Peer, environment: Mapping[str, str]) -> AsyncIterator[_Worker]:
    with tempfile.NamedTemporaryFile(prefix=f"{peer.key}-", suffix=".log") as log:
        process = await asyncio.create_subprocess_exec(
            interpreter(peer),
            str(peer.path),
            "work",
            env=dict(environment),
            cwd=HERE,
            stdout=log,
            stderr=log,
        )
        try:
            yield _Worker(process, Path(log.name))
        finally:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _database(stage: Stage, key: str) -> AsyncIterator[dict[str, str]]:
    """A database of its own on the server that serves us too."""
    name = f"peer_{key}"
    await stage.connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield {"PEER_DATABASE_URL": _url(stage.url, name)}
    finally:
        await stage.connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _url(ours: str, database: str) -> str:
    """Ours with another database, in the form that every client here understands, also for a Unix socket."""
    parts = urlsplit(ours)
    folder = parse_qs(parts.query).get("host")
    if not folder:
        return urlunsplit(parts._replace(path=f"/{database}"))
    query = urlencode({"host": folder[0], "user": parts.username or "postgres"}, quote_via=quote, safe="/")
    return f"postgresql:///{database}?{query}"


async def _settle(url: str) -> None:
    """What autovacuum and the checkpointer would have done by the time that a real backlog is worked off."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


@asynccontextmanager
async def _redis() -> AsyncIterator[dict[str, str]]:
    """A Redis server for one peer: it persists nothing, which is the fastest that it can be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="peers-redis-") as directory:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory)
        process = await asyncio.create_subprocess_exec("redis-server", *options, stdout=asyncio.subprocess.DEVNULL)
        try:
            await _accepts(port)
            yield {"PEER_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        finally:
            await _stop(process)


async def _accepts(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise CannotMeasure("redis-server did not start")
