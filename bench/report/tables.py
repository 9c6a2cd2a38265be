"""Tables in Markdown: the results, the targets, the CPU of each part, and the summary in the README."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bench.report import results
from bench.report.results import Round, Row
from bench.world import build

TABLE = results.RESULTS / "latest.md"
README = build.ROOT / "README.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


HEAD = (
    "workload", "server", "connections", "deliveries/s", "CPU us/delivery", "KiB/connection", "handshakes/s and core",
    "ack p50/p99 ms", "p50 ms", "p99 ms", "lost", "doubled", "reordered",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """Return the cells of a row."""
    return [
        row.workload,
        row.server,
        f"{row.connections:,}",
        _number(row.deliveries_per_s, 0),
        _number(row.cpu_us_per_delivery, 1),
        _number(row.kib_per_connection, 1),
        _number(row.handshakes_per_s, 0),
        f"{_number(row.ack_p50_ms, 1)} / {_number(row.ack_p99_ms, 1)}" if row.ack_p99_ms is not None else "",
        _number(row.p50_ms, 1),
        _number(row.p99_ms, 1),
        *(_number(count, 0) for count in (row.lost, row.duplicated, row.reordered)),
    ]


def table(found: Iterable[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [list(HEAD), ["---"] * len(HEAD), *map(cells, found)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


PARTS = ("server", "postgres", "redis", "projector", "generator")


def parts_table(rounds: Iterable[Round]) -> str:
    """Return the CPU of each part, in cores, during each round."""
    lines = [
        ["workload", "server", "round", *(f"{part}, cores" for part in PARTS)],
        ["---"] * (3 + len(PARTS)),
    ]
    for each in rounds:
        if each.seconds:
            shares = [_number(each.cpu[part] / each.seconds, 2) if part in each.cpu else "" for part in PARTS]
            lines.append([each.row.workload, each.row.server, str(each.number), *shares])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


@dataclass(frozen=True)
class Target:
    """An intended ratio or figure (at `most` or at `least`), and the one found."""

    description: str
    found: float | None
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        return self.found <= self.most if self.most is not None else self.found >= (self.least or 0.0)


def targets(found: Iterable[Row]) -> list[Target]:
    """Return the targets of the design, with the figures of these rows."""
    by = {(row.workload, row.server): row for row in found}

    def value(workload: str, server: str, name: str) -> float | None:
        row = by.get((workload, server))
        measured = getattr(row, name) if row else None
        return None if measured is None else float(measured)

    def ratio(workload: str, peer: str, name: str) -> float | None:
        ours, theirs = value(workload, "onrecord", name), value(workload, peer, name)
        return None if ours is None or not theirs else round(ours / theirs, 2)

    return [
        Target(
            "W1: deliveries a second, of the C limit's", ratio("W1", "c-limit", "deliveries_per_s"), least=0.8
        ),
        Target(
            "W1: CPU per delivery, of the C limit's", ratio("W1", "c-limit", "cpu_us_per_delivery"), most=1.4
        ),
        Target("W1: deliveries, of Socket.IO's", ratio("W1", "node-socketio", "deliveries_per_s"), least=3),
        Target("W1: KiB per idle connection", value("W1", "onrecord", "kib_per_connection"), most=12),
        Target("W2: handshakes per second and core", value("W2", "onrecord", "handshakes_per_s"), least=2500),
        Target("W2: p99, of the C limit's", ratio("W2", "c-limit", "p99_ms"), most=1.15),
        Target("W3: posts a second with ack p99 under 20 ms", _posts(by.get(("W3", "onrecord"))), least=2000),
        Target(
            "churn: KiB that a connection leaves behind",
            value("churn", "onrecord", "kib_per_connection"),
            most=0.1,
        ),
        Target("W4: seconds until all are level", _seconds(by.get(("W4", "onrecord"))), most=10),
    ]


W3_MEMBERS = 10
"""Members of a room of W3, so that each post makes this many deliveries."""


def _posts(row: Row | None) -> float | None:
    return row.deliveries_per_s / W3_MEMBERS if row and row.deliveries_per_s is not None else None


def _seconds(row: Row | None) -> float | None:
    return round(row.p99_ms / 1000, 1) if row and row.p99_ms is not None else None


def targets_table(found: Iterable[Row]) -> str:
    """Return the targets and what was found as a Markdown table."""
    lines = [["target", "aim", "found", "met"], ["---"] * 4]
    for target in targets(found):
        aim = f"at most {target.most:g}" if target.most is not None else f"at least {target.least:g}"
        met = {True: "yes", False: "no", None: "not measured"}[target.met]
        lines.append([target.description, aim, "" if target.found is None else f"{target.found:g}", met])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def summary(found: list[Row], machine: dict[str, Any]) -> str:
    """Return the summary for the README."""
    by = {(row.workload, row.server): row for row in found}
    lines = [
        [
            "10,000 connections",
            "deliveries/s, 100 rooms",
            "CPU us each",
            "KiB/connection",
            "p99 ms, one room",
        ],
        ["---"] * 5,
    ]
    for row in found:
        if row.workload == "W1":
            one_room = by.get(("W2", row.server))
            lines.append([row.server, *cells(row)[3:6], _number(one_room.p99_ms if one_room else None, 0)])
    where = "{cores} cores, {cpu}, generator and database included; commit {commit}".format_map(machine)
    return (
        "".join("| " + " | ".join(line) + " |\n" for line in lines) + f"\n{machine['date'][:10]}: {where}.\n"
    )


def into_readme() -> None:
    """Write the summary between the marks in the README."""
    known = results.latest()
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(before + BEGIN + (summary(*known) if known else "") + END + after)


def trouble(rounds: Iterable[Round]) -> str:
    """Return a line that names refused and closed connections of the rounds."""
    found = []
    for each in rounds:
        step = each.more.get("step") or (each.more.get("steps") or [{}])[-1]
        seen = {what: step[what] for what in ("refused", "closes") if step.get(what)}
        if seen:
            found.append(f"{each.row.workload} {each.row.server}, round {each.number}: {seen}")
    return "Refused or closed: " + ("; ".join(found) if found else "nothing.")


def report(found: list[Row], rounds: list[Round], machine: dict[str, Any]) -> str:
    """Return the full report as Markdown."""
    where = "{cores} cores, {cpu}, {system}, commit {commit}".format_map(machine)
    return (
        f"Measured on {machine['date']} by `{machine['command']}`: {where}.\n"
        f"{_stalls(machine)}"
        "How to read this, and what it does not show: docs/explanation/speed.md.\n\n"
        f"{table(found)}\n{targets_table(found)}\n{parts_table(rounds)}\n{trouble(rounds)}\n"
    )


def _stalls(machine: dict[str, Any]) -> str:
    if (stalls := machine.get("stalls")) is None:
        return ""
    return (
        f"With every core busy and no server running, a core stalled for up to {stalls['longest_ms']:.1f} ms, "
        f"and for {stalls['share']:.1%} of the time: no latency here is better than that.\n"
    )


def write(rounds: list[Round], machine: dict[str, Any]) -> None:
    """Write the rows, the rounds, the machine and the report so far."""
    results.RESULTS.mkdir(exist_ok=True)
    found = results.rows(rounds)
    results.LATEST.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
    results.ROUNDS.write_text(json.dumps([asdict(each) for each in rounds], indent=1) + "\n")
    results.MACHINE.write_text(json.dumps(machine, indent=1) + "\n")
    TABLE.write_text(report(found, rounds, machine))
