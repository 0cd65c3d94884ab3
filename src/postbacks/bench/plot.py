"""A line chart as SVG, both axes logarithmic: all that the report of growth needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 20, 50
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")


@dataclass(frozen=True, slots=True)
class Line:
    """A name and its points. Values of 0 are left out: a logarithm has no place for them."""

    name: str
    points: Sequence[tuple[float, float]]


def plot(x_label: str, y_label: str, lines: Sequence[Line]) -> str:
    """The chart, with a legend at the right."""
    points = [(x, y) for line in lines for x, y in line.points if y > 0]
    x_decades = _decades([x for x, _ in points])
    y_decades = _decades([y for _, y in points])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_decades[0]) / (x_decades[1] - x_decades[0])
        up = (math.log10(y) - y_decades[0]) / (y_decades[1] - y_decades[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for decade in range(x_decades[0], x_decades[1] + 1):
        x, _ = at(10.0**decade, 10.0 ** y_decades[0])
        parts.append(_rule(x, TOP, x, HEIGHT - BOTTOM) + _text(x, HEIGHT - BOTTOM + 16, f"{10**decade:,}", "middle"))
    for decade in range(y_decades[0], y_decades[1] + 1):
        _, y = at(10.0 ** x_decades[0], 10.0**decade)
        parts.append(_rule(LEFT, y, WIDTH - RIGHT, y) + _text(LEFT - 6, y + 4, f"{10.0**decade:g}", "end"))
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        placed = [at(x, y) for x, y in line.points if y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]
        parts.append(_text(WIDTH - RIGHT + 14, TOP + 16 + 20 * number, line.name, "start", colour))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, "middle"))
    parts.append(_text(LEFT, TOP - 6, y_label, "start"))
    return "".join(parts) + "</svg>\n"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that hold all values, at least one apart."""
    low = math.floor(math.log10(min(values, default=1.0)))
    high = math.ceil(math.log10(max(values, default=1.0)))
    return low, max(high, low + 1)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d0d7de"/>'


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#57606a") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
