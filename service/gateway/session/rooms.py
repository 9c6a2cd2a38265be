"""The rooms that one connection is subscribed to: those that its user chose, and those that others added it to. Pure.

Invariant: rooms of the second kind never use up the limit of the first. At their own limit the least recently used one
gives way, so that others cannot make a connection remember more.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from service.domain.room_state import RoomState
from service.errors import TooManyRooms


class RoomLimits(NamedTuple):
    """Rooms per connection: those that the user `chose`, and those to which others `added` the user."""

    chosen: int
    added: int


class SubscribedRooms:
    """The rooms of one connection."""

    def __init__(self, limits: RoomLimits) -> None:
        self._limits = limits
        self._chosen: set[str] = set()
        self._added: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, room: object) -> bool:
        return room in self._chosen or room in self._added

    def __iter__(self) -> Iterator[str]:
        yield from [*self._chosen, *self._added]

    def check(self, room: str) -> None:
        """Raise unless the user may choose one more room.

        Raises:
            TooManyRooms: the limit is reached.
        """
        if room not in self and len(self._chosen) >= self._limits.chosen:
            raise TooManyRooms(limit=self._limits.chosen)

    def add(self, room: str, *, added: bool) -> str | None:
        """Add a room; return the room that gives way to it, if any."""
        if room in self:
            return None
        if not added:
            self._chosen.add(room)
            return None
        self._added[room] = None
        return next(iter(self._added)) if len(self._added) > self._limits.added else None

    def use(self, room: str) -> None:
        """Note that the user has sent a command about a room."""
        if room in self._added:
            self._added.move_to_end(room)

    def discard(self, room: str) -> None:
        """Remove a room."""
        self._chosen.discard(room)
        self._added.pop(room, None)


def was_added(state: RoomState | None, user: str) -> bool:
    """Return whether a user is a member of a room because another user added them."""
    member = state.members.get(user) if state else None
    return member is not None and member.added
