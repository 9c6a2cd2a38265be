"""Clients in namespaces, over the sessions of `service.wire.engineio`; what a namespace does is its own.

The rule: a packet that no stock client sends ends the connection of whoever sent it, at once, and touches nobody else.
A client that is in no namespace has `connect_timeout` seconds to enter one.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from service.protocol.close import Close
from service.protocol.socketio import Decoder, Kind, NotAPacket, Packet
from service.wire.deadlines import Deadlines
from service.wire.engineio import Connection
from service.wire.socketio.socket import Socket
from service.wire.transport import Ending

_NORMAL = 1000
log = logging.getLogger("onrecord.socketio")


class ConnectRefused(Exception):
    """A namespace does not let a client in; `data` goes with the sentence."""

    def __init__(self, sentence: str, data: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.data = data


class Namespace(Protocol):
    """What clients enter."""

    async def connect(self, socket: Socket, packet: Packet) -> None:
        """Let a client in, which begins with `Socket.accept`; the packet is its CONNECT.

        Raises:
            ConnectRefused: it may not come in.
        """

    async def event(self, socket: Socket, packet: Packet) -> None:
        """Take an event."""

    async def gone(self, socket: Socket) -> None:
        """Hear, once, that a client which was let in is gone; nothing can be sent to it any more."""


class Server:
    """The namespaces of one path; `max_attached` bounds the bytes that come with one packet."""

    def __init__(
        self, namespaces: Mapping[str, Namespace], connect_timeout: float, max_attached: int
    ) -> None:
        self.namespaces = namespaces
        self.max_attached = max_attached
        self.strangers: Deadlines[Client] = Deadlines(connect_timeout, lambda client: client.too_late())
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, connection: Connection) -> "Client":
        """Return what takes the messages of a connection."""
        return Client(self, connection)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("goodbye_failed", exc_info=error)

    async def settle(self) -> None:
        """Wait until everybody who is gone has been let go of."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Client:
    """A connection in its namespaces: the `Upper` of an Engine.IO session."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._decoder = Decoder(server.max_attached)
        self._sockets: dict[str, Socket] = {}
        server.strangers.begin(self)

    def too_late(self) -> None:
        """Hear that the time to enter a namespace is over."""
        self._connection.close(Close.TOKEN_INVALID, "no connect in time")

    async def take(self, data: str | bytes) -> None:
        """Take a message of the client."""
        try:
            packet = self._decoder.feed(data)
            if packet is not None:
                await self._heed(packet)
        except NotAPacket as error:
            self._connection.close(Close.MALFORMED, str(error))

    async def _heed(self, packet: Packet) -> None:
        socket = self._sockets.get(packet.namespace)
        if (packet.kind is Kind.CONNECT) is (socket is not None):
            raise NotAPacket("connected twice, or not at all")
        if socket is None:
            await self._enter(packet)
        elif packet.kind is Kind.DISCONNECT:
            del self._sockets[packet.namespace]
            await self._leave(socket, Ending(_NORMAL, by_client=True))
        elif packet.kind is Kind.EVENT:
            await self._server.namespaces[packet.namespace].event(socket, packet)
        # An ACK answers nothing, since nothing of ours asks for one; the reference passes over it too.

    async def _enter(self, packet: Packet) -> None:
        name = packet.namespace
        namespace = self._server.namespaces.get(name)
        socket = Socket(self._connection, name)
        if namespace is None:
            socket.say(Kind.CONNECT_ERROR, {"message": "Invalid namespace"})
            return
        self._server.strangers.end(self)
        self._sockets[name] = socket
        try:
            await namespace.connect(socket, packet)
        except ConnectRefused as error:
            socket.say(Kind.CONNECT_ERROR, {"message": str(error), "data": error.data})
            del self._sockets[name]
            self._wait()
        else:
            socket.inside = True
            if socket.closing:
                await namespace.gone(socket)

    async def _leave(self, socket: Socket, ending: Ending) -> None:
        socket.end(ending)
        self._wait()
        await self._server.namespaces[socket.namespace].gone(socket)

    def _wait(self) -> None:
        if not self._sockets and not self._connection.closing:
            self._server.strangers.begin(self)

    def ended(self) -> None:
        """Hear that the connection is over."""
        self._server.strangers.end(self)
        ending = self._connection.ending
        for socket in [*self._sockets.values()]:
            if ending is not None:
                socket.end(ending)
            if socket.inside:
                self._server.run(self._server.namespaces[socket.namespace].gone(socket))
