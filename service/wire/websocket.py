"""The uvicorn class behind a WebSocket connection, which the rest of the server sees as a `Transport`.

The rule here: nobody waits for a slow peer, and a peer decides neither how much memory nor how much of our
time it takes. What is written goes to the socket at once; what the kernel does not take is bounded, and above
the bound the connection ends. What comes is read only as fast as the application takes it. Every end of a
connection, from either side, goes through `_end`, tells the application its code once, and has a time limit.

The application finds its transport as `scope["extensions"][EXTENSION]`.
"""

import asyncio
import logging
import os
import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, cast

from starlette.datastructures import Headers
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from service.live.straight import NOWHERE, Straight
from service.protocol.close import Close
from service.wire.deadlines import Deadlines
from service.wire.frames import PING, Inbound, binary_frame, close_frame, text_frame
from service.wire.gate import Gate
from service.wire.transport import (
    ABNORMAL,
    CATCHUP_ALLOWANCE,
    EXTENSION,
    Conversation,
    Door,
    Ending,
    Refused,
    Upgrade,
)

log = logging.getLogger("onrecord.transport")

_WATERMARK = CATCHUP_ALLOWANCE // 2  # what is left then, and a batch of 128 KiB, stay within the allowance
_RECEIVE_AHEAD = 4  # messages the application has not taken yet, before reading stops
_SLICE = 4096  # bytes parsed at a time: so far can a segment full of tiny messages run past that bound

_NORMAL, _INTERNAL_ERROR = 1000, 1011  # RFC 6455, section 7.4.1


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


class _NoQueue:
    """In place of the queue, which is several kilobytes, where a conversation is told what comes."""

    def put_nowait(self, _event: ASGIReceiveEvent) -> None:
        """Let it go."""

    def qsize(self) -> int:
        """Nothing is in it."""
        return 0


_NO_QUEUE = _NoQueue()


class ChatWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's sans-IO class with the rule of this module; `transport_class` gives it its settings.

    The opening handshake and its refusals are uvicorn's. From the accept on, everything is here.
    """

    limits: ClassVar[Limits]
    doors: ClassVar[Mapping[str, Door]]
    straight: ClassVar[Straight]
    pings: ClassVar["Deadlines[ChatWebSocketProtocol]"]
    pongs: ClassVar["Deadlines[ChatWebSocketProtocol]"]
    """One timer for all connections that are to be sent a ping, and one for all that owe a pong."""

    conn: Inbound

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limits = self.limits
        self.ping_interval = limits.ping_interval
        self.ping_timeout = limits.ping_timeout
        self.conn.parser.close()  # uvicorn's own, which is of no use here, and a cycle
        self.conn = Inbound(config.ws_max_size, limits.max_fragments, self.logger)
        self.writable = cast("asyncio.Event", Gate())
        self.catchup = 0
        self.ending: Ending | None = None
        self.on_ending: Callable[[], None] = _nothing
        self._open = False  # accepted, and neither side has begun to close
        self.descriptor = NOWHERE  # the socket's, where nothing stands between it and us
        self._farewell: ASGIReceiveEvent | None = None  # what the application was told of the end
        self._unread = bytearray()  # at most what one read of the socket brought
        self._held = False
        self._app_waits = False
        self._owes_pong = False
        self._whole = False  # the last piece was the end of a request, and nothing more
        self._conversation: Conversation | None = None
        self._inbox: list[str | None] = []
        self._talking: asyncio.Task[None] | None = None

    # The interface to the rest of the server.

    @property
    def closing(self) -> bool:
        """See `Transport.closing`."""
        return self.close_sent or self.disconnected or self.transport.is_closing()

    def write(self, frame: bytes) -> None:
        """See `Transport.write`."""
        if not self._open:
            return self._require_handshake()
        if self._may_write_straight():
            frame = frame[self._write_at_once(frame) :]
            if not frame:
                return None
        self._write_later(frame)
        allowed = self.limits.max_outbox + (CATCHUP_ALLOWANCE if self.catchup else 0)
        if self.transport.get_write_buffer_size() > allowed:
            self.close(Close.TOO_SLOW, "too slow")
        return None

    def _may_write_straight(self) -> bool:
        """Return whether nothing waits in the transport, and have all others know."""
        if self.descriptor == NOWHERE or self.transport.get_write_buffer_size():
            return False
        self.straight.allow(self.descriptor)
        return True

    def _write_at_once(self, frame: bytes) -> int:
        """Return how much the kernel takes: a call less than by way of the transport, which has the rest.

        The descriptor is this connection's for as long as it is open: transports call `connection_lost` before they
        close it.
        """
        try:
            return os.write(self.descriptor, frame)
        except OSError:
            return 0  # the kernel takes nothing now; or the connection is broken, as the transport finds out, too

    def _write_later(self, data: bytes) -> None:
        """Have the transport write, which nobody may overtake."""
        self.straight.deny(self.descriptor)
        self.transport.write(data)

    def close(self, code: int, reason: str = "") -> None:
        """See `Transport.close`."""
        if not self._open:
            return self._require_handshake()
        self._write_later(close_frame(code, reason))
        return self._end(code, reason)

    async def drained(self) -> None:
        """See `Transport.drained`."""
        await self.writable.wait()

    def hold(self) -> None:
        """See `Transport.hold`."""
        self._held = True
        self._read_on()

    @property
    def taken(self) -> bool:
        """See `Transport.taken`."""
        if self._conversation is not None:
            return self._talking is None and not self._inbox
        return self._app_waits and self.queue.empty()

    @property
    def outbox(self) -> int:
        """See `Transport.outbox`."""
        return self.transport.get_write_buffer_size()

    def _require_handshake(self) -> None:
        if not self.closing:
            raise RuntimeError("the WebSocket handshake is not complete")

    # How a connection ends.

    def _end(self, code: int, reason: str, *, by_client: bool = False) -> None:
        """The close frame is written. From here on nothing is, and the transport has a time limit."""
        self._open = False
        self.straight.deny(self.descriptor)
        self.close_sent = True
        self.stop_keepalive()
        self._tell_app(code, reason, by_client=by_client)
        self.writable.set()
        self._read_on()  # the peer's answer
        self.close_timer = self.loop.call_later(self.limits.close_timeout, self.transport.abort)

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

    def _tell_app(self, code: int, reason: str, *, by_client: bool = False) -> None:
        if self._farewell is None:
            self._farewell = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self.queue.put_nowait(self._farewell)
            self.ending = Ending(code, by_client)
            self.on_ending()
            self._talk_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Whatever was still awaited here returns, and the application is told if it was not."""
        self._open = False
        self.straight.deny(self.descriptor)
        self.disconnected = True
        self.handshake_complete = True  # so that uvicorn writes no response any more
        self.stop_keepalive()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self._tell_app(ABNORMAL, "")
        self._unread.clear()
        self.writable.set()
        self.connections.discard(self)
        self.conn.parser.close()  # a generator that holds what holds it, which only the collector would find

    def shutdown(self) -> None:
        """Called by uvicorn, once for each connection, when the server stops."""
        if self._open:
            self.close(Close.SHUTTING_DOWN, "shutting down")
        elif not self.handshake_complete:
            super().shutdown()

    # Reading.

    def connection_made(self, transport: BaseTransport) -> None:
        """Called by the HTTP protocol that read the upgrade."""
        super().connection_made(transport)
        tcp = transport.get_extra_info("socket")
        if tcp.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio does so only where the listening socket was made with IPPROTO_TCP, which uvicorn's is not.
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if transport.get_extra_info("ssl_object") is None:
            self.descriptor = tcp.fileno()
            self.straight.deny(self.descriptor)
        self.transport.set_write_buffer_limits(high=_WATERMARK, low=_WATERMARK)

    def data_received(self, data: bytes) -> None:
        """Take what one read of the socket brought."""
        self._unread += data
        self._read_on()

    def _read_on(self) -> None:
        """Parse as far as the application keeps up; while anything is left over, the socket is not read."""
        if self.disconnected:
            return
        while self._unread and self._may_parse():
            piece = bytes(self._unread[:_SLICE])
            del self._unread[:_SLICE]
            self._whole = piece.endswith(b"\r\n\r\n")
            self.conn.receive_data(piece)
            self._heed()
        if (bool(self._unread) or (self._held and not self.closing)) is not self.read_paused:
            self.read_paused = not self.read_paused
            (self.transport.pause_reading if self.read_paused else self.transport.resume_reading)()

    def _may_parse(self) -> bool:
        if not self.handshake_initiated or self.closing:
            return True
        # A client may not send before it has our response (section 4.1); one that does is read after it.
        return self._open and self.queue.qsize() + len(self._inbox) < _RECEIVE_AHEAD

    def _heed(self) -> None:
        """Act on what the parser has made of one piece."""
        for event in self.conn.events_received():
            if isinstance(event, Request):
                self.handle_connect(event)
            elif isinstance(event, Frame) and event.opcode is Opcode.PONG:
                self.handle_pong(event)
        messages = self.conn.take_messages()
        replies = b"".join(self.conn.data_to_send())
        if self.close_sent:  # section 1.4: what follows a close is discarded, and so are our answers to it
            if self.conn.eof_sent:
                self._hang_up()
            return
        if self._conversation is not None:
            self._inbox += [message.get("text") for message in messages]  # type: ignore[misc] # they are messages
            self._talk_on()
        else:
            for message in messages:
                self.queue.put_nowait(message)
        if self.conn.eof_sent:
            self._answer_the_end(replies)
        elif replies:
            self.write(replies)  # pongs are bounded like all else: a peer that sends pings need not read

    def _answer_the_end(self, last: bytes) -> None:
        """The peer has closed, or broken the rules: `last` ends with the close frame the parser chose."""
        self._write_later(last)
        close = self.conn.close_sent
        if close is None:  # not even a handshake: `last` is an HTTP response, or nothing
            self.transport.close()
            return
        self._end(close.code, close.reason, by_client=self.conn.close_rcvd is not None)
        self._hang_up()

    def eof_received(self) -> None:
        """The peer has sent its last byte. Without a close frame before it, it is gone and hears nothing."""
        if self._open:
            self.transport.abort()

    # Heartbeats (RFC 6455, sections 5.5.2 and 5.5.3).

    def schedule_ping(self) -> None:
        """The next ping is due in `ping_interval` seconds."""
        self.pings.begin(self)

    def send_keepalive_ping(self) -> None:
        """The peer has `ping_timeout` seconds from here."""
        self.write(PING)
        if self._open:
            self._owes_pong = True
            self.pongs.begin(self)

    def handle_pong(self, event: Frame) -> None:  # noqa: ARG002 - any pong answers
        """The peer lives."""
        if self._owes_pong:
            self._owes_pong = False
            self.pongs.end(self)
            self.schedule_ping()

    def keepalive_timeout(self) -> None:
        """No pong was seen, which is not yet the peer's fault."""
        if self.read_paused:  # the pong may lie where we have not read: the application is slow
            self.pongs.begin(self)
        else:
            self.close(Close.NO_PONG, "no pong")

    def stop_keepalive(self) -> None:
        """Send no pings, and expect no pong."""
        self._owes_pong = False
        self.pings.end(self)
        self.pongs.end(self)

    # A door of our own.

    def _knock(self, door: Door, request: Request) -> None:
        """Ask a door whether it lets a client in, in a task that lasts no longer than the answer takes."""
        self.handshake_initiated = True
        response = self.conn.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._refuse(response)
            return
        headers = [(name.lower().encode(), _bytes(value)) for name, value in request.headers.raw_items()]
        upgrade = Upgrade(Headers(raw=headers), self.client[0] if self.client else None)
        self._in_task(self._answer(door, upgrade, response))

    async def _answer(self, door: Door, upgrade: Upgrade, response: Response) -> None:
        try:
            answer = await door.knock(upgrade)
        except Exception:
            log.exception("knock_failed")
            answer = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error.")
        if self.closing:
            return
        if isinstance(answer, Refused):
            denial = self.conn.reject(answer.status, answer.sentence)
            denial.headers.update(answer.headers)
            self._refuse(denial)
            return
        del response.headers["Date"]
        self.conn.send_response(response)
        self._write_later(b"".join(self.conn.data_to_send()))
        self.handshake_complete = True
        self.start_keepalive()
        self._open = True
        self.queue = cast("asyncio.Queue[ASGIReceiveEvent]", _NO_QUEUE)
        if self._whole:
            self.conn.forget_request()
        self._conversation = door.open(self, answer)
        self._read_on()

    def _refuse(self, response: Response) -> None:
        self.handshake_complete = True
        self.close_sent = True
        self.conn.send_response(response)
        self._write_later(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def _talk_on(self) -> None:
        """Let the conversation go on where there is something to be told."""
        if self._conversation is not None and self._talking is None:
            self._talking = self._in_task(self._talk(self._conversation))

    async def _talk(self, conversation: Conversation) -> None:
        """Tell what came, and then the end; whatever was received before it is told first."""
        try:
            while self._inbox:
                await self._tell(conversation, self._inbox.pop(0))
        except asyncio.CancelledError:
            self.transport.abort()
            self._farewell = self._farewell or {
                "type": "websocket.disconnect",
                "code": ABNORMAL,
                "reason": "",
            }
            raise
        finally:
            self._talking = None
            if self._farewell is not None:
                self._conversation = None
                await conversation.ended()
                self.on_ending = _nothing  # a cycle, which only the collector would find

    async def _tell(self, conversation: Conversation, text: str | None) -> None:
        try:
            await conversation.take(text)
        except Exception:
            log.exception("conversation_failed")
            self._inbox.clear()
            self._leave(_INTERNAL_ERROR, "internal error")
        self._read_on()

    def _in_task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # The application.

    def handle_connect(self, event: Request) -> None:
        """The request is read: a door answers it, or the application, which finds the transport in its scope."""
        if (door := self.doors.get(event.path.partition("?")[0])) is not None:
            self._knock(door, event)
            return
        super().handle_connect(event)
        if not self.close_sent:  # else the handshake was refused, and there is no application
            self.scope["extensions"][EXTENSION] = cast("dict[object, object]", self)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Forget the task, and let go of the scope."""
        super().on_task_complete(task)
        self.scope["extensions"].pop(EXTENSION, None)  # a cycle, which only the collector would find

    async def run_asgi(self) -> None:
        """The one task of a connection. Whichever way it ends, the connection ends too, and says why."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass  # it was told by an exception of ours that nobody listens any more
        except Exception:
            self.logger.exception("Exception in ASGI application\n")
            self._leave(_INTERNAL_ERROR, "internal error")
        except BaseException:  # cancelled, or the process ends
            self.transport.abort()
            raise
        else:
            self._leave(_NORMAL, "")

    def _leave(self, code: int, reason: str) -> None:
        """The application has returned or failed."""
        if self._open:
            self.close(code, reason)
        elif not self.closing:
            self.logger.error("The ASGI application ended without completing the handshake.")
            self.send_500_response()
            self.transport.close()

    async def receive(self) -> ASGIReceiveEvent:
        """ASGI's `receive`. Taking a message lets the next be read; the end is told to whoever asks again."""
        if self._farewell is not None and self.queue.empty():
            return self._farewell
        self._app_waits = True
        try:
            message = await self.queue.get()
        finally:
            self._app_waits = False
        self._read_on()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI's `send`. It waits for the peer, unlike `write`, so the outbox does not bound it.

        Raises:
            ClientDisconnected: The connection is closing; an `OSError`, as ASGI asks for.
        """
        if self._open:
            await self._send_open(message)
        elif self.conn.state is State.CONNECTING:
            await self._send_handshake(message)
        elif message["type"] != "websocket.close":
            raise ClientDisconnected

    async def _send_handshake(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            if self.conn.state is State.CONNECTING:  # uvicorn saw the transport closing, and said nothing
                raise ClientDisconnected
            self._open = True
            self._read_on()

    async def _send_open(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close":
            self.close(message.get("code", _NORMAL), message.get("reason") or "")
        elif message["type"] == "websocket.send":
            await self.writable.wait()
            if not self._open:
                raise ClientDisconnected
            text, data = message.get("text"), message.get("bytes")
            frame = binary_frame(data or b"") if text is None else text_frame(text.encode())
            self._write_later(frame)
        else:
            raise RuntimeError(f"{message['type']} may not be sent after websocket.accept")


def transport_class(
    *,
    max_outbox: int = Limits.max_outbox,
    ping_interval: float = Limits.ping_interval,
    ping_timeout: float = Limits.ping_timeout,
    close_timeout: float = Limits.close_timeout,
    max_fragments: int = Limits.max_fragments,
    doors: Mapping[str, Door] | None = None,
    straight: Straight | None = None,
) -> type[ChatWebSocketProtocol]:
    """The class to give to uvicorn as `ws`, with these `Limits` (bytes and seconds) and `doors` by their paths.

    In `straight` others are told which sockets they may write to past their transports.
    """
    limits = Limits(
        max_outbox=max_outbox,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        max_fragments=max_fragments,
    )
    given = {
        "limits": limits,
        "doors": doors or {},
        "straight": Straight() if straight is None else straight,
        "pings": Deadlines(ping_interval, ChatWebSocketProtocol.send_keepalive_ping),
        "pongs": Deadlines(ping_timeout, ChatWebSocketProtocol.keepalive_timeout),
    }
    return type("ChatWebSocketProtocol", (ChatWebSocketProtocol,), given)


def _nothing() -> None:
    pass


def _bytes(value: str) -> bytes:
    # What is not ASCII comes out of `websockets` as it went in, byte by byte.
    return value.encode("latin-1", errors="surrogateescape")
