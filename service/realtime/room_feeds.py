"""The rooms in memory on this node: loads their feeds from the log, keeps them current, and evicts unused ones.

Invariant: a room has at most one feed, and no event is lost between the read of the room and the moment its feed is in
memory. Events that arrive during the load are parked, and applied before the feed is returned.

During every await the room may be evicted, reset or loaded again. A method that awaits checks afterwards that its feed
is still in use.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from service.domain.events import Recorded
from service.domain.room import RoomState
from service.domain.streams import room_of, room_stream
from service.eventstore.reader import LogReader
from service.realtime.catch_up import PAGE
from service.realtime.gap_repair import PATIENCE, GapRepair
from service.realtime.room_feed import RoomFeed
from service.realtime.room_memory import IdleRooms, Parking, RingMemory
from service.realtime.room_subscribers import SubscriptionTable
from service.realtime.user_cache import UserCache, named_in


@dataclass(eq=False)
class _Load:
    """A room that is being read: the events that arrived since, and a seq that is on the record (0: none known)."""

    task: asyncio.Task[RoomFeed]
    parking: Parking
    parked: list[Recorded] = field(default_factory=list)
    missing: int = 0

    def park(self, events: Iterable[Recorded]) -> None:
        """Keep events until the room is read; those that do not fit are read from the log."""
        for recorded in events:
            if self.parking.admit(recorded):
                self.parked.append(recorded)
            else:
                self.missing = max(recorded.seq, self.missing)

    def clear(self) -> None:
        """Drop the events, and the seq that is on the record."""
        self.parked.clear()
        self.parking.clear()
        self.missing = 0


class RoomFeeds:
    """Feeds by room.

    `advance` applies events to a feed and queues them for its subscribers; `flush` starts to write what is queued.
    `on_follow` and `on_unfollow` are called with a room that enters or leaves memory.
    """

    def __init__(
        self,
        reader: LogReader,
        people: UserCache,
        subscriptions: SubscriptionTable,
        memory: RingMemory,
        *,
        advance: Callable[[RoomFeed, list[Recorded]], None],
        flush: Callable[[], None],
        on_follow: Callable[[str], None],
        on_unfollow: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._people = people
        self._subscriptions = subscriptions
        self._memory = memory
        self._advance = advance
        self._flush = flush
        self._on_follow = on_follow
        self._on_unfollow = on_unfollow
        self.by_room: dict[str, RoomFeed] = {}
        self._idle = IdleRooms(self._evict)
        self._loads: dict[str, _Load] = {}
        self._resets = 0
        self.repairs = GapRepair(reader, people, self.in_use, self._apply)

    def state(self, room: str) -> RoomState | None:
        """Return a room's state on this node, None if the room is not in memory."""
        feed = self.by_room.get(room)
        return feed.state if feed else None

    def known_head(self, stream: str) -> int | None:
        """Return the seq up to which this node has a room's stream, None for a stream that is not in memory."""
        if not stream.startswith("room:"):
            return None
        feed = self.by_room.get(room_of(stream))
        return feed.head if feed else None

    def follows(self, room: str) -> bool:
        """Return whether a room is in memory or being loaded."""
        return room in self.by_room or room in self._loads

    def in_use(self, feed: RoomFeed) -> bool:
        """Return whether a feed is the current one of its room."""
        return self.by_room.get(feed.room) is feed

    def lags(self, room: str, seq: int) -> bool:
        """Return whether a room is in memory and does not have `seq` yet."""
        feed = self.by_room.get(room)
        return feed is not None and feed.head < seq

    def in_memory(self, room: str) -> RoomFeed | None:
        """Return a room's feed if it is in memory, which counts as a use of the room."""
        if (feed := self.by_room.get(room)) is not None:
            self._idle.use(room)
        return feed

    async def feed(self, room: str) -> RoomFeed:
        """Return a room's feed, loaded from the log on first use.

        The feed of a room that does not exist has head 0 and is not kept.

        Raises:
            Unavailable: the log cannot be read.
        """
        if (feed := self.in_memory(room)) is not None:
            return feed
        if room not in self._loads:
            # A separate task, so that cancelling the first caller does not fail the others that wait for the room.
            self._loads[room] = _Load(asyncio.create_task(self._load(room)), Parking(self._memory))
        return await asyncio.shield(self._loads[room].task)

    async def feed_up_to(self, room: str, seq: int) -> RoomFeed:
        """Return a room's feed, which has at least the event `seq` of the log.

        The feed in memory may lack an event that was just recorded, because a name has to be read first.

        Raises:
            Unavailable: the log cannot be read.
        """
        feed = await self.feed(room)
        return feed if feed.head >= seq else await self.refresh(room)

    async def refresh(self, room: str) -> RoomFeed:
        """Return a room's feed, at least as new as the log was at the time of the call.

        Raises:
            Unavailable: the log cannot be read.
        """
        while True:
            feed = await self.feed(room)
            events = await self._reader.stream(room_stream(room), feed.head, PAGE)
            await self._people.load(named_in(events))
            if self.by_room.get(room, feed) is not feed or feed.dropped:
                continue  # this feed was replaced or dropped during the read
            if events and room not in self.by_room:
                self._on_follow(room)
                self._keep(feed)
            self._apply(feed, events)
            if len(events) < PAGE:
                return feed

    async def message_exists(self, room: str, seq: int) -> bool:
        """Return whether the event `seq` of a room is a message.

        Raises:
            Unavailable: the log cannot be read.
        """
        feed = self.by_room.get(room)
        if feed is not None and (recent := feed.is_message(seq)) is not None:
            return recent
        return await self._reader.message(room, seq) is not None

    def receive(self, room: str, events: Iterable[Recorded]) -> None:
        """Apply events to a room in memory, in any order; read the log if one is missing."""
        if room in self._loads:
            self._loads[room].park(events)
        elif (feed := self.by_room.get(room)) is not None:
            self._receive(feed, list(events))

    def mark_missing(self, room: str, seq: int) -> None:
        """Start to read a room from the log if it lacks `seq`, which is on the record."""
        if (load := self._loads.get(room)) is not None:
            load.missing = max(seq, load.missing)
        if self.lags(room, seq):
            self.by_room[room].expect(seq)
            self.repairs.request(self.by_room[room])

    def pin(self, room: str) -> None:
        """Keep a room in memory while it has subscribers."""
        self._idle.remove(room)

    def release(self, room: str) -> None:
        """Make a room evictable if it has no subscribers."""
        if room not in self.by_room or room in self._subscriptions:
            return
        self._idle.add(room, self.by_room[room].memory)

    def _evict(self, room: str) -> None:
        self.by_room.pop(room).close()
        self._on_unfollow(room)

    def drop(self, room: str) -> RoomFeed | None:
        """Remove a room whose feed contradicts the log; return the feed, None if there was none."""
        feed = self.by_room.pop(room, None)
        if feed is not None:
            feed.dropped = True
            feed.close()
            self._idle.remove(room)
            self._on_unfollow(room)
        return feed

    def clear(self) -> None:
        """Remove all rooms; rooms that are being loaded are read again."""
        self._resets += 1
        for load in self._loads.values():
            load.clear()
        for room in list(self.by_room):
            self.drop(room)

    async def close(self) -> None:
        """Stop reading the log."""
        tasks = [load.task for load in self._loads.values()]
        for task in tasks:
            task.cancel()
        await self.repairs.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, room: str) -> RoomFeed:
        # The room is followed before it is read: `receive` parks what is recorded after the read.
        self._on_follow(room)
        try:
            feed = await self._read_room(room)
        except BaseException:
            self._on_unfollow(room)
            self._loads[room].clear()
            raise
        finally:
            load = self._loads.pop(room)
        if feed.head or load.parked or load.missing:
            self._keep(feed)
            parked, missing = list(load.parked), load.missing
            load.clear()
            self._receive(feed, parked)
            self.mark_missing(room, missing)
        else:
            self._on_unfollow(room)
        return feed

    async def _read_room(self, room: str) -> RoomFeed:
        while True:
            resets = self._resets
            feed = RoomFeed(await self._reader.room(room), self._memory)
            if resets == self._resets:
                return feed  # otherwise the state may be that of the log before a restore

    def _keep(self, feed: RoomFeed) -> None:
        self.by_room[feed.room] = feed
        self.release(feed.room)

    def _apply(self, feed: RoomFeed, events: list[Recorded]) -> None:
        """Apply events read from the log."""
        self._advance(feed, events)
        self._flush()
        self._idle.recount(feed)

    def _receive(self, feed: RoomFeed, events: list[Recorded]) -> None:
        last = max((recorded.seq for recorded in events), default=0)
        if all(self._people.knows(user) for user in named_in(events)):
            self._advance(feed, events)
            self._idle.recount(feed)
            delay = PATIENCE if feed.gap or self.lags(feed.room, last) else None
        else:
            delay = 0.0
        if self.lags(feed.room, last):
            feed.expect(last)
        if delay is not None:
            self.repairs.request(feed, delay)
