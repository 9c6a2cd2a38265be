"""Costly work takes turns by key, and leaves the event loop a share of its time."""

import asyncio
from collections.abc import Callable

import pytest

from service.runtime.turns import Turns


class Work:
    """Pieces of work that note their names, each of which takes some seconds of a clock that they turn forward."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.done: list[str] = []
        self.clock_ahead = 0.0
        self._seconds = seconds

    def clock(self) -> float:
        return asyncio.get_running_loop().time() + self.clock_ahead

    def piece(self, name: str) -> Callable[[], None]:
        return lambda: self.do(name)

    def do(self, name: str) -> None:
        self.done.append(name)
        self.clock_ahead += self._seconds


async def settled(turns: Turns) -> None:
    """Return when no piece waits and the last one has ended."""
    async with asyncio.timeout(60):
        while len(turns) or turns._scheduled:
            await asyncio.sleep(0.001)


async def test_a_piece_runs_at_once_where_none_waits() -> None:
    work, turns = Work(), Turns()
    turns.run("a", work.piece("first"))
    assert work.done == ["first"]
    assert len(turns) == 0


async def test_keys_take_turns() -> None:
    work, turns = Work(), Turns()
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.wait(name[0], work.piece(name))
    assert (work.done, len(turns)) == ([], 6)
    await settled(turns)
    assert work.done == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_other_work_of_the_loop_runs_between_two_pieces() -> None:
    work, turns = Work(), Turns()
    for name in ("1", "2"):
        turns.wait("a", work.piece(name))
    asyncio.get_running_loop().call_soon(work.do, "ordinary")
    await settled(turns)
    assert work.done == ["1", "ordinary", "2"]


@pytest.mark.parametrize("waits", [False, True], ids=["calls", "tasks"])
async def test_pieces_take_their_share_of_the_time_at_most(*, waits: bool) -> None:
    pieces, seconds, share, burst = 10, 0.01, 0.25, 0.002
    work = Work(seconds)
    turns = Turns(share, burst, work.clock)

    async def in_turn(name: str) -> None:
        await turns.turn(name)
        work.do(name)

    began = work.clock()
    if waits:
        await asyncio.gather(*(in_turn(str(number)) for number in range(pieces)))
    else:
        for number in range(pieces):
            turns.run(str(number), work.piece(str(number)))
        await settled(turns)
    assert work.done == [str(number) for number in range(pieces)]
    assert work.clock() - began >= (pieces - 1) * seconds / share - burst / share


async def test_a_piece_waits_while_the_allowance_is_used_up() -> None:
    work = Work(seconds=0.01)
    turns = Turns(clock=work.clock)
    turns.run("a", work.piece("first"))
    turns.run("b", work.piece("second"))
    assert work.done == ["first"]
    await settled(turns)
    assert work.done == ["first", "second"]


async def test_a_cancelled_task_gives_up_its_turn() -> None:
    work, turns = Work(), Turns()
    waiting = asyncio.create_task(turns.turn("a"))
    await asyncio.sleep(0)
    waiting.cancel()
    turns.wait("b", work.piece("next"))
    await settled(turns)
    assert waiting.cancelled()
    assert work.done == ["next"]


async def test_a_piece_that_fails_delays_no_other() -> None:
    work, turns = Work(), Turns()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail() -> None:
        raise ValueError("a defect")

    turns.wait("a", fail)
    turns.wait("a", work.piece("next"))
    await settled(turns)
    assert work.done == ["next"]
    assert [str(failure) for failure in failures] == ["a defect"]
    with pytest.raises(ValueError, match="a defect"):
        turns.run("a", fail)
    turns.run("a", work.piece("last"))
    await settled(turns)
    assert work.done == ["next", "last"]
