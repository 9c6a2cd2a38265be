"""The allowance of what carries no command: a burst at once, then so many a second, and no more over any time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.websocket.limits import Limits
from service.runtime.cell_rate import CONTROLS, TINY_FRAGMENT_COST, UNLIMITED, Pace, TooFast


def granted(pace: Pace, times: list[float]) -> int:
    """How many of those who come at these times are let through."""
    whole_at, count = 0.0, 0
    for now in times:
        try:
            whole_at = pace.spend(whole_at, now)
            count += 1
        except TooFast:
            pass
    return count


def test_a_burst_is_granted_and_not_one_more() -> None:
    assert granted(Pace(1.0, 10.0), [5.0] * 50) == 10


def test_what_was_used_comes_back_with_time() -> None:
    assert granted(Pace(2.0, 10.0), [5.0] * 50 + [7.0] * 50) == 14
    assert granted(Pace(2.0, 10.0), [5.0] * 50 + [1000.0] * 50) == 20


@given(
    st.lists(st.floats(0, 100), max_size=200).map(sorted),
    st.floats(0.5, 20).map(lambda rate: round(rate, 2)),
    st.integers(1, 20),
)
def test_over_any_time_no_more_is_granted_than_burst_and_rate(
    times: list[float], rate: float, burst: int
) -> None:
    assert granted(Pace(rate, burst), times) <= burst + rate * 100 + 1


@pytest.mark.parametrize("seconds", [0.5, 1.0, 5.0])
def test_a_client_that_pings_now_and_then_is_never_too_fast(seconds: float) -> None:
    times = [number * seconds for number in range(20_000)]
    assert granted(CONTROLS, times) == len(times)


def test_a_message_in_as_many_crumbs_as_may_be_is_within_the_burst() -> None:
    assert TINY_FRAGMENT_COST * Limits.max_fragments < CONTROLS.burst


def test_without_a_limit_everything_is_granted() -> None:
    assert granted(UNLIMITED, [0.0] * 10_000) == 10_000
