"""Rounds become rows, rows become tables, and a run that was cut off goes on."""

import json
from dataclasses import asdict, fields
from pathlib import Path

from bench.report import results, tables
from bench.report.results import Notebook, Round, Row
from bench.report.tables import BEGIN, END, README

COLUMNS = [
    "workload",
    "server",
    "connections",
    "deliveries_per_s",
    "cpu_us_per_delivery",
    "kib_per_connection",
    "handshakes_per_s",
    "ack_p50_ms",
    "ack_p99_ms",
    "p50_ms",
    "p99_ms",
    "lost",
    "duplicated",
    "reordered",
    "commit",
    "command",
]


def a_row(server: str = "onrecord", workload: str = "W1", **figures: float) -> Row:
    return Row(**{"workload": workload, "server": server, "connections": 10, **figures})  # type: ignore[arg-type]


def test_a_row_has_exactly_the_columns_that_were_agreed() -> None:
    assert [field.name for field in fields(Row)] == COLUMNS


def test_a_row_is_the_median_round_and_the_slower_of_two() -> None:
    def found(*rates: float) -> list[float | None]:
        rounds = [Round(a_row(deliveries_per_s=rate), number=number) for number, rate in enumerate(rates)]
        return [row.deliveries_per_s for row in results.rows(rounds)]

    assert found(5, 1, 3) == [3]
    assert found(5, 1) == [1]


def test_workloads_and_servers_keep_their_order_and_are_not_mixed() -> None:
    rounds = [
        Round(a_row("c-limit")),
        Round(a_row("onrecord")),
        Round(a_row("c-limit", "W2")),
        Round(a_row("c-limit")),
    ]
    assert [(row.workload, row.server) for row in results.rows(rounds)] == [
        ("W1", "c-limit"),
        ("W1", "onrecord"),
        ("W2", "c-limit"),
    ]


def test_a_run_that_was_cut_off_knows_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "rounds.jsonl"
    one = Round(a_row(p99_ms=1.5), 2.0, {"server": 0.5}, {"steps": []}, number=2)
    Notebook(path).add(one)
    again = Notebook(path)
    assert again.rounds == [one]
    assert again.has("W1", "onrecord", 2)
    assert not again.has("W1", "onrecord", 1)
    again.close()
    assert Notebook(path).rounds == []


def test_targets_are_ratios_of_one_run_and_unmeasured_ones_are_not_met() -> None:
    found = tables.targets(
        [
            a_row("onrecord", deliveries_per_s=90.0, cpu_us_per_delivery=14.0, kib_per_connection=11.0),
            a_row("c-limit", deliveries_per_s=100.0, cpu_us_per_delivery=10.0),
            a_row("onrecord", "W3", deliveries_per_s=20_000.0),
        ]
    )
    assert [(target.found, target.met) for target in found] == [
        (0.9, True),
        (1.4, True),
        (None, None),
        (11.0, True),
        (None, None),
        (None, None),
        (2000.0, True),
        (None, None),
        (None, None),
    ]


def test_the_readme_shows_what_was_measured_last() -> None:
    known = results.latest()
    shown = README.read_text().split(BEGIN)[1].split(END)[0]
    assert shown == (tables.summary(*known) if known else "")


def test_a_report_names_the_machine_and_every_round() -> None:
    machine = {
        "cores": 2,
        "cpu": "a cpu",
        "system": "Linux",
        "commit": "abc",
        "date": "2026-01-01",
        "command": "this",
    }
    one = Round(a_row(deliveries_per_s=12345.6), 2.0, {"server": 1.0, "postgres": 0.5}, number=3)
    text = tables.report([one.row], [one], machine)
    assert "2 cores, a cpu, Linux, commit abc" in text
    assert "| W1 | onrecord | 10 | 12,346 |" in text
    assert "| W1 | onrecord | 3 | 0.50 | 0.25 |  |  |  |" in text
    assert json.loads(json.dumps(asdict(one))) == asdict(one)


def test_a_report_says_what_was_refused() -> None:
    fine = Round(a_row(), more={"step": {"refused": {}, "closes": {}}})
    refused = Round(a_row(workload="hot"), more={"step": {"refused": {"overloaded": 3}, "closes": {}}})
    assert tables.trouble([fine]) == "Refused or closed: nothing."
    assert tables.trouble([fine, refused]).endswith("hot onrecord, round 1: {'refused': {'overloaded': 3}}")
