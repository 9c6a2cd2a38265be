"""One Engine.IO session, over polls or a WebSocket; to the layer above it is a `Transport`.

It begins with polls or with a WebSocket, and may change from polls to a WebSocket once. Broadcasts are encoded once per
wire format: `wire_format` tells whether a session takes packets as a payload has them, or their WebSocket frames.

Invariant: a session ends once, for one reason, and everything that waits for it is then answered.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.gateway.engineio.interface import FRAME, PACKET, Settings, Upper
from service.gateway.engineio.poll_buffer import PollBuffer
from service.gateway.transport.transport import CATCHUP_ALLOWANCE, Ending, Transport
from service.gateway.websocket.frames import binary_frame, text_frame
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Kind, Opening, Packet
from service.runtime.cell_rate import CONTROLS, TooFast

if TYPE_CHECKING:
    from service.gateway.transport.heartbeat import Heartbeats

NOOP_AFTER = 0.1
"""Seconds for which a poll that comes during an upgrade waits for a packet other than `noop`."""

_NORMAL, _LOST, _INTERNAL_ERROR = 1000, 1006, 1011  # RFC 6455, section 7.4.1


log = logging.getLogger("onrecord.engineio")


class Connection:
    """A session. `gone` is called when it has ended; the creator sets `upper`."""

    upper: Upper

    def __init__(
        self,
        sid: str,
        settings: Settings,
        heartbeats: "Heartbeats[Connection]",
        gone: Callable[["Connection"], None],
    ) -> None:
        self.sid = sid
        self.address: str | None = None
        self.user_agent: str | None = None
        self._settings = settings
        self._heartbeats = heartbeats
        self._gone = gone
        self.polling = PollBuffer()
        self._socket: Transport | None = None
        self._probing: Transport | None = None
        self._heard = asyncio.get_running_loop().time()
        self._goodbye = False
        self._reading: asyncio.Timeout | None = None
        self._catchup = 0
        self._whole_at = 0.0  # see `Pace`
        self._held = False
        self.wire_format = PACKET
        self.posting = False
        self.busy = False
        self.ending: Ending | None = None
        self.on_ending: Callable[[], None] = lambda: None

    def open(self, socket: Transport | None) -> None:
        """Send the first packet; over a WebSocket if there is one."""
        if socket is not None:
            self._move(socket)
        told = Opening(
            sid=self.sid,
            upgrades=() if socket is not None else ("websocket",),
            ping_interval=round(self._settings.ping_interval * 1000),
            ping_timeout=round(self._settings.ping_timeout * 1000),
            max_payload=self._settings.max_payload,
        )
        self.send(engineio.opening(told))
        self._heartbeats.start(self)

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

    def write(self, data: bytes) -> None:
        """Send a frame that is encoded for `wire_format`, without waiting."""
        if self._socket is not None:
            self._socket.write(data)
        elif self.ending is None:
            self.polling.add(data)
            allowance = CATCHUP_ALLOWANCE if self._catchup else 0
            if self.polling.size > self._settings.max_outbox + allowance:
                self.close(Close.TOO_SLOW, "too slow")

    def send(self, packet: bytes) -> None:
        """Send a packet."""
        self.write(packet if self._socket is None else frame(packet))

    def close(self, code: int, reason: str = "") -> None:
        """End the session; a waiting poll is answered, and packets that no poll has fetched are dropped."""
        if self._socket is not None:
            self._socket.close(code, reason)
        else:
            self._end(Ending(code, by_client=False), engineio.CLOSE)

    async def drained(self) -> None:
        """Wait until few bytes wait for the client."""
        if self._socket is None:
            await self.polling.drained()
        if self._socket is not None:
            await self._socket.drained()

    def hold(self) -> None:
        """See `Transport.hold`; a post that arrives all the same is answered like any other."""
        self._held = True
        if self._socket is not None:
            self._socket.hold()

    @property
    def taken(self) -> bool:
        """See `Transport.taken`."""
        return self._socket.taken if self._socket is not None else not self.posting

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
            self._heard = asyncio.get_running_loop().time()
            if not self._heartbeats.pong(self):
                self._heartbeats.start(self)
                self.count()
        elif packet.kind is Kind.CLOSE:
            self.say_goodbye()
        else:
            self.close(Close.MALFORMED, "no upgrade is under way")

    def count(self) -> None:
        """Count a packet without a message, and close the session with 4009 if there are too many."""
        try:
            self._whole_at = CONTROLS.spend(self._whole_at, asyncio.get_running_loop().time())
        except TooFast:
            self.close(Close.TOO_MANY_REQUESTS, "too many control packets")

    async def _take_message(self, data: str | bytes) -> None:
        if _size(data) > self._settings.max_packet:
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

    def say_goodbye(self) -> None:
        """Handle the client's request to end the session."""
        self._goodbye = True
        if self._socket is not None:
            self._socket.close(_NORMAL)
        else:
            self._end(Ending(_NORMAL, by_client=True), engineio.NOOP)

    def lose(self) -> None:
        """Handle that the client aborted a request."""
        if self._socket is None:
            self._end(Ending(_LOST, by_client=False), engineio.CLOSE)

    def overdue(self) -> bool:
        """Whether the client was silent for so long that it has given up itself, by the times of the handshake."""
        silence = asyncio.get_running_loop().time() - self._heard
        return not self.busy and silence >= self._heartbeats.silence_allowed

    # Polls and posts.

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read a request, at most until the session ends or the time limit passes.

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
        """Whether packets travel in polls."""
        return self._socket is None

    def ask(self) -> "asyncio.Future[None]":
        """Begin a poll; one during an upgrade is answered soon, so that the client can stop polling."""
        asked = self.polling.ask()
        if self._probing is not None:
            asyncio.get_running_loop().call_later(NOOP_AFTER, self.polling.answer, engineio.NOOP)
        return asked

    # The upgrade.

    def probe(self, socket: Transport) -> bool:
        """Begin an upgrade to a WebSocket; return False if there is one already, or was one."""
        if self.closing or self._socket is not None or self._probing is not None:
            return False
        self._probing = socket
        return True

    def stay(self) -> None:
        """Cancel an upgrade; the session continues with polls."""
        self._probing = None

    def upgrade(self) -> None:
        """Continue over the WebSocket, beginning with packets that no poll has fetched."""
        socket, self._probing = self._probing, None
        if socket is None or self.closing:
            return
        if self.posting:
            socket.close(Close.MALFORMED, "a request is under way")
            self.close(Close.MALFORMED, "a request is under way")
            return
        left = self.polling.hand_over()
        self._move(socket)
        if left:
            self.write(b"".join(map(frame, left)))

    def _move(self, socket: Transport) -> None:
        self._socket = socket
        self.wire_format = FRAME
        socket.catchup = self._catchup
        socket.on_ending = self._socket_ended
        if self._held:
            socket.hold()
        if socket.closing:
            self._socket_ended()

    # The end.

    def _socket_ended(self) -> None:
        if self._socket is not None and (ending := self._socket.ending) is not None:
            by_client = ending.by_client or self._goodbye
            self._end(Ending(ending.code, by_client=by_client), engineio.NOOP)

    def _end(self, ending: Ending, last: bytes) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        self._heartbeats.stop(self)
        self._gone(self)
        self.polling.end(last)
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())
        if self._probing is not None:
            self._probing.close(_NORMAL)
        self.on_ending()
        self.upper.ended()


def frame(packet: bytes) -> bytes:
    """Return the WebSocket frame of a packet as a payload has it."""
    data = engineio.binary_of(packet)
    return text_frame(packet) if data is None else binary_frame(data)


def _size(data: str | bytes) -> int:
    """Return the bytes of a message, with the letter for its type."""
    return 1 + len(data if isinstance(data, bytes) or data.isascii() else data.encode())
