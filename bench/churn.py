"""How far a churn has come, written down turn by turn, so that one that was cut off goes on where it was.

A server does not outlive the run that was cut off, so the next run goes on with a *stretch* of its own: a server that
is warm again, from whatever size it has then. What connections leave behind is what all stretches grew by.

The rule: a turn counts once it is written down; what was cut off in the middle of one is forgotten.
"""

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.report.results import append_line, whole_lines


@dataclass(frozen=True)
class Turn:
    """Everybody left and came back: connections made, seconds, CPU by part, and the server's size after it.

    The first of a stretch is no turn: only the size that the others are compared with.
    """

    rss_kib: float
    made: int = 0
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)


class Progress:
    """The turns of a churn. Without a path they are kept in memory alone."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stretches: list[list[Turn]] = []
        for line in whole_lines(path) if path else ():
            self._take(Turn(**json.loads(line)))

    def begin(self, rss_kib: float) -> None:
        """Begin a stretch, with a server that is warm."""
        self.add(Turn(rss_kib))

    def add(self, turn: Turn) -> None:
        """Write down a turn that is over."""
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
        """Connections that were made."""
        return sum(turn.made for turn in self._turns)

    @property
    def seconds(self) -> float:
        """How long all turns took."""
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
        """What the server grew by, over all stretches."""
        return sum(stretch[-1].rss_kib - stretch[0].rss_kib for stretch in self._stretches)

    @property
    def sizes(self) -> list[list[float]]:
        """The server's size before and after each turn, by stretch."""
        return [[turn.rss_kib for turn in stretch] for stretch in self._stretches]
