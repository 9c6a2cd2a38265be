"""Measures how cost grows with connections, with the members of a room, and with posts; writes figures and charts.

    .venv/bin/python bench/experiments/scaling.py

Each point has a new database, node and projector on this machine. The figures go to `bench/results/scaling.json`, the
charts to `docs/explanation/scaling/`. `docs/explanation/scaling.md` interprets them.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.candidates import ONRECORD
from bench.lifetime import supervised
from bench.measure import machine
from bench.report import charts
from bench.report.svg import Line
from bench.server_run import ServerRun, server_run
from bench.world.fixtures import Shape
from service import embedded

SECONDS = 6.0
DELIVERIES = 20_000
"""Per second, in curves that vary something else: about a third of what one node can do."""

Point = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """Points that differ in `what`; each shape has one server, which is measured at each of its rates."""

    name: str
    what: str
    runs: tuple[tuple[Shape, tuple[float, ...]], ...]


def rate_of(shape: Shape) -> float:
    """Return the posts a second that make `DELIVERIES`."""
    return DELIVERIES * shape.rooms / shape.people


def curve(name: str, what: str, *shapes: Shape) -> Curve:
    return Curve(name, what, tuple((shape, (rate_of(shape),)) for shape in shapes))


CURVES = (
    curve(
        "connections",
        "connections",
        *(Shape(count, count // 100) for count in (1_000, 2_500, 5_000, 10_000)),
    ),
    curve("members", "members of a room", *(Shape(10_000, rooms) for rooms in (1_000, 100, 10, 1))),
    Curve("posts", "posts a second", ((Shape(1_000, 100), (250.0, 500.0, 1_000.0, 2_000.0, 3_000.0)),)),
)


def main() -> None:
    about = machine.described("python bench/experiments/scaling.py")
    points: list[Point] = []
    with embedded.throwaway() as servers:
        for each in CURVES:
            for shape, rates in each.runs:
                with server_run(ONRECORD, servers, shape, min(10, shape.people // shape.rooms)) as run:
                    for point in measured(each, shape, run, rates):
                        points.append(point)
                        print(json.dumps(point), flush=True)
    charts.keep("scaling", about, points)
    draw(points)


def measured(curve: Curve, shape: Shape, run: ServerRun, rates: tuple[float, ...]) -> Iterator[Point]:
    """Yield a point per rate."""
    for rate in rates:
        run.settle()
        interval = run.post(rate, SECONDS)
        figures, deliveries = interval.figures, max(1, interval.figures["deliveries"])
        yield {
            "curve": curve.name,
            "connections": shape.people,
            "members of a room": shape.people // shape.rooms,
            "posts a second": round(figures["posts"] / figures["seconds"], 1),
            "deliveries a second": round(deliveries / figures["seconds"]),
            "KiB per connection": round(run.kib_per_connection, 2),
            **{
                f"{part}, us per delivery": round(cpu / deliveries * 1e6, 2)
                for part, cpu in interval.cpu.items()
            },
            "p50 ms": figures["delivery_p50_ms"],
            "p99 ms": figures["delivery_p99_ms"],
            "ack p50 ms": figures["ack_p50_ms"],
            "ack p99 ms": figures["ack_p99_ms"],
            "lost": figures["lost"],
        }


def draw(points: list[Point]) -> None:
    """Draw the charts of all curves."""
    for each in CURVES:
        of_curve = [point for point in points if point["curve"] == each.name]
        for file, title, names in (
            ("cpu", "CPU of the node, microseconds per delivery", ("server, us per delivery",)),
            ("latency", "milliseconds", ("p50 ms", "p99 ms", "ack p99 ms")),
        ):
            lines = [Line(name, [(point[each.what], point[name]) for point in of_curve]) for name in names]
            charts.draw(f"{each.name}-{file}", each.what, title, lines)


if __name__ == "__main__":
    sys.exit(supervised(main))
