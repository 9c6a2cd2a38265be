"""An in-memory log of one room, and subscribers that record its events."""

import asyncio
import contextlib
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from service.domain import room
from service.domain.account import PersonState
from service.domain.events import Event, Recorded
from service.domain.room import RoomState
from service.protocol.events import Outgoing
from service.runtime.direct_sockets import NOWHERE, DirectSockets

if TYPE_CHECKING:
    from collections.abc import Callable

AT = datetime(2026, 11, 24, tzinfo=UTC)


STREAM = "room:general"


class Log:
    """The log of one room."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []

    def append(self, event: Event) -> Recorded:
        seq = len(self.events) + 1
        self.events.append(Recorded(STREAM, seq, seq, event.subject, AT, "alice", event))
        return self.events[-1]

    async def stream(self, _stream: str, after: int, limit: int, until: int | None = None) -> list[Recorded]:
        await asyncio.sleep(0)
        return self.events[after : until if until is not None else None][:limit]

    async def room(self, room_id: str) -> RoomState:
        events = list(self.events)
        await asyncio.sleep(0)
        state = RoomState(room_id)
        for event in events:
            state = room.evolve(state, event)
        return state

    async def deleted(self, _room: str, _messages: object) -> set[int]:
        await asyncio.sleep(0)
        return set()

    async def persons(self, users: object) -> dict[str, PersonState]:
        await asyncio.sleep(0)
        return dict.fromkeys(cast("set[str]", users), PersonState())


class Recorder:
    """A subscriber that records the seqs that it was written."""

    wire_format = "number"
    descriptor = NOWHERE

    def __init__(self, user: str, after: int) -> None:
        self.user = user
        self.closing = False
        self.takes: int | None = None
        self.on_ending: Callable[[], None] = lambda: None
        self.turn = asyncio.Lock()
        self.after = after
        self.received: list[int] = []
        self.ranges: list[tuple[int, int]] = []
        self.out = False

    def write(self, frame: bytes) -> None:
        if self.closing:
            return
        self.received.append(int(frame))
        if self.takes is not None and len(self.received) >= self.takes:
            self.close()

    def read(self) -> None:
        """Let the peer read; `received` is complete then."""

    def close(self) -> None:
        """Close during the write, as a socket does when a write exceeds its limit."""
        self.closing = True
        self.on_ending()

    def left(self, _room: str) -> None:
        self.out = True

    def wrote(self, _room: str, first: int, last: int) -> None:
        self.ranges.append((first, last))

    async def drained(self) -> None:
        await asyncio.sleep(0)


def number(outgoing: Outgoing) -> bytes:
    return str(outgoing.seq).encode()  # type: ignore[attr-defined] # all events of a room's order have one


FRAME = 3_000
"""Bytes of a frame of a `SocketRecorder`: a small buffer accepts a few of them, and a part of the last."""


def padded(outgoing: Outgoing) -> bytes:
    return number(outgoing).ljust(FRAME)


class SocketRecorder(Recorder):
    """A recorder with a real socket, which may be written directly while nothing is buffered, as a transport's."""

    wire_format = "padded"

    def __init__(self, user: str, after: int, sockets: DirectSockets) -> None:
        super().__init__(user, after)
        self._sockets = sockets
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel takes its least size
        self._buffered = self._read = b""
        self._writes = 0
        self.descriptor = self._near.fileno()
        sockets.allow(self.descriptor, self._near.send)

    def write(self, frame: bytes) -> None:
        if self.closing:
            return
        self._writes += 1
        self._buffered += frame
        self._flush()
        if self.takes is not None and self._writes >= self.takes:
            self.close()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._buffered:
                self._buffered = self._buffered[self._near.send(self._buffered) :]
        self._sockets.allow(self.descriptor, None if self._buffered else self._near.send)

    def read(self) -> None:
        """Let the peer read; `received` is what it has, and what is buffered for it."""
        if self.closing:
            return
        with contextlib.suppress(BlockingIOError):
            while piece := self._far.recv(1 << 16):
                self._read += piece
        everything = self._read + self._buffered
        assert len(everything) % FRAME == 0, "a frame was cut"
        self.received = [int(everything[at : at + FRAME]) for at in range(0, len(everything), FRAME)]
        self._flush()

    def close(self) -> None:
        """Close; the descriptor is free for the next connection."""
        if not self.closing:
            self.read()
            self._sockets.deny(self.descriptor)
            super().close()
            self._near.close()
            self._far.close()
