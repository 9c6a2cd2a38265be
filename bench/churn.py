"""Saves the progress of a churn after each turn, so that an interrupted churn resumes.

A run that resumes has a new server, so it begins a new *stretch*: it warms the server up and records its size. The
memory that connections leave behind is the sum of the growth in each stretch.

Invariant: a turn counts once it is saved; an interrupted turn is discarded.
"""

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.report.results import append_line, whole_lines


@dataclass(frozen=True)
class Turn:
    """One disconnect and reconnect of all clients: connections made, seconds, CPU by part, and the server's size after.

    The first entry of a stretch has no connections: it is the size that the others are compared with.
    """

    rss_kib: float
    made: int = 0
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)


class Progress:
    """The turns of a churn. Without a path they are kept in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stretches: list[list[Turn]] = []
        for line in whole_lines(path) if path else ():
            self._take(Turn(**json.loads(line)))

    def begin(self, rss_kib: float) -> None:
        """Begin a stretch with a warm server of this size."""
        self.add(Turn(rss_kib))

    def add(self, turn: Turn) -> None:
        """Save a finished turn."""
        self._take(turn)
        if self._path:
            append_line(self._path, json.dumps(asdict(turn)))

    def _take(self, turn: Turn) -> None:
        if not turn.made:
            self._stretches.append([])
        self._stretches[-1].append(turn)

    @property
    def _turns(self) -> list[Turn]:
        return [turn for stretch in self._stretches for turn in stretch]

    @property
    def made(self) -> int:
        """Connections made in all turns."""
        return sum(turn.made for turn in self._turns)

    @property
    def seconds(self) -> float:
        """Seconds of all turns."""
        return sum(turn.seconds for turn in self._turns)

    @property
    def cpu(self) -> dict[str, float]:
        """CPU seconds by part."""
        total: defaultdict[str, float] = defaultdict(float)
        for turn in self._turns:
            for part, seconds in turn.cpu.items():
                total[part] += seconds
        return dict(total)

    @property
    def grown_kib(self) -> float:
        """Growth of the server, summed over the stretches."""
        return sum(stretch[-1].rss_kib - stretch[0].rss_kib for stretch in self._stretches)

    @property
    def sizes(self) -> list[list[float]]:
        """The server's size before and after each turn, by stretch."""
        return [[turn.rss_kib for turn in stretch] for stretch in self._stretches]
