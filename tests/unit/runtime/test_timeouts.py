"""Many waits over one timer."""

import asyncio

from service.runtime.timeouts import DUE_A_TURN, Timeouts
from tests.support.clients.turns import Turns


async def test_each_wait_ends_once_in_the_order_of_beginning() -> None:
    told: list[str] = []
    done = asyncio.Event()

    def due(one: str) -> None:
        told.append(one)
        if one == "last":
            done.set()

    waits = Timeouts(0.05, due)
    for one in ("first", "second", "third"):
        waits.begin(one)
    waits.begin("first")  # again: now it is behind the others
    waits.end("second")
    waits.end("nobody")
    assert len(waits) == 2
    await asyncio.sleep(0.02)
    waits.begin("last")
    await asyncio.wait_for(done.wait(), 30)
    assert told == ["third", "first", "last"]
    assert len(waits) == 0


async def test_whoever_is_told_may_wait_again() -> None:
    rounds = 0
    done = asyncio.Event()

    def due(one: str) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            done.set()
        else:
            waits.begin(one)

    waits = Timeouts(0.01, due)
    waits.begin("x")
    await asyncio.wait_for(done.wait(), 30)
    assert (rounds, len(waits)) == (3, 0)


async def test_a_process_that_stood_still_looks_again_before_it_says_anything() -> None:
    told: list[str] = []
    waits = Timeouts(0.01, told.append)
    waits.begin("x")
    loop = asyncio.get_running_loop()
    waits._deadlines["x"] = loop.time() - 1  # as if the timer came a second late
    waits._check()
    assert told == []
    waits.end("x")  # what arrived during the wait is read
    await asyncio.sleep(0.2)
    assert told == []


async def test_ten_thousand_waits_that_end_together_end_some_a_turn() -> None:
    turns, told, done = Turns(), list[int](), asyncio.Event()

    def due(one: int) -> None:
        turns.did()
        told.append(one)
        if len(told) == 10_000:
            done.set()

    waits = Timeouts(0.01, due)
    for number in range(10_000):
        waits.begin(number)
    await asyncio.wait_for(done.wait(), 30)
    assert told == [*range(10_000)]
    assert turns.most <= DUE_A_TURN


async def test_a_wait_that_begins_again_delays_no_other() -> None:
    told, done = list[str](), asyncio.Event()

    def due(one: str) -> None:
        told.append(one)
        if one == "again" and told.count("again") == 1:
            waits.begin("again")
            # Due now, behind one that waits again.
            waits._deadlines["second"] = asyncio.get_running_loop().time()
            waits._deadlines.move_to_end("second", last=False)
        if one == "second":
            done.set()

    waits = Timeouts(60, due)
    waits.begin("again")
    waits._deadlines["again"] = asyncio.get_running_loop().time()
    waits._check()
    await asyncio.wait_for(done.wait(), 30)
    assert told == ["again", "second"]


async def test_a_wait_that_began_earlier_ends_earlier() -> None:
    """Whatever the order of the calls, each wait is due `seconds` after its own beginning."""
    told, done = list[str](), asyncio.Event()

    def due(one: str) -> None:
        told.append(one)
        if one == "latest":
            done.set()

    loop = asyncio.get_running_loop()
    waits = Timeouts(60, due)
    waits.begin("ordinary")
    for name, ago in [("third", 59.7), ("first", 59.9), ("latest", 59.6), ("second", 59.8), ("overdue", 99)]:
        waits.begin(name, loop.time() - ago)
    waits.begin("newest")
    await asyncio.wait_for(done.wait(), 30)
    assert told == ["overdue", "first", "second", "third", "latest"]
    assert [*waits._deadlines] == ["ordinary", "newest"]
