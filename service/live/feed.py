"""A room as this node follows it: contiguous by construction.

`accept` takes events in any order, from the node's own commits, from the bus or from the log, and gives back those
that come next: `seq == head + 1` is delivered, `seq <= head` was delivered already, anything else waits for what is
missing. So live delivery, catch-up and repair are one path. No I/O, no clock: whoever sees a `gap` reads the log and
calls `accept`.
"""

from collections import deque
from collections.abc import Callable, Iterable

from service.domain import room
from service.domain.events import MessageDeleted, MessagePosted, Recorded, as_erased
from service.domain.message import number_of, without_words
from service.domain.room import RoomState
from service.domain.room_state import without_words_of
from service.domain.streams import user_subject
from service.protocol.events import MessageNew, Outgoing
from service.protocol.names import NameOf, to_wire

RING = 256
RING_SIZE = 256 * 1024
"""Events a feed remembers, and characters in them, so that a short absence costs no query."""

MAX_PARKED = 1_000
"""Events that may wait for a missing one; past that they are dropped, since the log has them all."""

Encoders = dict[str, Callable[[Outgoing], bytes]]
"""Per wire format, an event as the complete frame that every listener of that format is sent."""


class Item:
    """An event on its way to listeners, encoded once per wire format however many they are."""

    __slots__ = ("_encoders", "_frames", "_name_of", "_own", "outgoing", "recorded")

    def __init__(self, recorded: Recorded, name_of: NameOf, encoders: Encoders) -> None:
        self.recorded = recorded
        self.outgoing = to_wire(recorded, name_of)
        self._name_of = name_of
        self._encoders = encoders
        self._frames: dict[str, bytes] = {}
        self._own: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """Roughly its length in characters."""
        return 200 + len(getattr(self.recorded.event, "content", None) or "")

    def silenced(self) -> "Item":
        """Return the same event without the words of its message."""
        return Item(without_words(self.recorded), self._name_of, self._encoders)

    def forgetting(self) -> "Item":
        """Return the same event as it reads once its words are erased, with the names that people have now."""
        return Item(as_erased(self.recorded), self._name_of, self._encoders)

    def renamed(self) -> "Item":
        """Return the same event with the names that people have now."""
        return Item(self.recorded, self._name_of, self._encoders)

    def frame(self, wire_format: str, user: str) -> bytes:
        """Return the frame for a listener of `user`; a message's `ref` is shown to its author only."""
        event = self.recorded.event
        if isinstance(event, MessagePosted) and event.author == user:
            return self._cached(self._own, wire_format, self.outgoing)
        if (frame := self._frames.get(wire_format)) is not None:
            return frame
        return self._cached(self._frames, wire_format, _without_ref(self.outgoing))

    def _cached(self, cache: dict[str, bytes], wire_format: str, outgoing: Outgoing) -> bytes:
        frame = cache.get(wire_format)
        if frame is None:
            frame = cache[wire_format] = self._encoders[wire_format](outgoing)
        return frame


class Feed:
    """A room's state and latest events on this node."""

    def __init__(self, state: RoomState) -> None:
        self.state = state
        self.delivered = state.head
        """The seq up to which those who listen were written the room; behind `head` only while a batch goes out."""
        self._ring: deque[Item] = deque()
        self._ring_size = 0
        self._parked: dict[int, Recorded] = {}

    @property
    def room(self) -> str:
        """The room's id."""
        return self.state.room

    @property
    def head(self) -> int:
        """The seq up to which this node has the room."""
        return self.state.head

    @property
    def gap(self) -> bool:
        """Whether events wait for one that is missing."""
        return bool(self._parked)

    def accept(self, events: Iterable[Recorded]) -> list[Recorded]:
        """Return the events that come next, in order; the state is that after the last of them."""
        for recorded in events:
            room_left = len(self._parked) < MAX_PARKED or recorded.seq == self.head + 1
            if recorded.seq > self.head and room_left:
                self._parked[recorded.seq] = recorded
        ready = []
        while (following := self._parked.pop(self.head + 1, None)) is not None:
            self.state = room.evolve(self.state, following)
            ready.append(following)
        return ready

    def remember(self, item: Item) -> None:
        """Keep a delivered event for those who come back soon; to them, what is deleted says nothing."""
        if isinstance(item.recorded.event, MessageDeleted):
            self._silence(item.recorded.event.message)
        self._ring.append(item)
        self._ring_size += item.size
        while len(self._ring) > RING or self._ring_size > RING_SIZE:
            self._ring_size -= self._ring.popleft().size

    def forget(self, user: str) -> None:
        """Drop what a person said, who is erased, and what they were called."""
        self.state = without_words_of(self.state, user)
        for seq, waiting in self._parked.items():
            if waiting.by == user:
                self._parked[seq] = as_erased(waiting)
        for index, item in enumerate(self._ring):
            if item.recorded.by == user:
                self._replace(index, item.forgetting())
            elif item.recorded.subject == user_subject(user):
                self._replace(index, item.renamed())

    def forget_past(self) -> None:
        """Drop every event that is kept for those who come back: the log says how each reads now."""
        self._ring.clear()
        self._ring_size = 0

    def _silence(self, message: int) -> None:
        for index, item in enumerate(self._ring):
            if number_of(item.recorded) == message:
                self._replace(index, item.silenced())

    def _replace(self, index: int, item: Item) -> None:
        self._ring_size += item.size - self._ring[index].size
        self._ring[index] = item

    def recent(self, after: int) -> list[Item] | None:
        """Return all events after a seq, or None where they reach further back than this feed remembers."""
        if after >= self.head:
            return []
        if not self._ring or self._ring[0].recorded.seq > after + 1:
            return None
        first = self._ring[0].recorded.seq
        return [self._ring[index] for index in range(after + 1 - first, len(self._ring))]


def _without_ref(outgoing: Outgoing) -> Outgoing:
    if isinstance(outgoing, MessageNew):
        fields = {name: getattr(outgoing, name) for name in outgoing.__struct_fields__ if name != "ref"}
        return MessageNew(**fields)
    return outgoing
