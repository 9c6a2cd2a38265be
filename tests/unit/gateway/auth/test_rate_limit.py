"""The rate of one user, by a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import TooManyRequests
from service.gateway.auth.rate_limit import RateLimit
from service.runtime import token_bucket
from tests.support.clock import Clock


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    clock = Clock()
    rate = RateLimit(20, 40, clock)
    for _ in range(40):
        rate.take("alice")
    with pytest.raises(TooManyRequests) as refused:
        rate.take("alice")
    assert refused.value.data["retryAfter"] == 0.05
    rate.take("bob")
    clock.now += 0.05
    rate.take("alice")
    clock.now += 3600
    for _ in range(40):
        rate.take("alice")
    with pytest.raises(TooManyRequests):
        rate.take("alice")


@given(st.lists(st.floats(0, 2), max_size=200))
def test_no_pattern_gets_more_through_than_burst_and_rate_allow(pauses: list[float]) -> None:
    clock = Clock()
    rate = RateLimit(5, 10, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        try:
            rate.take("alice")
            taken += 1
        except TooManyRequests:
            pass
    assert taken <= 10 + 5 * clock.now + 1e-6


@pytest.mark.parametrize(("per_second", "burst"), [(0, 40), (20, 0)])
def test_zero_switches_the_limit_off(per_second: int, burst: int) -> None:
    rate = RateLimit(per_second, burst, Clock())
    for _ in range(1_000):
        rate.take("alice")


def test_the_number_of_users_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_bucket, "MAX_BUCKETS", 1_000)
    rate = RateLimit(1, 1, Clock())
    for number in range(1_010):
        rate.take(f"user-{number}")
    assert len(rate._buckets) == 1_000


def test_what_is_spent_at_one_node_is_missing_at_the_other() -> None:
    clock = Clock()
    here, there = RateLimit(1, 10, clock), RateLimit(1, 10, clock)
    for _ in range(7):
        here.take("alice")
    for user, count in here.take_spent(100).items():
        there.spent_elsewhere(user, count)
    assert here.take_spent(100) == {}, "each is told once"
    for _ in range(3):
        there.take("alice")
    with pytest.raises(TooManyRequests):
        there.take("alice")
    assert there.take_spent(100) == {"alice": 3}


def test_who_spent_a_burst_at_two_nodes_at_once_pays_the_debt_first() -> None:
    clock = Clock()
    rate = RateLimit(1, 10, clock)
    for _ in range(10):
        rate.take("alice")
    rate.spent_elsewhere("alice", 1_000)
    with pytest.raises(TooManyRequests) as refused:
        rate.take("alice")
    assert refused.value.data["retryAfter"] == 11, "a burst is the most that is owed"
    clock.now += 11
    rate.take("alice")


def test_what_is_told_at_once_is_bounded_and_nothing_is_left_out() -> None:
    rate = RateLimit(1, 10, Clock())
    for number in range(25):
        rate.take(f"user-{number}")
    told = [rate.take_spent(10) for _ in range(4)]
    assert [len(spent) for spent in told] == [10, 10, 5, 0]
    assert {user for spent in told for user in spent} == {f"user-{number}" for number in range(25)}


def test_a_count_is_taken_at_once_and_given_back() -> None:
    clock = Clock()
    rate = RateLimit(0.5, 10, clock)
    rate.take("alice", 7)
    with pytest.raises(TooManyRequests) as refused:
        rate.take("alice", 5)
    assert refused.value.data["retryAfter"] == 4
    rate.give_back("alice", 7)
    rate.take("alice", 10)
    rate.give_back("bob", 3)
    assert rate.take_spent(10) == {"alice": 10, "bob": -3}
    rate.give_back("carol", 5)
    rate.take("carol", 10)
    with pytest.raises(TooManyRequests):
        rate.take("carol")


def test_what_is_given_back_elsewhere_is_given_back_here() -> None:
    rate = RateLimit(1, 10, Clock())
    rate.spent_elsewhere("alice", 10)
    rate.spent_elsewhere("alice", -4)
    rate.take("alice", 4)
    with pytest.raises(TooManyRequests):
        rate.take("alice")
