"""One drill: load, a fault, the measured recovery, a silence, and the log at the end.

Invariant: waits are for conditions, not for a time. `patience` only bounds how long a broken promise can delay the
drill; the history then shows which event is missing.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from service.embedded import Servers
from tests.drill.cluster import Cluster, Node, cluster
from tests.drill.evidence.history import Fault as Broken
from tests.drill.evidence.history import History, Silence
from tests.drill.faulty import Bug
from tests.drill.load import ROOMS, Load, Probe
from tests.drill.log import read_log

Run = Callable[["Drill"], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Fault:
    """A fault. `meaning` is a line of the documentation, `logs` the failures that nodes log because of it."""

    name: str
    meaning: str
    run: Run
    logs: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The parameters of a drill.

    `seconds` is the time under load beside the faults, `rate` the actions a second of all clients together; `patience`
    and `silence` are the seconds after which an answer, and a message in a silence, is given up.
    `pooler` is the mode of a PgBouncer between the nodes and Postgres; empty: there is none.
    """

    faults: tuple[Fault, ...]
    seed: int = 1
    seconds: float = 12.0
    rate: float = 60.0
    nodes: int = 2
    bug: Bug | None = None
    patience: float = 60.0
    silence: float = 20.0
    projector: bool = False
    pooler: str = ""


BROKEN: dict[str, Any] = {"patience": 8.0, "silence": 6.0}
"""The patience of a drill with a planted bug, whose missing events never arrive."""


@dataclass
class Drill:
    """A running drill, as faults see it."""

    plan: Plan
    cluster: Cluster
    load: Load
    history: History
    rng: random.Random
    facts: dict[str, Any] = field(default_factory=dict)

    async def whole(self) -> None:
        """Run the drill."""
        self.load.start()
        await self.load_goes_on(30)
        await asyncio.sleep(self.plan.seconds / 3)
        for fault in self.plan.faults:
            self.load.call()
            await self._broken(fault)
        self.load.call()
        await asyncio.sleep(self.plan.seconds * 2 / 3)
        await self.quiet()
        await self.last_words()

    def shuffled_nodes(self) -> list[Node]:
        """Return the nodes in a random order."""
        return self.rng.sample(self.cluster.nodes, len(self.cluster.nodes))

    async def load_goes_on(self, acks: int) -> None:
        """Wait until `acks` further commands are acknowledged."""
        await self._patiently(self.load.acked_more(acks), self.plan.patience)

    async def quiet(self) -> None:
        """Stop the load, and wait until no command is unanswered and every client is connected."""
        self.load.stop()
        await self._patiently(self.load.settled(), self.plan.patience)

    async def last_words(self) -> None:
        """Post to every room on one node, then send nothing until every client has received it, or a time limit."""
        probe = self.rng.choice(self.load.probes)
        await self._patiently(asyncio.gather(*map(probe.say, (*ROOMS, probe.room))), self.plan.patience)
        began = self.history.now()
        heads = {room: events[-1].seq for room, events in (await self.log()).items()}
        await self._patiently(self.load.heard(heads), self.plan.silence)
        ended = self.history.now()
        self.history.add(Silence(began=began, ended=ended))
        self.facts["silence"] = round(ended - began, 3)
        self.facts["settled"] = not any(one.orders for one in self.load.living)

    async def log(self) -> dict[str, Any]:
        """Return every room's events by room, read without the nodes and proxies."""
        rooms = {room for one in self.load.living for room in one.rooms}
        return await read_log(self.cluster.database, sorted(rooms))

    async def _broken(self, fault: Fault) -> None:
        began = self.history.now()
        did = await fault.run(self)
        self.history.add(Broken(name=fault.name, began=began, ended=self.history.now()))
        self.facts.setdefault("did", {})[fault.name] = did
        self.facts.setdefault("recovery", {})[fault.name] = await self._recovery()

    async def _recovery(self) -> dict[str, float | None]:
        """Measure, in seconds from now: until every node has acknowledged, and until the others delivered it."""
        began = time.monotonic()
        times: dict[str, list[float]] = {"acked": [], "received": []}

        async def measure(probe: Probe) -> None:
            seq = await probe.say()
            times["acked"].append(time.monotonic() - began)
            await asyncio.gather(*(other.heard(probe.room, seq) for other in self.load.probes))
            times["received"].append(time.monotonic() - began)

        await self._patiently(asyncio.gather(*map(measure, self.load.probes)), self.plan.patience)
        complete = len(self.load.probes)
        return {name: round(max(took), 3) if len(took) == complete else None for name, took in times.items()}

    async def _patiently(self, wanted: Awaitable[object], seconds: float) -> bool:
        """Wait for a condition; return whether it became true in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wanted
                return True
        return False


async def run(servers: Servers, plan: Plan) -> tuple[History, dict[str, Any], list[str]]:
    """Carry a plan out; return the history with the log at its end, what was measured, and the logs of all processes.

    Raises:
        Exception: the drill itself failed, which says nothing about the server.
    """
    history = History()
    program = ("tests.drill.faulty", plan.bug.name) if plan.bug else ("tests.support.processes.by_io_uring",)
    async with cluster(
        servers, nodes=plan.nodes, program=program, projector=plan.projector, pooler=plan.pooler
    ) as running:
        if plan.bug and plan.bug.prepare:
            await plan.bug.prepare(running)
        load = Load(running, history, seed=plan.seed, rate=plan.rate)
        drill = Drill(plan, running, load, history, random.Random(plan.seed))
        try:
            await drill.whole()
        finally:
            await load.end()
        for events in (await drill.log()).values():
            history.records.extend(events)
    words = [f"node {node.number}: {line}" for node in running.nodes for line in node.words]
    words += [f"projector: {line}" for line in running.projector]
    return history, drill.facts, words
