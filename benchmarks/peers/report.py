"""The comparison as JSON and as a Markdown table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from measured import Measured
from peers import Peer

GOALS = {"fastest": 3.0, "fastest in Python": 8.0}
"""How many times the fastest of the peers we mean to be."""


@dataclass(frozen=True, slots=True)
class Line:
    """A peer with its measurements, or with the reason why there are none."""

    peer: Peer
    version: str
    runs: tuple[Measured, ...]
    reason: str = ""

    @property
    def rate(self) -> float | None:
        return median(run.rate for run in self.runs) if self.runs else None


def as_json(jobs: int, ours: list[Measured], lines: list[Line], database: dict[str, str]) -> str:
    """Everything that was measured, rates in jobs or deliveries per second."""
    rate = median(run.rate for run in ours)
    return json.dumps(
        {
            "jobs": jobs,
            "machine": {"cores": os.cpu_count(), "python": platform.python_version(), **database},
            "ours": {"rate": round(rate, 1), "runs": _runs(ours)},
            "peers": [_peer(line, rate) for line in lines],
            "goals": _goals(lines, rate),
        },
        indent=2,
    )


def _peer(line: Line, ours: float) -> dict[str, Any]:
    rate = line.rate
    return {
        "name": line.peer.name,
        "language": line.peer.language,
        "version": line.version,
        "rate": rate and round(rate, 1),
        "ours_to_it": rate and round(ours / rate, 2),
        "reason": line.reason,
        "settings": line.peer.described(),
        "runs": _runs(line.runs),
    }


def _runs(runs: Sequence[Measured]) -> list[dict[str, float]]:
    return [{name: round(value, 2) for name, value in asdict(run).items()} for run in runs]


def _goals(lines: list[Line], ours: float) -> dict[str, dict[str, float | str]]:
    of = {"fastest": lines, "fastest in Python": [line for line in lines if line.peer.language == "Python"]}
    goals: dict[str, dict[str, float | str]] = {}
    for name, candidates in of.items():
        rates = {line.rate: line.peer.name for line in candidates if line.rate}
        if rates:
            goals[name] = {"peer": rates[max(rates)], "ratio": round(ours / max(rates), 2), "goal": GOALS[name]}
    return goals


def as_table(jobs: int, dispatchers: int, ours: list[Measured], lines: list[Line]) -> str:
    """A Markdown table, the fastest first, those without a figure last."""
    rates = [run.rate for run in ours]
    rate = median(rates)
    spread = f"{len(ours)} runs, {min(rates):,.0f} to {max(rates):,.0f}"
    rows = [
        f"{jobs:,} jobs, one conversion each.",
        "",
        "| queue | per second | ours is faster by | settings |",
        "|---|--:|--:|---|",
        f"| **Postbacks** | **{rate:,.0f}** | | {dispatchers} dispatcher process(es), five platforms; {spread} |",
    ]
    for line in sorted(lines, key=lambda line: -(line.rate or 0)):
        name = f"{line.peer.name} {line.version} ({line.peer.language})".replace("  ", " ")
        if line.rate:
            rows.append(f"| {name} | {line.rate:,.0f} | {rate / line.rate:.1f} × | {line.peer.described()} |")
        else:
            rows.append(f"| {name} | not measured | | {line.reason} |")
    for name, goal in _goals(lines, rate).items():
        verdict = "reached" if float(goal["ratio"]) >= float(goal["goal"]) else "missed"
        rows += ["", f"Against the {name} ({goal['peer']}): {goal['ratio']} ×, goal {goal['goal']} ×: {verdict}."]
    return "\n".join(rows)
