"""Many waits of one length over one timer, however many connections wait.

All waits of a `Timeouts` last equally long, so the one that was begun first is due first, and the head of a queue says
when to look next. The rule: whoever is still in it when its time has come is told so once.

Invariant: one turn of the event loop ends at most `DUE_A_TURN` waits, since ten thousand connections may have come in
the same second.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

LATE = 0.2
"""Seconds that a look may come late; later, the whole process stood still, and what came meanwhile lies unread."""

DUE_A_TURN = 100
"""Waits that end before other work of the loop has its turn."""

SECOND_LOOK = 0.1
"""Seconds after which it is looked at again then."""

T = TypeVar("T")


class Timeouts(Generic[T]):
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
            self._timer = loop.call_later(SECOND_LOOK, partial(self._look, again=True))
            return
        for _ in range(DUE_A_TURN):
            if not self._waits or next(iter(self._waits.values())) > now:
                break
            one, _at = self._waits.popitem(last=False)
            self._due(one)
        self._set_timer(now)

    def _set_timer(self, looked: float) -> None:
        """Look again when the next wait ends, whatever timer a wait that began meanwhile has set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waits:
            due = next(iter(self._waits.values()))
            look = partial(self._look, again=due <= looked)
            self._timer = asyncio.get_running_loop().call_at(due, look)
