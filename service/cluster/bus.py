"""The contract of the bus between nodes, and a bus inside one process: a `BroadcastBackend` that never waits.

Broadcaster's own backends do not recover from an outage, and they wait where a node must not. The backends of this
package keep a contract, which one test suite checks for each (`tests/unit/cluster/test_bus.py`):

- `connect`, `subscribe`, `unsubscribe` and `publish` never suspend, in any state of the bus.
- Messages are bytes. Received messages wait in a queue of `MAX_QUEUED` and `MAX_QUEUED_BYTES`; a full one drops them.
- When a message may have been missed, the backend calls `missed`, and the node reads the log: with True after an outage
  or a full queue, which concerns all channels; with False when a new subscription takes effect.
- A received message for which `accept` returns None is skipped; otherwise the result takes the place of the message.
- A node receives its own messages on the channels that it subscribes to, which shows that the bus works.
- `alone` is True only if there is certainly no other node, so that nothing has to be sent.
"""

from collections.abc import Callable
from contextlib import suppress

from broadcaster._backends.base import BroadcastBackend
from broadcaster._base import Event

from service.runtime.sized_queue import SizedQueue

MAX_QUEUED = 10_000
MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""Messages that wait to be handled by a node, or to be sent, and bytes in them."""

Missed = Callable[[bool], None]
"""Called when a message may have been missed: on any channel (True), or on one new channel (False)."""

Accept = Callable[[str, bytes], object]
"""Called with the channel and the bytes of each received message, in the order of arrival over all channels."""


class ReceivingBackend(BroadcastBackend):
    """Queues received messages, a bounded number; `missed` is called once per overflow, when the queue is empty."""

    def __init__(self, missed: Missed, accept: Accept, size: int) -> None:
        # The base class's constructor only raises `NotImplementedError`.
        self._missed = missed
        self._accept = accept
        self._inbox: SizedQueue[Event] = SizedQueue(size, MAX_QUEUED_BYTES)
        self._overflowed = False
        self._discarded = 0

    @property
    def queued(self) -> int:
        """Messages that wait."""
        return len(self._inbox)

    @property
    def dropped(self) -> int:
        """Messages dropped for a full queue."""
        return self._discarded

    def receive(self, channel: str, message: bytes) -> None:
        """Add a message to the queue, or count it as dropped."""
        event = Event(channel, message)  # type: ignore[arg-type] # annotated as str, passed through
        if not self._inbox.put(event, len(message)):
            self._discarded += 1
            self._overflowed = True

    async def next_published(self) -> Event:
        """Return the next accepted message."""
        while True:
            event = await self._inbox.get()
            if self._overflowed and not self._inbox:
                self._overflowed = False
                self._missed(True)
            accepted = self._accept(event.channel, event.message)  # type: ignore[arg-type] # bytes, see `receive`
            if accepted is not None:
                return Event(event.channel, accepted)  # type: ignore[arg-type] # annotated as str, passed through


class InProcessBus:
    """A bus that several backends in one process share."""

    def __init__(self) -> None:
        self.backends: list[InProcessBackend] = []


class InProcessBackend(ReceivingBackend):
    """The backend of a single node, or of several nodes in one process."""

    def __init__(self, bus: InProcessBus, missed: Missed, accept: Accept, size: int = MAX_QUEUED) -> None:
        super().__init__(missed, accept, size)
        self._bus = bus
        self._channels: set[str] = set()

    @property
    def alone(self) -> bool:
        """Whether no other node takes part."""
        return len(self._bus.backends) <= 1

    async def connect(self) -> None:
        """Take part in the bus."""
        self._bus.backends.append(self)

    async def disconnect(self) -> None:
        """Leave the bus."""
        with suppress(ValueError):
            self._bus.backends.remove(self)

    def reconnect(self) -> None:
        """Do nothing: there is no connection that can break."""

    async def subscribe(self, channel: str) -> None:
        """Receive a channel."""
        self._channels.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        """Stop receiving a channel."""
        self._channels.discard(channel)

    async def publish(self, channel: str, message: bytes) -> None:
        """Pass a message to every node that subscribes to the channel."""
        for backend in self._bus.backends:
            if channel in backend._channels:  # noqa: SLF001 - another instance of this class
                backend.receive(channel, message)
