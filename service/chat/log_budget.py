"""Limits the bytes that one user's commands may append to the log in a day (UTC), over all nodes.

Each node counts what it appended, and what other nodes report a few times a second. The counts are in memory: a node
that restarts begins at zero, and then counts what other nodes report from then on.

Invariant: what a command appends is reserved before it is sent to the log, so commands in flight cannot exceed the
limit. A command that changes nothing is free, and a retry gets the answer of its first try at the limit too.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import msgspec

from service.errors import OnRecordError, TooManyRequests
from service.eventstore.appender import Answer, Appender, resolve
from service.eventstore.entries import AppendRequest, AppendResult

DAY = 86_400.0
"""Seconds."""

EVENT_BYTES = 300
"""Bytes of an event beside its state: its row, its entries in the indexes, and the ref of its command."""

MAX_USERS = 100_000
"""Users counted by one node; the one that appended least recently is forgotten."""

log = logging.getLogger("onrecord.chat")


def stored_bytes(request: AppendRequest) -> int:
    """Return the bytes that a request makes permanent."""
    size = 0
    for stored in request.stored:
        size += EVENT_BYTES + len(stored.state)
    return size


class LogBudget:
    """The bytes of this day by user; 0 for `per_day` turns the limit off. `clock` gives seconds since 1970.

    For metrics: `appended` bytes of this node since its start, and `refused` commands.
    """

    def __init__(self, per_day: int, clock: Callable[[], float]) -> None:
        self._per_day = per_day
        self._clock = clock
        self._day = 0.0
        self._used: OrderedDict[str, int] = OrderedDict()
        self._spent: dict[str, int] = {}
        self._reported: set[str] = set()
        self.appended = 0
        self.refused = 0

    def refusal(self, user: str, size: int) -> TooManyRequests | None:
        """Return the refusal of a command that would append so many bytes, None if it may."""
        self._turn()
        if not self._per_day or self._used.get(user, 0) + size <= self._per_day:
            return None
        self.refused += 1
        if user not in self._reported:
            self._reported.add(user)
            log.warning("log_budget_reached", extra={"user": user, "limit": self._per_day})
        return TooManyRequests(retryAfter=round(self._day + DAY - self._clock(), 3))

    def add(self, user: str, size: int) -> None:
        """Reserve bytes for what a command appends; a negative number gives bytes back that were not appended."""
        if self._per_day and size:
            self.spent_elsewhere(user, size)
            self._spent[user] = self._spent.get(user, 0) + size

    def spent_elsewhere(self, user: str, count: int) -> None:
        """Count bytes that a user's commands appended at another node."""
        self._turn()
        self._used[user] = max(0, self._used.get(user, 0) + count)
        self._used.move_to_end(user)
        if len(self._used) > MAX_USERS:
            evicted, _ = self._used.popitem(last=False)
            self._reported.discard(evicted)
            self._spent.pop(evicted, None)

    def take_spent(self, most: int) -> dict[str, int]:
        """Return and clear the bytes that users' commands appended at this node, of at most `most` users."""
        users = list(self._spent)[:most]
        return {user: self._spent.pop(user) for user in users}

    def _turn(self) -> None:
        """Begin a new day if it has come."""
        day = self._clock() // DAY * DAY
        if day != self._day:
            self._day = day
            self._used.clear()
            self._reported.clear()


class BudgetedAppender:
    """An appender that counts for each user what their commands append.

    Names and sessions, whose refs begin with `~`, have rates of their own.
    """

    def __init__(self, appender: Appender, budget: LogBudget) -> None:
        self._appender = appender
        self._budget = budget

    def offer(self, entry: AppendRequest) -> "asyncio.Future[AppendResult]":
        """Queue an entry as `Appender.offer` does; at the limit the future raises `TooManyRequests`.

        Raises:
            Overloaded: the queue is full; nothing was queued.
        """
        if not self._counts(entry):
            return self._appender.offer(entry)
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self.place(entry, partial(resolve, future))
        return future

    def place(self, entry: AppendRequest, answer: Answer) -> None:
        """Queue an entry as `Appender.place` does; at the limit `answer` is called with `TooManyRequests`.

        Raises:
            Overloaded: the queue is full; nothing was queued.
        """
        size = stored_bytes(entry) if self._counts(entry) else 0
        if not size:
            self._appender.place(entry, answer)
        elif (refusal := self._budget.refusal(entry.user, size)) is not None:
            # Refused, unless its ref is on the record or it was decided on an outdated state.
            bare = msgspec.structs.replace(entry, events=(), stored=(), record=False)
            self._appender.place(bare, partial(_refuse, answer, refusal))
        else:
            self._appender.place(entry, partial(self._settle, entry.user, size, answer))
            self._budget.add(entry.user, size)

    @staticmethod
    def _counts(entry: AppendRequest) -> bool:
        return bool(entry.stored) and not entry.ref.startswith("~")

    def _settle(self, user: str, size: int, answer: Answer, result: AppendResult | OnRecordError) -> None:
        if isinstance(result, AppendResult):  # otherwise it may have been appended
            if result.outcome == "appended":
                self._budget.appended += size
            else:
                self._budget.add(user, -size)
        answer(result)


def _refuse(answer: Answer, refusal: TooManyRequests, found: AppendResult | OnRecordError) -> None:
    refused = isinstance(found, AppendResult) and found.outcome == "refused"
    answer(refusal if refused else found)
