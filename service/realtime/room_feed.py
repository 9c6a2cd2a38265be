"""A room as this node follows it: contiguous by construction.

`accept` takes events in any order, from the node's own commits, from the bus or from the log, and gives back those
that come next: `seq == head + 1` is delivered, `seq <= head` was delivered already, anything else waits for what is
missing. So live delivery, catch-up and repair are one path. No I/O, no clock: whoever sees a `gap` reads the log and
calls `accept`.

Two events with one seq contradict each other, and only the log can say which of them is on the record
(`contradicted`).
"""

from collections import deque
from collections.abc import Iterable, Sequence

from service.domain import room
from service.domain.events import MessageDeleted, Recorded, as_erased
from service.domain.message import number_of
from service.domain.room import RoomState
from service.domain.room_state import without_words_of
from service.domain.streams import user_subject
from service.realtime.encoded_event import EncodedEvent

RING = 256
RING_SIZE = 256 * 1024
"""Events a feed remembers, and characters in them, so that a short absence costs no query."""

MAX_PARKED = 1_000
"""Events that may wait for a missing one; past that they are dropped, since the log has them all."""


class RoomFeed:
    """A room's state and latest events on this node."""

    def __init__(self, state: RoomState) -> None:
        self.state = state
        self._ring: deque[EncodedEvent] = deque()
        self._ring_size = 0
        self._full = False
        self._parked: dict[int, Recorded] = {}
        self.contradicted = False
        """Whether an event came that is not the one which this feed has under its seq."""
        self.dropped = False
        """Whether the hub forgot this feed, so that nothing may be built on it any more."""
        self.expected = 0
        """The highest seq that is known to be on the record; `head` may be behind it."""
        self.removals = 0
        """How often something was taken out of what is remembered."""

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
            if (known := self._known(recorded.seq)) is not None and not same(known, recorded):
                self.contradicted = True
            elif recorded.seq > self.head and room_left:
                self._parked[recorded.seq] = recorded
        ready = []
        while (following := self._parked.pop(self.head + 1, None)) is not None:
            self.state = room.evolve(self.state, following)
            ready.append(following)
        return ready

    def expect(self, seq: int) -> None:
        """Note that `seq` is on the record."""
        self.expected = max(seq, self.expected)

    def drop_parked(self) -> list[int]:
        """Forget the events that wait for a missing one; return their seqs."""
        seqs = sorted(self._parked)
        self._parked.clear()
        return seqs

    def _known(self, seq: int) -> Recorded | None:
        if seq > self.head:
            return self._parked.get(seq)
        index = seq - self.first
        return self._ring[index].recorded if 0 <= index < len(self._ring) else None

    def remember(self, item: EncodedEvent) -> None:
        """Keep a delivered event for those who come back soon; to them, what is deleted says nothing."""
        if isinstance(item.recorded.event, MessageDeleted):
            self._silence(item.recorded.event.message)
        self._ring.append(item)
        self._ring_size += item.size
        while len(self._ring) > RING or self._ring_size > RING_SIZE:
            self._ring_size -= self._ring.popleft().size
            self._full = True

    @property
    def first(self) -> int:
        """The seq of the earliest event that is remembered; the next one's where none is."""
        return self._ring[0].recorded.seq if self._ring else self.head + 1

    def can_recall(self, after: int) -> bool:
        """Return whether events after a seq are missing here that could be remembered."""
        return not self._full and self.head - RING <= after < self.first - 1

    def recall(self, past: Sequence[EncodedEvent]) -> None:
        """Keep what came right before what is remembered: the latest of it, as far as there is room."""
        # Whatever was deleted since the past was read is remembered here: nothing lies between the two.
        gone = {
            one.recorded.event.message for one in self._ring if isinstance(one.recorded.event, MessageDeleted)
        }
        kept = 0
        for read in reversed(past):
            item = read.without_content() if number_of(read.recorded) in gone else read
            room_left = len(self._ring) < RING and self._ring_size + item.size <= RING_SIZE
            if item.recorded.seq != self.first - 1 or not room_left:
                break
            self._ring.appendleft(item)
            self._ring_size += item.size
            kept += 1
        self._full = kept == 0 or kept < len(past)

    def forget(self, user: str) -> None:
        """Drop what a person said, who is erased, and what they were called."""
        self.removals += 1
        self.state = without_words_of(self.state, user)
        for seq, waiting in self._parked.items():
            if waiting.by == user:
                self._parked[seq] = as_erased(waiting)
        for index, item in enumerate(self._ring):
            if item.recorded.by == user:
                self._replace(index, item.erased())
            elif item.recorded.subject == user_subject(user):
                self._replace(index, item.renamed())

    def forget_past(self) -> None:
        """Drop every event that is kept for those who come back: the log says how each reads now."""
        self.removals += 1
        self._ring.clear()
        self._ring_size = 0
        self._full = False

    def _silence(self, message: int) -> None:
        for index, item in enumerate(self._ring):
            if number_of(item.recorded) == message:
                self._replace(index, item.without_content())

    def _replace(self, index: int, item: EncodedEvent) -> None:
        self._ring_size += item.size - self._ring[index].size
        self._ring[index] = item

    def recent(self, after: int) -> list[EncodedEvent] | None:
        """Return all events after a seq, or None where they reach further back than this feed remembers."""
        if after >= self.head:
            return []
        if not self._ring or self._ring[0].recorded.seq > after + 1:
            return None
        first = self._ring[0].recorded.seq
        return [self._ring[index] for index in range(after + 1 - first, len(self._ring))]


def same(one: Recorded, other: Recorded) -> bool:
    """Return whether two events of a room with one seq are the same, by their place in the log."""
    return one.position == other.position and one.at == other.at
