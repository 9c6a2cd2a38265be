"""What rooms hold in memory: their latest events, events that wait for others, and rooms without subscribers.

Invariant: `RingMemory.held` is the sum of what the items of all open rings hold, the encoded frames included, and of
`reserved`; it is at most `limit` after each change. Events that wait are at most `MAX_PARKED` and `PARKED_SIZE` bytes
a room; one that does not fit is dropped, since the log has it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from service.domain.events import Recorded
from service.realtime.encoded_event import EncodedEvent, text_size

RING_BYTES = 128 * 1024 * 1024
"""Bytes of memory that all rings of a node hold, unless the operator sets another limit."""

RING = 256
RING_SIZE = 1024 * 1024
"""Events of one ring, and bytes of memory that they hold. A client that was away for a short time costs no query."""

MAX_PARKED = 1_000
PARKED_SIZE = 4 * 1024 * 1024
PARKED_SHARE = 4
"""Events of a room that wait for a missing one or for the load of the room, the bytes of memory that they take, and the
part of the memory of rings that those of all rooms may take."""

_BYTES_OF_RECORDED = 1_000
"""What the objects of an event take beside its text."""

MAX_IDLE_FEEDS = 1_000
IDLE_BYTES = 128 * 1024 * 1024
"""Rooms without subscribers, and the bytes of memory that their members, names and topics take; the last one may exceed
it."""


class RingMemory:
    """The memory of all rings of a node, at most `limit` bytes. The ring that was not used for longest is emptied.

    At most a `PARKED_SHARE`-th of it is `reserved` for events that wait; rings are emptied for these.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rings: OrderedDict[Ring, None] = OrderedDict()
        self.held = 0
        self.reserved = 0

    def add(self, ring: "Ring", size: int) -> None:
        """Count bytes that a ring holds more, or less, and note that it is in use."""
        self.held += size
        self._rings[ring] = None
        self._rings.move_to_end(ring)
        if self.held > self._limit:
            self._make_room()

    def remove(self, ring: "Ring", size: int) -> None:
        """Count an emptied ring no more."""
        self.held -= size
        self._rings.pop(ring, None)

    def reserve(self, size: int) -> bool:
        """Count bytes of an event that waits; return False, and count nothing, if there is no room."""
        if self.reserved + size > self._limit // PARKED_SHARE:
            return False
        self.reserved += size
        self.held += size
        self._make_room()
        return True

    def unreserve(self, size: int) -> None:
        """Count bytes that were reserved no more."""
        self.reserved -= size
        self.held -= size

    def _make_room(self) -> None:
        while self.held > self._limit:
            next(iter(self._rings)).clear()  # the ring that has grown itself, if there is no other


class Ring:
    """The latest events of one room without a gap, at most `RING` and at most `RING_SIZE` bytes."""

    def __init__(self, memory: RingMemory) -> None:
        self._memory = memory
        self._closed = False
        self.items: deque[EncodedEvent] = deque()
        self.size = 0
        self.full = False
        """Whether an earlier event did not fit."""

    def append(self, item: EncodedEvent) -> None:
        """Add the next event; earlier ones go if it does not fit beside them."""
        if not self._closed:
            self.items.append(item)
            self._hold(item)

    def prepend(self, item: EncodedEvent) -> bool:
        """Put an event in front; return False if it does not fit."""
        if self._closed or len(self.items) >= RING or self.size + item.memory > RING_SIZE:
            return False
        self.items.appendleft(item)
        self._hold(item)
        return True

    def replace(self, index: int, item: EncodedEvent) -> None:
        """Put an event in the place of another."""
        self.items[index].on_grow = None
        size = self.items[index].memory
        self.items[index] = item
        item.on_grow = self.grew
        self.grew(item.memory - size)

    def grew(self, size: int) -> None:
        """Count bytes that an item holds more, such as an encoded frame; the earliest events go if it is too much."""
        before = self.size
        self.size += size
        while self.items and (len(self.items) > RING or self.size > RING_SIZE):
            item = self.items.popleft()
            item.on_grow = None
            self.size -= item.memory
            self.full = True
        self._memory.add(self, self.size - before)

    def clear(self) -> None:
        """Remove all events."""
        for item in self.items:
            item.on_grow = None
        self.items.clear()
        self._memory.remove(self, self.size)
        self.size = 0
        self.full = False

    def close(self) -> None:
        """Remove all events, and keep none from now on."""
        self._closed = True
        self.clear()

    def _hold(self, item: EncodedEvent) -> None:
        item.on_grow = self.grew
        self.grew(item.memory)


class Parking:
    """The events of one room that wait, by seq; the room keeps the events themselves."""

    def __init__(self, memory: RingMemory) -> None:
        self._memory = memory
        self._sizes: dict[int, int] = {}
        self.size = 0

    def admit(self, recorded: Recorded) -> bool:
        """Count an event; return False, and count nothing, if it does not fit."""
        size = _BYTES_OF_RECORDED + text_size(recorded.event)
        if len(self._sizes) >= MAX_PARKED or self.size + size > PARKED_SIZE or not self._memory.reserve(size):
            return False
        self._sizes[recorded.seq] = self._sizes.get(recorded.seq, 0) + size
        self.size += size
        return True

    def release(self, seq: int) -> None:
        """Count an event no more, if it was counted."""
        if self._sizes and (size := self._sizes.pop(seq, 0)):
            self.size -= size
            self._memory.unreserve(size)

    def clear(self) -> None:
        """Count no event any more."""
        self._sizes.clear()
        self._memory.unreserve(self.size)
        self.size = 0


class Measured(Protocol):
    """A room in memory."""

    @property
    def room(self) -> str:
        """Its id."""

    @property
    def memory(self) -> int:
        """About the bytes that it takes."""


class IdleRooms:
    """Rooms without subscribers by use; `evict` is called with each room that has to leave memory."""

    def __init__(self, evict: Callable[[str], None]) -> None:
        self._evict = evict
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self.held = 0

    def __contains__(self, room: str) -> bool:
        return room in self._sizes

    def use(self, room: str) -> None:
        """Note that a room is in use, if it is one of them."""
        if room in self._sizes:
            self._sizes.move_to_end(room)

    def add(self, room: str, size: int) -> None:
        """Add a room that takes `size` bytes, or count it again; others are evicted if it is too much."""
        self.held += size - self._sizes.get(room, 0)
        self._sizes[room] = size
        while len(self._sizes) > MAX_IDLE_FEEDS or (self.held > IDLE_BYTES and len(self._sizes) > 1):
            evicted = next(iter(self._sizes))
            self.remove(evicted)
            self._evict(evicted)

    def recount(self, feed: Measured) -> None:
        """Count a room again that has changed, if it is one of them."""
        if feed.room in self._sizes:
            self.add(feed.room, feed.memory)

    def remove(self, room: str) -> None:
        """Remove a room, if it is one of them."""
        self.held -= self._sizes.pop(room, 0)
