"""Sends a node's messages to the other nodes, and dispatches theirs to handlers; the only user of Broadcaster.

The log is authoritative: a node reads from it any event that the bus loses. A node subscribes once to each room in use,
however many connections the room has, and to one channel that reaches all nodes. No caller waits for the bus, so it
never delays an ack or a delivery.

`Heartbeat` detects whether the bus works. After an outage the node subscribes again, and reads what it missed from the
log (`on_missed`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Self, cast

import msgspec
from broadcaster import Broadcast

from service.cluster.bus import MAX_QUEUED, MAX_QUEUED_BYTES, Accept, InProcessBackend, Missed
from service.cluster.envelope import Envelope, Message, Opened
from service.cluster.heartbeat import Heartbeat
from service.cluster.redis_bus import RedisBus
from service.cluster.replay_filter import ReplayFilter
from service.domain.streams import room_of, room_stream
from service.eventstore.serializer import PeerRow
from service.runtime.sized_queue import SizedQueue

NODES = "nodes"
"""The channel of all nodes."""

EVENTS = "events"
_PROBE = "probe"

Handler = Callable[[bytes], None]
RoomHandler = Callable[[str, bytes], None]
_rows = msgspec.msgpack.Decoder(list[PeerRow])
log = logging.getLogger("onrecord.relay")


class Relay:
    """Publishes a node's messages and dispatches those of other nodes by kind.

    `filter` decides which messages are accepted, `heartbeat` detects whether any arrive. `request_sync` is called if
    the clocks of two nodes differ. For metrics: `published`, `queued` and `dropped` messages.
    """

    def __init__(
        self,
        backend: Callable[[Missed, Accept], InProcessBackend | RedisBus],
        envelope: Envelope,
        request_sync: Callable[[], None] = lambda: None,
    ) -> None:
        self._envelope = envelope
        self.filter = ReplayFilter(envelope, request_sync)
        self._backend = backend(self._missed, self.filter.open)
        self.heartbeat = Heartbeat(
            lambda: self.publish(_PROBE, b""), self._backend.reconnect, lambda: envelope.epoch
        )
        self._broadcast = Broadcast(backend=self._backend)
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._outgoing: SizedQueue[tuple[str, Message]] = SizedQueue(MAX_QUEUED, MAX_QUEUED_BYTES)
        self._handlers: dict[str, Handler] = {}
        self._room_handlers: dict[str, RoomHandler] = {}
        self._on_missed: list[Callable[[], None]] = []
        self.published = 0
        self._overflowed = 0

    def announce(self, written: Mapping[str, Sequence[PeerRow]]) -> None:
        """Queue the events of rooms in a batch for the other nodes, one message per room."""
        if self._backend.alone:
            return
        for stream, rows in written.items():
            if stream.startswith("room:"):
                self._enqueue(stream, Message(EVENTS, msgspec.msgpack.encode(rows)))

    def publish_to_room(self, room: str, kind: str, payload: bytes) -> None:
        """Queue a message, which may be lost, for the other nodes on which a room is in use."""
        self._enqueue(room_stream(room), Message(kind, payload))

    def publish(self, kind: str, payload: bytes) -> None:
        """Queue a message, which may be lost, for all other nodes."""
        self._enqueue(NODES, Message(kind, payload))

    def on_events(self, handler: Callable[[str, list[PeerRow]], None]) -> None:
        """Register the handler of events of other nodes in rooms; it takes the room's stream and the rows."""
        self.on_room(EVENTS, lambda room, payload: handler(room_stream(room), _rows.decode(payload)))

    def on(self, kind: str, handler: Handler) -> None:
        """Register the handler of a kind of message to all nodes."""
        self._handlers[kind] = handler

    def on_room(self, kind: str, handler: RoomHandler) -> None:
        """Register the handler of a kind of message to a room."""
        self._room_handlers[kind] = handler

    def on_missed(self, handler: Callable[[], None]) -> None:
        """Register a callback for when this node may have missed recorded events."""
        self._on_missed.append(handler)

    @property
    def queued(self) -> int:
        """Messages that wait to be sent or to be handled."""
        return len(self._outgoing) + self._backend.queued

    @property
    def dropped(self) -> int:
        """Messages dropped for a full queue or a missing connection."""
        return self._overflowed + self._backend.dropped

    def follow(self, room: str) -> None:
        """Receive a room's messages from now on."""
        self._listen_to(room_stream(room))

    def unfollow(self, room: str) -> None:
        """Stop receiving a room's messages."""
        task = self._followed.pop(room_stream(room), None)
        if task is not None:
            task.cancel()

    async def __aenter__(self) -> Self:
        await self._broadcast.connect()
        self._listen_to(NODES)
        return self

    async def __aexit__(self, *_error: object) -> None:
        tasks = list(self._followed.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._broadcast.disconnect()

    async def run(self) -> None:
        """Publish queued messages until cancelled."""
        while True:
            channel, message = await self._outgoing.get()
            await self._broadcast.publish(channel, self._envelope.seal(channel, message))
            self.published += 1

    def _missed(self, everything: bool) -> None:  # noqa: FBT001 - the shape of a backend's callback
        if everything:
            self.heartbeat.interrupted()
        for handler in self._on_missed:
            handler()

    def _enqueue(self, channel: str, message: Message) -> None:
        # If a message is dropped here, the other nodes read its events from the log.
        if not self._outgoing.put((channel, message), len(message.payload)):
            self._overflowed += 1

    def _listen_to(self, channel: str) -> None:
        if channel not in self._followed:
            self._followed[channel] = asyncio.create_task(self._listen(channel))

    async def _listen(self, channel: str) -> None:
        async with self._broadcast.subscribe(channel) as subscriber:
            while True:
                event = await subscriber.get()
                try:
                    self._dispatch(channel, cast("Opened", event.message))
                except Exception:
                    # A message that cannot be handled does not end the subscription.
                    log.exception("bus_message_failed", extra={"channel": channel})

    def _dispatch(self, channel: str, opened: Opened) -> None:
        if self._envelope.is_own(opened):
            if channel == NODES:
                self.heartbeat.returned()
            return
        message = self.filter.decode(channel, opened)
        if message is None:
            return
        if channel == NODES:
            if (handler := self._handlers.get(message.kind)) is not None:
                handler(message.payload)
        elif (handle_in_room := self._room_handlers.get(message.kind)) is not None:
            handle_in_room(room_of(channel), message.payload)
