"""Who listens here, and how events reach them: encoded once, written straight to every listener.

The hub holds a `RoomFeed` per room that is in use. What it is given (`deliver`) it passes on in order and without gaps;
where something is missing it reads the log. Nobody waits for a slow listener: `Listener.write` never blocks.

The rule: a listener joins a room with no await between "it has everything up to the head" and "it is in the set".
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from service.domain.events import ENDINGS, MessagePosted, Recorded
from service.domain.room import RoomState, readable_until
from service.domain.streams import room_of, room_stream
from service.eventstore.reader import LogReader
from service.observability.histogram import Histogram
from service.protocol.events import Outgoing
from service.realtime.audience import Audience
from service.realtime.catch_up import PAGE, CatchUp
from service.realtime.direct_sockets import DirectSockets
from service.realtime.encoded_event import EncodedEvent, Encoders
from service.realtime.ephemeral import EphemeralBatch
from service.realtime.fanout import FanoutScheduler
from service.realtime.gap_repair import PATIENCE, GapRepair
from service.realtime.joining_subscribers import JoiningSubscribers
from service.realtime.room_feed import RoomFeed
from service.realtime.room_subscribers import RoomSubscribers, WriteBatch
from service.realtime.subscriber import DeliveredRange, Subscriber, report
from service.realtime.user_cache import UserCache, named_in
from service.runtime.time_slice import TURN

MAX_IDLE_FEEDS = 1_000
"""Rooms kept in memory that nobody listens to; the least recently used goes first."""

log = logging.getLogger("onrecord.hub")


class Hub:
    """The rooms in use on this node, and their listeners; `now` tells the database's time.

    `encoders` makes frames of the wire formats. Those of `joining` may be sent several in one piece, and past the
    connection's transport where `straight` says so. `turn` is for how many seconds at a time the hub writes.

    For metrics: `deliveries`, events times listeners; `delays`, the seconds from each event's commit until it was
    written here; and `gap_reads`, looks at the log for what was missing.
    """

    def __init__(  # noqa: PLR0913 - its callbacks are given here, and not registered later
        self,
        reader: LogReader,
        people: UserCache,
        encoders: Encoders,
        joining: str | None = None,
        straight: DirectSockets | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        turn: float = TURN,
        *,
        on_follow: Callable[[str], None] = lambda _room: None,
        on_unfollow: Callable[[str], None] = lambda _room: None,
        on_resync: Callable[[set[Subscriber]], None] = lambda _listeners: None,
    ) -> None:
        self._now = now
        self._reader = reader
        self._people = people
        self._encoders = encoders
        self._joining = joining
        self.straight = DirectSockets() if straight is None else straight
        """What the hub and the transports agree by."""
        self._fanout = FanoutScheduler(self._written, turn)
        self._feeds: dict[str, RoomFeed] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._loading: dict[str, tuple[asyncio.Task[RoomFeed], list[Recorded]]] = {}
        self._crowds: dict[str, RoomSubscribers] = {}
        self._arriving = JoiningSubscribers()
        self._audience = Audience(self._feeds, self._crowds, self._arriving, self.send)
        self._pages = CatchUp(reader, people, encoders)
        self._repairs = GapRepair(reader, people, self._in_use, self._take)
        self._wanted: dict[str, int] = {}
        self._resets = 0
        self.heard: dict[str, Recorded] = {}
        """By room, the last event that another node told of and that was not compared with the log yet."""
        self.on_resync = on_resync
        self._delivered = 0
        self.delays = Histogram()
        self._on_follow = on_follow
        self._on_unfollow = on_unfollow

    @property
    def deliveries(self) -> int:
        """Events times listeners."""
        return self._delivered + self._pages.written

    @property
    def gap_reads(self) -> int:
        """Looks at the log for what was missing."""
        return self._repairs.looks

    def known_head(self, stream: str) -> int | None:
        """Return how far this node has a room's stream, None for any stream it does not follow."""
        if not stream.startswith("room:"):
            return None
        feed = self._feeds.get(room_of(stream))
        return feed.head if feed else None

    async def feed(self, room: str) -> RoomFeed:
        """Return a room's feed, loaded from the log on first use.

        The feed of a room that does not exist has head 0 and is not kept.

        Raises:
            Unavailable: the log cannot be read.
        """
        if (feed := self._feeds.get(room)) is not None:
            if room in self._idle:
                self._idle.move_to_end(room)
            return feed
        if room not in self._loading:
            # A task of the hub's own: whoever asked first may be cancelled, and the others wait for it too.
            self._loading[room] = (asyncio.create_task(self._load(room)), [])
        return await asyncio.shield(self._loading[room][0])

    async def reach(self, room: str, seq: int) -> RoomFeed:
        """Return a room's feed, at least as new as a seq that is on the record.

        What was recorded just now may wait for a name that has to be read before it can be delivered.

        Raises:
            Unavailable: the log cannot be read.
        """
        feed = await self.feed(room)
        return feed if feed.head >= seq else await self.refresh(room)

    async def refresh(self, room: str) -> RoomFeed:
        """Return a room's feed, at least as new as the log was when this was called."""
        while True:
            feed = await self.feed(room)
            events = await self._reader.stream(room_stream(room), feed.head, PAGE)
            await self._people.load(named_in(events))
            if self._feeds.get(room, feed) is not feed or feed.dropped:
                continue  # it was dropped and loaded again meanwhile
            if events and room not in self._feeds:
                self._on_follow(room)
                self._keep(feed)
            self._take(feed, events)
            if len(events) < PAGE:
                return feed

    def lags(self, room: str, seq: int) -> bool:
        """Return whether a room is in use here and has not come as far as `seq`."""
        feed = self._feeds.get(room)
        return feed is not None and feed.head < seq

    async def catch_up_to(self, room: str, seq: int) -> None:
        """Read a room again if it is in use here and `seq`, which is on the record, has not been heard.

        Raises:
            Unavailable: the log cannot be read.
        """
        if self.lags(room, seq):
            await self.refresh(room)

    async def message_exists(self, room: str, seq: int) -> bool:
        """Return whether a number in a room is a message.

        Raises:
            Unavailable: the log cannot be read.
        """
        feed = self._feeds.get(room)
        recent = feed.recent(seq - 1) if feed else None
        if recent:
            return isinstance(recent[0].recorded.event, MessagePosted)
        return await self._reader.message(room, seq) is not None

    def deliver(self, news: Mapping[str, Iterable[Recorded]]) -> None:
        """Take events of any streams; those of rooms in use go out at once, or as soon as what is missing is read."""
        for stream, events in news.items():
            if not stream.startswith("room:"):
                continue
            room = room_of(stream)
            if room in self._loading:
                self._loading[room][1].extend(events)
            elif (feed := self._feeds.get(room)) is not None:
                self._receive(feed, list(events))
        self._fanout.go()

    def hear(self, room: str, events: list[Recorded]) -> None:
        """Take what another node says was recorded in a room, and keep the last until the log was asked about it."""
        if room in self._feeds or room in self._loading:
            self.heard[room] = events[-1]
            self.deliver({room_stream(room): events})

    def mark_missing(self, room: str, seq: int) -> None:
        """Have a room read from the log, soon, where `seq` is on the record and was not heard here."""
        if room in self._loading:
            self._wanted[room] = max(seq, self._wanted.get(room, 0))
        if self.lags(room, seq):
            self._audience.expect(room, seq)
            self._repairs.ask(self._feeds[room])

    def broadcast(self, room: str, outgoing: Outgoing, *, but: str | None = None, seen: int = 0) -> None:
        """Send something that is not part of the room's order to the members who listen here, `but` one user.

        `seen` is the head of the room on the node that it comes from; it waits until this node has come as far.
        """
        self._audience.broadcast(room, outgoing, but, seen)

    def send(self, listeners: Iterable[Subscriber], outgoing: Outgoing) -> None:
        """Send something that is not part of any room's order."""
        mail = self.mail()
        for listener in listeners:
            mail.send(listener, (outgoing,))

    def mail(self) -> EphemeralBatch:
        """Return what sends several listeners several such things."""
        return EphemeralBatch(self._encoders, self._joining)

    def forget_person(self, user: str) -> None:
        """Drop what a person said, who is erased, and what they were called, wherever it is remembered."""
        self._fanout.finish()
        for feed in self._feeds.values():
            if user in feed.state.members or user in feed.state.left:
                feed.forget(user)

    def forget_past(self, room: str) -> None:
        """Drop what is remembered of a room's past, since something in it cannot be read any more."""
        if (feed := self._feeds.get(room)) is not None:
            feed.forget_past()

    def rooms_with_members_under(self, most_members: int) -> Iterator[tuple[RoomState, list[Subscriber]]]:
        """Yield the rooms that have listeners here and so few members, each with the listeners who are members."""
        for room in self._audience.rooms:
            state = self._audience.state(room)
            if state is not None and len(state.members) <= most_members:
                yield state, self._audience.of(room)

    def state(self, room: str) -> RoomState | None:
        """Return a room's state on this node, None where the room is not in memory."""
        return self._audience.state(room)

    def are_members(self, room: str, users: Collection[str]) -> bool:
        """Return whether all of `users` are members of a room in memory at this moment, by this node's state."""
        return self._audience.are_members(room, users)

    def pre_subscribe(self, listener: Subscriber, room: str) -> None:
        """Register a listener that catches up for what is not part of the room's order; before its snapshots.

        It receives that as long as its user is a member. The room stays in memory until `quit` or `forget`.
        """
        self._arriving.add(listener, room)
        self._idle.pop(room, None)

    async def subscribe(self, listener: Subscriber, room: str, after: int | None) -> None:
        """Send a listener everything after a seq (None: nothing that is past), then let it hear the room live.

        Somebody who is no member (any more) is sent what they may read, and does not stay. Catching up is paced by
        `drained`.

        Raises:
            Unavailable: the log cannot be read.
        """
        feed = await self.feed(room)
        if self._end(feed, listener) is not None or (after or 0) > feed.head:
            # Another node may know better: of a join just now, or of events that the client heard there already.
            feed = await self.refresh(room)
        reach = DeliveredRange(feed.head if after is None else min(after, feed.head))
        try:
            await self._catch_up(listener, room, reach)
        finally:
            if room not in self._crowds or listener not in self._crowds[room]:
                report(listener, room, reach)

    async def _catch_up(self, listener: Subscriber, room: str, reach: DeliveredRange) -> None:
        while not listener.closing:
            async with listener.turn:
                await listener.drained()
                feed = await self.feed(room)
                # No await from this look at the state to the end of `_join`, where it comes to that.
                end = self._end(feed, listener)
                if end is not None and reach.delivered_up_to >= end:
                    self.unsubscribe(listener, room)
                    listener.left(room)
                    return
                if end is None and (recent := feed.recent(reach.delivered_up_to)) is not None:
                    self._pages.write_some(listener, recent, reach)
                    # A connection that ended in the very write that made it level takes nothing any more.
                    if reach.delivered_up_to == feed.head and not listener.closing:
                        self._join(listener, feed, reach)
                        return
                elif end is None and feed.lacks(reach.delivered_up_to):
                    await self._pages.recall(feed, reach.delivered_up_to)
                else:
                    last = feed.head if end is None else end
                    await self._pages.send(
                        listener, feed.room, reach, last, partial(self._readable, feed, listener)
                    )

    def _readable(self, feed: RoomFeed, listener: Subscriber) -> int:
        """Return the last seq of a room that a listener may be written at this moment."""
        feed = self._feeds.get(feed.room, feed)
        end = self._end(feed, listener)
        return feed.head if end is None else end

    def _end(self, feed: RoomFeed, listener: Subscriber) -> int | None:
        return readable_until(feed.state, listener.user, self._now())

    def unsubscribe(self, listener: Subscriber, room: str) -> None:
        """Let a listener hear a room no more; nothing that is written to it from now on counts."""
        if self._arriving.gone(listener, room):
            self._rest(room)
            return
        crowd = self._crowds.get(room)
        if crowd is None or listener not in crowd:
            return
        report(listener, room, crowd.remove(listener))
        if not crowd:
            del self._crowds[room]
            self._rest(room)

    def forget(self, listener: Subscriber) -> None:
        """Let go of a listener that arrived somewhere and never began to listen."""
        for room in self._arriving.forget(listener):
            self._rest(room)

    def reset(self) -> None:
        """Forget every room, as when the log is not the one it was; the listeners are to be closed by the caller."""
        self._resets += 1
        for room, feed in self._feeds.items():
            feed.dropped = True
            self._on_unfollow(room)
        for _, parked in self._loading.values():
            parked.clear()
        self.heard.clear()
        self._fanout.stop()
        for room, crowd in self._crowds.items():
            for listener in list(crowd):
                report(listener, room, crowd.remove(listener))
        self._feeds.clear()
        self._idle.clear()
        self._crowds.clear()
        self._arriving.clear()
        self._audience.clear()

    def resync(self, room: str) -> None:
        """Forget a room in which something is not on the record, so that it is loaded from the log.

        Its listeners were written what the log does not have: `on_resync` ends their connections.
        """
        self.heard.pop(room, None)
        feed = self._feeds.pop(room, None)
        if feed is None:
            return
        log.error("not_on_record", extra={"room": room, "seqs": [feed.head]})
        feed.dropped = True
        self._idle.pop(room, None)
        self._audience.drop(room)
        self._on_unfollow(room)
        listeners = set(self._arriving.of(room))
        if (crowd := self._crowds.pop(room, None)) is not None:
            listeners.update(crowd)
            for listener in list(crowd):
                report(listener, room, crowd.remove(listener))
        self.on_resync(listeners)

    @property
    def rooms(self) -> int:
        """How many rooms are in memory."""
        return len(self._feeds)

    @property
    def waiting(self) -> bool:
        """Whether something is on its way that not everybody was written."""
        return self._fanout.busy

    def heard_rooms(self) -> list[str]:
        """Return the rooms that somebody listens to here."""
        return list(self._crowds)

    def listening(self, room: str) -> int:
        """Return how many listeners a room has on this node."""
        return len(self._crowds.get(room, ()))

    async def close(self) -> None:
        """Stop reading and writing."""
        self._fanout.stop()
        tasks = [task for task, _ in self._loading.values()]
        for task in tasks:
            task.cancel()
        await self._repairs.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, room: str) -> RoomFeed:
        # While this runs, `deliver` parks the room's events, so that none falls between the read and the feed.
        self._on_follow(room)
        try:
            feed = await self._read_room(room)
        except BaseException:
            self._on_unfollow(room)
            raise
        finally:
            _, parked = self._loading.pop(room)
            wanted = self._wanted.pop(room, 0)
        if feed.head or parked or wanted:
            self._keep(feed)
            self._receive(feed, parked)
            self.mark_missing(room, wanted)
        else:
            self._on_unfollow(room)
        return feed

    async def _read_room(self, room: str) -> RoomFeed:
        while True:
            resets = self._resets
            feed = RoomFeed(await self._reader.room(room))
            if resets == self._resets:
                return feed  # else it may be of the log as it was before

    def _keep(self, feed: RoomFeed) -> None:
        self._feeds[feed.room] = feed
        self._rest(feed.room)

    def _rest(self, room: str) -> None:
        """Let a room go from memory, some time, where it has no listeners."""
        if room in self._feeds and room not in self._crowds and not self._arriving.of(room):
            self._idle[room] = None
            self._evict()

    def _evict(self) -> None:
        while len(self._idle) > MAX_IDLE_FEEDS:
            room, _ = self._idle.popitem(last=False)
            del self._feeds[room]
            self._audience.drop(room)
            self._on_unfollow(room)

    def _join(self, listener: Subscriber, feed: RoomFeed, reach: DeliveredRange) -> None:
        self._arriving.gone(listener, feed.room)
        if feed.room not in self._crowds:
            self._crowds[feed.room] = RoomSubscribers(feed.room, feed.head, self.straight, self._joining)
            self._idle.pop(feed.room, None)
        self._crowds[feed.room].add(listener, reach)

    def _in_use(self, feed: RoomFeed) -> bool:
        return self._feeds.get(feed.room) is feed

    def _take(self, feed: RoomFeed, events: list[Recorded]) -> None:
        """Deliver what was read of the log."""
        self._advance(feed, events)
        self._fanout.go()

    def _receive(self, feed: RoomFeed, events: list[Recorded]) -> None:
        if all(self._people.knows(user) for user in named_in(events)):
            self._advance(feed, events)
            patience = PATIENCE if feed.gap else None
        else:
            patience = 0.0
        last = max((recorded.seq for recorded in events), default=0)
        if self.lags(feed.room, last):
            self._audience.expect(feed.room, last)
        if patience is not None:
            self._repairs.ask(feed, patience)

    def _advance(self, feed: RoomFeed, events: list[Recorded]) -> None:
        """Deliver what comes next of `events`, whose people are known."""
        if feed.dropped:
            return
        items: list[EncodedEvent] = []
        for recorded in feed.accept(events):
            if not self._in_use(feed):
                continue  # nobody listens to a feed that was dropped: its successor delivers
            item = EncodedEvent(recorded, self._people.name_of, self._encoders)
            feed.remember(item)
            items.append(item)
            if isinstance(recorded.event, ENDINGS):
                self._put(feed, items, recorded.event.user)
                items.clear()
        self._put(feed, items)
        if feed.contradicted:
            self.resync(feed.room)
        elif self._in_use(feed):
            self._audience.advanced(feed.room, feed.head)

    def _put(self, feed: RoomFeed, items: list[EncodedEvent], ended: str | None = None) -> None:
        """Have events written to all who listen, the last of which may have ended somebody's membership."""
        crowd = self._crowds.get(feed.room)
        if items and crowd is not None and self._in_use(feed):
            crowd.put(items, ended)
            self._fanout.add(crowd)

    def _written(self, crowd: RoomSubscribers, stretch: WriteBatch) -> None:
        """Count what all who listen have now; a former member has heard the last, and hears nothing after it."""
        self._delivered += len(crowd) * len(stretch.items)
        now = self._now()
        for item in stretch.items:
            self.delays.observe((now - item.recorded.at).total_seconds())
        if stretch.ended is not None:
            for listener in crowd.of_user(stretch.ended, stretch.last):
                self.unsubscribe(listener, crowd.room)
                listener.left(crowd.room)
