"""Many questions, one call: whoever asks while a call is under way is answered by the next, with all the others.

So a crowd that comes back at once costs a few calls and not one each, and a lone question waits for nobody. Where the
questions of a crowd come no faster than calls are answered, each call would find a few: it waits until `REST` after the
last one's beginning, so that there are more.

The rule: an answer is of a call that began after the question was asked, and what is wrong with one question is
nobody else's trouble.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

REST = 0.02
"""Seconds from one call's beginning to the next one's, while there are few questions for it."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class BatchLoader(Generic[K, T]):
    """Answers questions by key with `call`, which is given at most `most` keys and answers every one of them.

    An answer that is an exception is raised for those who asked with that key.
    """

    def __init__(self, call: Callable[[list[K]], Awaitable[Mapping[K, T | Exception]]], most: int) -> None:
        self._call = call
        self._most = most
        self._waiting: dict[K, asyncio.Future[T]] = {}
        self._calling: asyncio.Task[None] | None = None

    async def load(self, keys: Collection[K]) -> dict[K, T]:
        """Return the answer of each key. Raises whatever the call raises, or answers one of them with."""
        answers = {key: self._answer(key) for key in keys}
        if self._waiting and self._calling is None:
            self._calling = asyncio.create_task(self._run())
        # Shielded: whoever gives up leaves the others their answer.
        return {key: await asyncio.shield(answer) for key, answer in answers.items()}

    def _answer(self, key: K) -> "asyncio.Future[T]":
        if (answer := self._waiting.get(key)) is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(_seen)
        return answer

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while self._waiting:
                began = clock()
                taken = {key: self._waiting.pop(key) for key in list(self._waiting)[: self._most]}
                await self._settle(taken)
                if 0 < len(self._waiting) < self._most:
                    await asyncio.sleep(began + REST - clock())
        finally:
            self._calling = None
            for answer in self._waiting.values():
                answer.cancel()
            self._waiting.clear()

    async def _settle(self, taken: "dict[K, asyncio.Future[T]]") -> None:
        try:
            found = await self._call(list(taken))
            for key, answer in taken.items():
                result = found[key]
                if isinstance(result, Exception):
                    answer.set_exception(result)
                else:
                    answer.set_result(result)
        except Exception as error:  # noqa: BLE001 - it is for those who asked
            for answer in taken.values():
                if not answer.done():
                    answer.set_exception(error)
        finally:
            for answer in taken.values():
                answer.cancel()  # where this task was ended; who has an answer keeps it


def _seen(answer: "asyncio.Future[T]") -> None:
    """Let an error pass that nobody waits for any more."""
    if not answer.cancelled():
        answer.exception()
