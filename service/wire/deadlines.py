"""Many waits of one length over one timer, however many connections wait.

All waits of a `Deadlines` last equally long, so the one that was begun first is due first, and the head of a queue says
when to look next. The rule: whoever is still in it when its time has come is told so once.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

LATE = 0.2
"""Seconds that a look may come late; later, the whole process stood still, and what came meanwhile lies unread."""

SECOND_LOOK = 0.1
"""Seconds after which it is looked at again then."""

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Waits of `seconds` each; `due` is called with whom the time of has come."""

    def __init__(self, seconds: float, due: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._due = due
        self._waits: OrderedDict[T, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, one: T) -> bool:
        return one in self._waits

    def begin(self, one: T) -> None:
        """Let somebody wait from now on, anew where they waited already."""
        loop = asyncio.get_running_loop()
        self._waits[one] = loop.time() + self._seconds
        self._waits.move_to_end(one)
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look)

    def end(self, one: T) -> None:
        """Let somebody wait no more; whoever does not wait is left alone."""
        self._waits.pop(one, None)

    def _look(self, *, again: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        if not again and self._waits and now - next(iter(self._waits.values())) > LATE:
            self._timer = loop.call_later(SECOND_LOOK, lambda: self._look(again=True))
            return
        while self._waits and next(iter(self._waits.values())) <= now:
            one, _ = self._waits.popitem(last=False)
            self._due(one)
        if self._waits and self._timer is None:  # whoever was told may have begun a wait of its own
            self._timer = loop.call_at(next(iter(self._waits.values())), self._look)
