"""A bounded cache of users' names and account states, read from the log.

`name_of` and `account` do not wait, so that a delivery does not wait; their callers call `knows` or `load` first.

Invariant: an entry is replaced only by a state with the same or a higher `head`, in any order of arrival.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable

import msgspec

from service.domain import account
from service.domain.account import PersonState
from service.domain.content.names import clean_name
from service.domain.events import AboutUser, MessagePosted, Recorded
from service.domain.streams import person_stream
from service.eventstore.reader import LogReader
from service.runtime.batch_loader import BatchLoader

MAX_PEOPLE = 100_000
"""Users in the cache, about 300 bytes each; the least recently updated one is evicted first."""

MAX_BLOCKED = 200_000
"""Blocked users, and once blocked ones, of all users in the cache, about 250 bytes each. Beyond it, the user with
blocks who was updated least recently is evicted, so that accounts with many blocks evict no others."""

MAX_READ = 1_000
"""Users in one read of the log."""

PAGE = 200
"""Events of one user in one read of the log."""


class UserCache:
    """Account states by user id."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._known: OrderedDict[str, PersonState] = OrderedDict()
        self._blocks: OrderedDict[str, int] = OrderedDict()
        self._blocked = 0
        self._requested: Counter[str] = Counter()
        self._reading = BatchLoader(self._read, MAX_READ)

    def name_of(self, user: str) -> str:
        """Return the name of a user, their id if no name is known."""
        return self.account(user).name or user

    def account(self, user: str) -> PersonState:
        """Return the account state of a user, the initial one if unknown."""
        return self._known.get(user) or PersonState()

    def knows(self, user: str) -> bool:
        """Return whether a user is in the cache."""
        return user in self._known

    def update(self, user: str, state: PersonState) -> None:
        """Store a state that was read or recorded, with a cleaned name, unless the cache has a newer one."""
        if state.name and (name := clean_name(state.name)) != state.name:  # recorded by an earlier version
            state = msgspec.structs.replace(state, name=name)
        known = self._known.get(user)
        if known is None or known.head <= state.head:
            self._known[user] = state
            self._count(user, len(state.blocked) + len(state.unblocked))
        self._known.move_to_end(user)
        if len(self._known) > MAX_PEOPLE:
            self._count(self._known.popitem(last=False)[0], 0)

    def _count(self, user: str, blocks: int) -> None:
        """Count the blocks of a user; evict the users who were updated least recently if there are too many."""
        if user in self._blocks:
            self._blocked -= self._blocks.pop(user)
        if blocks:
            self._blocks[user] = blocks
            self._blocked += blocks
        while self._blocked > MAX_BLOCKED and len(self._blocks) > 1:
            evicted, count = self._blocks.popitem(last=False)
            self._blocked -= count
            del self._known[evicted]

    def clear(self) -> None:
        """Remove all users."""
        self._known.clear()
        self._blocks.clear()
        self._blocked = 0

    async def load(self, users: Iterable[str]) -> None:
        """Read those of `users` that are not in the cache.

        Raises:
            Unavailable: the log cannot be read.
        """
        missing = {user for user in users if user not in self._known}
        if missing:
            await self.read(missing)

    async def refresh(self, users: Iterable[str]) -> None:
        """Read again those of `users` that are cached or being read, after an event about them was recorded.

        Raises:
            Unavailable: the log cannot be read.
        """
        outdated = {user for user in users if user in self._known or user in self._requested}
        blocking = {user for user in outdated if self._blocks.get(user)}
        if outdated - blocking:
            await self.read(outdated - blocking)
        for user in blocking:
            await self.current(user)

    async def current(self, user: str) -> PersonState:
        """Return a user as of now; of a cached user with blocks, only the events since are read.

        Raises:
            Unavailable: the log cannot be read.
        """
        if not self._blocks.get(user):
            await self.read({user})  # batched with other users
            return self.account(user)
        state = self.account(user)
        while True:
            events = await self._log.stream(person_stream(user), state.head, PAGE)
            for recorded in events:
                state = account.evolve(state, recorded)
            self.update(user, state)
            if len(events) < PAGE:
                return self._known.get(user, state)

    async def read(self, users: set[str]) -> None:
        """Read all of `users` from the log.

        Raises:
            Unavailable: the log cannot be read.
        """
        self._requested.update(users)
        try:
            await self._reading.load(users)
        finally:
            self._requested -= Counter(users)

    async def _read(self, users: list[str]) -> dict[str, PersonState]:
        states = await self._log.persons(users)
        for user, state in states.items():
            self.update(user, state)
        return states


def named_in(events: Iterable[Recorded]) -> set[str]:
    """Return the users whose names the wire form of these events shows."""
    users = set()
    for recorded in events:
        match recorded.event:
            case MessagePosted(author=author):
                users.add(author)
            case AboutUser(user=user):
                users.add(user)
            case _:
                pass
    return users
