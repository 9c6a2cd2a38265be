"""The bus between nodes, as the rest of a node sees it: the only user of Broadcaster.

It carries news, the log carries the truth: whatever is lost here is read there. Each room in use has one subscription
per node, never one per connection, and one more channel goes to every node. Nothing here is waited for, so the bus
never delays an ack or a delivery.

A probe that this node sends itself through the whole bus every `PROBE_EVERY` seconds proves that it still hears. Where
none comes back it is deaf: it says so and subscribes anew. What it missed is read in the log (`on_missed`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Self, cast

import msgspec
from broadcaster import Broadcast

from service.cluster.bus import MAX_QUEUED, InProcessBackend, Missed
from service.cluster.envelope import Envelope, Message, Opened
from service.cluster.redis_bus import RedisBus
from service.cluster.replay_filter import REFUSALS, Screen, Screened
from service.domain.streams import room_of, room_stream
from service.eventstore.serializer import Row

NODES = "nodes"
"""The channel that every node hears."""

EVENTS = "events"
_PROBE = "probe"

PROBE_EVERY = 2.0
DEAF_AFTER = 5.0
"""Seconds between two probes, and without one until this node counts as deaf."""

Hear = Callable[[bytes], None]
HearRoom = Callable[[str, bytes], None]
_rows = msgspec.msgpack.Decoder(list[Row])
log = logging.getLogger("onrecord.relay")


class Relay:
    """Passes a node's news to the others, and theirs to whoever takes that kind.

    For metrics: `published` and `taken` messages, `forged` and `refused` ones, `resyncs` and what `_put` had no room
    for. `doubt_clock` is called where the times of two nodes differ.
    """

    def __init__(
        self,
        backend: Callable[[Missed], InProcessBackend | RedisBus],
        envelope: Envelope,
        doubt_clock: Callable[[], None] = lambda: None,
    ) -> None:
        self._backend = backend(self._missed)
        self._envelope = envelope
        self._screen = Screen(envelope, doubt_clock)
        self._broadcast = Broadcast(backend=Screened(self._backend, self._screen))
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._outgoing: asyncio.Queue[tuple[str, Message]] = asyncio.Queue(MAX_QUEUED)
        self._hear: dict[str, Hear] = {}
        self._hear_room: dict[str, HearRoom] = {}
        self._on_missed: list[Callable[[], None]] = []
        self._on_resync: list[Callable[[], None]] = []
        self._heard_at = asyncio.get_running_loop().time() - DEAF_AFTER
        self._was_hearing = False
        self._heard_in = envelope.epoch
        self.published = 0
        self.resyncs = 0
        self._not_put = 0

    # What a node says.

    def announce(self, news: Mapping[str, Sequence[Row]]) -> None:
        """Tell the other nodes what was recorded in rooms, soon; one message per room and batch."""
        if self._backend.alone:
            return
        for stream, rows in news.items():
            if stream.startswith("room:"):
                self._put(stream, Message(EVENTS, msgspec.msgpack.encode(rows)))

    def tell_room(self, room: str, kind: str, payload: bytes) -> None:
        """Tell the other nodes on which a room is in use something that may be lost."""
        self._put(room_stream(room), Message(kind, payload))

    def tell(self, kind: str, payload: bytes) -> None:
        """Tell every other node something that may be lost."""
        self._put(NODES, Message(kind, payload))

    # What it hears.

    def on_events(self, hear: Callable[[str, list[Row]], None]) -> None:
        """Take what other nodes recorded in rooms: called with a room's stream and rows."""
        self.on_room(EVENTS, lambda room, payload: hear(room_stream(room), _rows.decode(payload)))

    def on(self, kind: str, hear: Hear) -> None:
        """Take what other nodes say to all."""
        self._hear[kind] = hear

    def on_room(self, kind: str, hear: HearRoom) -> None:
        """Take what other nodes say to a room that is in use here."""
        self._hear_room[kind] = hear

    def on_missed(self, hear: Callable[[], None]) -> None:
        """Be called whenever something that is on the record may have passed this node by."""
        self._on_missed.append(hear)

    def on_resync(self, hear: Callable[[], None]) -> None:
        """Be called whenever this node hears again after it did not: what is not on the record is to be said anew."""
        self._on_resync.append(hear)

    @property
    def hearing(self) -> bool:
        """Whether what other nodes say arrives here, as far as the last probe tells."""
        return self.silence < DEAF_AFTER

    @property
    def silence(self) -> float:
        """Seconds since this node last heard itself."""
        return asyncio.get_running_loop().time() - self._heard_at

    @property
    def taken(self) -> int:
        """How many messages arrived that this node did not send."""
        return self._screen.taken

    @property
    def forged(self) -> int:
        """How many messages no node with the key has signed."""
        return self._screen.refused["forged"]

    @property
    def refused(self) -> dict[str, int]:
        """How many signed messages were refused, by reason."""
        return {reason: self._screen.refused[reason] for reason in REFUSALS}

    @property
    def queued(self) -> int:
        """How many messages wait, to leave or to be taken."""
        return self._outgoing.qsize() + self._backend.queued

    @property
    def dropped(self) -> int:
        """How many messages found no room, or no connection."""
        return self._not_put + self._backend.dropped

    def follow(self, room: str) -> None:
        """Hear a room's news from now on."""
        self._listen_to(room_stream(room))

    def unfollow(self, room: str) -> None:
        """Hear a room's news no more."""
        task = self._followed.pop(room_stream(room), None)
        if task is not None:
            task.cancel()

    # How it goes on.

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
        """Publish what is to be said, until cancelled."""
        while True:
            channel, message = await self._outgoing.get()
            await self._broadcast.publish(channel, self._envelope.seal(channel, message))
            self.published += 1

    async def probe(self) -> None:
        """Find out again and again whether this node hears, and mend it where it does not, until cancelled."""
        began = asyncio.get_running_loop().time()
        while True:
            self.tell(_PROBE, b"")
            await asyncio.sleep(PROBE_EVERY)
            now = asyncio.get_running_loop().time()
            if not self.hearing and now - began > DEAF_AFTER:
                if self._was_hearing:
                    log.warning("bus_deaf", extra={"seconds": round(now - self._heard_at, 1)})
                self._was_hearing = False
                self._backend.reconnect()
                began = now

    def _missed(self, everything: bool) -> None:  # noqa: FBT001 - the shape of a backend's callback
        if everything:
            self._was_hearing = False
            self.tell(_PROBE, b"")
        for hear in self._on_missed:
            hear()

    def _put(self, channel: str, message: Message) -> None:
        # Where too much waits already the others read it in the log.
        try:
            self._outgoing.put_nowait((channel, message))
        except asyncio.QueueFull:
            self._not_put += 1

    def _listen_to(self, channel: str) -> None:
        if channel not in self._followed:
            self._followed[channel] = asyncio.create_task(self._listen(channel))

    async def _listen(self, channel: str) -> None:
        async with self._broadcast.subscribe(channel) as subscriber:
            while True:
                event = await subscriber.get()
                try:
                    self._take(channel, cast("Opened", event.message))
                except Exception:
                    # One message that cannot be taken silences nobody.
                    log.exception("bus_message_failed", extra={"channel": channel})

    def _take(self, channel: str, opened: Opened) -> None:
        if self._envelope.is_own(opened):
            if channel == NODES:
                self._hears()
            return
        message = self._screen.decode(channel, opened)
        if message is None:
            return
        if channel == NODES:
            if (hear := self._hear.get(message.kind)) is not None:
                hear(message.payload)
        elif (hear_room := self._hear_room.get(message.kind)) is not None:
            hear_room(room_of(channel), message.payload)

    def _hears(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        # Under another epoch nothing counted that was heard, and nothing that was said.
        if not self._was_hearing or self._heard_in != self._envelope.epoch:
            self._was_hearing = True
            self._heard_in = self._envelope.epoch
            self.resyncs += 1
            for hear in self._on_resync:
                hear()
