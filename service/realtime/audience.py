"""Selects the connections that receive frames without a place in a room's order: typing, markers, receipts, presence.

Invariant: a listener receives such a frame only while its user is a member of the room, by the room's state on this
node at the moment of the write. When the listener was registered decides nothing.

A removal may be among the events that this node knows of and has not applied: a frame of another node names the head of
the room there, and an event may wait for a name or for one before it. A frame is held until the room has caught up.
That needs no read of the log: the bus, a repair or the tail reader brings what is missing.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from itertools import chain

from service.domain.room import RoomState
from service.protocol.events import Outgoing
from service.realtime.joining_subscribers import JoiningSubscribers
from service.realtime.room_feed import RoomFeed
from service.realtime.room_subscribers import RoomSubscribers
from service.realtime.subscriber import Subscriber

MOST_HELD = 100
"""Frames of one room that are held; the oldest is dropped first, since all of them may be lost."""

Send = Callable[[list[Subscriber], Outgoing], None]


class Audience:
    """The members of rooms that have connections here, over the hub's feeds, its crowds and who catches up."""

    def __init__(
        self,
        feeds: Mapping[str, RoomFeed],
        crowds: Mapping[str, RoomSubscribers],
        arriving: JoiningSubscribers,
        send: Send,
    ) -> None:
        self._feeds = feeds
        self._crowds = crowds
        self._arriving = arriving
        self._send = send
        self._held: dict[str, deque[tuple[int, Outgoing, str | None]]] = {}
        self._expected: dict[str, int] = {}

    @property
    def rooms(self) -> set[str]:
        """The rooms that have listeners here, members or not."""
        return {*self._crowds, *self._arriving.rooms}

    def state(self, room: str) -> RoomState | None:
        """Return a room's state on this node, None where the room is not in memory."""
        feed = self._feeds.get(room)
        return feed.state if feed else None

    def are_members(self, room: str, users: Collection[str]) -> bool:
        """Return whether all of `users` are members of a room now, by this node's state."""
        feed = self._feeds.get(room)
        return feed is not None and all(user in feed.state.members for user in users)

    def of(self, room: str) -> list[Subscriber]:
        """Return the listeners of a room, live or catching up, whose users are members now."""
        feed = self._feeds.get(room)
        if feed is None:
            return []
        members = feed.state.members
        listeners = chain(self._crowds.get(room, ()), self._arriving.of(room))
        return [one for one in listeners if one.user in members]

    def broadcast(self, room: str, outgoing: Outgoing, but: str | None, seen: int) -> None:
        """Send a frame to the members, `but` one user, once this node has the room up to the seq `seen`."""
        feed = self._feeds.get(room)
        if feed is None:
            return
        seen = max(seen, self._expected.get(room, 0))
        # A frame that follows a held one waits too, so that a stop never overtakes its start.
        if room in self._held or feed.head < seen:
            self._held.setdefault(room, deque(maxlen=MOST_HELD)).append((seen, outgoing, but))
        else:
            self._send([one for one in self.of(room) if one.user != but], outgoing)

    def expect(self, room: str, seq: int) -> None:
        """Hold frames of a room until it has come to a seq that is on the record."""
        self._expected[room] = max(seq, self._expected.get(room, 0))

    def advanced(self, room: str, head: int) -> None:
        """Send what was held for a room that has come to `head`."""
        if self._expected.get(room, 0) <= head:
            self._expected.pop(room, None)
        held = self._held.get(room)
        while held and held[0][0] <= head:
            _, outgoing, but = held.popleft()
            self._send([one for one in self.of(room) if one.user != but], outgoing)
        if held is not None and not held:
            del self._held[room]

    def drop(self, room: str) -> None:
        """Forget what was held for a room that leaves memory."""
        self._held.pop(room, None)
        self._expected.pop(room, None)

    def clear(self) -> None:
        """Forget everything that was held."""
        self._held.clear()
        self._expected.clear()
