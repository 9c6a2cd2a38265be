"""Clients in namespaces, over the sessions of `service.gateway.engineio`.

Invariant: a packet that no stock client sends ends its sender's connection at once, and affects no other client. A
client outside any namespace has `connect_timeout` seconds to enter one, from the first byte of the request that opened
its session, or from its last leave; a refused CONNECT does not extend that time. A
connection has `MAX_REFUSED` refused CONNECTs, however many are accepted between them.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from service.gateway.auth.prices import bytes_of
from service.gateway.engineio import Connection
from service.gateway.socketio.socket import Socket
from service.gateway.transport.transport import Ending
from service.protocol.close_codes import Close
from service.protocol.socketio.packets import Decoder, Kind, NotAPacket, Packet, Received
from service.runtime.timeouts import Timeouts

_NORMAL = 1000

MAX_REFUSED = 3
"""Refused CONNECTs of one connection that are answered; one more closes the connection with 4501."""

REFUSED_PAUSE = 0.25
"""Seconds for which a connection is not read after a refused CONNECT, since its client may send the next at once."""

log = logging.getLogger("onrecord.socketio")


class ConnectRefused(Exception):
    """A namespace refuses a client; `data` is sent beside the sentence."""

    def __init__(self, sentence: str, data: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.data = data


class Namespace(Protocol):
    """A namespace, which clients enter."""

    async def connect(self, socket: Socket, packet: Packet) -> None:
        """Admit a client: call `Socket.accept` before anything is sent. The packet is its CONNECT.

        Raises:
            ConnectRefused: the client may not enter.
        """

    async def event(self, socket: Socket, received: Received) -> None:
        """Handle an event.

        Raises:
            NotAPacket: a client may not send it.
        """

    async def gone(self, socket: Socket) -> None:
        """Release an admitted client; called once, when nothing can be sent to it any more."""


class Server:
    """The namespaces of one path; `max_attached` bounds the bytes of the attachments of one packet.

    `refused` is called with the connection and a word if one that is in no namespace is closed for what it sent.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        connect_timeout: float,
        max_attached: int,
        refused: Callable[[Connection, str], None] = lambda *_: None,
    ) -> None:
        self.refused = refused
        self.namespaces = namespaces
        self.max_attached = max_attached
        self.unauthenticated: Timeouts[Client] = Timeouts(connect_timeout, lambda client: client.time_out())
        self.deciding = 0
        """Unauthenticated clients whose CONNECT a namespace is handling."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Connections without an accepted CONNECT."""
        return len(self.unauthenticated) - self.deciding

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("goodbye_failed", exc_info=error)

    async def settle(self) -> None:
        """Wait until all clients that are gone have been released."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Client:
    """A connection in its namespaces: the `Upper` of an Engine.IO session."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._decoder = Decoder(server.max_attached)
        self._sockets: dict[str, Socket] = {}
        self._refused = 0
        self._left = False  # whether it has left a namespace
        self._received = 0  # bytes of the packet that is not complete yet
        self._deciding = self._timed_out = False
        server.unauthenticated.begin(self, connection.began)

    def time_out(self) -> None:
        """Close the connection of a client that is in no namespace; a decision in progress is awaited first."""
        if self._deciding:
            self._timed_out = True
            return
        self._close_refused(Close.TOKEN_INVALID, "no connect in time", "too_late")

    def _close_refused(self, code: Close, reason: str, outcome: str = "malformed") -> None:
        if not any(socket.admitted for socket in self._sockets.values()) and not self._connection.closing:
            self._server.refused(self._connection, outcome)
        self._connection.close(code, reason)

    async def take(self, data: str | bytes) -> None:
        """Handle a message of the client."""
        try:
            self._received += bytes_of(data) if isinstance(data, str) else len(data)
            received = self._decoder.feed(data)
            if received is not None:
                await self._handle(received)
            elif not self._sockets:  # attachments would have to be kept for a stranger
                self._close_refused(Close.MALFORMED, "attachments before connect")
        except NotAPacket as error:
            self._close_refused(Close.MALFORMED, str(error))

    async def _handle(self, received: Received) -> None:
        socket = self._sockets.get(received.namespace)
        if received.kind is Kind.EVENT and socket is not None:
            socket.received, self._received = self._received, 0
            await self._server.namespaces[socket.namespace].event(socket, received)
            return
        self._received = 0
        self._connection.count()
        if self._connection.closing:
            return
        packet = received.packet()
        if (packet.kind is Kind.CONNECT) is (socket is not None):
            raise NotAPacket("a second CONNECT, or a packet before CONNECT")
        if socket is None:
            await self._enter(packet)
        elif packet.kind is Kind.DISCONNECT:
            del self._sockets[packet.namespace]
            socket.end(Ending(_NORMAL, by_client=True))
            self._left = True
            if not self._sockets and not self._connection.closing:
                self._connection.identified = False
                self._server.unauthenticated.begin(self)
            await self._server.namespaces[packet.namespace].gone(socket)
        # The server requests no ACK, so one answers nothing; the reference ignores it too.

    async def _enter(self, packet: Packet) -> None:
        namespace = self._server.namespaces.get(packet.namespace)
        socket = Socket(self._connection, packet.namespace, again=self._left or self._refused > 0)
        if namespace is None:
            await self._refuse(socket, {"message": "Invalid namespace"})
            return
        try:
            with self._decision(socket):
                await namespace.connect(socket, packet)
        except ConnectRefused as error:
            del self._sockets[socket.namespace]
            await self._refuse(socket, {"message": str(error), "data": error.data})
        else:
            self._server.unauthenticated.end(self)
            self._timed_out = False
            socket.admitted = True
            if socket.closing:
                await namespace.gone(socket)

    @contextmanager
    def _decision(self, socket: Socket) -> Iterator[None]:
        """Suspend the deadline while a namespace decides about a client that is in no other."""
        unauthenticated = self in self._server.unauthenticated
        self._sockets[socket.namespace] = socket
        self._deciding = True
        self._server.deciding += unauthenticated
        try:
            yield
        finally:
            self._deciding = False
            self._server.deciding -= unauthenticated

    async def _refuse(self, socket: Socket, reason: dict[str, Any]) -> None:
        """Answer a refused CONNECT, without extending the time that the client has to enter a namespace."""
        self._refused += 1
        if self._timed_out:
            self._close_refused(Close.TOKEN_INVALID, "no connect in time", "too_late")
        elif self._refused > MAX_REFUSED:
            raise NotAPacket("no connect")
        else:
            socket.send_packet(Kind.CONNECT_ERROR, reason)
            await asyncio.sleep(REFUSED_PAUSE)

    def ended(self) -> None:
        """Handle the end of the connection."""
        self._server.unauthenticated.end(self)
        ending = self._connection.ending
        for socket in [*self._sockets.values()]:
            if ending is not None:
                socket.end(ending)
            if socket.admitted:
                self._server.run(self._server.namespaces[socket.namespace].gone(socket))
