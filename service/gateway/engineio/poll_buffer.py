"""Buffers packets for a client's next poll; the connection bounds the buffer by its `size`.

Invariant: packets leave in the order in which they arrived, each in the answer to one poll; at most one poll waits.
"""

import asyncio

from service.protocol.socketio import engineio

LOW_WATERMARK = 128 * 1024
"""Bytes that may wait before a catch-up is paused."""


class PollBuffer:
    """The packets of one session, and the poll that waits for them."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self.size = 0
        self._poll: asyncio.Future[None] | None = None
        self._below_watermark = asyncio.Event()
        self._below_watermark.set()

    @property
    def polled(self) -> bool:
        """Whether a poll waits."""
        return self._poll is not None

    def add(self, packet: bytes) -> None:
        """Buffer a packet; a waiting poll takes it with all others of the same loop iteration."""
        self._packets.append(packet)
        self.size += len(packet) + 1
        if self.size > LOW_WATERMARK:
            self._below_watermark.clear()
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
        """Answer a waiting poll with this packet if no other packet is buffered."""
        if self._poll is not None and not self._packets:
            self.add(packet)

    def hand_over(self) -> list[bytes]:
        """Return the buffered packets, to be sent over a WebSocket; answer a waiting poll with `noop`."""
        packets = self._empty()
        self.answer(engineio.NOOP)
        return packets

    def end(self, last: bytes) -> None:
        """Answer a waiting poll with the buffered packets and `last`; if no poll waits, drop the packets."""
        if self._poll is None:
            self._empty()
        else:
            self.add(last)
        self._below_watermark.set()

    def _empty(self) -> list[bytes]:
        packets, self._packets, self.size = self._packets, [], 0
        self._below_watermark.set()
        return packets

    async def drained(self) -> None:
        """Return when at most `LOW_WATERMARK` bytes are buffered."""
        await self._below_watermark.wait()

    def _wake(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
