"""The class behind a WebSocket connection, which the rest of the server sees as a `Transport`.

The rule here: nobody waits for a slow peer, and a peer decides neither how much memory nor how much of our
time it takes. What is written goes to the socket at once; what the kernel does not take is bounded, and above
the bound the connection ends. What comes is read only as fast as it is taken. Every end of a connection, from
either side, goes through `_end`, tells its conversation once, and has a time limit.

No task, queue or timer belongs to a connection that says nothing: it is this object, and its place in two queues of
deadlines.

Invariant: one connection parses at most `FRAMES_A_TURN` frames in one call of the event loop, whatever one read of its
socket brought. The rest waits in the parser, and the socket is not read until it is parsed.
"""

import asyncio
import logging
from asyncio.transports import BaseTransport
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from starlette.exceptions import HTTPException
from uvicorn.server import ServerState

from service.errors import NotReady
from service.gateway.transport.problem import refusal
from service.gateway.transport.transport import ABNORMAL, Conversation, Ending, Endpoint, Refused, Upgrade
from service.gateway.websocket import handshake
from service.gateway.websocket.frames import (
    CLOSE,
    HEARTBEAT,
    PING,
    PONG,
    close_answer,
    close_frame,
    pong_frame,
)
from service.gateway.websocket.parser import Parser, ProtocolError, close_of
from service.gateway.websocket.write_buffer import WriteBuffer
from service.protocol.close_codes import Close
from service.realtime.direct_sockets import DirectSockets
from service.runtime.cell_rate import CONTROLS, CRUMB_COST, Pace, TooFast
from service.runtime.timeouts import Timeouts

log = logging.getLogger("onrecord.transport")

FRAMES_A_TURN = 32
"""Frames of one connection that are parsed before other connections have their turn."""

_RECEIVE_AHEAD = 4  # messages the conversation has not taken yet, before reading stops
_INTERNAL_ERROR = 1011  # RFC 6455, section 7.4.1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one connection may cost. The size of a message is uvicorn's `ws_max_size`."""

    max_outbox: int = 1024 * 1024
    """Bytes the kernel may leave unsent before the connection closes with 4008."""

    ping_interval: float = 25.0
    """Seconds from one answered ping to the next."""

    ping_timeout: float = 20.0
    """Seconds without a pong after which the connection closes with 4010."""

    close_timeout: float = 2.0
    """Seconds the peer has to finish a closing handshake before the connection is aborted."""

    max_fragments: int = 1024
    """Frames one message may come in; one more closes with 1009."""

    frame_seconds: float = 8.0
    """Seconds that a frame may take to come in, from its first byte; then the connection closes with 4008."""

    controls: Pace = CONTROLS
    """Control frames beyond which the connection closes with 4009: pings, and pongs that answer no ping."""


