"""Compares figures that were measured in pairs: the ratio, with a 95 % bootstrap interval. Pure.

A pair is measured within seconds, so what else the machine does changes both figures of a pair alike; their ratio is
comparable between pairs where the figures are not.
"""

import json
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESAMPLES = 2_000

AIMS: Mapping[tuple[str, str, str], float] = {
    ("W1", "cpu_us_per_delivery_all", "c-limit-ballast"): 1.25,
    ("W1", "cpu_us_per_delivery", "c-limit"): 1.25,
    ("W2", "p99_ms", "c-limit"): 1.15,
}
"""The highest ratio that is aimed at, by workload, figure and peer."""


@dataclass(frozen=True)
class Ratio:
    """A figure of ours and of a peer (medians), their ratio and its interval; `met` is None without an aim."""

    workload: str
    figure: str
    ours: float
    peer: float
    peer_server: str
    ratio: float
    low: float
    high: float
    pairs: int
    aim: float | None
    met: bool | None
    server: str = "onrecord"
    commit: str = ""
    command: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What a later measurement replaces."""
        return self.workload, self.figure, self.server, self.peer_server


def compared(
    workload: str, server: str, peer: str, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]
) -> list[Ratio]:
    """Return a row for each figure that is above 0 in both servers' measurements of some pair."""
    rows = []
    for figure in pairs[0][0] if pairs else ():
        found = [
            (ours[figure], theirs[figure]) for ours, theirs in pairs if ours[figure] > 0 < theirs[figure]
        ]
        if not found:
            continue
        ratio, low, high = interval([math.log(ours / theirs) for ours, theirs in found])
        aim = AIMS.get((workload, figure, peer))
        rows.append(
            Ratio(
                workload=workload,
                figure=figure,
                ours=round(statistics.median(ours for ours, _ in found), 2),
                peer=round(statistics.median(theirs for _, theirs in found), 2),
                peer_server=peer,
                ratio=round(ratio, 3),
                low=round(low, 3),
                high=round(high, 3),
                pairs=len(found),
                aim=aim,
                met=None if aim is None else ratio <= aim,
                server=server,
            )
        )
    return rows


def interval(logarithms: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of ratios, given by their logarithms, and the ends of its 95 % interval."""
    chance = random.Random(len(logarithms))
    means = sorted(statistics.fmean(chance.choices(logarithms, k=len(logarithms))) for _ in range(RESAMPLES))
    low, high = means[int(RESAMPLES * 0.025)], means[int(RESAMPLES * 0.975) - 1]
    return math.exp(statistics.fmean(logarithms)), math.exp(low), math.exp(high)


def table(rows: Sequence[Ratio]) -> str:
    """Return the rows as a Markdown table."""
    head = "| workload | figure | {} | peer | peer's | ratio | 95 % | pairs | aim |\n" + "| --- " * 9 + "|\n"
    return head.format("ours") + "".join(
        f"| {row.workload} | {row.figure} | {row.ours:g} | {row.peer_server} | {row.peer:g} | {row.ratio:.2f} "
        f"| {row.low:.2f} to {row.high:.2f} | {row.pairs} | {_aim(row)} |\n"
        for row in rows
    )


def _aim(row: Ratio) -> str:
    return "" if row.aim is None else f"{row.aim:g}, {'met' if row.met else 'missed'}"


def merged(path: Path, rows: Sequence[Ratio]) -> list[Ratio]:
    """Return the rows of a file with new ones in place of those that they replace."""
    kept = [Ratio(**row) for row in json.loads(path.read_text())] if path.exists() else []
    by_key = {row.key: row for row in [*kept, *rows]}
    return list(by_key.values())


def write(path: Path, rows: Sequence[Ratio]) -> None:
    """Write rows to a file as JSON, one a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n")


def report(rows: Sequence[Ratio], machine: Mapping[str, object]) -> str:
    """Return the page of the results of `make bench`."""
    return (
        "# OnRecord and its peers, in turns\n\n"
        "{date}: {cores} cores, {cpu}, {system}, Python {python} ({interpreter}), commit {commit}, by "
        "`python -m bench pairs`.\n\n"
        "A ratio is OnRecord's figure divided by the peer's, of pairs that were measured within seconds; 95 % is its "
        "bootstrap interval. `_all` counts Postgres, the projector and the ballast too.\n\n"
    ).format_map(machine) + table(rows)
