"""Prepares a server for measuring: starts it, connects all clients, and waits until server and clients are idle."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.candidates import Candidate, Running
from bench.measure.generator import Figures, Generator
from bench.measure.process_stats import all_cpu, rss_kib, settle, spent
from bench.report.results import Row
from bench.world.fixtures import Shape
from service.embedded import Servers

SETTLES_WITHIN = 60.0
WARM_DELIVERIES, WARM_SECONDS = 20_000, 2.0
SMALLEST_CPU = 0.01
"""Seconds: the unit in which the kernel counts CPU time."""


@dataclass
class Interval:
    """The figures, CPU by part and seconds of one generator command."""

    figures: Figures = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class ServerRun:
    """A running server with all clients connected."""

    running: Running
    generator: Generator
    arrival: Interval
    settled: dict[str, float]
    """CPU by part from the arrival until all parts were idle: some of the work of a connection is done later."""
    kib_per_connection: float
    connections: int
    server: str
    look: float

    def settle(self, most: float = SETTLES_WITHIN) -> None:
        """Wait until every part of the server is idle."""
        settle(self.running.parts, most, self.look)

    def post(self, rate: float, seconds: float, limit_ms: float = 1e6, what: str = "deliveries") -> Interval:
        """Reconnect the clients that were closed, then post."""
        self.generator.connect()
        return watched(self.running, lambda: self.generator.post(rate, seconds, limit_ms, what))

    def row(self, workload: str, interval: Interval) -> Row:
        """Return the row of an interval of posting."""
        figures = interval.figures
        deliveries = figures["deliveries"]
        return Row(
            workload=workload,
            server=self.server,
            connections=self.connections,
            deliveries_per_s=round(deliveries / figures["seconds"], 1),
            cpu_us_per_delivery=round(interval.cpu["server"] / max(1, deliveries) * 1e6, 2),
            kib_per_connection=round(self.kib_per_connection, 2),
            handshakes_per_s=round(self.connections / max(SMALLEST_CPU, self.arrival.cpu["server"])),
            ack_p50_ms=figures["ack_p50_ms"],
            ack_p99_ms=figures["ack_p99_ms"],
            p50_ms=figures["delivery_p50_ms"],
            p99_ms=figures["delivery_p99_ms"],
            lost=figures["lost"],
            duplicated=figures["duplicated"],
            reordered=figures["reordered"],
        )

    def arrival_cost(self) -> dict[str, Any]:
        """Return seconds and CPU of connecting all clients."""
        return {
            "seconds": self.arrival.figures["seconds"],
            "cpu": self.arrival.cpu,
            "cpu_until_settled": self.settled,
        }


@contextmanager
def server_run(
    candidate: Candidate, servers: Servers, shape: Shape, posters: int, look: float = 0.5
) -> Iterator[ServerRun]:
    """Start a server, connect all clients, and wait until the server is idle.

    It counts as idle after two consecutive idle samples of `look` seconds.
    """
    with candidate.running(servers, shape) as running:
        settle(running.parts, SETTLES_WITHIN, look)
        empty = rss_kib(running.parts["server"])
        with Generator(
            running.port,
            candidate.door,
            connections=shape.people,
            rooms=shape.rooms,
            posters=posters,
            content=candidate.content,
            tokens=running.tokens,
            cursor=running.cursor,
        ) as generator:
            running.parts["generator"] = generator.process
            before = all_cpu(running.parts)
            arrival = watched(running, generator.connect)
            settle(running.parts, SETTLES_WITHIN, look)
            settled = spent(before, all_cpu(running.parts))
            kib = (rss_kib(running.parts["server"]) - empty) / shape.people
            # Warm up caches, keys and compiled code before anything else is measured.
            generator.post(WARM_DELIVERIES * shape.rooms / shape.people / WARM_SECONDS, WARM_SECONDS)
            settle(running.parts, SETTLES_WITHIN, look)
            yield ServerRun(running, generator, arrival, settled, kib, shape.people, candidate.name, look)


def watched(running: Running, act: Callable[[], Figures]) -> Interval:
    before, began = all_cpu(running.parts), time.monotonic()
    figures = act()
    seconds = time.monotonic() - began
    return Interval(figures, spent(before, all_cpu(running.parts)), round(seconds, 2))
