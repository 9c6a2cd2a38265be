"""The state and the latest events of one room in memory.

Invariant: the events of a feed have no gap. `accept` takes events in any order, from this node's commits, the bus or
the log. It returns the event with `seq == head + 1`, ignores an earlier one, and parks a later one until the missing
one arrives. So live delivery and repair share one path. The feed does no I/O: on a `gap` its owner reads the log and
calls `accept`.

Two different events with one seq contradict each other, and only the log shows which one is on the record
(`contradicted`).
"""

from collections.abc import Iterable, Sequence

from service.domain import room
from service.domain.events import MessageDeleted, MessagePosted, Recorded, as_erased
from service.domain.message import number_of
from service.domain.room import RoomState
from service.domain.room_state import without_words_of
from service.domain.streams import user_subject
from service.realtime.encoded_event import EncodedEvent
from service.realtime.room_memory import RING, Parking, Ring, RingMemory

BYTES_OF_ROOM = 10_000
BYTES_OF_MEMBER = 300
BYTES_OF_USER = 200
"""About the memory of a room without members, of a member with their id, and of any other user that the room names."""


class RoomFeed:
    """A room's state and latest events on this node."""

    def __init__(self, state: RoomState, memory: RingMemory) -> None:
        self.state = state
        self.ring = Ring(memory)
        self._parked: dict[int, Recorded] = {}
        self._parking = Parking(memory)
        self.contradicted = False
        """Whether two different events with one seq were received."""
        self.dropped = False
        """Whether this feed was removed from memory because it contradicts the log, and must not be used."""
        self.expected = 0
        """The highest seq known to be on the record; `head` may be lower."""
        self.removals = 0
        """How often content was removed from the ring."""

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
        """Return the events that come next, in order, after applying them to the state."""
        ready: list[Recorded] = []
        following = self.state.head + 1  # an event that waits for none is not counted
        for recorded in events:
            if recorded.seq == following and not self._parked:
                self.state = room.evolve(self.state, recorded)
                ready.append(recorded)
                following += 1
            elif (known := self._known(recorded.seq, ready)) is not None:
                self.contradicted = self.contradicted or not same(known, recorded)
            elif recorded.seq == following:
                self._parked[following] = recorded
                following += 1
            elif recorded.seq > self.state.head and self._parking.admit(recorded):
                self._parked[recorded.seq] = recorded
        while self._parked and (recorded_next := self._parked.pop(self.state.head + 1, None)) is not None:
            self._parking.release(recorded_next.seq)
            self.state = room.evolve(self.state, recorded_next)
            ready.append(recorded_next)
        return ready

    def expect(self, seq: int) -> None:
        """Note that `seq` is on the record."""
        self.expected = max(seq, self.expected)

    def drop_parked(self) -> list[int]:
        """Discard the events that wait for a missing one; return their seqs."""
        seqs = sorted(self._parked)
        self._parked.clear()
        self._parking.clear()
        return seqs

    def close(self) -> None:
        """Hold no events any more, because the room leaves memory."""
        self.ring.close()
        self.drop_parked()

    @property
    def memory(self) -> int:
        """About the bytes of memory that the room takes besides its events."""
        state = self.state
        others = len(state.left) + len(state.invited) + len(state.banned) + len(state.muted)
        texts = 4 * (len(state.name) + len(state.topic or ""))
        return BYTES_OF_ROOM + texts + BYTES_OF_MEMBER * len(state.members) + BYTES_OF_USER * others

    def _known(self, seq: int, ready: list[Recorded]) -> Recorded | None:
        """Return the event of a seq: one that waits, one that was just applied, or one in the ring."""
        if seq > self.state.head:
            return self._parked.get(seq)
        if ready and seq >= ready[0].seq:
            return ready[seq - ready[0].seq]
        return self._past(seq)

    def _past(self, seq: int) -> Recorded | None:
        index = seq - self.first
        return self.ring.items[index].recorded if 0 <= index < len(self.ring.items) else None

    def is_message(self, seq: int) -> bool | None:
        """Return whether an event in the ring is a message, None if the ring has no event of this seq."""
        past = self._past(seq)
        return None if past is None else isinstance(past.event, MessagePosted)

    def remember(self, item: EncodedEvent) -> None:
        """Add a delivered event to the ring; a deletion removes the content of its message there."""
        if isinstance(item.recorded.event, MessageDeleted):
            self._remove_content(item.recorded.event.message)
        self.ring.append(item)

    @property
    def first(self) -> int:
        """The seq of the earliest event in the ring; `head + 1` if the ring is empty."""
        return self.ring.items[0].recorded.seq if self.ring.items else self.head + 1

    def can_backfill(self, after: int) -> bool:
        """Return whether the ring lacks events after a seq, and may have room for them."""
        return not self.ring.full and self.head - RING <= after < self.first - 1

    def backfill(self, past: Sequence[EncodedEvent]) -> None:
        """Put as many of the latest events in `past`, which ends before `first`, in front of the ring as fit."""
        # A deletion that was recorded after `past` was read is in the ring, which follows `past` without a gap.
        deleted = {
            item.recorded.event.message
            for item in self.ring.items
            if isinstance(item.recorded.event, MessageDeleted)
        }
        kept = 0
        for read in reversed(past):
            item = read.without_content() if number_of(read.recorded) in deleted else read
            if item.recorded.seq != self.first - 1 or not self.ring.prepend(item):
                break
            kept += 1
        self.ring.full = kept == 0 or kept < len(past)

    def forget(self, user: str) -> None:
        """Remove the content and the name of an erased user."""
        self.removals += 1
        self.state = without_words_of(self.state, user)
        for seq, waiting in self._parked.items():
            if waiting.by == user:
                self._parked[seq] = as_erased(waiting)
        for index, item in enumerate(list(self.ring.items)):
            if item.recorded.by == user:
                self.ring.replace(index, item.erased())
            elif item.recorded.subject == user_subject(user):
                self.ring.replace(index, item.renamed())

    def forget_past(self) -> None:
        """Empty the ring, because the log shows one of its events differently now."""
        self.removals += 1
        self.ring.clear()

    def _remove_content(self, message: int) -> None:
        for index, item in enumerate(list(self.ring.items)):
            if number_of(item.recorded) == message:
                self.ring.replace(index, item.without_content())

    def recent(self, after: int) -> list[EncodedEvent] | None:
        """Return all events after a seq, None if the ring does not reach back that far."""
        if after >= self.head:
            return []
        items = self.ring.items
        if not items or self.first > after + 1:
            return None
        return [items[index] for index in range(after + 1 - self.first, len(items))]


def same(event: Recorded, other: Recorded) -> bool:
    """Return whether two events of a room with one seq are the same, by their position and time in the log."""
    return event.position == other.position and event.at == other.at
