"""The workloads: the load on a server, and what is measured (table: docs/explanation/speed.md)."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import search
from bench.churn import Progress, Turn
from bench.measure.generator import Figures
from bench.measure.process_stats import all_cpu, rss_kib, spent
from bench.report.results import Round, Row
from bench.server_run import SMALLEST_CPU, Interval, ServerRun, watched
from bench.world.fixtures import Shape

ALL_AT_ONCE = 20_000
RECOVERS_WITHIN = 20.0
"""Seconds that a server has to work off what was too much, before the next step."""


class NothingPasses(Exception):
    """A server cannot do even the least."""


@dataclass(frozen=True)
class Pace:
    """How long steps are and how finely the highest rate is sought; the short form and the full one differ in this."""

    step: float = 2.0
    final: float = 5.0
    narrow: int = 3
    tries: int = 4
    fixed: float = 8.0
    """Seconds of a workload with a fixed rate."""
    churn: float = 0.0
    """Seconds for which people come and go, at the least."""
    unfinished: Path | None = None
    """Where a churn writes how far it has come, to go on there; whoever keeps its round deletes it."""


SHORT = Pace()
FULL = Pace(step=5.0, final=20.0, narrow=4, tries=6, fixed=30.0, churn=3600.0)


@dataclass(frozen=True)
class Workload:
    """`posters` of each room write, in turn."""

    name: str
    shape: Shape
    posters: int = 10

    def measure(self, visit: ServerRun, pace: Pace) -> Round:
        """Return what the visited server does with this."""
        raise NotImplementedError


@dataclass(frozen=True)
class Highest(Workload):
    """W1, W3, W5: posts a second are raised until the p99 of deliveries, or of acks, passes the limit."""

    limit_ms: float = 100.0
    what: str = "deliveries"
    start: float = 100.0

    def measure(self, visit: ServerRun, pace: Pace) -> Round:
        """See `Workload`."""
        steps: list[dict[str, Any]] = []
        best: list[Interval] = []

        def passes(rate: float, seconds: float) -> bool:
            stretch = visit.post(rate, seconds, self.limit_ms, self.what)
            steps.append(_step(rate, stretch))
            good = self._passes(stretch.figures)
            _say(visit, self.name, steps[-1], "" if good else ": too much")
            if good:
                best.append(stretch)
            visit.settle(RECOVERS_WITHIN)
            return good

        def passes_once(rate: float) -> bool:  # of two tries: the machine has other things to do too
            return passes(rate, pace.step) or passes(rate, pace.step)

        found = search.highest(passes_once, start=self.start, narrow=pace.narrow)
        if not found:
            raise NothingPasses(f"more than 1 % is late even at one post a second: {steps[-1]}")
        search.confirmed(lambda rate: passes(rate, pace.final), found, pace.tries)
        row = visit.row(self.name, best[-1])
        return Round(row, best[-1].seconds, best[-1].cpu, {"steps": steps, "arrival": visit.told()})

    def _passes(self, figures: Figures) -> bool:
        p99 = figures["delivery_p99_ms" if self.what == "deliveries" else "ack_p99_ms"]
        complete = figures["posts"] == figures["planned"] == figures["acked"] and figures["lost"] == 0
        return complete and bool(0 < p99 < self.limit_ms)


@dataclass(frozen=True)
class Fixed(Workload):
    """W2 and `hot`: so many posts a second, and what becomes of them."""

    rate: float = 1.0

    def measure(self, visit: ServerRun, pace: Pace) -> Round:
        """See `Workload`."""
        stretch = visit.post(self.rate, pace.fixed)
        step = _step(self.rate, stretch)
        _say(visit, self.name, step)
        row = visit.row(self.name, stretch)
        return Round(row, stretch.seconds, stretch.cpu, {"step": step, "arrival": visit.told()})


@dataclass(frozen=True)
class Storm(Workload):
    """W4: all but one of each room lose their connection, miss messages, and come back at once with their cursors.

    The row's latencies are the times until clients had everything; its p99 is the last one's.
    """

    missed: int = 20
    """Messages of each room that they miss."""

    def measure(self, visit: ServerRun, pace: Pace) -> Round:  # noqa: ARG002 - a storm has a pace of its own
        """See `Workload`."""
        generator = visit.generator
        generator.cut(1)
        visit.settle()
        rate = self.shape.rooms * 5.0
        before = generator.post(rate, self.missed * self.shape.rooms / rate)
        visit.settle()
        storm = watched(visit.running, lambda: generator.connect(ALL_AT_ONCE))
        figures = storm.figures
        came, caught_up = figures["came"], figures["deliveries"] - before["deliveries"]
        row = Row(
            workload=self.name,
            server=visit.server,
            connections=came,
            deliveries_per_s=round(caught_up / figures["seconds"], 1),
            kib_per_connection=round(visit.kib_per_connection, 2),
            handshakes_per_s=round(came / max(SMALLEST_CPU, storm.cpu["server"])),
            p50_ms=figures["level_p50_ms"],
            p99_ms=figures["level_max_ms"],
            lost=came * self.missed - caught_up,
            duplicated=figures["duplicated"],
            reordered=figures["reordered"],
        )
        return Round(row, storm.seconds, storm.cpu, {"storm": figures, "arrival": visit.told()})


@dataclass(frozen=True)
class Churn(Workload):
    """Everybody leaves and comes back, again and again, at least 10,000 times: what does a connection leave behind?

    The row's `connections` are all that were made, and its memory is what each left: 0 where nothing grows.
    """

    least: int = 10_000
    warm: int = 3
    """Rounds before anything counts: the memory that first use takes is not a leak."""

    def measure(self, visit: ServerRun, pace: Pace) -> Round:
        """See `Workload`."""
        for _ in range(self.warm):
            self._turn(visit)
        progress = Progress(pace.unfinished)
        progress.begin(self._size(visit))
        while progress.made < self.least or progress.seconds < pace.churn:
            before, began = all_cpu(visit.running.parts), time.monotonic()
            self._turn(visit)
            size, cpu = self._size(visit), spent(before, all_cpu(visit.running.parts))
            progress.add(Turn(size, self.shape.people, time.monotonic() - began, cpu))
        row = Row(
            workload=self.name,
            server=visit.server,
            connections=progress.made,
            kib_per_connection=round(progress.grown_kib / progress.made, 3),
            handshakes_per_s=round(progress.made / max(SMALLEST_CPU, progress.cpu["server"])),
        )
        more = {"rss_kib": progress.sizes, "arrival": visit.told()}
        return Round(row, round(progress.seconds, 2), progress.cpu, more)

    def _turn(self, visit: ServerRun) -> None:
        visit.generator.cut(0)
        visit.generator.connect()

    def _size(self, visit: ServerRun) -> float:
        visit.settle()
        return rss_kib(visit.running.parts["server"])


def _step(rate: float, stretch: Interval) -> dict[str, Any]:
    kept = (
        "posts",
        "planned",
        "acked",
        "deliveries",
        "lost",
        "duplicated",
        "reordered",
        "seconds",
        "refused",
        "closes",
    )
    latencies = [name for name in stretch.figures if name.endswith("_ms")]
    return {"rate": rate, **{name: stretch.figures[name] for name in (*kept, *latencies)}, "cpu": stretch.cpu}


def _say(visit: ServerRun, workload: str, step: dict[str, Any], more: str = "") -> None:
    """A line of progress."""
    trouble = "".join(f", {what} {step[what]}" for what in ("lost", "refused", "closes") if step[what])
    print(
        f"  {workload} {visit.server}: {step['rate']:g} posts/s, p99 {step['delivery_p99_ms']:.1f} ms, "
        f"ack p99 {step['ack_p99_ms']:.1f} ms, "
        f"generator late by {step['behind_p99_ms']:.1f} ms{trouble}{more}",
        file=sys.stderr,
        flush=True,
    )


CROWD = Shape(people=10_000, rooms=100)
ONE_ROOM = Shape(people=10_000, rooms=1)
SMALL = Shape(people=1_000, rooms=100)
HOT = Shape(people=200, rooms=20)

W1 = Highest("W1", CROWD)
W1_JOINED = Highest("W1-joined", CROWD)
W1_SOCKETIO = Highest("W1-socketio", CROWD)
W2 = Fixed("W2", ONE_ROOM)
W3 = Highest("W3", SMALL, limit_ms=20.0, what="acks", start=500.0)
W4 = Storm("W4", CROWD)
W5 = Highest("W5", CROWD)
HOT_ROOMS = Fixed("hot", HOT, rate=2000.0)
CHURN = Churn("churn", SMALL)
