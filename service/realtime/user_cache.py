"""What people are called and whether they may come in, as this node has heard it: a bounded memory in front of the log.

`name_of` and `standing` never wait, so that a delivery never does; whoever asks makes sure with `knows` or `load`
first. Invariant: an entry is only replaced by a newer
state (by `head`), in any order of arrival.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable

from service.domain.account import PersonState
from service.domain.events import AboutUser, MessagePosted, Recorded
from service.eventstore.reader import LogReader
from service.runtime.batch_loader import BatchLoader

MAX_PEOPLE = 100_000
"""People in memory, about 300 bytes each; the least recently heard of goes first."""

MOST_ASKED = 1_000
"""Users who are asked about at once."""


class UserCache:
    """Persons by user id."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._known: OrderedDict[str, PersonState] = OrderedDict()
        self._asked: Counter[str] = Counter()
        self._reading = BatchLoader(self._read, MOST_ASKED)

    def name_of(self, user: str) -> str:
        """Return what a user is called, their id where no name is known."""
        return self.standing(user).name or user

    def standing(self, user: str) -> PersonState:
        """Return what is known of a user."""
        return self._known.get(user) or PersonState()

    def knows(self, user: str) -> bool:
        """Return whether the log was asked about a user already."""
        return user in self._known

    def hear(self, user: str, state: PersonState) -> None:
        """Remember what was read or recorded, unless something newer is known."""
        known = self._known.get(user)
        if known is None or known.head <= state.head:
            self._known[user] = state
        self._known.move_to_end(user)
        if len(self._known) > MAX_PEOPLE:
            self._known.popitem(last=False)

    def clear(self) -> None:
        """Remove all users."""
        self._known.clear()

    async def load(self, users: Iterable[str]) -> None:
        """Make sure that all of `users` are known.

        Raises:
            Unavailable: the log cannot be read.
        """
        missing = {user for user in users if user not in self._known}
        if missing:
            await self.read(missing)

    async def refresh(self, users: Iterable[str]) -> None:
        """Read those of `users` again who are known here, or are being read: something was recorded about them.

        Raises:
            Unavailable: the log cannot be read.
        """
        outdated = {user for user in users if user in self._known or user in self._asked}
        if outdated:
            await self.read(outdated)

    async def read(self, users: set[str]) -> None:
        """Ask the log about all of `users`.

        Raises:
            Unavailable: the log cannot be read.
        """
        self._asked.update(users)
        try:
            await self._reading.load(users)
        finally:
            self._asked -= Counter(users)

    async def _read(self, users: list[str]) -> dict[str, PersonState]:
        states = await self._log.persons(users)
        for user, state in states.items():
            self.hear(user, state)
        return states


def named_in(events: Iterable[Recorded]) -> set[str]:
    """Return the users whose names appear on the wire when these events do."""
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
