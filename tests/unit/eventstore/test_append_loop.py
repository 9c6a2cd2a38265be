"""The loop of decide, append and retry, with an append that is scripted."""

from collections.abc import Sequence

import pytest

from service.errors import Overloaded, Unavailable
from service.eventstore.entries import TRIES, AppendRequest, AppendResult, Outcome, append_decided

STREAM = "room:general"


class Log:
    """Gives one of `outcomes` to each request, the last of them from then on."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = list(outcomes)
        self.head = 0
        self.appended: list[AppendRequest] = []

    async def decide(self) -> AppendRequest:
        """Return a request that was decided on the present head."""
        return AppendRequest(
            stream=STREAM, user="alice", ref="ref", fingerprint=b"", decided_on=self.head, guard=()
        )

    async def append(self, request: AppendRequest) -> AppendResult:
        """Give the next outcome; another writer has moved the head."""
        self.head += 1
        self.appended.append(request)
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        return AppendResult(outcome=outcome, stream=STREAM, seq=self.head)


@pytest.mark.parametrize("outcome", ["appended", "nothing", "known", "conflict", "key_gone", "refused"])
async def test_a_result_that_is_not_stale_is_final(outcome: Outcome) -> None:
    log = Log([outcome])
    result = await append_decided(log.decide, log.append)
    assert result is not None
    assert result.outcome == outcome
    assert len(log.appended) == 1


async def test_a_stale_decision_is_made_again_on_the_present_state() -> None:
    log = Log(["stale", "stale", "appended"])
    result = await append_decided(log.decide, log.append)
    assert result is not None
    assert result.seq == 3
    assert [request.decided_on for request in log.appended] == [0, 1, 2]


@pytest.mark.parametrize("tries", [None, 1, 3])
async def test_after_the_last_try_the_caller_is_asked_to_retry(tries: int | None) -> None:
    log = Log(["stale"])
    with pytest.raises(Overloaded):
        if tries is None:
            await append_decided(log.decide, log.append)
        else:
            await append_decided(log.decide, log.append, tries=tries)
    assert len(log.appended) == (tries or TRIES)


async def test_the_last_try_may_succeed() -> None:
    log = Log([*["stale"] * (TRIES - 1), "appended"])  # type: ignore[list-item] # a star loses the literal
    result = await append_decided(log.decide, log.append)
    assert result is not None
    assert result.outcome == "appended"
    assert len(log.appended) == TRIES


async def test_the_caller_says_which_results_are_retried() -> None:
    log = Log(["key_gone", "known", "stale"])
    asked: list[Outcome] = []

    def must_retry(result: AppendResult) -> bool:
        asked.append(result.outcome)
        return result.outcome != "stale"

    result = await append_decided(log.decide, log.append, must_retry)
    assert result is not None
    assert result.outcome == "stale"
    assert asked == ["key_gone", "known", "stale"]


async def test_nothing_is_appended_without_a_request() -> None:
    log = Log(["appended"])

    async def nothing() -> None:
        return None

    assert await append_decided(nothing, log.append) is None
    assert log.appended == []


async def test_a_retry_may_find_nothing_left_to_append() -> None:
    log = Log(["stale"])

    async def once() -> AppendRequest | None:
        return None if log.appended else await log.decide()

    assert await append_decided(once, log.append) is None
    assert len(log.appended) == 1


async def test_errors_of_the_decision_and_the_append_end_the_loop() -> None:
    log = Log(["stale"])

    async def unavailable(_request: AppendRequest) -> AppendResult:
        raise Unavailable

    async def unreadable() -> AppendRequest:
        raise Unavailable

    with pytest.raises(Unavailable):
        await append_decided(log.decide, unavailable)
    with pytest.raises(Unavailable):
        await append_decided(unreadable, log.append)
    assert log.appended == []
