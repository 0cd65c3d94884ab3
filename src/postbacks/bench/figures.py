"""Figures: a measurement beside its ceiling, over several short runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Pair:
    """One run: the service, and right before or after it the ceiling. Both in the same unit, higher is better."""

    rate: float
    ceiling: float


def summary(pairs: Sequence[Pair], unit: str, goal: float) -> dict[str, Any]:
    """Medians; the ratio is the median of the runs' own ratios, because both sides of a run share its noise."""
    return {
        "rate": round(median(pair.rate for pair in pairs), 1),
        "ceiling": round(median(pair.ceiling for pair in pairs), 1),
        "ratio": round(median(pair.rate / pair.ceiling for pair in pairs if pair.ceiling), 3),
        "goal": goal,
        "unit": unit,
        "runs": [[round(pair.rate, 1), round(pair.ceiling, 1)] for pair in pairs],
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of all lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
