"""The listeners that catch up with rooms. `service.live.audience` decides which frames they receive by then.

Invariant: a listener that receives a room live, or has left it, is not among those that catch up with it.
"""

from collections.abc import Set as AbstractSet

from service.live.listener import Listener


class Arriving:
    """Listeners by the rooms that they catch up with."""

    def __init__(self) -> None:
        self._rooms: dict[str, set[Listener]] = {}

    @property
    def rooms(self) -> AbstractSet[str]:
        """The rooms that somebody catches up with."""
        return self._rooms.keys()

    def of(self, room: str) -> AbstractSet[Listener]:
        """Return who catches up with a room."""
        return self._rooms.get(room, frozenset())

    def add(self, listener: Listener, room: str) -> None:
        """Let a listener arrive."""
        self._rooms.setdefault(room, set()).add(listener)

    def gone(self, listener: Listener, room: str) -> bool:
        """Forget that a listener arrived in a room; return whether it had."""
        arriving = self._rooms.get(room, set())
        if listener not in arriving:
            return False
        arriving.remove(listener)
        if not arriving:
            del self._rooms[room]
        return True

    def forget(self, listener: Listener) -> list[str]:
        """Forget a listener wherever it arrived; return those rooms."""
        rooms = [room for room, arriving in self._rooms.items() if listener in arriving]
        for room in rooms:
            self.gone(listener, room)
        return rooms

    def clear(self) -> None:
        """Forget everybody."""
        self._rooms.clear()
