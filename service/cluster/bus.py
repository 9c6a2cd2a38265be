"""What a bus between nodes is, and one inside the process: a `BroadcastBackend` of Broadcaster that never waits.

Broadcaster's own backends stay deaf after an outage, and wait where we must not. The contract of ours, which one suite
of tests asks of each (`tests/unit/cluster/test_bus.py`):

- `connect`, `subscribe`, `unsubscribe` and `publish` never suspend, in whatever state the bus is.
- Messages are bytes. What a subscriber has not taken waits in a queue of `MAX_QUEUED`; a full one drops news.
- Whenever something may have been missed, the backend calls `missed`: with True after an outage or a full queue,
  which may concern everything, with False when a new subscription begins to count. Then the log is read.
- A node hears what it published itself, if it subscribes: so it can tell that it still hears.
- `alone` says that there is certainly no other node, so that nothing has to be made ready for one.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from broadcaster._backends.base import BroadcastBackend
from broadcaster._base import Event

MAX_QUEUED = 10_000
"""Messages that wait for a node, or to leave it."""


Missed = Callable[[bool], None]
"""What a backend calls when something may have been missed: everything (True), or one new channel (False)."""


class Inbox:
    """The bounded queue of what came for a node; `missed` is called once per overflow, when it is empty again."""

    def __init__(self, missed: Missed, size: int = MAX_QUEUED) -> None:
        self._missed = missed
        self._queue: asyncio.Queue[Event] = asyncio.Queue(size)
        self._overflowed = False
        self.dropped = 0

    @property
    def queued(self) -> int:
        """How many messages wait."""
        return self._queue.qsize()

    def put(self, channel: str, message: bytes) -> None:
        """Add a message, or note that there was no room for it."""
        try:
            self._queue.put_nowait(Event(channel, message))  # type: ignore[arg-type] # the library says str, passes anything
        except asyncio.QueueFull:
            self.dropped += 1
            self._overflowed = True

    async def get(self) -> Event:
        """Return the next message."""
        event = await self._queue.get()
        if self._overflowed and self._queue.empty():
            self._overflowed = False
            self._missed(True)
        return event


class InProcessBus:
    """What several backends in one process share: every message goes to every backend."""

    def __init__(self) -> None:
        self.backends: list[InProcessBackend] = []


class InProcessBackend(BroadcastBackend):
    """A bus for nodes in one process, and for a node alone."""

    def __init__(self, bus: InProcessBus, missed: Missed, size: int = MAX_QUEUED) -> None:
        # The base class only says that it is abstract.
        self._bus = bus
        self._channels: set[str] = set()
        self._inbox = Inbox(missed, size)

    @property
    def alone(self) -> bool:
        """Whether no other node takes part."""
        return len(self._bus.backends) <= 1

    @property
    def queued(self) -> int:
        """How many messages wait here."""
        return self._inbox.queued

    @property
    def dropped(self) -> int:
        """How many messages found no room, or no connection."""
        return self._inbox.dropped

    async def connect(self) -> None:
        """Take part in the bus."""
        self._bus.backends.append(self)

    async def disconnect(self) -> None:
        """Leave the bus."""
        with suppress(ValueError):
            self._bus.backends.remove(self)

    def reconnect(self) -> None:
        """Begin anew: nothing to do, since nothing here can break."""

    async def subscribe(self, channel: str) -> None:
        """Hear a channel."""
        self._channels.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        """Hear a channel no more."""
        self._channels.discard(channel)

    async def publish(self, channel: str, message: bytes) -> None:
        """Pass a message to every node that subscribes to the channel."""
        for backend in self._bus.backends:
            if channel in backend._channels:  # noqa: SLF001 - one class, several nodes
                backend._inbox.put(channel, message)  # noqa: SLF001 - the same

    async def next_published(self) -> Event:
        """Return the next message for this node."""
        return await self._inbox.get()
