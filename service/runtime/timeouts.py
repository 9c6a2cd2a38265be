"""Many timeouts of one length on a single timer.

All timeouts of a `Timeouts` last equally long, so the oldest is due first, and the head of a queue determines the next
check.

Invariant: each timeout that is due is reported once, and at most `DUE_A_TURN` in one turn of the event loop, since ten
thousand connections may have been opened in the same second.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Generic, TypeVar

LATE = 0.2
"""Seconds that a check may be late. A later check means that the process was suspended, and has input to read first."""

DUE_A_TURN = 100
"""Timeouts reported before other work of the loop has its turn."""

SECOND_LOOK = 0.1
"""Seconds until a late check is repeated; that input is read by then."""

T = TypeVar("T")


class Timeouts(Generic[T]):
    """Timeouts of `seconds` each; `due` is called with each key whose time is over."""

    def __init__(self, seconds: float, due: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._due = due
        self._deadlines: OrderedDict[T, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: T) -> bool:
        return key in self._deadlines

    def begin(self, key: T, since: float | None = None) -> None:
        """Start the timeout of a key, or restart it; it began at the time `since` of the loop, by default now."""
        loop = asyncio.get_running_loop()
        deadline = self._deadlines[key] = (loop.time() if since is None else since) + self._seconds
        self._deadlines.move_to_end(key)
        if since is not None:
            self._move_later_ones(deadline)
        if self._timer is None or (since is not None and next(iter(self._deadlines)) == key):
            self._set_timer(loop.time())

    def _move_later_ones(self, deadline: float) -> None:
        """Move the timeouts that end after `deadline` behind the last entry, which ends then."""
        before = reversed(self._deadlines.items())
        next(before)
        later = list(takewhile(lambda entry: entry[1] > deadline, before))
        for other, _ in reversed(later):
            self._deadlines.move_to_end(other)

    def end(self, key: T) -> None:
        """Cancel the timeout of a key, if it has one."""
        self._deadlines.pop(key, None)

    def _check(self, *, again: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        if not again and self._deadlines and now - next(iter(self._deadlines.values())) > LATE:
            self._timer = loop.call_later(SECOND_LOOK, partial(self._check, again=True))
            return
        for _ in range(DUE_A_TURN):
            if not self._deadlines or next(iter(self._deadlines.values())) > now:
                break
            key, _at = self._deadlines.popitem(last=False)
            self._due(key)
        self._set_timer(now)

    def _set_timer(self, checked: float) -> None:
        """Check again at the next deadline, and replace a timer that `due` has set by calling `begin`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deadlines:
            deadline = next(iter(self._deadlines.values()))
            check = partial(self._check, again=deadline <= checked)
            self._timer = asyncio.get_running_loop().call_at(deadline, check)
