"""What was measured: rounds as they were, and the rows that are made of them, one for each workload and server.

The rule: a figure stands in a row only if it was measured in that round, and the round's command can be run again.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.world import build

RESULTS = build.HERE / "results"
LATEST = RESULTS / "latest.json"
MACHINE = RESULTS / "machine.json"
ROUNDS = RESULTS / "rounds.json"


@dataclass(frozen=True, kw_only=True)
class Row:
    """CPU is that of the server's own processes; memory what a connection adds to their resident size.

    `handshakes_per_s` are those that one core can do: connections by CPU seconds of the server until all were in.
    """

    workload: str
    server: str
    connections: int
    deliveries_per_s: float | None = None
    cpu_us_per_delivery: float | None = None
    kib_per_connection: float | None = None
    handshakes_per_s: float | None = None
    ack_p50_ms: float | None = None
    ack_p99_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    lost: int | None = None
    duplicated: int | None = None
    reordered: int | None = None
    commit: str = ""
    command: str = ""


@dataclass(frozen=True)
class Round:
    """One measurement. `cpu` is CPU seconds by part over the measured stretch, `more` whatever else was seen."""

    row: Row
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    number: int = 1

    @classmethod
    def read(cls, text: str) -> "Round":
        value = json.loads(text)
        return cls(Row(**value.pop("row")), **value)


class Notebook:
    """The rounds of a run, each written down as soon as it is known, so that a run can go on where it was cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rounds = list(map(Round.read, whole_lines(path)))

    def has(self, workload: str, server: str, number: int) -> bool:
        return any(
            (r.row.workload, r.row.server, r.number) == (workload, server, number) for r in self.rounds
        )

    def add(self, one: Round) -> None:
        self.rounds.append(one)
        append_line(self._path, json.dumps(asdict(one)))

    def close(self) -> None:
        """The run is over: the next one begins anew."""
        self._path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Write a line down at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a file, none where there is no such file; one that was cut off is taken out of it."""
    if not path.exists():
        return []
    *lines, rest = path.read_text().split("\n")
    if rest:
        path.write_text("".join(line + "\n" for line in lines))
    return lines


def rows(rounds: Iterable[Round]) -> list[Row]:
    """Return the median round of each workload and server (of two: the slower), in the order in which they came."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for one in rounds:
        groups.setdefault((one.row.workload, one.row.server), []).append(one.row)
    return [sorted(group, key=_slowest_first)[(len(group) - 1) // 2] for group in groups.values()]


def _slowest_first(row: Row) -> tuple[float, float]:
    return row.deliveries_per_s or 0.0, -(row.p99_ms or 0.0)


def latest() -> tuple[list[Row], dict[str, Any]] | None:
    """Return what was measured last, and on what; None where nothing was."""
    if not LATEST.exists():
        return None
    return [Row(**row) for row in json.loads(LATEST.read_text())], json.loads(MACHINE.read_text())
