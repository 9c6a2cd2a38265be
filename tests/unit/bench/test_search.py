from hypothesis import given
from hypothesis import strategies as st

from bench.search import LOWEST, SMALLER, confirmed, highest


@given(limit=st.floats(2, 1e5), start=st.floats(1, 1e4))
def test_the_highest_rate_is_found_to_within_the_last_step(limit: float, start: float) -> None:
    tried: list[float] = []

    def passes(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    found = highest(passes, start=start, narrow=4)
    assert found <= limit < found * (1 + 2**-3)
    assert found in tried


def test_where_nothing_passes_the_rate_is_zero() -> None:
    tried: list[float] = []

    def passes(rate: float) -> bool:
        tried.append(rate)
        return False

    assert highest(passes, start=100, narrow=3) == 0
    assert tried[-1] == LOWEST == min(tried)
    assert confirmed(lambda _: False, 100, tries=3) == 0


def test_a_rate_that_does_not_hold_gives_way_to_the_next_smaller_one() -> None:
    assert confirmed(lambda rate: rate < 99, 100, tries=3) == 100 * SMALLER
