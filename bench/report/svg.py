"""Draws curves as SVG with two logarithmic axes. Pure."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 60, 50, 40, 20
FONT = 'font-family="sans-serif" font-size="12"'
COLORS = ("#0b7285", "#c92a2a", "#5f3dc4", "#2b8a3e")


class Line(NamedTuple):
    """A curve: pairs of positive numbers."""

    name: str
    points: Sequence[tuple[float, float]]


def drawing(across: str, up: str, lines: Sequence[Line]) -> str:
    """Return an SVG document with curves over the same axes, named `across` and `up`."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    horizontal, vertical = _Axis(xs, LEFT, WIDTH - RIGHT), _Axis(ys, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, HEIGHT - 12, across, "middle"),
        _text(LEFT, 16, up, "start"),
    ]
    for value in vertical.ticks:
        y = vertical.place(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    for value in horizontal.ticks:
        x = horizontal.place(value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 16, f"{value:,g}", "middle"))
    for index, line in enumerate(lines):
        color = COLORS[index % len(COLORS)]
        places = [(horizontal.place(x), vertical.place(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
        parts.append(_text(LEFT + 8 + 130 * index, TOP - 8, line.name, "start", color))
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """A logarithmic axis over all values, with margins; ticks at 1, 2 and 5 times powers of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = math.log10(min(values) * 0.9), math.log10(max(values) * 1.1)
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        candidates = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        return [value for value in candidates if self._low <= math.log10(value) <= self._high]


def _text(x: float, y: float, words: str, anchor: str, color: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(words)}</text>'
