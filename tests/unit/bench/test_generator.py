"""The load generator counts what it is given: by a server with scripted faults."""

import bisect
import json
import random
import subprocess

import pytest

from bench.measure import machine
from bench.measure.generator import Generator
from bench.world import build
from tests.support.servers.lossy_chat_server import Orders, faulty

pytestmark = pytest.mark.needs("cc")

ROOMS, MEMBERS = 2, 5


def load(port: int) -> Generator:
    """Two rooms of five, where the first two write in turn."""
    return Generator(port, "plain", connections=ROOMS * MEMBERS, rooms=ROOMS, posters=2)


def counts(orders: Orders, *, refuse: tuple[int, ...] = ()) -> dict[str, object]:
    """What it counts of 40 posts, 20 in each room."""
    with faulty(orders, refuse=refuse) as port, load(port) as generator:
        generator.connect()
        figures = generator.post(400, 0.1, patience=1)
        names = (
            "posts",
            "acked",
            "deliveries",
            "lost",
            "duplicated",
            "reordered",
            "stale",
            "refused",
            "closes",
        )
        return {name: figures[name] for name in names}


FAULTLESS = {
    "posts": 40,
    "acked": 40,
    "deliveries": 200,
    "lost": 0,
    "duplicated": 0,
    "reordered": 0,
    "stale": 0,
    "refused": {},
    "closes": {},
}


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        pytest.param({}, {}, id="nothing goes wrong"),
        pytest.param({(2, 3): "lose"}, {"lost": 2, "deliveries": 198}, id="one lost in each room"),
        pytest.param(
            {(0, 0): "lose", (4, 19): "lose"}, {"lost": 4, "deliveries": 196}, id="first and last lost"
        ),
        pytest.param({(1, 7): "double"}, {"duplicated": 2}, id="one doubled in each room"),
        pytest.param({(1, 7): "double", (3, 7): "double"}, {"duplicated": 4}, id="two doubled in each room"),
        pytest.param(
            {(0, 1): "lose", (1, 2): "double", (2, 3): "lose"},
            {"lost": 4, "deliveries": 196, "duplicated": 2},
            id="lost and doubled at once",
        ),
    ],
)
def test_it_counts_what_goes_wrong(orders: Orders, expected: dict[str, object]) -> None:
    assert counts(orders) == FAULTLESS | expected


def test_reordering_counts_within_one_author_only() -> None:
    with faulty({(0, 4): "swap"}) as port, load(port) as generator:
        generator.connect()
        # Numbers 4 and 5 are of different authors: their order is not defined.
        assert generator.post(400, 0.1, patience=1)["reordered"] == 0
    with (
        faulty({(0, 4): "swap"}) as port,
        Generator(port, "plain", connections=10, rooms=2, posters=1) as generator,
    ):
        generator.connect()
        assert generator.post(400, 0.1, patience=1)["reordered"] == 2


def test_refusals_are_counted_by_code_and_not_awaited() -> None:
    found = counts({}, refuse=(3, 4))
    assert found["refused"] == {"overloaded": 4}
    assert found["acked"] == 36
    assert found["lost"] == 4 * MEMBERS


def test_connection_closed_by_the_server_counts_the_rest_as_lost() -> None:
    with faulty({(4, 10): "close"}) as port, load(port) as generator:
        generator.connect()
        figures = generator.post(400, 0.1, patience=1)
        assert figures["closes"] == {"4008": 2}
        assert figures["lost"] == 2 * 10
        assert generator.connect()["came"] == 2


def test_a_rate_that_is_too_much_ends_early() -> None:
    with faulty({}) as port, load(port) as generator:
        generator.connect()
        figures = generator.post(400, 5, limit_ms=0.000001)
        assert figures["posts"] < figures["planned"] == 2000
        assert figures["deliveries"] == figures["posts"] * MEMBERS


@pytest.mark.parametrize("seed", range(4))
def test_a_percentile_is_never_too_low_and_at_most_one_64th_too_high(seed: int) -> None:
    rng = random.Random(seed)
    values = sorted(int(10 ** rng.uniform(0, 11)) for _ in range(5000))
    text = "\n".join(map(str, values))
    done = subprocess.run(
        [build.generator(), "percentiles"], input=text, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert (found["total"], found["max"]) == (5000, values[-1])
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
        exact = values[bisect.bisect_left(range(1, 5001), share * 5000)]
        assert exact <= found[name] <= exact * (1 + 1 / 64)


def test_small_values_are_exact_and_no_values_are_zero() -> None:
    for text, expected in (("", 0), ("7", 7), ("127 127 1", 127)):
        done = subprocess.run(
            [build.generator(), "percentiles"], input=text, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["p50"] == expected


def test_how_long_the_machine_stands_still_is_found() -> None:
    found = machine.stalls(0.2)
    assert found["longest_ms"] > 0
    assert 0 <= found["share"] < 1
