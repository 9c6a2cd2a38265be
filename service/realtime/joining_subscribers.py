"""The listeners that catch up with rooms. `service.realtime.audience` decides which frames they receive by then.

Invariant: a listener that receives a room live, or has left it, is not among those that catch up with it.
"""

from collections.abc import Set as AbstractSet

from service.realtime.subscriber import Subscriber


class JoiningSubscribers:
    """Listeners by the rooms that they catch up with."""

    def __init__(self) -> None:
        self._rooms: dict[str, set[Subscriber]] = {}

    @property
    def rooms(self) -> AbstractSet[str]:
        """The rooms that somebody catches up with."""
        return self._rooms.keys()

    def of(self, room: str) -> AbstractSet[Subscriber]:
        """Return who catches up with a room."""
        return self._rooms.get(room, frozenset())

    def add(self, listener: Subscriber, room: str) -> None:
        """Let a listener arrive."""
        self._rooms.setdefault(room, set()).add(listener)

    def gone(self, listener: Subscriber, room: str) -> bool:
        """Forget that a listener arrived in a room; return whether it had."""
        arriving = self._rooms.get(room, set())
        if listener not in arriving:
            return False
        arriving.remove(listener)
        if not arriving:
            del self._rooms[room]
        return True

    def forget(self, listener: Subscriber) -> list[str]:
        """Forget a listener wherever it arrived; return those rooms."""
        rooms = [room for room, arriving in self._rooms.items() if listener in arriving]
        for room in rooms:
            self.gone(listener, room)
        return rooms

    def clear(self) -> None:
        """Forget everybody."""
        self._rooms.clear()
