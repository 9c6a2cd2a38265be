"""The bytes that one user's commands may append in a day, by a clock that the test turns."""

import asyncio
import logging

import pytest

from service.chat import BudgetedAppender, LogBudget
from service.chat.log_budget import DAY, EVENT_BYTES, MAX_USERS
from service.errors import TooManyRequests, Unavailable
from service.eventstore.appender import Answer
from service.eventstore.entries import AppendRequest, AppendResult, Outcome
from service.eventstore.serializer import Stored
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


class Log:
    """An appender that answers when the test says so; `offered` has what it was offered."""

    def __init__(self) -> None:
        self.offered: list[AppendRequest] = []
        self.answers: list[Answer] = []

    def offer(self, entry: AppendRequest) -> "asyncio.Future[AppendResult]":
        self.place(entry, lambda _result: None)
        return asyncio.get_running_loop().create_future()

    def place(self, entry: AppendRequest, answer: Answer) -> None:
        self.offered.append(entry)
        self.answers.append(answer)

    async def answer(self, outcome: Outcome, number: int = -1) -> None:
        self.answers[number](AppendResult(outcome=outcome, stream="room:general", seq=1))
        await asyncio.sleep(0)


def entry(size: int, ref: str = "ref") -> AppendRequest:
    stored = () if not size else (Stored("topic", "", b"x" * (size - EVENT_BYTES), None),)
    return AppendRequest(
        stream="room:general", user="alice", ref=ref, fingerprint=b"", decided_on=0, guard=(), stored=stored
    )


async def test_commands_in_flight_hold_what_they_would_append() -> None:
    log, budget = Log(), LogBudget(1_000, Clock())
    appender = BudgetedAppender(log, budget)  # type: ignore[arg-type] # a stand-in
    first = appender.offer(entry(600))
    refused = appender.offer(entry(401))
    assert [bool(offered.stored) for offered in log.offered] == [True, False], "only its ref is looked up"
    assert log.offered[1].record is False
    await log.answer("refused")
    with pytest.raises(TooManyRequests):
        await refused
    await log.answer("stale", 0)
    assert (await first).outcome == "stale"
    assert budget.appended == 0
    whole = appender.offer(entry(1_000))
    await log.answer("appended")
    assert (await whole).outcome == "appended"
    assert budget.appended == 1_000
    over = appender.offer(entry(301))
    await log.answer("known")
    assert (await over).outcome == "known", "a retry gets its first answer"
    stale = appender.offer(entry(301))
    await log.answer("stale")
    assert (await stale).outcome == "stale", "it is decided again"
    nothing: list[object] = []
    appender.place(entry(0), nothing.append)
    await log.answer("nothing")
    assert [result.outcome for result in nothing if isinstance(result, AppendResult)] == ["nothing"]
    appender.offer(entry(2_000, ref="~name"))
    assert log.offered[-1].stored, "names have a rate of their own"


async def test_bytes_of_an_unknown_outcome_stay_counted() -> None:
    log, budget = Log(), LogBudget(1_000, Clock())
    lost = BudgetedAppender(log, budget).offer(entry(1_000))  # type: ignore[arg-type] # a stand-in
    log.answers[-1](Unavailable())
    with pytest.raises(Unavailable):
        await lost
    assert budget.refusal("alice", 1) is not None
