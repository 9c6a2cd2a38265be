"""One WebSocket connection (RFC 6455): a `WebSocketTransport` with its opening and closing handshakes.

`FrameReader` reads frames, `ReceiveQueue` passes messages to the conversation, `WriteBuffer` writes. An idle connection
has no task and no timer, only entries in queues of deadlines that all connections share.

Invariant: the end of a connection, from either side, is reported once to the conversation and has a time limit.
"""

import asyncio
import logging
from asyncio.transports import BaseTransport
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from starlette.exceptions import HTTPException
from uvicorn.server import ServerState

from service.errors import NotReady
from service.gateway.transport.callbacks import nothing
from service.gateway.transport.heartbeat import Heartbeats
from service.gateway.transport.problem import refusal
from service.gateway.transport.receive_budget import Account
from service.gateway.transport.transport import ABNORMAL, Conversation, Ending, Endpoint, Refused, Upgrade
from service.gateway.websocket import handshake
from service.gateway.websocket.frame_reader import FrameReader
from service.gateway.websocket.frames import HEARTBEAT, close_frame
from service.gateway.websocket.limits import Limits
from service.gateway.websocket.receive_queue import ReceiveQueue, start_task
from service.gateway.websocket.write_buffer import WriteBuffer
from service.protocol.close_codes import Close
from service.runtime.direct_sockets import DirectSockets
from service.runtime.timeouts import Timeouts

log = logging.getLogger("onrecord.transport")


