"""Those who hear a room live, and what is on its way to them.

Everybody who has a place is written the same stretches in the same order: what waits together goes out together, one
write for each listener. Who comes while something waits is late: they have it already, and get a place once everybody
else has it too.

The rule: a stretch may be written in several turns, and at any moment between two writes it is known of every listener
which event was its last.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from service.realtime.direct_sockets import NOWHERE, DirectSockets
from service.realtime.encoded_event import CoalescedFrames, EncodedEvent
from service.realtime.subscriber import DeliveredRange, Subscriber

CHUNK = 32
"""Writes between two looks at the clock."""

MOST_TOGETHER = 64 * 1024
"""Characters that go out in one write; what waits beyond it makes another."""


class WriteBatch:
    """Events that go out together; after the last of them, `ended` hears the room no more."""

    def __init__(self) -> None:
        self.items: list[EncodedEvent] = []
        self.size = 0
        self.ended: str | None = None

    @property
    def full(self) -> bool:
        """Whether what comes next belongs to another."""
        return self.ended is not None or self.size >= MOST_TOGETHER

    @property
    def last(self) -> int:
        """The seq of its last event."""
        return self.items[-1].recorded.seq

    def take(self, item: EncodedEvent) -> None:
        """Add what follows."""
        self.items.append(item)
        self.size += item.size


class RoomSubscribers:
    """The listeners of one room, who have been written it up to a seq."""

    def __init__(self, room: str, level: int, straight: DirectSockets, joining: str | None) -> None:
        self.room = room
        self.waiting = 0
        """Events that not everybody was written yet."""
        self._level = level
        self._straight = straight
        self._joining = joining
        self._reaches: dict[Subscriber, DeliveredRange] = {}
        self._late: dict[Subscriber, DeliveredRange] = {}
        # Of everybody who has a place, by place. Flat, since a fan-out is as fast as what it touches is near.
        self._listeners: list[Subscriber | None] = []
        self._descriptors = array("i")
        self._of_user: dict[str, list[int]] = {}
        self._free: list[int] = []
        self._waiting: deque[WriteBatch] = deque()
        # What is being written now, to whom, and how far that has come.
        self._now: WriteBatch | None = None
        self._on_the_way = CoalescedFrames([], None)
        self._targets = array("i")
        self._next = 0
        self._behind: list[Subscriber] = []
        self._writing: DeliveredRange | None = None

    def __contains__(self, listener: Subscriber) -> bool:
        return listener in self._reaches

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._reaches)

    def __len__(self) -> int:
        return len(self._reaches)

    def add(self, listener: Subscriber, reach: DeliveredRange) -> None:
        """Let in a listener who has everything, what waits here included."""
        self._reaches[listener] = reach
        if self._now is None and not self._waiting:
            self._place(listener, reach)
        else:
            self._late[listener] = reach

    def remove(self, listener: Subscriber) -> DeliveredRange:
        """Let go of a listener, and say how far it was written the room."""
        reach = self._reaches.pop(listener)
        self._late.pop(listener, None)
        reach.delivered_up_to = self._upto(reach)
        if (place := reach.place) is not None:
            reach.place = None
            self._vacate(place, listener.user)
        return reach

    def put(self, items: Sequence[EncodedEvent], ended: str | None = None) -> None:
        """Have events written, which follow what was put before; after the last, `ended` is no member any more."""
        for item in items:
            if not self._waiting or self._waiting[-1].full:
                self._waiting.append(WriteBatch())
            self._waiting[-1].take(item)
        self._waiting[-1].ended = ended
        self.waiting += len(items)

    def write(self, enough: Callable[[], bool]) -> WriteBatch | None:
        """Write the stretch that is next, until `enough`; return it once everybody has it, None before that."""
        if self._now is None:
            if not self._waiting:
                return None
            self._begin(self._waiting.popleft())
        if not (self._write_placed(enough) and self._write_late(enough)):
            return None
        return self._finish()

    def of_user(self, user: str, seq: int) -> list[Subscriber]:
        """Return a user's listeners whose last event was `seq`."""
        return [one for one, reach in self._reaches.items() if one.user == user and self._upto(reach) == seq]

    def _place(self, listener: Subscriber, reach: DeliveredRange) -> None:
        descriptor = listener.descriptor
        if self._free:
            reach.place = self._free.pop()
            self._listeners[reach.place], self._descriptors[reach.place] = listener, descriptor
        else:
            reach.place = len(self._listeners)
            self._listeners.append(listener)
            self._descriptors.append(descriptor)
        self._of_user.setdefault(listener.user, []).append(reach.place)

    def _vacate(self, place: int, user: str) -> None:
        self._listeners[place] = None
        self._descriptors[place] = NOWHERE
        if place < len(self._targets):
            self._targets[place] = NOWHERE
        self._free.append(place)
        self._of_user[user].remove(place)
        if not self._of_user[user]:
            del self._of_user[user]

    def _upto(self, reach: DeliveredRange) -> int:
        if reach.place is None or reach is self._writing:
            return reach.delivered_up_to
        return self._now.last if self._now is not None and reach.place < self._next else self._level

    def _begin(self, stretch: WriteBatch) -> None:
        self._now = stretch
        self._on_the_way = CoalescedFrames(stretch.items, self._joining)
        self._targets = self._descriptors[:]
        self._next = 0
        for author in self._on_the_way.authors:
            for place in self._of_user.get(author, ()):
                self._targets[place] = NOWHERE  # they are shown their own message otherwise
        self._behind = [one for one, reach in self._late.items() if reach.delivered_up_to < stretch.last]

    def _write_placed(self, enough: Callable[[], bool]) -> bool:
        """Write to those who have a place; return whether that is done."""
        targets = self._targets
        while self._next < len(targets):
            end = min(self._next + CHUNK, len(targets))
            self._write_chunk(self._next, end)
            self._next = end
            if enough():
                break
        return self._next >= len(targets)

    def _write_chunk(self, start: int, end: int) -> None:
        """Write to some places. What this names is touched for each listener: it is what a delivery costs."""
        joined = self._on_the_way
        straight, targets, frame = self._straight, self._targets, joined.in_one_piece
        size = len(frame)
        for place in range(start, end):
            taken = 0
            if (send := straight[targets[place]]) is not None:
                try:
                    taken = send(frame)
                except OSError:
                    taken = 0  # the kernel takes nothing now; or it is broken, as its transport finds out
                if taken == size:
                    continue
            if (listener := self._listeners[place]) is not None:
                self._next = place + 1
                self._write_by_transport(listener, frame[taken:] if taken else b"")

    def _write_by_transport(self, listener: Subscriber, rest: bytes) -> None:
        """Write to one listener, who has been written all but the `rest`, or nothing yet."""
        frames = [rest] if rest else self._on_the_way.frames(listener.wire_format, listener.user)
        if len(frames) == 1:
            listener.write(frames[0])
        else:
            reach = self._reaches[listener]
            reach.delivered_up_to, self._writing = self._level, reach
            self._write_each(listener, reach)
            self._writing = None

    def _write_late(self, enough: Callable[[], bool]) -> bool:
        """Write to those who came late what they have not; return whether that is done."""
        while self._behind:
            listener = self._behind.pop()
            if (reach := self._late.get(listener)) is not None:
                self._write_each(listener, reach)
            if enough():
                break
        return not self._behind

    def _write_each(self, listener: Subscriber, reach: DeliveredRange) -> None:
        """Write events one by one, from where a listener is. Its connection may end in each, and says so at once."""
        for item in self._stretch.items:
            if item.recorded.seq > reach.delivered_up_to and not listener.closing:
                reach.delivered_up_to = item.recorded.seq
                listener.write(item.frame(listener.wire_format, listener.user))

    def _finish(self) -> WriteBatch:
        stretch = self._stretch
        self.waiting -= len(stretch.items)
        self._level = stretch.last
        self._now = None
        self._targets = array("i")
        for listener, reach in [*self._late.items()]:
            if reach.delivered_up_to == self._level:
                del self._late[listener]
                self._place(listener, reach)
        return stretch

    @property
    def _stretch(self) -> WriteBatch:
        if self._now is None:
            raise RuntimeError("nothing is being written")
        return self._now
