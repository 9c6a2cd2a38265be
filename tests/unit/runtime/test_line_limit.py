"""Log lines have a rate in total and for each key, and the next line counts those that were withheld."""

from service.runtime.token_bucket import LineLimit
from tests.support.clock import Clock


def test_lines_beyond_the_burst_are_withheld_and_counted() -> None:
    clock = Clock()
    lines = LineLimit(clock, (0.1, 1))
    assert [lines.admit() for _ in range(4)] == [0, None, None, None]
    clock.now += 10
    assert [lines.admit(), lines.admit()] == [3, None]


def test_a_key_has_a_rate_of_its_own() -> None:
    clock = Clock()
    lines = LineLimit(clock, (1, 3), (1, 2))
    assert [lines.admit("one") for _ in range(3)] == [0, 0, None]
    assert [lines.admit("other") for _ in range(2)] == [1, None]
    clock.now += 1
    assert lines.admit("one") == 1
