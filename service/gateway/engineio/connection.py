"""One Engine.IO session, over polls or a WebSocket; the layer above uses it as a `Transport`.

A session begins with polls or with a WebSocket; `Upgrades` moves it from polls to a WebSocket. Broadcasts are encoded
once per wire format: `wire_format` is `PACKET` (packets as in a payload) with polls, and `FRAME` over a WebSocket.

Invariant: a session ends once, for one reason, and its waiting poll and posts are then answered.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.gateway.engineio.interface import FRAME, PACKET, Settings, Upper
from service.gateway.engineio.poll_buffer import PollBuffer
from service.gateway.transport.callbacks import nothing
from service.gateway.transport.transport import CATCHUP_ALLOWANCE, Ending, WebSocketTransport
from service.gateway.websocket.frames import binary_frame, text_frame
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Kind, Opening, Packet
from service.runtime.cell_rate import CONTROLS, TooFast

if TYPE_CHECKING:
    from service.gateway.transport.heartbeat import Heartbeats

_NORMAL, _LOST, _INTERNAL_ERROR = 1000, 1006, 1011  # RFC 6455, section 7.4.1


log = logging.getLogger("onrecord.engineio")


class Connection:
    """A session. `on_removed` is called when it has ended; the creator sets `upper`."""

    upper: Upper

    def __init__(
        self,
        sid: str,
        settings: Settings,
        heartbeats: "Heartbeats[Connection]",
        on_removed: Callable[["Connection"], None],
    ) -> None:
        self.sid = sid
        self.address: str | None = None
        self.user_agent: str | None = None
        self.began: float | None = None
        """The loop's time at the first byte of the request that opened the session."""
        self.settings = settings
        self._heartbeats = heartbeats
        self._on_removed = on_removed
        self.polling = PollBuffer()
        self._socket: WebSocketTransport | None = None
        self.probing: WebSocketTransport | None = None
        """The WebSocket of an upgrade in progress; set by `Upgrades`."""
        self._last_pong = asyncio.get_running_loop().time()
        self._closed_by_client = False
        self._reading: asyncio.Timeout | None = None
        self._catchup = 0
        self._allowance_full_at = 0.0  # see `Pace`
        self._held = False
        self._identified = False
        self.wire_format = PACKET
        self.posting = False
        self.busy = False
        self.ending: Ending | None = None
        self.on_ending: Callable[[], None] = nothing

    def open(self, socket: WebSocketTransport | None) -> None:
        """Send the handshake packet, over the WebSocket if one is given, and start the heartbeats."""
        if socket is not None:
            self.attach(socket)
        handshake = Opening(
            sid=self.sid,
            upgrades=() if socket is not None else ("websocket",),
            ping_interval=round(self.settings.ping_interval * 1000),
            ping_timeout=round(self.settings.ping_timeout * 1000),
            max_payload=self.settings.max_payload,
        )
        self.send(engineio.opening(handshake))
        self._heartbeats.start(self)

    def attach(self, socket: WebSocketTransport) -> None:
        """Send and receive over a WebSocket from now on."""
        self._socket = socket
        self.wire_format = FRAME
        socket.catchup = self._catchup
        socket.account.identified = self._identified
        socket.on_ending = self._socket_ended
        if self._held:
            socket.hold()
        if socket.closing:
            self._socket_ended()

    # The interface to the layer above: see `Transport`.

    @property
    def closing(self) -> bool:
        """Whether the session has ended."""
        return self.ending is not None

    @property
    def catchup(self) -> int:
        """Catch-ups in progress."""
        return self._catchup

    @catchup.setter
    def catchup(self, count: int) -> None:
        self._catchup = count
        if self._socket is not None:
            self._socket.catchup = count

    @property
    def identified(self) -> bool:
        """Whether the client is identified."""
        return self._identified

    @identified.setter
    def identified(self, identified: bool) -> None:
        self._identified = identified
        if self._socket is not None:
            self._socket.account.identified = identified

    def write(self, data: bytes) -> None:
        """Send a frame that is encoded for `wire_format`, without waiting."""
        if self._socket is not None:
            self._socket.write(data)
        elif self.ending is None:
            self.polling.add(data)
            allowance = CATCHUP_ALLOWANCE if self._catchup else 0
            if self.polling.size > self.settings.max_outbox + allowance:
                self.close(Close.TOO_SLOW, "too slow")

    def send(self, packet: bytes) -> None:
        """Send a packet."""
        self.write(packet if self._socket is None else frame(packet))

    def close(self, code: int, reason: str = "") -> None:
        """End the session: answer a waiting poll, and drop packets that no poll has fetched."""
        if self._socket is not None:
            self._socket.close(code, reason)
        else:
            self._end(Ending(code, by_client=False), engineio.CLOSE)

    async def drained(self) -> None:
        """Return when at most 128 KiB wait for the client."""
        if self._socket is None:
            await self.polling.drained()
        if self._socket is not None:
            await self._socket.drained()

    def hold(self) -> None:
        """See `Transport.hold`; posts are still answered."""
        self._held = True
        if self._socket is not None:
            self._socket.hold()

    @property
    def idle(self) -> bool:
        """See `Transport.idle`."""
        return self._socket.idle if self._socket is not None else not self.posting

    @property
    def outbox(self) -> int:
        """Bytes that wait for the client."""
        return self._socket.outbox if self._socket is not None else self.polling.size

    # Input from the client.

    async def take(self, packet: Packet) -> None:
        """Handle a packet."""
        if packet.kind is Kind.MESSAGE:
            await self._take_message(packet.data)
        elif packet.kind is Kind.PONG:
            self._last_pong = asyncio.get_running_loop().time()
            if not self._heartbeats.pong(self):
                self._heartbeats.start(self)
                self.count()
        elif packet.kind is Kind.CLOSE and self._socket is not None:
            self._closed_by_client = True
            self._socket.close(_NORMAL)
        elif packet.kind is Kind.CLOSE:
            self._end(Ending(_NORMAL, by_client=True), engineio.NOOP)
        else:
            self.close(Close.MALFORMED, "no upgrade is under way")

    def count(self) -> None:
        """Count a packet that carries no message; above the permitted rate, close the session with 4009."""
        try:
            self._allowance_full_at = CONTROLS.spend(
                self._allowance_full_at, asyncio.get_running_loop().time()
            )
        except TooFast:
            self.close(Close.TOO_MANY_REQUESTS, "too many control packets")

    async def _take_message(self, data: str | bytes) -> None:
        if _size(data) > self.settings.max_packet:
            self.close(Close.TOO_LARGE, "message too large")
            return
        self.busy = True
        try:
            await self.upper.take(data)
        except Exception:
            log.exception("message_failed")
            self.close(_INTERNAL_ERROR, "internal error")
        finally:
            self.busy = False

    def lose(self) -> None:
        """End a polling session whose client has aborted a request."""
        if self._socket is None:
            self._end(Ending(_LOST, by_client=False), engineio.CLOSE)

    def overdue(self) -> bool:
        """Whether no pong came within the ping interval and timeout, so that the client has given up too."""
        silence = asyncio.get_running_loop().time() - self._last_pong
        return not self.busy and silence >= self._heartbeats.silence_allowed

    # Polls and posts.

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Limit how long the block may read a request: until the session ends or the time limit passes.

        Raises:
            TimeoutError: the time limit has passed.
        """
        self._reading = asyncio.timeout(self._heartbeats.silence_allowed)
        async with self._reading:
            try:
                yield
            finally:
                self._reading = None

    @property
    def pollable(self) -> bool:
        """Whether the session uses polls."""
        return self._socket is None

    # The end.

    def _socket_ended(self) -> None:
        if self._socket is not None and (ending := self._socket.ending) is not None:
            by_client = ending.by_client or self._closed_by_client
            self._end(Ending(ending.code, by_client=by_client), engineio.NOOP)

    def _end(self, ending: Ending, last: bytes) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        self._heartbeats.stop(self)
        self._on_removed(self)
        self.polling.end(last)
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())
        if self.probing is not None:
            self.probing.close(_NORMAL)
        self.on_ending()
        self.upper.ended()


def frame(packet: bytes) -> bytes:
    """Return the WebSocket frame of a packet that is encoded as in a payload."""
    data = engineio.binary_of(packet)
    return text_frame(packet) if data is None else binary_frame(data)


def _size(data: str | bytes) -> int:
    """Return the size of a message in bytes, with the byte of its type."""
    return 1 + len(data if isinstance(data, bytes) or data.isascii() else data.encode())
