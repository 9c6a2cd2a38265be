"""The bytes that one user's commands may append in a day, by a clock that the test turns."""

import logging

import pytest

from service.chat import LogBudget
from service.chat.log_budget import DAY, MAX_USERS
from service.errors import TooManyRequests
from tests.support.clock import Clock


def test_a_user_appends_so_many_bytes_a_day_and_not_one_more(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    clock.now = 10 * DAY + 100
    budget = LogBudget(1_000, clock)
    assert budget.refusal("alice", 1_000) is None
    budget.add("alice", 600)
    assert budget.refusal("alice", 400) is None
    with caplog.at_level(logging.WARNING):
        refused = [budget.refusal("alice", 401) for _ in range(3)]
    assert all(isinstance(each, TooManyRequests) for each in refused)
    assert refused[0] is not None
    assert refused[0].data["retryAfter"] == DAY - 100
    assert [record.message for record in caplog.records] == ["log_budget_reached"], "one line a user and day"
    assert budget.refused == 3
    assert budget.refusal("bob", 1_000) is None, "others are not affected"
    clock.now = 11 * DAY
    assert budget.refusal("alice", 1_000) is None, "a new day"


def test_bytes_that_were_not_appended_are_given_back() -> None:
    budget = LogBudget(1_000, Clock())
    budget.add("alice", 1_000)
    assert budget.refusal("alice", 1) is not None
    budget.add("alice", -1_000)
    assert budget.refusal("alice", 1_000) is None


def test_nodes_exchange_what_users_append() -> None:
    one, other = LogBudget(1_000, Clock()), LogBudget(1_000, Clock())
    one.add("alice", 700)
    for user, count in one.take_spent(10).items():
        other.spent_elsewhere(user, count)
    assert one.take_spent(10) == {}
    assert other.take_spent(10) == {}, "what others report is not reported again"
    assert other.refusal("alice", 301) is not None
    assert other.refusal("alice", 300) is None


def test_zero_turns_the_limit_off_and_the_number_of_users_is_bounded() -> None:
    off = LogBudget(0, Clock())
    off.add("alice", 10**12)
    assert off.refusal("alice", 10**12) is None
    budget = LogBudget(1_000, Clock())
    for number in range(MAX_USERS + 1):
        budget.add(f"user-{number}", 1_000)
    assert budget.refusal("user-0", 1) is None
    assert budget.refusal("user-1", 1) is not None
    assert len(budget.take_spent(10**6)) == MAX_USERS
