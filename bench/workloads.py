"""The workloads: the load that each puts on a server, and what it measures (table: docs/explanation/speed.md)."""

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
"""Seconds that a server has to recover from overload before the next step."""


class NothingPasses(Exception):
    """A server does not pass even at the lowest rate."""


@dataclass(frozen=True)
class Pace:
    """Durations in seconds, and how finely the highest rate is searched; the short and the full form differ in this."""

    step: float = 2.0
    final: float = 5.0
    narrow: int = 3
    tries: int = 4
    fixed: float = 8.0
    """Seconds of a workload with a fixed rate."""
    churn: float = 0.0
    """Least duration of a churn."""
    unfinished: Path | None = None
    """The file in which a churn saves its progress; deleted by the caller that has saved its round."""


SHORT = Pace()
FULL = Pace(step=5.0, final=20.0, narrow=4, tries=6, fixed=30.0, churn=3600.0)


@dataclass(frozen=True)
class Workload:
    """A load on a server; `posters` users of each room write, in turn."""

    name: str
    shape: Shape
    posters: int = 10

    def measure(self, run: ServerRun, pace: Pace) -> Round:
        """Put the load on a server and return the result."""
        raise NotImplementedError


@dataclass(frozen=True)
class Highest(Workload):
    """W1, W3, W5: raises the rate of posts until the p99 of deliveries, or of acks, exceeds the limit."""

    limit_ms: float = 100.0
    what: str = "deliveries"
    start: float = 100.0

    def measure(self, run: ServerRun, pace: Pace) -> Round:
        """See `Workload`."""
        steps: list[dict[str, Any]] = []
        best: list[Interval] = []

        def passes(rate: float, seconds: float) -> bool:
            interval = run.post(rate, seconds, self.limit_ms, self.what)
            steps.append(_step(rate, interval))
            good = self._passes(interval.figures)
            _print_step(run, self.name, steps[-1], "" if good else ": too much")
            if good:
                best.append(interval)
            run.settle(RECOVERS_WITHIN)
            return good

        def passes_once(
            rate: float,
        ) -> bool:  # in one of two tries: other work of the machine may fail the first
            return passes(rate, pace.step) or passes(rate, pace.step)

        found = search.highest(passes_once, start=self.start, narrow=pace.narrow)
        if not found:
            raise NothingPasses(f"more than 1 % is late even at one post a second: {steps[-1]}")
        search.confirmed(lambda rate: passes(rate, pace.final), found, pace.tries)
        row = run.row(self.name, best[-1])
        return Round(row, best[-1].seconds, best[-1].cpu, {"steps": steps, "arrival": run.arrival_cost()})

    def _passes(self, figures: Figures) -> bool:
        p99 = figures["delivery_p99_ms" if self.what == "deliveries" else "ack_p99_ms"]
        complete = figures["posts"] == figures["planned"] == figures["acked"] and figures["lost"] == 0
        return complete and bool(0 < p99 < self.limit_ms)


@dataclass(frozen=True)
class Fixed(Workload):
    """W2 and `hot`: posts at a fixed rate."""

    rate: float = 1.0

    def measure(self, run: ServerRun, pace: Pace) -> Round:
        """See `Workload`."""
        interval = run.post(self.rate, pace.fixed)
        step = _step(self.rate, interval)
        _print_step(run, self.name, step)
        row = run.row(self.name, interval)
        return Round(row, interval.seconds, interval.cpu, {"step": step, "arrival": run.arrival_cost()})


@dataclass(frozen=True)
class Storm(Workload):
    """W4: all clients but one of each room disconnect, miss messages, and reconnect at once with their cursors.

    The row's latencies are the times until clients have caught up; its p99 is that of the last client.
    """

    missed: int = 20
    """Messages that the clients miss in each room."""

    def measure(self, run: ServerRun, pace: Pace) -> Round:  # noqa: ARG002 - the same in both forms
        """See `Workload`."""
        generator = run.generator
        generator.cut(1)
        run.settle()
        rate = self.shape.rooms * 5.0
        before = generator.post(rate, self.missed * self.shape.rooms / rate)
        run.settle()
        storm = watched(run.running, lambda: generator.connect(ALL_AT_ONCE))
        figures = storm.figures
        came, caught_up = figures["came"], figures["deliveries"] - before["deliveries"]
        row = Row(
            workload=self.name,
            server=run.server,
            connections=came,
            deliveries_per_s=round(caught_up / figures["seconds"], 1),
            kib_per_connection=round(run.kib_per_connection, 2),
            handshakes_per_s=round(came / max(SMALLEST_CPU, storm.cpu["server"])),
            p50_ms=figures["level_p50_ms"],
            p99_ms=figures["level_max_ms"],
            lost=came * self.missed - caught_up,
            duplicated=figures["duplicated"],
            reordered=figures["reordered"],
        )
        return Round(row, storm.seconds, storm.cpu, {"storm": figures, "arrival": run.arrival_cost()})


@dataclass(frozen=True)
class Churn(Workload):
    """Measures the memory that a closed connection leaves behind: all clients disconnect and reconnect in turns.

    The row's `connections` counts all connections made, at least 10,000; its memory is the growth per connection.
    """

    least: int = 10_000
    warm: int = 3
    """Turns before anything counts: memory allocated at first use is not a leak."""

    def measure(self, run: ServerRun, pace: Pace) -> Round:
        """See `Workload`."""
        for _ in range(self.warm):
            self._turn(run)
        progress = Progress(pace.unfinished)
        progress.begin(self._size(run))
        while progress.made < self.least or progress.seconds < pace.churn:
            before, began = all_cpu(run.running.parts), time.monotonic()
            self._turn(run)
            size, cpu = self._size(run), spent(before, all_cpu(run.running.parts))
            progress.add(Turn(size, self.shape.people, time.monotonic() - began, cpu))
        row = Row(
            workload=self.name,
            server=run.server,
            connections=progress.made,
            kib_per_connection=round(progress.grown_kib / progress.made, 3),
            handshakes_per_s=round(progress.made / max(SMALLEST_CPU, progress.cpu["server"])),
        )
        more = {"rss_kib": progress.sizes, "arrival": run.arrival_cost()}
        return Round(row, round(progress.seconds, 2), progress.cpu, more)

    def _turn(self, run: ServerRun) -> None:
        run.generator.cut(0)
        run.generator.connect()

    def _size(self, run: ServerRun) -> float:
        run.settle()
        return rss_kib(run.running.parts["server"])


def _step(rate: float, interval: Interval) -> dict[str, Any]:
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
    latencies = [name for name in interval.figures if name.endswith("_ms")]
    return {
        "rate": rate,
        **{name: interval.figures[name] for name in (*kept, *latencies)},
        "cpu": interval.cpu,
    }


def _print_step(run: ServerRun, workload: str, step: dict[str, Any], more: str = "") -> None:
    trouble = "".join(f", {what} {step[what]}" for what in ("lost", "refused", "closes") if step[what])
    print(
        f"  {workload} {run.server}: {step['rate']:g} posts/s, p99 {step['delivery_p99_ms']:.1f} ms, "
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
