"""A churn that was cut off goes on where it was; nothing counts twice, and nothing that was cut off counts at all."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import psutil
import pytest

from bench.churn import Progress, Turn
from bench.report.results import Notebook, Round, Row
from bench.workloads import Churn, Pace
from bench.world import build
from bench.world.fixtures import Shape
from tests.support.waiting import until

if TYPE_CHECKING:
    from bench.server_run import ServerRun


class CutOff(Exception):
    """As if the run was interrupted."""


class Machine:
    """A server that each turn makes 2 KiB larger, in a run that is cut off after so many turns."""

    def __init__(self, turns: int) -> None:
        self.running = SimpleNamespace(parts={"server": psutil.Process()})
        self.server = "onrecord"
        self.arrival_cost = dict
        self.size = 1000.0
        self.turns = turns


class Scripted(Churn):
    """A churn at such a machine."""

    def _turn(self, run: "ServerRun") -> None:
        machine = cast("Machine", run)
        if not machine.turns:
            raise CutOff
        machine.turns -= 1
        machine.size += 2.0

    def _size(self, run: "ServerRun") -> float:
        return cast("Machine", run).size


def measured(churn: Churn, path: Path, turns: int) -> Round:
    return churn.measure(cast("ServerRun", Machine(turns)), Pace(unfinished=path))


def test_a_churn_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    churn, path = (
        Scripted("churn", Shape(people=10, rooms=1), least=70, warm=1),
        tmp_path / "deep" / "churn.jsonl",
    )
    for turns in (1 + 3, 0, 1 + 2):  # the second is cut off before it is warm
        with pytest.raises(CutOff):
            measured(churn, path, turns)
    found = measured(churn, path, 100)
    assert found.row.connections == 70
    assert found.row.kib_per_connection == 0.2
    assert found.more["rss_kib"] == [[1002, 1004, 1006, 1008], [1002, 1004, 1006], [1002, 1004, 1006]]
    assert set(found.cpu) == {"server"}
    again = measured(churn, path, 1)  # all is there: it is only warm
    assert (again.row.connections, again.row.kib_per_connection) == (70, 0.2)


def test_an_hour_is_counted_over_all_stretches(tmp_path: Path) -> None:
    path = tmp_path / "churn.jsonl"
    for _ in range(2):
        stretch = Progress(path)
        stretch.begin(100.0)
        stretch.add(Turn(101.5, 10, 30.25, {"server": 1.5, "postgres": 0.25}))
    progress = Progress(path)
    assert (progress.made, progress.seconds, progress.grown_kib) == (20, 60.5, 3.0)
    assert progress.cpu == {"server": 3.0, "postgres": 0.5}


def test_a_line_that_was_cut_off_is_forgotten_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "churn.jsonl"
    progress = Progress(path)
    progress.begin(100.0)
    progress.add(Turn(101.0, 10, 1.0, {}))
    progress.add(Turn(102.0, 10, 1.0, {}))
    path.write_text(path.read_text()[:-5])
    progress = Progress(path)
    assert progress.sizes == [[100.0, 101.0]]
    progress.add(Turn(103.0, 10, 1.0, {}))
    assert Progress(path).sizes == [[100.0, 101.0, 103.0]]


def test_a_round_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    one, other = (Round(Row(workload=name, server="onrecord", connections=1)) for name in ("W1", "W2"))
    Notebook(path).add(one)
    Notebook(path).add(other)
    path.write_text(path.read_text()[:-1])
    again = Notebook(path)
    assert again.rounds == [one]
    again.add(other)
    assert Notebook(path).rounds == [one, other]


async def test_a_run_in_the_background_says_where_its_words_are() -> None:
    words = [sys.executable, "-m", "bench", "one", "no-such", "onrecord", "--background"]
    done = subprocess.run(words, cwd=build.ROOT, capture_output=True, text=True, check=True)  # noqa: ASYNC221 - it ends at once
    said = build.ROOT / re.findall(r"in (\S+)\.\n", done.stdout)[0]
    began = int(re.findall(r"Process (\d+)", done.stdout)[0])
    assert began != os.getpid()
    await until(lambda: re.search("No such workload|Another run", said.read_text()))
