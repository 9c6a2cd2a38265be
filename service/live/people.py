"""What people are called, as this node has heard it: a bounded memory in front of the log.

`name_of` never waits, so that a delivery never does; whoever delivers makes sure with `knows` or `load` first.
"""

from collections import OrderedDict
from collections.abc import Iterable

from service.domain.events import AboutUser, MessagePosted, Recorded
from service.gather import Gather
from service.log.read import LogReader

MAX_NAMES = 100_000
"""Names in memory, about 200 bytes each; the least recently heard goes first."""

MOST_ASKED = 1_000
"""Users whose names are read at once."""


class People:
    """Names by user id."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._names: OrderedDict[str, str | None] = OrderedDict()
        self._reading = Gather(self._read, MOST_ASKED)

    def name_of(self, user: str) -> str:
        """Return what a user is called, their id where no name is known."""
        return self._names.get(user) or user

    def knows(self, user: str) -> bool:
        """Return whether the log was asked about a user already."""
        return user in self._names

    def hear(self, user: str, name: str | None) -> None:
        """Remember a name that was read or recorded."""
        self._names[user] = name
        self._names.move_to_end(user)
        if len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)

    def clear(self) -> None:
        """Forget every name."""
        self._names.clear()

    async def load(self, users: Iterable[str]) -> None:
        """Make sure that all of `users` are known.

        Raises:
            Unavailable: the log cannot be read.
        """
        missing = {user for user in users if user not in self._names}
        if missing:
            await self._reading.ask(missing)

    async def _read(self, users: list[str]) -> dict[str, str | None]:
        names = await self._log.names(users)
        for user, name in names.items():
            self.hear(user, name)
        return names


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
