"""Subscribes connections to rooms: sends the events that they missed, then makes them live.

Invariant: there is no await between the check that a subscriber has every event up to the head and its addition to the
live subscribers. So it receives each event once, in order.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from service.domain.room import readable_until
from service.realtime.catch_up import CatchUp
from service.realtime.room_feed import RoomFeed
from service.realtime.room_feeds import RoomFeeds
from service.realtime.room_subscribers import RoomSubscribers, SubscriptionTable
from service.realtime.subscriber import DeliveredRange, Subscriber, report
from service.runtime.direct_sockets import DirectSockets


class Subscriptions:
    """Subscribes and unsubscribes connections; `now` returns the time of the database."""

    def __init__(
        self,
        feeds: RoomFeeds,
        table: SubscriptionTable,
        catch_up: CatchUp,
        sockets: DirectSockets,
        concatenable: str | None,
        now: Callable[[], datetime],
    ) -> None:
        self._feeds = feeds
        self._table = table
        self._catch_up = catch_up
        self._sockets = sockets
        self._concatenable = concatenable
        self._now = now

    def pre_subscribe(self, subscriber: Subscriber, room: str) -> None:
        """Register a subscriber for ephemeral events before its snapshot of the room is read.

        It receives them while its user is a member. The room stays in memory until `unsubscribe` or `cancel`.
        """
        self._table.start_joining(subscriber, room)
        self._feeds.pin(room)

    def subscribe_at_head(self, subscriber: Subscriber, room: str, after: int | None) -> bool:
        """Make a registered subscriber live if it lacks no event of a room in memory; return whether it is live."""
        feed = self._feeds.by_room.get(room)
        if feed is None or after not in (None, feed.head) or subscriber.turn.locked() or subscriber.closing:
            return False
        if self._last_readable(feed, subscriber) is not None:
            return False
        self._go_live(subscriber, feed, DeliveredRange(feed.head))
        return True

    async def subscribe(self, subscriber: Subscriber, room: str, after: int | None) -> None:
        """Send a subscriber all events after a seq (None: no past events), then make it live.

        A former member is sent the events that it may read, and does not become live. `drained` paces the catch-up.

        Raises:
            Unavailable: the log cannot be read.
        """
        feed = await self._feeds.feed(room)
        if self._last_readable(feed, subscriber) is not None or (after or 0) > feed.head:
            # Another node may be ahead: the user joined there, or the client received events there.
            feed = await self._feeds.refresh(room)
        delivered = DeliveredRange(feed.head if after is None else min(after, feed.head))
        try:
            await self._send_past(subscriber, room, delivered)
        finally:
            if room not in self._table.live or subscriber not in self._table.live[room]:
                report(subscriber, room, delivered)

    def unsubscribe(self, subscriber: Subscriber, room: str) -> None:
        """Remove a subscriber from a room, and report the range that it received."""
        if self._table.end_joining(subscriber, room):
            self._feeds.release(room)
            return
        live = self._table.live.get(room)
        if live is None or subscriber not in live:
            return
        report(subscriber, room, live.remove(subscriber))
        if not live:
            del self._table.live[room]
            self._feeds.release(room)

    def cancel(self, subscriber: Subscriber) -> None:
        """Remove a subscriber from all rooms where it was registered and has not become live."""
        for room in self._table.end_joining_everywhere(subscriber):
            self._feeds.release(room)

    def drop(self, room: str) -> set[Subscriber]:
        """End the live subscriptions of a room; return its subscribers, those that catch up included."""
        subscribers = set(self._table.of(room))
        if (live := self._table.live.pop(room, None)) is not None:
            for subscriber in list(live):
                report(subscriber, room, live.remove(subscriber))
        return subscribers

    def clear(self) -> None:
        """End all subscriptions."""
        for room in list(self._table.live):
            self.drop(room)
        self._table.clear()

    async def _send_past(self, subscriber: Subscriber, room: str, delivered: DeliveredRange) -> None:
        while not subscriber.closing:
            async with subscriber.turn:
                await subscriber.drained()
                feed = await self._feeds.feed(room)
                # There is no await between this read of the state and the end of `_go_live`.
                end = self._last_readable(feed, subscriber)
                if end is not None and delivered.delivered_up_to >= end:
                    self.unsubscribe(subscriber, room)
                    subscriber.left(room)
                    return
                if end is None and (recent := feed.recent(delivered.delivered_up_to)) is not None:
                    self._catch_up.write_some(subscriber, recent, delivered)
                    # The connection may have closed in the write that completed the catch-up.
                    if delivered.delivered_up_to == feed.head and not subscriber.closing:
                        self._go_live(subscriber, feed, delivered)
                        return
                elif end is None and feed.can_backfill(delivered.delivered_up_to):
                    await self._catch_up.backfill(feed, delivered.delivered_up_to)
                else:
                    last = feed.head if end is None else end
                    readable = partial(self._readable, feed, subscriber)
                    await self._catch_up.send(subscriber, feed.room, delivered, last, readable)

    def _readable(self, feed: RoomFeed, subscriber: Subscriber) -> int:
        """Return the last seq of a room that a subscriber may read now."""
        feed = self._feeds.by_room.get(feed.room, feed)
        end = self._last_readable(feed, subscriber)
        return feed.head if end is None else end

    def _last_readable(self, feed: RoomFeed, subscriber: Subscriber) -> int | None:
        return readable_until(feed.state, subscriber.user, self._now())

    def _go_live(self, subscriber: Subscriber, feed: RoomFeed, delivered: DeliveredRange) -> None:
        self._table.end_joining(subscriber, feed.room)
        if feed.room not in self._table.live:
            live = RoomSubscribers(feed.room, feed.head, self._sockets, self._concatenable)
            self._table.live[feed.room] = live
            self._feeds.pin(feed.room)
        self._table.live[feed.room].add(subscriber, delivered)
