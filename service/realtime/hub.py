"""Delivers recorded events to the subscribers of their rooms, encoded once per wire format.

The hub applies events to the feeds of rooms in memory and queues them for fan-out. It consists of three parts, which
callers use directly: `feeds` (the rooms in memory), `subscriptions`, and `audience` (ephemeral events to members).

Invariant: an event is applied to the feed and queued without an await in between, so that subscribers receive a room in
the order of the log. A slow subscriber delays no other: `Subscriber.write` never blocks.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from service.domain.events import ENDINGS, SILENCING, Recorded, RoomArchived
from service.domain.streams import room_of, room_stream
from service.eventstore.reader import LogReader
from service.observability.histogram import Histogram
from service.realtime.audience import Audience
from service.realtime.catch_up import CatchUp
from service.realtime.encoded_event import EncodedEvent, Encoders, WriteBatch
from service.realtime.fanout import FanoutScheduler
from service.realtime.room_feed import RoomFeed
from service.realtime.room_feeds import RoomFeeds
from service.realtime.room_memory import RING_BYTES, RingMemory
from service.realtime.room_subscribers import RoomSubscribers, SubscriptionTable
from service.realtime.subscriber import Subscriber
from service.realtime.subscriptions import Subscriptions
from service.realtime.user_cache import UserCache
from service.runtime.direct_sockets import DirectSockets
from service.runtime.time_slice import TURN

log = logging.getLogger("onrecord.hub")


class Hub:
    """The rooms in use on this node and their subscribers; `now` returns the time of the database.

    `encoders` make the frames of each wire format. Frames of the format `concatenable` may be concatenated, and written
    directly to the socket of a connection that is in `sockets`. `turn` is the time slice of fan-out in seconds.
    `on_follow` and `on_unfollow` are called with a room that enters or leaves memory; `on_resync` with the subscribers
    of a room that disagreed with the log; `on_silence` with a room and the user who may post there no more (None: all
    users). `delays` measures seconds from commit to write.
    """

    def __init__(  # noqa: PLR0913 - its callbacks are given here, and not registered later
        self,
        reader: LogReader,
        people: UserCache,
        encoders: Encoders,
        concatenable: str | None = None,
        sockets: DirectSockets | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        turn: float = TURN,
        *,
        ring_bytes: int = RING_BYTES,
        on_follow: Callable[[str], None] = lambda _room: None,
        on_unfollow: Callable[[str], None] = lambda _room: None,
        on_resync: Callable[[set[Subscriber]], None] = lambda _subscribers: None,
        on_silence: Callable[[str, str | None], None] = lambda _room, _user: None,
    ) -> None:
        self._now = now
        self._people = people
        self._encoders = encoders
        self._on_unfollow = on_unfollow
        self.on_resync = on_resync
        self.on_silence = on_silence
        self.unverified: dict[str, Recorded] = {}
        """By room, the last event received from another node and not yet compared with the log."""
        self.rings = RingMemory(ring_bytes)
        self._fanout = FanoutScheduler(self._written, turn)
        self._table = SubscriptionTable()
        self.feeds = RoomFeeds(
            reader, people, self._table, self.rings,
            advance=self._advance, flush=self._fanout.start, on_follow=on_follow, on_unfollow=self._unfollow,
        )  # fmt: skip
        self.audience = Audience(self.feeds, self._table, encoders, concatenable, now)
        self._catch_up = CatchUp(reader, people, encoders)
        self.subscriptions = Subscriptions(
            self.feeds,
            self._table,
            self._catch_up,
            DirectSockets() if sockets is None else sockets,
            concatenable,
            now,
        )
        self._delivered = 0
        self.delays = Histogram()

    @property
    def deliveries(self) -> int:
        """Events written, each counted once per subscriber."""
        return self._delivered + self._catch_up.written

    @property
    def waiting(self) -> bool:
        """Whether queued events are not yet written to all subscribers."""
        return self._fanout.busy

    def deliver(self, events: Mapping[str, Iterable[Recorded]]) -> None:
        """Deliver events, given by stream, to the rooms in memory; read the log first if an event is missing."""
        for stream, recorded in events.items():
            if stream.startswith("room:"):
                self.feeds.receive(room_of(stream), recorded)
        self._fanout.start()

    def deliver_from_peer(self, room: str, events: list[Recorded]) -> None:
        """Deliver events that another node sent; `LogTailer` compares the last one with the log."""
        if self.feeds.follows(room):
            self.unverified[room] = events[-1]
            self.deliver({room_stream(room): events})

    def forget_user(self, user: str) -> None:
        """Remove the messages and the name of an erased user from memory."""
        self._fanout.finish()
        for feed in self.feeds.by_room.values():
            if user in feed.state.members or user in feed.state.left:
                feed.forget(user)

    def forget_past(self, room: str) -> None:
        """Remove the past events of a room from memory, because one of them is not readable any more."""
        if (feed := self.feeds.by_room.get(room)) is not None:
            feed.forget_past()

    def reset(self) -> None:
        """Remove all rooms and subscriptions, because the log was restored. The caller closes the connections."""
        self.feeds.clear()
        self.unverified.clear()
        self._fanout.stop()
        self.subscriptions.clear()

    def resync(self, room: str) -> None:
        """Drop a room that disagrees with the log, so that it is loaded again.

        `on_resync` receives its subscribers: they may have been sent events that are not on the record.
        """
        self.unverified.pop(room, None)
        if (feed := self.feeds.drop(room)) is not None:
            log.error("not_on_record", extra={"room": room, "seqs": [feed.head]})
            self.on_resync(self.subscriptions.drop(room))

    async def close(self) -> None:
        """Stop reading and writing."""
        self._fanout.stop()
        await self.feeds.close()

    def _unfollow(self, room: str) -> None:
        self.audience.drop(room)
        self._on_unfollow(room)

    def _advance(self, feed: RoomFeed, events: list[Recorded]) -> None:
        """Apply events whose users are in the cache, and queue those that come next in the room's order."""
        if feed.dropped:
            return
        items: list[EncodedEvent] = []
        for recorded in feed.accept(events):
            if not self.feeds.in_use(feed):
                continue  # the feed was evicted: the one loaded after it delivers the event
            item = EncodedEvent(recorded, self._people.name_of, self._encoders)
            feed.remember(item)
            items.append(item)
            if isinstance(recorded.event, SILENCING):
                if isinstance(recorded.event, ENDINGS):
                    self._queue(feed, items, recorded.event.user)
                    items.clear()
                user = None if isinstance(recorded.event, RoomArchived) else recorded.event.user
                self.on_silence(feed.room, user)
        self._queue(feed, items)
        if feed.contradicted:
            self.resync(feed.room)
        elif self.feeds.in_use(feed):
            self.audience.advanced(feed.room, feed.head)

    def _queue(self, feed: RoomFeed, items: list[EncodedEvent], ended: str | None = None) -> None:
        """Queue events for the live subscribers; the last one may have ended the membership of the user `ended`."""
        live = self._table.live.get(feed.room)
        if items and live is not None and self.feeds.in_use(feed):
            live.put(items, ended)
            self._fanout.add(live)

    def _written(self, live: RoomSubscribers, batch: WriteBatch) -> None:
        """Record metrics of a batch that all subscribers received; unsubscribe the user whose membership it ended."""
        self._delivered += len(live) * len(batch.items)
        now = self._now()
        for item in batch.items:
            self.delays.observe((now - item.recorded.at).total_seconds())
        if batch.ended is not None:
            for subscriber in live.of_user(batch.ended, batch.last):
                self.subscriptions.unsubscribe(subscriber, live.room)
                subscriber.left(live.room)
