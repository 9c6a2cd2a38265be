"""What waits for a client's next poll: the bounded outbox of a session that has no socket.

The rule: packets leave in the order in which they came, each in the answer to one poll, and only one poll is under way.
"""

import asyncio

from service.protocol.socketio import engineio

LITTLE = 128 * 1024
"""Bytes that may wait before whoever catches up is held back."""


class PollBuffer:
    """The packets of one session, and the poll that waits for some."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self.size = 0
        self._poll: asyncio.Future[None] | None = None
        self._little = asyncio.Event()
        self._little.set()

    @property
    def polled(self) -> bool:
        """Whether a poll is under way."""
        return self._poll is not None

    def add(self, packet: bytes) -> None:
        """Let a packet wait; a poll that is under way takes it, with whatever else comes in the same tick."""
        self._packets.append(packet)
        self.size += len(packet) + 1
        if self.size > LITTLE:
            self._little.clear()
        self._wake()

    def ask(self) -> "asyncio.Future[None]":
        """Begin a poll; the future is done once something waits."""
        self._poll = asyncio.get_running_loop().create_future()
        if self._packets:
            self._wake()
        return self._poll

    def take(self) -> bytes:
        """End the poll, and return what waits as one payload."""
        self._poll = None
        return engineio.payload(self._empty())

    def answer(self, packet: bytes) -> None:
        """Answer a poll with this where it would be left without an answer; otherwise do nothing."""
        if self._poll is not None and not self._packets:
            self.add(packet)

    def hand_over(self) -> list[bytes]:
        """Return what waits, to be sent in another way; a poll that is under way comes back with nothing."""
        packets = self._empty()
        self.answer(engineio.NOOP)
        return packets

    def end(self, last: bytes) -> None:
        """Answer a poll that is under way with what waits and a last packet; without one nothing is sent any more."""
        if self._poll is None:
            self._empty()
        else:
            self.add(last)
        self._little.set()

    def _empty(self) -> list[bytes]:
        packets, self._packets, self.size = self._packets, [], 0
        self._little.set()
        return packets

    async def drained(self) -> None:
        """Wait until little waits."""
        await self._little.wait()

    def _wake(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
