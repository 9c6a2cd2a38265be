"""Many questions, few calls; every answer is of a call that began after its question."""

import asyncio

import pytest

from service.runtime import batch_loader as gather_module
from service.runtime.batch_loader import BatchLoader


class Oracle:
    """Answers each key with the number of the call; `gates` lets a call go on."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gates: list[asyncio.Event] = []
        self.trouble: Exception | None = None

    async def __call__(self, keys: list[str]) -> dict[str, int]:
        gate = asyncio.Event()
        self.calls.append(keys)
        self.gates.append(gate)
        number = len(self.calls)
        await gate.wait()
        if self.trouble is not None:
            raise self.trouble
        return dict.fromkeys(keys, number)

    async def let(self, number: int) -> None:
        while len(self.gates) < number:
            await asyncio.sleep(0)
        self.gates[number - 1].set()


async def _begun(*asked: "asyncio.Task[dict[str, int]]") -> None:
    for _ in asked:
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_those_who_ask_while_a_call_is_under_way_share_the_next() -> None:
    oracle = Oracle()
    gather = BatchLoader(oracle, 10)
    first = asyncio.create_task(gather.load(["a"]))
    await _begun(first)
    crowd = [asyncio.create_task(gather.load([key])) for key in ("a", "b", "a", "c")]
    await _begun(*crowd)
    await oracle.let(1)
    await oracle.let(2)
    assert await first == {"a": 1}
    assert await asyncio.gather(*crowd) == [{"a": 2}, {"b": 2}, {"a": 2}, {"c": 2}]
    assert oracle.calls == [["a"], ["a", "b", "c"]]


async def test_who_asks_soon_after_a_call_that_left_some_waiting_shares_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gather_module, "REST", 1.0)
    oracle = Oracle()
    gather = BatchLoader(oracle, 10)
    first = asyncio.create_task(gather.load(["a"]))
    await _begun(first)
    second = asyncio.create_task(gather.load(["b"]))
    await _begun(second)
    await oracle.let(1)
    assert await first == {"a": 1}
    third = asyncio.create_task(gather.load(["c"]))
    while len(oracle.gates) < 2:
        await asyncio.sleep(0.01)
    await oracle.let(2)
    assert [await second, await third] == [{"b": 2}, {"c": 2}]
    assert oracle.calls == [["a"], ["b", "c"]]


async def test_a_call_is_given_no_more_keys_than_it_takes() -> None:
    oracle = Oracle()
    gather = BatchLoader(oracle, 2)
    asked = asyncio.create_task(gather.load(["a", "b", "c"]))
    await oracle.let(1)
    await oracle.let(2)
    assert await asked == {"a": 1, "b": 1, "c": 2}


async def test_trouble_is_told_to_those_who_asked_and_the_next_are_served() -> None:
    oracle = Oracle()
    gather = BatchLoader(oracle, 10)
    first = asyncio.create_task(gather.load(["a"]))
    await _begun(first)
    second = asyncio.create_task(gather.load(["a"]))
    await _begun(second)
    oracle.trouble = OSError("gone")
    await oracle.let(1)
    with pytest.raises(OSError, match="gone"):
        await first
    oracle.trouble = None
    await oracle.let(2)
    assert await second == {"a": 2}


async def test_who_gives_up_leaves_the_others_their_answer() -> None:
    oracle = Oracle()
    gather = BatchLoader(oracle, 10)
    impatient, patient = (asyncio.create_task(gather.load(["a"])) for _ in range(2))
    await _begun(impatient, patient)
    impatient.cancel()
    await oracle.let(1)
    assert await patient == {"a": 1}
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_key_without_an_answer_is_an_error_and_not_a_wait() -> None:
    async def call(_keys: list[str]) -> dict[str, int]:
        return {}

    with pytest.raises(KeyError):
        await BatchLoader(call, 10).load(["a"])


async def test_what_is_wrong_with_one_question_is_nobody_elses_trouble() -> None:
    async def halves(keys: list[int]) -> dict[int, int | Exception]:
        return {key: key // 2 if key % 2 == 0 else ValueError(f"{key} is odd") for key in keys}

    gather: BatchLoader[int, int] = BatchLoader(halves, 10)
    asked = [asyncio.create_task(gather.load([key])) for key in (2, 3, 4)]
    two, three, four = await asyncio.gather(*asked, return_exceptions=True)
    assert (two, four) == ({2: 1}, {4: 2})
    assert isinstance(three, ValueError)
    with pytest.raises(ValueError, match="5 is odd"):
        await gather.load([6, 5])
