"""The latest events of rooms in memory, counted in the memory that they hold.

Invariant: `RingMemory.held` is the sum of what the items of all open rings hold, the encoded frames included, and is at
most `limit` after each change.
"""

from collections import OrderedDict, deque

from service.realtime.encoded_event import EncodedEvent

RING_BYTES = 128 * 1024 * 1024
"""Bytes of memory that all rings of a node hold, unless the operator sets another limit."""

RING = 256
RING_SIZE = 1024 * 1024
"""Events of one ring, and bytes of memory that they hold. A client that was away for a short time costs no query."""


class RingMemory:
    """The memory of all rings of a node, at most `limit` bytes. The ring that was not used for longest is emptied."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rings: OrderedDict[Ring, None] = OrderedDict()
        self.held = 0

    def add(self, ring: "Ring", size: int) -> None:
        """Count bytes that a ring holds more, or less, and note that it is in use."""
        self.held += size
        self._rings[ring] = None
        self._rings.move_to_end(ring)
        while self.held > self._limit:
            next(iter(self._rings)).clear()  # the ring itself, if there is no other

    def remove(self, ring: "Ring", size: int) -> None:
        """Count an emptied ring no more."""
        self.held -= size
        self._rings.pop(ring, None)


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
