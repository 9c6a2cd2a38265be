"""Reads the frames of one connection: flow control, control frames (RFC 6455, section 5.5) and deadlines.

Invariant: one connection parses at most `FRAMES_A_TURN` frames in one iteration of the event loop. The parser keeps the
rest of a larger read, and the socket is not read until the rest is parsed.
"""

import asyncio
from typing import ClassVar, Protocol, cast

from service.gateway.transport.receive_budget import Account
from service.gateway.websocket.frames import CLOSE, PING, PONG, close_answer, close_frame, pong_frame
from service.gateway.websocket.limits import Limits
from service.gateway.websocket.parser import Parser, ProtocolError, close_of
from service.gateway.websocket.receive_queue import Receiver
from service.protocol.close_codes import Close
from service.runtime.cell_rate import TINY_FRAGMENT_COST, TooFast
from service.runtime.timeouts import Timeouts

FRAMES_A_TURN = 8
"""Frames of one connection that are parsed before other connections have their turn: as many messages as are posted
within the call take about half a millisecond."""


class FrameHandler(Receiver, Protocol):
    """The connection, as its reader uses it."""

    limits: ClassVar[Limits]
    frame_deadlines: ClassVar[Timeouts["FrameReader"]]
    account: Account
    closed: bool

    @property
    def closing(self) -> bool:
        """Whether the connection is ending."""

    def write(self, frame: bytes) -> None:
        """Send a frame."""

    def answers_ping(self) -> bool:
        """Return whether a received pong answers a ping of the server."""

    def finish(self, last: bytes, code: int, reason: str, *, by_client: bool = False) -> None:
        """End the connection: send `last`, and read nothing more."""


class FrameReader:
    """The receiving half of a connection."""

    __slots__ = (
        "_allowance_full_at", "_connection", "_discarding", "_held", "_parser", "_partial", "_turn_scheduled", "paused",
    )  # fmt: skip

    def __init__(self, connection: FrameHandler, max_size: int) -> None:
        self._connection: FrameHandler | None = connection
        self._parser = Parser(max_size, connection.limits.max_fragments)
        self._parser.allow(FRAMES_A_TURN)
        self._turn_scheduled = False
        self._allowance_full_at = 0.0  # see `Pace`
        self._discarding = False
        self._held = False
        self._partial = False  # a frame has begun to arrive
        self.paused = False
        """Whether the socket is not read."""

    def feed(self, data: bytes) -> None:
        """Parse the bytes of one read of the socket."""
        if not self._discarding:
            self._parser.feed(data)
            if not self._turn_scheduled:
                self._parser.allow(FRAMES_A_TURN)
            self.read()

    def hold(self) -> None:
        """Stop reading the socket until the connection closes."""
        self._held = True
        self.read()

    def discard(self) -> None:
        """Ignore all further input."""
        self._discarding = True
        self._parser.clear()

    def stop(self) -> None:
        """Drop unparsed input and the reference to the connection, which is lost."""
        self.stop_deadline()
        self._parser.clear()
        self._connection = None  # a reference cycle otherwise

    def read(self) -> None:
        """Parse until the receive queue is full or the turn ends; pause the socket while unparsed input is left."""
        if (connection := self._connection) is None:
            return
        if not (self.paused or self._held or self._parser):  # nothing to parse, to pause or to resume
            self._count(connection)
            return
        try:
            while self._may_parse(connection) and (received := self._parser.next()) is not None:
                self.stop_deadline()
                self._handle(connection, received.opcode, received.data)
            if (tiny := self._parser.take_tiny_fragments()) and not connection.closed:
                self._charge(connection, tiny * TINY_FRAGMENT_COST)
        except ProtocolError as error:
            connection.finish(close_frame(error.code, error.reason), error.code, error.reason)
        self._count(connection)
        self._schedule(connection)

    def stop_deadline(self) -> None:
        """Remove the deadline of the current frame."""
        if self._partial and self._connection is not None:
            self._partial = False
            self._connection.frame_deadlines.end(self)

    def deadline_passed(self) -> None:
        """Close the connection; but parse on if the socket is paused, since the rest of the frame may be unread."""
        self._partial = False
        if self.paused:
            self.read()
        elif self._connection is not None:
            self._connection.close(Close.TOO_SLOW, "a frame takes too long")

    def turn_away(self) -> None:
        """End the connection, since there is no room for its input."""
        if (connection := self._connection) is None:
            return
        if connection.open:
            reason = "too much unfinished input"
            connection.finish(close_frame(Close.TOO_MANY_REQUESTS, reason), Close.TOO_MANY_REQUESTS, reason)
        else:
            self.discard()
            connection.transport.abort()

    def _count(self, connection: FrameHandler) -> None:
        """Count the bytes that are held for a client without an identity; end the connection if there is no room."""
        if self._discarding or connection.account.identified:
            return
        queue = connection.messages
        if not connection.account.hold(self._parser.held + (queue.held if queue is not None else 0)):
            self.turn_away()

    def _may_parse(self, connection: FrameHandler) -> bool:
        # A client must not send before it has the handshake's response (section 4.1); early input waits until then.
        queue = connection.messages
        return (connection.open and queue is not None and not queue.full) or connection.closing

    def _handle(self, connection: FrameHandler, opcode: int, data: str | bytes) -> None:
        """Act on one message or control frame."""
        if opcode == CLOSE:
            payload = cast("bytes", data)
            code, reason = close_of(payload)
            connection.finish(close_answer(payload), code, reason, by_client=True)
        elif connection.closed:
            pass  # input after a close frame is ignored (section 1.4)
        elif opcode == PING:
            self._charge(connection)
            # Pongs count against the write buffer's limit, since a peer may send pings and read nothing.
            connection.write(pong_frame(cast("bytes", data)))
        elif opcode == PONG:
            if not connection.answers_ping():
                self._charge(connection)
        elif connection.messages is not None:
            connection.messages.add(data)

    def _charge(self, connection: FrameHandler, cost: float = 1.0) -> None:
        """Charge the allowance for input that carries no message.

        Raises:
            ProtocolError: the allowance is used up.
        """
        now = asyncio.get_running_loop().time()
        try:
            self._allowance_full_at = connection.limits.controls.spend(self._allowance_full_at, now, cost)
        except TooFast as error:
            raise ProtocolError(Close.TOO_MANY_REQUESTS, "too many control frames") from error

    def _schedule(self, connection: FrameHandler) -> None:
        """Schedule the next turn, start the deadline of an incomplete frame, and pause or resume the socket."""
        may_parse = self._may_parse(connection)
        if may_parse and self._parser.used_up and not self._turn_scheduled:
            self._turn_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        blocked = bool(self._parser) and (self._turn_scheduled or not may_parse)
        if connection.open and self._parser and not blocked and not self._partial:
            self._partial = True
            connection.frame_deadlines.begin(self)
        if (blocked or (self._held and not connection.closed)) is not self.paused:
            self.paused = not self.paused
            (connection.transport.pause_reading if self.paused else connection.transport.resume_reading)()

    def _next_turn(self) -> None:
        self._turn_scheduled = False
        self._parser.allow(FRAMES_A_TURN)
        self.read()
