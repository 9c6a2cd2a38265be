"""The bytes that a connection has read and not parsed, and uvicorn's flow control while there are any."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

from service.gateway.transport.callbacks import nothing


class Flow(FlowControl):
    """Pauses reading also while there are buffered bytes; `resume` parses them."""

    def __init__(self, transport: asyncio.Transport, resume: Callable[[], None]) -> None:
        super().__init__(transport)
        self._resume = resume
        self._held = False

    def end(self) -> None:
        """Forget the protocol, once the connection is lost."""
        self._resume = nothing  # a reference cycle otherwise

    def hold(self, held: bool) -> None:  # noqa: FBT001 - its only argument
        """Pause reading while there are buffered bytes."""
        if held is not self._held:
            self._held = held
            if not self.read_paused:
                (self._transport.pause_reading if held else self._transport.resume_reading)()

    def pause_reading(self) -> None:
        """See `FlowControl`."""
        if self._held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        """See `FlowControl`; buffered bytes are parsed before more are read."""
        if self._held and self.read_paused:
            self.read_paused = False
            self._resume()
        elif not self._held:
            super().resume_reading()


class ReadAhead:
    """The bytes of a connection that are read and not parsed yet.

    One read of the socket stays in one piece until all of it is parsed. Cutting pieces off a buffer would copy the
    rest, and leave the heap with gaps of all sizes.
    """

    __slots__ = ("_data", "_start")

    def __init__(self) -> None:
        self._data = b""
        self._start = 0

    def __bool__(self) -> bool:
        return bool(self._data)

    @property
    def held(self) -> int:
        """Bytes of memory that the buffer takes, with its part of the heap's gaps: a half more, as measured."""
        return len(self._data) * 3 // 2

    def add(self, data: bytes) -> None:
        """Add the bytes of one read."""
        self._data = self._data[self._start :] + data if self._data else data
        self._start = 0

    def take(self, size: int) -> bytes:
        """Remove and return the first bytes, at most `size`."""
        piece = self._data[self._start : self._start + size]
        self._start += len(piece)
        if self._start == len(self._data):
            self.clear()
        return piece

    def clear(self) -> None:
        """Drop all bytes."""
        self._data = b""
        self._start = 0
