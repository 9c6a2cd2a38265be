"""Batches lookups: keys requested during a call are fetched together by the next one (the DataLoader pattern).

Many clients that reconnect at once cause few calls, and a single request is not delayed. If calls answer faster than
requests arrive, each would fetch few keys; a call therefore starts at least `REST` seconds after the previous one.

Invariant: an answer comes from a call that began after the request, and an error for one key does not fail the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

REST = 0.02
"""Seconds between the starts of two calls, while fewer than `most` keys wait."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class BatchLoader(Generic[K, T]):
    """Looks up keys with `call`, which takes at most `most` keys and returns a value or an exception for each."""

    def __init__(self, call: Callable[[list[K]], Awaitable[Mapping[K, T | Exception]]], most: int) -> None:
        self._call = call
        self._most = most
        self._waiting: dict[K, asyncio.Future[T]] = {}
        self._calling: asyncio.Task[None] | None = None

    async def load(self, keys: Collection[K]) -> dict[K, T]:
        """Return the value of each key. Raises what the call raises, or the exception that it returns for a key."""
        answers = {key: self._answer(key) for key in keys}
        if self._waiting and self._calling is None:
            self._calling = asyncio.create_task(self._run())
        # Shielded: a caller that is cancelled does not cancel the answer of the others.
        return {key: await asyncio.shield(answer) for key, answer in answers.items()}

    def _answer(self, key: K) -> "asyncio.Future[T]":
        if (answer := self._waiting.get(key)) is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(_retrieve)
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
        except Exception as error:  # noqa: BLE001 - raised for each caller
            for answer in taken.values():
                if not answer.done():
                    answer.set_exception(error)
        finally:
            for answer in taken.values():
                answer.cancel()  # if this task was cancelled; an answer that is set stays


def _retrieve(answer: "asyncio.Future[T]") -> None:
    """Keep asyncio from logging an error whose caller is gone."""
    if not answer.cancelled():
        answer.exception()
