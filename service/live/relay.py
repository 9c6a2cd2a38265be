"""The bus between nodes: the only user of Broadcaster.

It carries news, the log carries the truth: whatever is lost here is read there. Each room in use has one subscription
per node, never one per connection. `announce` never waits, so the bus never delays an ack.

The backend of this version lives inside the process (`InProcessBackend`), for one node, and for tests with several.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import cast

from broadcaster import Broadcast
from broadcaster._backends.base import BroadcastBackend
from broadcaster._base import Event

from service.domain.events import Recorded
from service.domain.streams import room_stream

MAX_QUEUED = 10_000
"""Messages that wait for a node; when it is full the news is dropped, and the feeds read the log instead."""

Deliver = Callable[[Mapping[str, Iterable[Recorded]]], None]
log = logging.getLogger("onrecord.relay")


class InProcessBus:
    """What several backends in one process share: every message goes to every other backend."""

    def __init__(self) -> None:
        self.backends: list[InProcessBackend] = []


class InProcessBackend(BroadcastBackend):
    """A `BroadcastBackend` for nodes in one process; a node does not hear itself."""

    def __init__(self, bus: InProcessBus) -> None:  # the base class only says that it is abstract
        self._bus = bus
        self._channels: set[str] = set()
        self._queue: asyncio.Queue[Event] = asyncio.Queue(MAX_QUEUED)

    async def connect(self) -> None:
        """Take part in the bus."""
        self._bus.backends.append(self)

    async def disconnect(self) -> None:
        """Leave the bus."""
        self._bus.backends.remove(self)

    async def subscribe(self, channel: str) -> None:
        """Hear a channel. Never suspends: two first subscribers cannot race."""
        self._channels.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        """Hear a channel no more."""
        self._channels.discard(channel)

    async def publish(self, channel: str, message: object) -> None:
        """Pass a message to every other node that subscribes to the channel."""
        for backend in self._bus.backends:
            if backend is not self and channel in backend._channels:  # noqa: SLF001 - one class, several nodes
                with suppress(asyncio.QueueFull):
                    backend._queue.put_nowait(Event(channel, message))  # type: ignore[arg-type] # noqa: SLF001 - the library types str and passes anything

    async def next_published(self) -> Event:
        """Return the next message for this node."""
        return await self._queue.get()


class Relay:
    """Passes a node's news to the others and theirs to the hub."""

    def __init__(self, broadcast: Broadcast, deliver: Deliver) -> None:
        self._broadcast = broadcast
        self._deliver = deliver
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._news: asyncio.Queue[Mapping[str, Sequence[Recorded]]] = asyncio.Queue(MAX_QUEUED)

    def announce(self, news: Mapping[str, Sequence[Recorded]]) -> None:
        """Tell the other nodes what was recorded, soon; where too much waits already, they read it in the log."""
        with suppress(asyncio.QueueFull):
            self._news.put_nowait(news)

    async def run(self) -> None:
        """Publish what is announced, one message per room and batch, until cancelled."""
        while True:
            news = await self._news.get()
            for stream, events in news.items():
                if stream.startswith("room:"):
                    await self._broadcast.publish(stream, events)

    def follow(self, room: str) -> None:
        """Pass on a room's news from now on."""
        if room not in self._followed:
            self._followed[room] = asyncio.create_task(self._listen(room))

    def unfollow(self, room: str) -> None:
        """Pass on a room's news no more."""
        task = self._followed.pop(room, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = list(self._followed.values())
        for room in list(self._followed):
            self.unfollow(room)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, room: str) -> None:
        stream = room_stream(room)
        async with self._broadcast.subscribe(stream) as subscriber:
            while True:
                event = await subscriber.get()
                self._deliver({stream: cast("Sequence[Recorded]", event.message)})
