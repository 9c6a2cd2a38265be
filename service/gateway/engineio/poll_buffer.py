"""Buffers packets for a client's next poll: the bounded write buffer of a session without a socket.

Invariant: packets leave in the order in which they came, each in the answer to one poll, and at most one poll waits.
"""

import asyncio

from service.protocol.socketio import engineio

LITTLE = 128 * 1024
"""Bytes that may wait before a catch-up is paused."""


class PollBuffer:
    """The packets of one session, and the poll that waits for them."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self.size = 0
        self._poll: asyncio.Future[None] | None = None
        self._little = asyncio.Event()
        self._little.set()

    @property
    def polled(self) -> bool:
        """Whether a poll waits."""
        return self._poll is not None

    def add(self, packet: bytes) -> None:
        """Buffer a packet; a waiting poll takes it, with all others of the same loop iteration."""
        self._packets.append(packet)
        self.size += len(packet) + 1
        if self.size > LITTLE:
            self._little.clear()
        self._wake()

    def ask(self) -> "asyncio.Future[None]":
        """Begin a poll; the future is done once a packet is buffered."""
        self._poll = asyncio.get_running_loop().create_future()
        if self._packets:
            self._wake()
        return self._poll

    def take(self) -> bytes:
        """End the poll, and return the buffered packets as one payload."""
        self._poll = None
        return engineio.payload(self._empty())

    def answer(self, packet: bytes) -> None:
        """Answer a waiting poll with this packet if it would be left without an answer."""
        if self._poll is not None and not self._packets:
            self.add(packet)

    def hand_over(self) -> list[bytes]:
        """Return the buffered packets, for another way to send them; a waiting poll is answered without packets."""
        packets = self._empty()
        self.answer(engineio.NOOP)
        return packets

    def end(self, last: bytes) -> None:
        """Answer a waiting poll with the buffered and a last packet; without one, drop the packets."""
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
        """Wait until few bytes are buffered."""
        await self._little.wait()

    def _wake(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
