"""The subscribers of each room, and the writes to those that are live.

A live subscriber has a slot. Each batch is written to all slots, with one write per slot. A subscriber that becomes
live while events are queued has received them already: it is *late*, and gets a slot once the others have received them
too.

Invariants: a batch may take several turns, but between any two writes the last event that each subscriber received is
known. A subscriber that is live in a room, or has left it, is not among those that are joining it.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from service.realtime.encoded_event import CoalescedFrames, EncodedEvent, WriteBatch
from service.realtime.subscriber import DeliveredRange, Subscriber
from service.runtime.direct_sockets import NOWHERE, DirectSockets, Unwritten


class RoomSubscribers:
    """The live subscribers of one room, which have received its events up to the seq `head`."""

    def __init__(self, room: str, head: int, sockets: DirectSockets, concatenable: str | None) -> None:
        self.room = room
        self.waiting = 0
        """Events that some subscriber has not been written yet."""
        self._head = head
        self._sockets = sockets
        self._concatenable = concatenable
        self._delivered: dict[Subscriber, DeliveredRange] = {}
        self._late: dict[Subscriber, DeliveredRange] = {}
        # By slot. The descriptors are a flat array: cache misses dominate the cost of a fan-out.
        self._slots: list[Subscriber | None] = []
        self._descriptors = array("i")
        self._slots_of_user: dict[str, list[int]] = {}
        self._free_slots: list[int] = []
        self._queue: deque[WriteBatch] = deque()
        # The batch that is being written, its recipients and its progress.
        self._batch: WriteBatch | None = None
        self._frames = CoalescedFrames([], None)
        self._targets = array("i")
        self._next_slot = 0
        self._unwritten: list[
            Unwritten
        ] = []  # slots before `_next_slot` that have not received the whole batch
        self._late_targets: list[Subscriber] = []
        self._writing: DeliveredRange | None = None

    def __contains__(self, subscriber: Subscriber) -> bool:
        return subscriber in self._delivered

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._delivered)

    def __len__(self) -> int:
        return len(self._delivered)

    def add(self, subscriber: Subscriber, delivered: DeliveredRange) -> None:
        """Add a subscriber that has received everything, including what is queued here."""
        self._delivered[subscriber] = delivered
        if self._batch is None and not self._queue:
            self._assign_slot(subscriber, delivered)
        else:
            self._late[subscriber] = delivered

    def remove(self, subscriber: Subscriber) -> DeliveredRange:
        """Remove a subscriber; return the range that it was written."""
        delivered = self._delivered.pop(subscriber)
        self._late.pop(subscriber, None)
        delivered.delivered_up_to = self._last_delivered(delivered)
        if (slot := delivered.slot) is not None:
            delivered.slot = None
            self._release_slot(slot, subscriber.user)
        return delivered

    def put(self, items: Sequence[EncodedEvent], ended: str | None = None) -> None:
        """Queue the next events; the last one may have ended the membership of the user `ended`."""
        for item in items:
            if not self._queue or self._queue[-1].full:
                self._queue.append(WriteBatch())
            self._queue[-1].add(item)
        self._queue[-1].ended = ended
        self.waiting += len(items)

    def write(self, out_of_time: Callable[[], bool]) -> WriteBatch | None:
        """Write the next batch until `out_of_time`; return it if all have received it now, otherwise None."""
        if self._batch is None and self._queue:
            self._begin(self._queue.popleft())
        batch = self._batch
        if batch is None or not (self._write_slots(out_of_time) and self._write_late(out_of_time)):
            return None
        self._finish(batch)
        return batch

    def of_user(self, user: str, seq: int) -> list[Subscriber]:
        """Return the subscribers of a user whose last received event is `seq`."""
        return [
            subscriber
            for subscriber, delivered in self._delivered.items()
            if subscriber.user == user and self._last_delivered(delivered) == seq
        ]

    def _assign_slot(self, subscriber: Subscriber, delivered: DeliveredRange) -> None:
        descriptor = subscriber.descriptor
        if self._free_slots:
            slot = self._free_slots.pop()
            self._slots[slot], self._descriptors[slot] = subscriber, descriptor
        else:
            slot = len(self._slots)
            self._slots.append(subscriber)
            self._descriptors.append(descriptor)
        delivered.slot = slot
        self._slots_of_user.setdefault(subscriber.user, []).append(slot)

    def _release_slot(self, slot: int, user: str) -> None:
        self._slots[slot] = None
        self._descriptors[slot] = NOWHERE
        if slot < len(self._targets):
            self._targets[slot] = NOWHERE
        self._free_slots.append(slot)
        self._slots_of_user[user].remove(slot)
        if not self._slots_of_user[user]:
            del self._slots_of_user[user]

    def _last_delivered(self, delivered: DeliveredRange) -> int:
        if delivered.slot is None or delivered is self._writing:
            return delivered.delivered_up_to
        if self._batch is None or delivered.slot >= self._next_slot:
            return self._head
        return self._head if any(slot == delivered.slot for slot, _ in self._unwritten) else self._batch.last

    def _begin(self, batch: WriteBatch) -> None:
        self._batch = batch
        self._frames = CoalescedFrames(batch.items, self._concatenable)
        self._targets = self._descriptors[:]
        self._next_slot = 0
        for user in self._frames.apart:
            for slot in self._slots_of_user.get(user, ()):
                self._targets[slot] = NOWHERE  # this user's frames differ from the shared ones
        self._late_targets = [
            subscriber
            for subscriber, delivered in self._late.items()
            if delivered.delivered_up_to < batch.last
        ]

    def _write_slots(self, out_of_time: Callable[[], bool]) -> bool:
        """Write to the subscribers that have a slot; return whether all are written."""
        while self._unwritten or self._next_slot < len(self._targets):
            self._write_chunk()
            if out_of_time():
                break
        return not self._unwritten and self._next_slot >= len(self._targets)

    def _write_chunk(self) -> None:
        """Write to the next slots: first to their sockets, then by transport to those that did not accept all."""
        frame = self._frames.joined
        if not self._unwritten:
            start = self._next_slot
            self._next_slot = min(start + self._sockets.chunk, len(self._targets))
            unwritten = self._sockets.write(frame, self._targets[start : self._next_slot])
            self._unwritten = [(start + position, taken) for position, taken in reversed(unwritten)]
        while self._unwritten:
            slot, taken = self._unwritten.pop()
            if (subscriber := self._slots[slot]) is not None:
                self._write_by_transport(subscriber, frame[taken:] if taken else b"")

    def _write_by_transport(self, subscriber: Subscriber, rest: bytes) -> None:
        """Write the `rest` of the joined frame, or all frames if no part of them is written."""
        frames = [rest] if rest else self._frames.frames(subscriber.wire_format, subscriber.user)
        if len(frames) == 1:
            subscriber.write(frames[0])
        else:
            delivered = self._delivered[subscriber]
            delivered.delivered_up_to, self._writing = self._head, delivered
            self._write_each(subscriber, delivered)
            self._writing = None

    def _write_late(self, out_of_time: Callable[[], bool]) -> bool:
        """Write to late subscribers the events that they lack; return whether all are written."""
        while self._late_targets:
            subscriber = self._late_targets.pop()
            if (delivered := self._late.get(subscriber)) is not None:
                self._write_each(subscriber, delivered)
            if out_of_time():
                break
        return not self._late_targets

    def _write_each(self, subscriber: Subscriber, delivered: DeliveredRange) -> None:
        """Write events one by one, since each write may close the connection, which removes the subscriber."""
        for item in self._frames.items:
            if item.recorded.seq > delivered.delivered_up_to and not subscriber.closing:
                delivered.delivered_up_to = item.recorded.seq
                subscriber.write(item.frame(subscriber.wire_format, subscriber.user))

    def _finish(self, batch: WriteBatch) -> None:
        self.waiting -= len(batch.items)
        self._head = batch.last
        self._batch = None
        self._targets = array("i")
        for subscriber, delivered in [*self._late.items()]:
            if delivered.delivered_up_to == self._head:
                del self._late[subscriber]
                self._assign_slot(subscriber, delivered)


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
