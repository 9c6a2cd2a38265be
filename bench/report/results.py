"""Results: rounds as they were measured, and the table's rows, one for each workload and server.

Invariant: all figures of a row are of one round, and the round's command can be run again.
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
PAIRED = RESULTS / "paired.json"
PAIRED_PAGE = RESULTS / "paired.md"
ROUNDS = RESULTS / "rounds.json"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of a workload on a server. Only the server's own processes count for CPU and memory.

    `kib_per_connection` is what a connection adds to their resident size. `handshakes_per_s` is per core: connections
    divided by the CPU seconds that the server used until all were connected.
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
    """One measurement. `cpu` is CPU seconds by part during the `seconds` measured, `more` has other observations."""

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
    """The rounds of a run. Each is saved as soon as it is known, so that an interrupted run can resume."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rounds = list(map(Round.read, whole_lines(path)))

    def has(self, workload: str, server: str, number: int) -> bool:
        return any(
            (r.row.workload, r.row.server, r.number) == (workload, server, number) for r in self.rounds
        )

    def add(self, measured: Round) -> None:
        self.rounds.append(measured)
        append_line(self._path, json.dumps(asdict(measured)))

    def close(self) -> None:
        """Delete the saved rounds: the run is over."""
        self._path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a file, none if it does not exist; an incomplete last line is removed from the file."""
    if not path.exists():
        return []
    *lines, rest = path.read_text().split("\n")
    if rest:
        path.write_text("".join(line + "\n" for line in lines))
    return lines


def rows(rounds: Iterable[Round]) -> list[Row]:
    """Return the median round of each workload and server (of two: the slower), in the order of measurement."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for each in rounds:
        groups.setdefault((each.row.workload, each.row.server), []).append(each.row)
    return [sorted(group, key=_slowest_first)[(len(group) - 1) // 2] for group in groups.values()]


def _slowest_first(row: Row) -> tuple[float, float]:
    return row.deliveries_per_s or 0.0, -(row.p99_ms or 0.0)


def latest() -> tuple[list[Row], dict[str, Any]] | None:
    """Return the last saved rows and the description of their machine; None if there are none."""
    if not LATEST.exists():
        return None
    return [Row(**row) for row in json.loads(LATEST.read_text())], json.loads(MACHINE.read_text())