class WebSocketConnection(WriteBuffer):
    """One connection; `transport_class` gives the class its settings, and uvicorn's HTTP class makes it."""

    __slots__ = (
        "_close_timer", "_conversation", "_deaf", "_held", "_inbox", "_open", "_owes_pong", "_parser", "_partial",
        "_paused",
        "_request", "_resting", "_state", "_talking", "_whole_at", "closed", "ending", "lost", "on_ending", "reason",
    )  # fmt: skip

    limits: ClassVar[Limits]
    doors: ClassVar[Mapping[str, Endpoint]]
    pings: ClassVar["Timeouts[WebSocketConnection]"]
    pongs: ClassVar["Timeouts[WebSocketConnection]"]
    frames: ClassVar["Timeouts[WebSocketConnection]"]
    """One timer for all who are to be sent a ping, one for all who owe a pong, and one for all who owe half a frame."""

    def __init__(self, max_size: int, state: ServerState) -> None:
        super().__init__()
        self._state = state
        self._parser = Parser(max_size, self.limits.max_fragments)
        self._parser.allow(FRAMES_A_TURN)
        self._resting = False  # the rest of what was read is parsed in the next turn of the loop
        self._whole_at = 0.0  # see `Pace`
        self.ending: Ending | None = None
        self.on_ending: Callable[[], None] = _nothing
        self.reason = ""
        self.closed = False  # our close frame, or a refusal, is written
        self.lost = False
        self._open = False  # accepted, and neither side has begun to close
        self._conversation: Conversation | None = None
        self._inbox: list[str | bytes] = []
        self._talking: asyncio.Task[None] | None = None
        self._request: Upgrade | None = None  # that is not answered yet
        self._deaf = False  # what comes is not looked at any more
        self._held = False
        self._paused = False
        self._owes_pong = False
        self._partial = False  # a frame has begun to come in
        self._close_timer: asyncio.TimerHandle | None = None

    # The interface to the rest of the server.

    @property
    def closing(self) -> bool:
        """See `Transport.closing`."""
        return self.closed or self.lost or self.transport.is_closing()

    def write(self, frame: bytes) -> None:
        """See `Transport.write`."""
        if not self._open:
            return self._require_handshake()
        self.put(frame)
        if self.over(self.limits.max_outbox):
            self.close(Close.TOO_SLOW, "too slow")
        return None

    async def send(self, frame: bytes) -> bool:
        """See `WebSocketTransport.send`."""
        await self.writable.wait()
        if self._open:
            self.put_later(frame)
        return self._open

    def close(self, code: int, reason: str = "") -> None:
        """See `Transport.close`."""
        if not self._open:
            return self._require_handshake()
        self.put_later(close_frame(code, reason))
        return self._end(code, reason)

    def abort(self) -> None:
        """See `WebSocketTransport.abort`."""
        self.transport.abort()

    def hold(self) -> None:
        """See `Transport.hold`."""
        self._held = True
        self._read_on()

    @property
    def taken(self) -> bool:
        """See `Transport.taken`."""
        return self._talking is None and not self._inbox

    def _in_task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin a task that a stopping server waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)
        return task

    def _require_handshake(self) -> None:
        if not self.closing:
            raise RuntimeError("the WebSocket handshake is not complete")

    # How a connection begins.

    def connection_made(self, transport: BaseTransport) -> None:
        """Called by the HTTP class that read the upgrade."""
        super().connection_made(transport)
        self._state.connections.add(self)  # type: ignore[arg-type] # uvicorn names its own classes

    def ask(self, request: Upgrade, otherwise: Endpoint) -> None:
        """Answer a request; `otherwise` is who serves paths that have no door."""
        if (refusal := handshake.check(request.method, request.http_version, request.headers)) is not None:
            self.refuse(refusal)
        else:
            self._in_task(self._knock(self.doors.get(request.path, otherwise), request))

    async def _knock(self, door: Endpoint, request: Upgrade) -> None:
        self._request = request
        try:
            await door.on_upgrade(self, request)
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception:
            log.exception("knock_failed")
            self.refuse(refusal(HTTPException(500, "Internal server error.")))

    def accept(self, begin: Callable[[], Conversation], headers: Sequence[tuple[str, str]] = ()) -> bool:
        """See `WebSocketTransport.accept`."""
        if self.closing or self._request is None:
            return False
        self.put(handshake.accepted(self._request.headers, headers))
        self._request = None
        self._open = True
        self.pings.begin(self)
        self._conversation = begin()
        self._read_on()
        return True

    def refuse(self, answer: Refused) -> None:
        """See `WebSocketTransport.refuse`."""
        if not self.closing and not self._open:
            self.closed = self._deaf = True
            self.put_later(handshake.refused(answer))
            self.transport.close()

    # How it ends.

    def _end(self, code: int, reason: str, *, by_client: bool = False) -> None:
        """The close frame is written. From here on nothing is, and the transport has a time limit."""
        self._open = False
        self.stop_writing()
        self.closed = True
        self._expect_nothing()
        self.reason = reason
        self._tell(Ending(code, by_client))
        self._read_on()  # the peer's answer
        loop = asyncio.get_running_loop()
        self._close_timer = loop.call_later(self.limits.close_timeout, self.transport.abort)

    def _hang_up(self) -> None:
        """Both sides have said goodbye, or the peer cannot be understood.

        Half-close and let the peer close: closing with bytes still unread would reset the connection, and the
        reset may overtake our close frame (RFC 6455, section 7.1.1). What comes meanwhile is discarded.
        """
        if self.transport.can_write_eof():
            if not self.transport.is_closing():
                self.transport.write_eof()
        else:
            self.transport.close()

    def _tell(self, ending: Ending) -> None:
        """Tell who is concerned, the first time."""
        if self.ending is None:
            self.ending = ending
            self.on_ending()
            self._talk_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Whatever was still awaited here returns, and the conversation is told if it was not."""
        self._open = False
        self.stop_writing()
        self.lost = True
        self._expect_nothing()
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._tell(Ending(ABNORMAL, by_client=False))
        self._parser.clear()
        self._state.connections.discard(self)

    def shutdown(self) -> None:
        """Called by uvicorn, once for each connection, when the server stops."""
        if self._open:
            self.close(Close.SHUTTING_DOWN, "shutting down")
        else:
            self.refuse(refusal(NotReady()))

    # Reading.

    def data_received(self, data: bytes) -> None:
        """Take what one read of the socket brought."""
        if not self._deaf:
            self._parser.feed(data)
            if not self._resting:
                self._parser.allow(FRAMES_A_TURN)
            self._read_on()

    def eof_received(self) -> None:
        """The peer has sent its last byte. Without a close frame before it, it is gone and hears nothing."""
        if self._open:
            self.transport.abort()

    def _read_on(self) -> None:
        """Parse as far as the conversation keeps up; while anything is left over, the socket is not read."""
        if self.lost:
            return
        try:
            while self._may_parse() and (received := self._parser.next()) is not None:
                self._whole()
                self._heed(received.opcode, received.data)
            if (crumbs := self._parser.take_crumbs()) and not self.closed:
                self._count(crumbs * CRUMB_COST)
        except ProtocolError as error:
            self._answer_the_end(close_frame(error.code, error.reason), error.code, error.reason)
        self._rest_or_wait()

    def _rest_or_wait(self) -> None:
        """Leave what is not parsed yet: to the next turn, to the conversation, or to the rest of its frame."""
        may_parse = self._may_parse()
        if may_parse and self._parser.used_up and not self._resting:
            self._resting = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        stuck = bool(self._parser) and (self._resting or not may_parse)
        if self._open and self._parser and not stuck and not self._partial:
            self._partial = True
            self.frames.begin(self)
        if (stuck or (self._held and not self.closing)) is not self._paused:
            self._paused = not self._paused
            (self.transport.pause_reading if self._paused else self.transport.resume_reading)()

    def _next_turn(self) -> None:
        self._resting = False
        self._parser.allow(FRAMES_A_TURN)
        self._read_on()

    def _count(self, cost: float = 1.0) -> None:
        """Count what carries no message.

        Raises:
            Broken: there is too much of it.
        """
        try:
            self._whole_at = self.limits.controls.spend(
                self._whole_at, asyncio.get_running_loop().time(), cost
            )
        except TooFast as error:
            raise ProtocolError(Close.TOO_MANY_REQUESTS, "too many control frames") from error

    def _whole(self) -> None:
        """A frame is there, and whatever follows has its own time."""
        if self._partial:
            self._partial = False
            self.frames.end(self)

    def unfinished(self) -> None:
        """A frame was begun and not finished, which is not yet the peer's fault."""
        self._partial = False
        if self._paused:
            self._read_on()
        else:
            self.close(Close.TOO_SLOW, "a frame takes too long")

    def _may_parse(self) -> bool:
        # A client may not send before it has our response (section 4.1); one that does is read after it.
        return self.closing or (self._open and len(self._inbox) < _RECEIVE_AHEAD)

    def _heed(self, opcode: int, data: str | bytes) -> None:
        """Act on one message or control frame."""
        if opcode == CLOSE:
            payload = cast("bytes", data)
            code, reason = close_of(payload)
            self._answer_the_end(close_answer(payload), code, reason, by_client=True)
        elif self.closed:
            pass  # section 1.4: what follows a close is discarded, and so are our answers to it
        elif opcode == PING:
            self._count()
            self.write(
                pong_frame(cast("bytes", data))
            )  # bounded like all else: a peer that pings need not read
        elif opcode == PONG:
            self._pong()
        else:
            self._inbox.append(data)
            self._talk_on()

    def _answer_the_end(self, last: bytes, code: int, reason: str, *, by_client: bool = False) -> None:
        """The peer has closed, or broken the rules. Nothing that follows is read."""
        self._deaf = True
        self._parser.clear()
        if not self.closed:
            self.put_later(last)
            self._end(code, reason, by_client=by_client)
        self._hang_up()

    # Heartbeats (RFC 6455, sections 5.5.2 and 5.5.3).

    def ping(self) -> None:
        """The peer has `ping_timeout` seconds from here."""
        self.write(HEARTBEAT)
        if self._open:
            self._owes_pong = True
            self.pongs.begin(self)

    def _pong(self) -> None:
        """The peer lives; any pong answers. One that answers nothing is as good as a ping of the peer's own."""
        if self._owes_pong:
            self._owes_pong = False
            self.pongs.end(self)
            self.pings.begin(self)
        else:
            self._count()

    def no_pong(self) -> None:
        """No pong was seen, which is not yet the peer's fault."""
        if self._paused:  # the pong may lie where we have not read: the conversation is slow
            self.pongs.begin(self)
        else:
            self.close(Close.NO_PONG, "no pong")

    def stop_keepalive(self) -> None:
        """Send no pings, and expect no pong."""
        self._owes_pong = False
        self.pings.end(self)
        self.pongs.end(self)

    def _expect_nothing(self) -> None:
        """Neither pongs nor the rest of a frame."""
        self.stop_keepalive()
        self._whole()

    # The conversation.

    def _talk_on(self) -> None:
        """Let the conversation go on where there is something to be told."""
        if self._conversation is not None and self._talking is None:
            self._talking = self._in_task(self._talk(self._conversation))

    async def _talk(self, conversation: Conversation) -> None:
        """Tell what came, and then the end; whatever was received before it is told first."""
        try:
            while self._inbox:
                await self._take(conversation, self._inbox.pop(0))
        except asyncio.CancelledError:
            self.transport.abort()
            self.ending = self.ending or Ending(ABNORMAL, by_client=False)
            raise
        finally:
            self._talking = None
            if self.ending is not None:
                self._conversation = None
                await conversation.ended()
                self.on_ending = _nothing  # a cycle, which only the collector would find

    async def _take(self, conversation: Conversation, message: str | bytes) -> None:
        try:
            await conversation.take(message)
        except Exception:
            log.exception("conversation_failed")
            self._inbox.clear()
            if self._open:
                self.close(_INTERNAL_ERROR, "internal error")
        self._read_on()


def transport_class(
    *, doors: Mapping[str, Endpoint] | None = None, straight: DirectSockets | None = None, **limits: Any
) -> type[WebSocketConnection]:
    """The class to give to uvicorn as `ws`, with the fields of `Limits` and with `doors` by their paths.

    In `straight` others are told which sockets they may write to past their transports.
    """
    limited = Limits(**limits)
    given = {
        "__slots__": (),
        "limits": limited,
        "doors": doors or {},
        "straight": DirectSockets() if straight is None else straight,
        "pings": Timeouts(limited.ping_interval, WebSocketConnection.ping),
        "pongs": Timeouts(limited.ping_timeout, WebSocketConnection.no_pong),
        "frames": Timeouts(limited.frame_seconds, WebSocketConnection.unfinished),
    }
    return type("WebSocketConnection", (WebSocketConnection,), given)


def _nothing() -> None:
    pass