class WebSocketConnection(WriteBuffer):
    """One connection. `transport_class` derives a class with settings; `TimedHttpProtocol` creates its instances."""

    __slots__ = (
        "_close_timer", "_request", "account", "closed", "ending", "lost", "messages",
        "on_ending", "open", "reader", "reason", "server",
    )  # fmt: skip

    limits: ClassVar[Limits]
    endpoints: ClassVar[Mapping[str, Endpoint]]
    heartbeats: ClassVar["Heartbeats[WebSocketConnection]"]
    frame_deadlines: ClassVar[Timeouts[FrameReader]]
    """The deadlines of incomplete frames."""

    def __init__(self, max_size: int, server: ServerState, account: Account) -> None:
        super().__init__()
        self.account = account
        self.server = server
        self.reader = FrameReader(self, max_size)
        account.close = self.reader.turn_away
        self.messages: ReceiveQueue | None = None  # from the upgrade until the conversation has ended
        self.ending: Ending | None = None
        self.on_ending: Callable[[], None] = nothing
        self.reason = ""
        self.open = False  # accepted, and neither side has begun to close
        self.closed = False  # the server's close frame, or a refusal, is written
        self.lost = False
        self._request: Upgrade | None = None  # until it is answered
        self._close_timer: asyncio.TimerHandle | None = None

    # The interface to sessions: see `Transport`.

    @property
    def closing(self) -> bool:
        """See `Transport.closing`."""
        return self.closed or self.lost or self.transport.is_closing()

    def write(self, frame: bytes) -> None:
        """See `Transport.write`."""
        if not self.open:
            return self._require_handshake()
        if self.put(frame) and self.over(self.limits.max_outbox):
            self.close(Close.TOO_SLOW, "too slow")
        return None

    async def send(self, frame: bytes) -> bool:
        """See `WebSocketTransport.send`."""
        await self.writable.wait()
        if self.open:
            self.put_later(frame)
        return self.open

    def close(self, code: int, reason: str = "") -> None:
        """See `Transport.close`."""
        if not self.open:
            return self._require_handshake()
        self.put_later(close_frame(code, reason))
        return self._begin_closing(code, reason)

    def hold(self) -> None:
        """See `Transport.hold`."""
        self.reader.hold()

    @property
    def idle(self) -> bool:
        """See `Transport.idle`."""
        return self.messages is None or self.messages.idle

    @property
    def busy(self) -> bool:
        """See `HasHeartbeat`."""
        return self.reader.paused

    def stop_keepalive(self) -> None:
        """See `WebSocketTransport.stop_keepalive`."""
        self.heartbeats.stop(self)

    def answers_ping(self) -> bool:
        """Return whether a received pong answers a ping of the server."""
        return self.heartbeats.pong(self)

    def _require_handshake(self) -> None:
        if not self.closing:
            raise RuntimeError("the WebSocket handshake is not complete")

    # The opening handshake.

    def connection_made(self, transport: BaseTransport) -> None:
        """Take over the connection; called by `TimedHttpProtocol`."""
        super().connection_made(transport)
        self.server.connections.add(self)  # type: ignore[arg-type] # uvicorn names its own classes

    def respond(self, request: Upgrade) -> None:
        """Answer an upgrade request."""
        endpoint = self.endpoints.get(request.path)
        if (invalid := handshake.check(request.method, request.http_version, request.headers)) is not None:
            self.refuse(invalid)
        elif endpoint is None:
            self.refuse(refusal(HTTPException(404, "No WebSocket is served at this path.")))
        else:
            self._request = request
            try:
                if (answering := endpoint.on_upgrade(self, request)) is not None:
                    start_task(self.server, self._answer(answering))
            except Exception as error:  # noqa: BLE001 - it is logged
                _refuse_failed(self, error)

    async def _answer(self, answering: Coroutine[Any, Any, None]) -> None:
        try:
            await answering
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception as error:  # noqa: BLE001 - it is logged
            _refuse_failed(self, error)

    def accept(self, begin: Callable[[], Conversation], headers: Sequence[tuple[str, str]] = ()) -> bool:
        """See `WebSocketTransport.accept`."""
        if self.closing or self._request is None:
            return False
        self.open_writing()
        self.put(handshake.accepted(self._request.headers, headers))
        self._request = None
        self.open = True
        self.heartbeats.start(self)
        self.messages = ReceiveQueue(self, begin())
        self.reader.read()
        return True

    def refuse(self, answer: Refused) -> None:
        """See `WebSocketTransport.refuse`."""
        if not self.closing and not self.open:
            self.closed = True
            self.reader.discard()
            self.put_later(handshake.refused(answer))
            self.transport.close()

    # The closing handshake (RFC 6455, section 7).

    def finish(self, last: bytes, code: int, reason: str, *, by_client: bool = False) -> None:
        """End a connection whose peer has closed it or violated the protocol: send `last`, and ignore further input."""
        self.reader.discard()
        if not self.closed:
            self.put_later(last)
            self._begin_closing(code, reason, by_client=by_client)
        self.close_writing()

    def _begin_closing(self, code: int, reason: str, *, by_client: bool = False) -> None:
        """Stop writing after a close frame, and give the peer `close_timeout` seconds."""
        self._stop()
        self.closed = True
        self.reason = reason
        self._report(Ending(code, by_client))
        self.reader.read()  # input that was not parsed yet may contain the peer's close frame
        loop = asyncio.get_running_loop()
        self._close_timer = loop.call_later(self.limits.close_timeout, self.transport.abort)

    def _stop(self) -> None:
        self.open = False
        self.stop_writing()
        self.stop_keepalive()
        self.reader.stop_deadline()

    def _report(self, ending: Ending) -> None:
        """Report the ending to the session and the conversation, unless one was reported before."""
        if self.ending is None:
            self.ending = ending
            self.on_ending()
            if self.messages is not None:
                self.messages.wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Wake waiting senders, and report the end unless it was reported before."""
        self._stop()
        self.lost = True
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._report(Ending(ABNORMAL, by_client=False))
        self.reader.stop()
        self.account.end()
        self.server.connections.discard(self)

    def shutdown(self) -> None:
        """Close or refuse the connection; called once by uvicorn, when the server stops."""
        if self.open:
            self.close(Close.SHUTTING_DOWN, "shutting down")
        else:
            self.refuse(refusal(NotReady()))

    # Called by asyncio.

    def data_received(self, data: bytes) -> None:
        """Read the frames in the received bytes."""
        self.reader.feed(data)

    def eof_received(self) -> None:
        """Abort the connection of a peer that ends its stream without a close frame."""
        if self.open:
            self.transport.abort()


def _refuse_failed(connection: WebSocketConnection, error: Exception) -> None:
    log.error("knock_failed", exc_info=error)
    connection.refuse(refusal(HTTPException(500, "Internal server error.")))


def transport_class(
    *,
    endpoints: Mapping[str, Endpoint] | None = None,
    direct_sockets: DirectSockets | None = None,
    **limits: Any,
) -> type[WebSocketConnection]:
    """Return a class for uvicorn's `ws` setting; `endpoints` are by path, `limits` are the fields of `Limits`."""
    settings = Limits(**limits)
    fields = {
        "__slots__": (),
        "limits": settings,
        "endpoints": endpoints or {},
        "direct_sockets": DirectSockets() if direct_sockets is None else direct_sockets,
        "heartbeats": Heartbeats(
            settings.ping_interval, settings.ping_timeout, lambda connection: connection.write(HEARTBEAT)
        ),
        "frame_deadlines": Timeouts(settings.frame_seconds, FrameReader.deadline_passed),
    }
    return type("WebSocketConnection", (WebSocketConnection,), fields)
