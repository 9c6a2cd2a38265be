"""Sends ephemeral events (typing, markers, receipts, presence) to the members of a room that are connected here.

Invariant: a subscriber receives such an event only while its user is a member of the room, by the room's state on this
node at the moment of the write, whenever it subscribed.

The removal of a member may be recorded before this node has applied it. So ephemeral events are held until the room has
caught up with the head that the sending node named, and with every seq known to be recorded. That needs no extra read
of the log: the bus, a repair or the log tailer brings the missing events.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime

from service.domain.room import RoomState
from service.protocol.events import Outgoing
from service.realtime.encoded_event import Encoders
from service.realtime.room_feeds import RoomFeeds
from service.realtime.room_subscribers import SubscriptionTable
from service.realtime.subscriber import Subscriber

MOST_HELD = 100
"""Ephemeral events held per room; beyond that the oldest is dropped, since each of them may be lost."""


class EphemeralBatch:
    """Sends events to several subscribers, each encoded once; frames of the format `concatenable` are concatenated."""

    def __init__(self, encoders: Encoders, concatenable: str | None) -> None:
        self._encoders = encoders
        self._concatenable = concatenable
        # By identity: events that carry a list have no hash. The event is kept, so that its id is not reused.
        self._frames: dict[tuple[str, int], tuple[Outgoing, bytes]] = {}

    def send(self, subscriber: Subscriber, events: Iterable[Outgoing]) -> None:
        """Send events to one subscriber."""
        wire_format = subscriber.wire_format
        frames = [self._frame(wire_format, outgoing) for outgoing in events]
        for frame in [b"".join(frames)] if frames and wire_format == self._concatenable else frames:
            subscriber.write(frame)

    def _frame(self, wire_format: str, outgoing: Outgoing) -> bytes:
        cached = self._frames.get((wire_format, id(outgoing)))
        if cached is None:
            cached = outgoing, self._encoders[wire_format](outgoing)
            self._frames[wire_format, id(outgoing)] = cached
        return cached[1]


class Audience:
    """The members of each room that are connected to this node."""

    def __init__(
        self,
        feeds: RoomFeeds,
        subscriptions: SubscriptionTable,
        encoders: Encoders,
        concatenable: str | None,
        now: Callable[[], datetime],
    ) -> None:
        self._feeds = feeds
        self._subscriptions = subscriptions
        self._encoders = encoders
        self._concatenable = concatenable
        self._now = now
        self._held: dict[str, deque[tuple[int, Outgoing, str | None, str | None]]] = {}

    def head(self, room: str) -> int:
        """Return the seq up to which this node has a room, 0 if the room is not in memory."""
        feed = self._feeds.by_room.get(room)
        return feed.head if feed else 0

    def may_post(self, room: str, user: str, seen: int = 0) -> bool:
        """Return whether a user may post, by this node's state of a room; True if it has the room not up to `seen`."""
        feed = self._feeds.by_room.get(room)
        if feed is None or feed.head < seen:
            return True
        state = feed.state
        return user in state.members and not state.archived and not state.is_muted(user, self._now())

    def is_pair(self, room: str, one: str, other: str) -> bool:
        """Return whether a room in memory is a direct room of two users."""
        state = self._feeds.state(room)
        return state is not None and state.visibility == "direct" and set(state.members) == {one, other}

    def live_rooms(self) -> list[str]:
        """Return the rooms that have live subscribers here."""
        return list(self._subscriptions.live)

    def rooms_of(self, user: str) -> Iterator[str]:
        """Yield the rooms with subscribers here in which a user is or was a member."""
        for room in self._subscriptions.rooms:
            state = self._feeds.state(room)
            if state is not None and (user in state.members or user in state.left):
                yield room

    def are_members(self, room: str, users: Collection[str]) -> bool:
        """Return whether all of `users` are members of a room in memory, by its state on this node."""
        feed = self._feeds.by_room.get(room)
        return feed is not None and all(user in feed.state.members for user in users)

    def rooms_with_members_under(self, most_members: int) -> Iterator[tuple[RoomState, list[Subscriber]]]:
        """Yield the state and the subscribers (`of`) of each room that has subscribers and at most `most_members`."""
        for room in self._subscriptions.rooms:
            state = self._feeds.state(room)
            if state is not None and len(state.members) <= most_members:
                yield state, self.of(room)

    def of(self, room: str) -> list[Subscriber]:
        """Return the subscribers of a room, live or joining, whose users are members."""
        feed = self._feeds.by_room.get(room)
        if feed is None:
            return []
        members = feed.state.members
        return [subscriber for subscriber in self._subscriptions.of(room) if subscriber.user in members]

    def broadcast(
        self, room: str, outgoing: Outgoing, *, but: str | None = None, only: str | None = None, seen: int = 0
    ) -> None:
        """Send an event to the members of a room, except `but` or `only` one, once this node has the room up to `seen`.

        `seen` is the head of the room on the node that the event comes from.
        """
        feed = self._feeds.by_room.get(room)
        if feed is None:
            return
        seen = max(seen, feed.expected)
        # An event that follows a held one waits too, so that a typing:stop never overtakes its start.
        if room in self._held or feed.head < seen:
            self._held.setdefault(room, deque(maxlen=MOST_HELD)).append((seen, outgoing, but, only))
        else:
            self._send_to_members(room, outgoing, but, only)

    def send(self, subscribers: Iterable[Subscriber], outgoing: Outgoing) -> None:
        """Send an event to subscribers that the caller selected."""
        batch = self.batch()
        for subscriber in subscribers:
            batch.send(subscriber, (outgoing,))

    def batch(self) -> EphemeralBatch:
        """Return a batch that encodes each event once for all subscribers."""
        return EphemeralBatch(self._encoders, self._concatenable)

    def advanced(self, room: str, head: int) -> None:
        """Send the events held for a room that has advanced to `head`."""
        held = self._held.get(room)
        while held and held[0][0] <= head:
            _, outgoing, but, only = held.popleft()
            self._send_to_members(room, outgoing, but, only)
        if held is not None and not held:
            del self._held[room]

    def drop(self, room: str) -> None:
        """Discard the events held for a room that leaves memory."""
        self._held.pop(room, None)

    def _send_to_members(self, room: str, outgoing: Outgoing, but: str | None, only: str | None) -> None:
        recipients = [
            subscriber
            for subscriber in self.of(room)
            if subscriber.user != but and (only is None or subscriber.user == only)
        ]
        self.send(recipients, outgoing)
