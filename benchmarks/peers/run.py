"""Compares our dispatcher with job queues, one conversion a job: same sink, same machine, same run.

python benchmarks/peers/run.py --jobs 20000 --runs 1 --dispatchers 1 [--only arq --only pgqueuer] [--output FILE.json]

Prints a Markdown table, then JSON; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from postbacks.bench.stage import Stage, stage

import installing
import report
from measured import CannotMeasure, Measured, measure, measure_ours
from peers import PEERS, Peer

DURABILITY = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def compare(
    jobs: int, runs: int, dispatchers: int, peers: Sequence[Peer]
) -> tuple[list[Measured], list[report.Line], dict[str, str]]:
    """Our measurements, the peers' lines and what PostgreSQL runs with."""
    ready = [_installed(peer) for peer in peers]
    async with stage() as one:
        database = {name: await one.connection.fetchval(f"SHOW {name}") for name in DURABILITY}
        # Before, between and after the peers: what the machine does meanwhile shows in the spread.
        half = (len(ready) + 1) // 2
        ours = [await _ours(one, jobs, dispatchers)]
        lines = [await _peer(one, line, jobs, runs) for line in ready[:half]]
        ours.append(await _ours(one, jobs, dispatchers))
        lines += [await _peer(one, line, jobs, runs) for line in ready[half:]]
        ours.append(await _ours(one, jobs, dispatchers))
    return ours, lines, database


def _installed(peer: Peer) -> report.Line:
    say(f"{peer.name}: installing where needed")
    try:
        installing.install(peer)
        return report.Line(peer, installing.version(peer), ())
    except (installing.CannotInstall, OSError, ValueError) as error:
        say(f"{peer.name}: cannot be installed: {error}")
        return report.Line(peer, "", (), f"cannot be installed: {error}")


async def _ours(one: Stage, jobs: int, dispatchers: int) -> Measured:
    result = await measure_ours(one, jobs, dispatchers)
    _tell("Postbacks", result)
    return result


def _tell(name: str, result: Measured) -> None:
    say(
        f"{name}: {result.rate:,.0f}/s (enqueued in {result.enqueued_seconds:.1f} s, completed "
        f"{result.completed_seconds:.2f} s after the last request, {result.duplicates} sent twice)"
    )


async def _peer(one: Stage, line: report.Line, jobs: int, runs: int) -> report.Line:
    if line.reason:
        return line
    results: list[Measured] = []
    for _ in range(runs):
        try:
            result = await measure(line.peer, one, jobs)
        except CannotMeasure as error:
            say(f"{line.peer.name}: {error}")
            return report.Line(line.peer, line.version, (), str(error))
        results.append(result)
        _tell(line.peer.name, result)
    return report.Line(line.peer, line.version, tuple(results))


def main() -> None:
    parser = argparse.ArgumentParser(description="Our dispatcher beside job queues, one conversion a job.")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=1, help="of each peer; the median counts")
    parser.add_argument("--dispatchers", type=int, default=1, help="processes of our own")
    parser.add_argument("--only", action="append", choices=[peer.key for peer in PEERS], default=[])
    parser.add_argument("--output", type=Path, help="where the JSON goes instead of standard output")
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if not arguments.only or peer.key in arguments.only]
    ours, lines, database = asyncio.run(compare(arguments.jobs, arguments.runs, arguments.dispatchers, peers))
    print(report.as_table(arguments.jobs, arguments.dispatchers, ours, lines))
    text = report.as_json(arguments.jobs, ours, lines, database)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    else:
        print(f"\n{text}")


if __name__ == "__main__":
    main()
