"""Measures two servers in turns: `python -m bench pair WORKLOAD SERVER_A SERVER_B`.

Both servers are up, with all clients connected. Each gets the same load for some seconds, then the other, in random
order, `PAIRS` times. The result is the ratio of each figure; see `bench.report.ratios`.

Invariant: while one server is measured, the other is idle. After each slice, the CPU that a server still uses until it
is idle counts for its slice.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace

from bench import candidates as c
from bench.measure.process_stats import all_cpu, spent
from bench.report.ratios import Ratio, compared
from bench.server_run import ServerRun, server_run
from bench.workloads import ALL_AT_ONCE, CROWD, ONE_ROOM, SMALL
from bench.world.fixtures import Shape
from service.embedded import Servers

PAIRS = 20
SETTLES_WITHIN = 15.0
LOOK = 0.2
"""Seconds between two looks at the CPU of a server that has to become idle."""

SERVERS: Mapping[str, c.Candidate] = {
    "onrecord": c.ONRECORD,
    "onrecord-socketio": replace(c.ONRECORD_SOCKETIO, name="onrecord"),
    **{each.name: each for each in (c.LIMIT, c.LIMIT_BALLAST, *c.PEERS_IN_ORDER)},
}

PLAN = (
    ("W1", "c-limit"),
    ("W1", "c-limit-ballast"),
    ("W1", "node-ws"),
    ("W1", "node-socketio"),
    ("W1", "python-socketio"),
    ("W2", "c-limit"),
    ("handshakes", "node-ws"),
)
"""What `make bench` measures: a workload, and the peer that OnRecord is compared with."""

Figures = dict[str, float]
Pair = tuple[Figures, Figures]


@dataclass(frozen=True)
class Load:
    """What each server gets in a slice; `rate` is posts a second, for `seconds`."""

    shape: Shape
    rate: float
    seconds: float
    slice: Callable[["Load", ServerRun], Figures]


def posting(load: Load, run: ServerRun) -> Figures:
    """Post at the rate; return CPU per delivery and the latencies."""
    run.generator.connect()  # those that were closed
    before = all_cpu(run.running.parts)
    ballast = run.running.ballast
    with nullcontext() if ballast is None else ballast(load.rate, load.seconds):
        figures = run.generator.post(load.rate, load.seconds)
    run.settle(SETTLES_WITHIN)
    latencies = ("delivery_p50_ms", "delivery_p99_ms", "ack_p50_ms", "ack_p99_ms")
    return {
        **_cpu(before, run, max(1, figures["deliveries"]), "delivery"),
        **{name.removeprefix("delivery_"): figures[name] for name in latencies},
    }


def arriving(_load: Load, run: ServerRun) -> Figures:
    """Disconnect all clients, then let them connect; return CPU per handshake and the seconds."""
    run.generator.cut(0)
    run.settle(SETTLES_WITHIN)
    before = all_cpu(run.running.parts)
    figures = run.generator.connect()
    run.settle(SETTLES_WITHIN)
    return {**_cpu(before, run, run.connections, "handshake"), "seconds": figures["seconds"]}


def storming(load: Load, run: ServerRun) -> Figures:
    """Reconnect all clients but one of each room at once, after they missed messages."""
    run.generator.cut(1)
    run.settle(SETTLES_WITHIN)
    run.generator.post(load.rate, load.seconds)
    run.settle(SETTLES_WITHIN)
    before = all_cpu(run.running.parts)
    figures = run.generator.connect(ALL_AT_ONCE)
    run.settle(SETTLES_WITHIN)
    level = {name: figures[name] for name in ("level_p50_ms", "level_max_ms")}
    return {**_cpu(before, run, max(1, figures["came"]), "return"), **level}


def _cpu(before: Mapping[str, float], run: ServerRun, count: float, what: str) -> Figures:
    """Return the CPU in microseconds for each of `count` events, of the server alone and of all its parts."""
    used = spent(before, all_cpu(run.running.parts))
    ours = sum(seconds for part, seconds in used.items() if part != "generator")
    return {
        f"cpu_us_per_{what}": used["server"] / count * 1e6,
        f"cpu_us_per_{what}_all": ours / count * 1e6,
    }


LOADS: Mapping[str, Load] = {
    "W1": Load(CROWD, 200.0, 3.0, posting),
    "W2": Load(ONE_ROOM, 1.0, 5.0, posting),
    "W3": Load(SMALL, 1_000.0, 3.0, posting),
    "handshakes": Load(SMALL, 0.0, 0.0, arriving),
    "W4": Load(CROWD, 500.0, 4.0, storming),
}


def server(name: str) -> c.Candidate:
    """Return a server by name; OnRecord in a variant too (`bench.candidates.variant`).

    Raises:
        ValueError: there is none.
    """
    return SERVERS[name] if name in SERVERS else c.variant(name)


def measured(
    workload: str, ours: str, peer: str, servers: Servers, pairs: int, rate: float | None = None
) -> list[Ratio]:
    """Measure two servers in turns; return a row for each figure. `rate` replaces that of the workload."""
    load = LOADS[workload] if rate is None else replace(LOADS[workload], rate=rate)
    with ExitStack() as stack:
        runs = [
            stack.enter_context(server_run(server(name), servers, load.shape, 10, LOOK))
            for name in (ours, peer)
        ]
        return compared(workload, ours, peer, list(_pairs(load, runs, pairs)))


def _pairs(load: Load, runs: list[ServerRun], pairs: int) -> Iterator[Pair]:
    for number in range(pairs):
        order = random.sample((0, 1), 2)
        found = {index: load.slice(load, runs[index]) for index in order}
        shown = ", ".join(f"{name} {found[0][name]:.4g}/{found[1][name]:.4g}" for name in found[0])
        print(f"  pair {number + 1}: {shown}", file=sys.stderr, flush=True)
        yield found[0], found[1]
