"""Runs the measurements one after the other and puts the report together."""

from __future__ import annotations

import os
import platform
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

from postbacks import __version__
from postbacks.bench import measuring
from postbacks.bench.stage import Stage, stage

SECTIONS = (
    "ingest_batch",
    "ingest_batch_two_apis",
    "ingest_single",
    "dispatch",
    "dispatch_two_dispatchers",
    "dispatch_with_history",
    "mixed",
    "idle_latency",
    "snapshot",
    "memory",
    "slow_platform",
)
SNAPSHOT_RATE = 5_000.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. `seconds`: length of each timed run; `runs`: of which the median counts."""

    backlog: int
    history: int
    seconds: float
    runs: int
    dispatchers: int = 1


async def report(
    sizes: Sizes, *, only: Collection[str] = (), progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Everything, or only some sections; each figure beside its ceiling in the same run."""
    wanted = [name for name in SECTIONS if not only or name in only]
    async with stage() as one:
        results: dict[str, Any] = {
            "version": __version__,
            "machine": await _machine(one),
            "arguments": asdict(sizes),
        }
        for name in wanted:
            progress(name)
            results[name] = await _measure(one, name, results, sizes)()
        return results


def _measure(one: Stage, name: str, results: dict[str, Any], sizes: Sizes) -> Callable[[], Awaitable[dict[str, Any]]]:
    seconds, runs, backlog = sizes.seconds, sizes.runs, sizes.backlog
    ingest_rate = results.get("ingest_batch", {}).get("rate", 4_000.0)
    work: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "ingest_batch": lambda: measuring.ingest_batches(one, seconds, runs),
        "ingest_batch_two_apis": lambda: measuring.ingest_batches(one, seconds, runs, apis=2),
        "ingest_single": lambda: measuring.ingest_single(one, seconds, runs),
        "dispatch": lambda: measuring.dispatch_backlog(one, backlog, runs, dispatchers=sizes.dispatchers),
        "dispatch_two_dispatchers": lambda: measuring.dispatch_backlog(one, backlog, runs, dispatchers=2),
        "dispatch_with_history": lambda: measuring.dispatch_backlog(
            one, backlog, runs, history=sizes.history, dispatchers=sizes.dispatchers
        ),
        "mixed": lambda: measuring.mixed(one, seconds * 2, ingest_rate),
        "idle_latency": lambda: measuring.idle_latency(one),
        "snapshot": lambda: measuring.snapshot(one, seconds * 12, SNAPSHOT_RATE),
        "memory": lambda: measuring.memory(one, max(backlog, min(sizes.history, 1_000_000)), seconds * 2),
        "slow_platform": lambda: measuring.slow_platform(one, backlog, runs),
    }
    return work[name]


async def _machine(one: Stage) -> dict[str, Any]:
    settings = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": await one.connection.fetchval("SHOW server_version"),
        **{name: await one.connection.fetchval(f"SHOW {name}") for name in settings},
    }
