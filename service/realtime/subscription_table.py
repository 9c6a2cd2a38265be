"""The connections subscribed to each room: live, or joining while they catch up.

Invariant: a subscriber that is live in a room, or has left it, is not among those that join it.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import TYPE_CHECKING

from service.realtime.subscriber import Subscriber

if TYPE_CHECKING:
    from service.realtime.room_subscribers import RoomSubscribers


class SubscriptionTable:
    """Subscribers by room."""

    def __init__(self) -> None:
        self.live: dict[str, RoomSubscribers] = {}
        self._joining: dict[str, set[Subscriber]] = {}

    def __contains__(self, room: str) -> bool:
        return room in self.live or room in self._joining

    @property
    def rooms(self) -> set[str]:
        """The rooms that have subscribers, whether or not their users are members."""
        return {*self.live, *self._joining}

    def of(self, room: str) -> Iterator[Subscriber]:
        """Return the subscribers of a room, live ones first."""
        return chain(self.live.get(room, ()), self._joining.get(room, ()))

    def joining(self, room: str) -> AbstractSet[Subscriber]:
        """Return the subscribers that catch up with a room."""
        return self._joining.get(room, frozenset())

    def start_joining(self, subscriber: Subscriber, room: str) -> None:
        """Add a subscriber that is about to catch up."""
        self._joining.setdefault(room, set()).add(subscriber)

    def end_joining(self, subscriber: Subscriber, room: str) -> bool:
        """Remove a subscriber from those that catch up with a room; return whether it was one of them."""
        joining = self._joining.get(room, set())
        if subscriber not in joining:
            return False
        joining.remove(subscriber)
        if not joining:
            del self._joining[room]
        return True

    def end_joining_everywhere(self, subscriber: Subscriber) -> list[str]:
        """Remove a subscriber from all rooms that it catches up with; return these rooms."""
        rooms = [room for room, joining in self._joining.items() if subscriber in joining]
        for room in rooms:
            self.end_joining(subscriber, room)
        return rooms

    def clear(self) -> None:
        """Remove all subscribers."""
        self.live.clear()
        self._joining.clear()
