"""Paired figures give a ratio and an interval that what else the machine does cannot move."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import ratios
from bench.report.ratios import compared, interval, merged, table, write

SLOW = st.lists(st.floats(0.2, 50.0), min_size=1, max_size=30)
"""By how much the machine is slower in each pair."""


@given(SLOW)
def test_what_slows_both_servers_of_a_pair_alike_changes_nothing(slower: list[float]) -> None:
    rows = compared("W1", "onrecord", "c-limit", [({"us": 30 * by}, {"us": 20 * by}) for by in slower])
    assert [(row.ratio, row.low, row.high, row.pairs) for row in rows] == [(1.5, 1.5, 1.5, len(slower))]


def test_the_interval_holds_the_true_ratio_and_narrows_with_pairs() -> None:
    chance = random.Random(1)
    many = [math.log(2.0) + chance.gauss(0, 0.3) for _ in range(400)]
    few = many[:20]
    (_, low, high), (_, lower, higher) = interval(many), interval(few)
    assert low < 2.0 < high
    assert lower < 2.0 < higher
    assert high / low < higher / lower


@pytest.mark.parametrize(("ours", "met"), [(125.0, True), (126.0, False)])
def test_an_aim_is_met_up_to_its_ratio(ours: float, met: bool) -> None:  # noqa: FBT001 - of the table
    (row,) = compared(
        "W1", "onrecord", "c-limit", [({"cpu_us_per_delivery": ours}, {"cpu_us_per_delivery": 100.0})]
    )
    assert (row.aim, row.met) == (1.25, met)
    assert ("met" if met else "missed") in table([row])


def test_a_figure_without_an_aim_is_neither_met_nor_missed() -> None:
    (row,) = compared("W1", "onrecord", "node-ws", [({"seconds": 1.0}, {"seconds": 2.0})])
    assert (row.aim, row.met, row.ratio) == (None, None, 0.5)


def test_pairs_in_which_a_figure_was_too_small_to_count_are_left_out() -> None:
    pairs = [({"us": 0.0}, {"us": 1.0}), ({"us": 3.0}, {"us": 1.0}), ({"us": 1.0}, {"us": 0.0})]
    (row,) = compared("W1", "onrecord", "c-limit", pairs)
    assert (row.ratio, row.pairs) == (3.0, 1)
    assert compared("W1", "onrecord", "c-limit", pairs[:1]) == []
    assert compared("W1", "onrecord", "c-limit", []) == []


def test_a_new_row_replaces_the_one_of_the_same_figure_and_servers(tmp_path: Path) -> None:
    path = tmp_path / "paired.json"
    first = compared("W1", "onrecord", "c-limit", [({"us": 2.0, "ms": 1.0}, {"us": 1.0, "ms": 1.0})])
    write(path, merged(path, first))
    again = compared("W1", "onrecord", "c-limit", [({"us": 3.0}, {"us": 1.0})])
    other = compared("W1", "onrecord", "node-ws", [({"us": 4.0}, {"us": 1.0})])
    write(path, merged(path, [*again, *other]))
    assert [(row.figure, row.peer_server, row.ratio) for row in merged(path, [])] == [
        ("us", "c-limit", 3.0),
        ("ms", "c-limit", 1.0),
        ("us", "node-ws", 4.0),
    ]
    assert ratios.merged(tmp_path / "missing.json", []) == []
