"""Opens the Engine.IO sessions of this process, looks them up, and serves their WebSockets.

Invariant: a session lives on one node. A request for an unknown session is refused at once, as the reference does, and
a stock client then opens a new one.
"""

import secrets
from collections.abc import Callable

from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection

from service.gateway.engineio.connection import Connection
from service.gateway.engineio.conversation import SocketConversation
from service.gateway.engineio.errors import headers_of, refused
from service.gateway.engineio.interface import Settings, Upper
from service.gateway.engineio.upgrade import Upgrades
from service.gateway.transport.client_address import ClientAddresses
from service.gateway.transport.heartbeat import Heartbeats
from service.gateway.transport.transport import BEGAN, Ending, Refused, Upgrade, WebSocketTransport
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Problem

Gate = Callable[[Headers, str | None, bool], Refused | None]
"""Checks a request's headers, its address, and whether it opens a session; returns a refusal or None."""


class Engine:
    """The sessions of this process, and the endpoint of their WebSockets: see `Endpoint`.

    `accept` builds the layer above a session; `ended` is called with each ending, `on_refused` with the address and the
    problem of each request that no client of this version of the protocol sends.
    """

    def __init__(
        self,
        settings: Settings,
        accept: Callable[[Connection], Upper],
        gate: Gate = lambda *_: None,
        ended: Callable[[Ending], None] = lambda _ending: None,
        addresses: ClientAddresses | None = None,
        on_refused: Callable[[str | None, Problem], None] = lambda *_: None,
    ) -> None:
        self.settings = settings
        self._accept = accept
        self._gate = gate
        self._ended = ended
        self._addresses = addresses or ClientAddresses(())
        self._on_refused = on_refused
        self._heartbeats: Heartbeats[Connection] = Heartbeats(
            settings.ping_interval, settings.ping_timeout, lambda connection: connection.send(engineio.PING)
        )
        self._upgrades = Upgrades(settings.upgrade_timeout)
        self._connections: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def close(self, code: Close, reason: str) -> None:
        """End every session; waiting polls are answered."""
        for connection in list(self._connections.values()):
            connection.close(code, reason)

    # WebSocket.

    def on_upgrade(self, transport: WebSocketTransport, request: Upgrade) -> None:
        """Accept or refuse a WebSocket, which opens a session or upgrades one."""
        address = self._addresses.of(request.address, request.headers.raw)
        found = self.find(QueryParams(request.query), request.headers, address, "websocket")
        if isinstance(found, Refused):
            transport.refuse(found._replace(headers=headers_of(found)))
            return
        connection = found or self._new(request.headers, address, request.began)
        upgrades = None if found is None else self._upgrades
        if not transport.accept(lambda: SocketConversation(connection, transport, upgrades)):
            return
        transport.stop_keepalive()  # the session sends its own heartbeats
        if upgrades is None:
            self._start(connection, transport)
        else:
            upgrades.begin(connection, transport)

    # For every request.

    def find(
        self, query: QueryParams, headers: Headers, address: str | None, transport: str
    ) -> Connection | Refused | None:
        """Return the session of a request, a refusal, or None if the request opens a session."""
        if (named := query.get("transport")) != transport:
            known = named in ("polling", "websocket")
            return self.refuse(Problem.BAD_REQUEST if known else Problem.UNKNOWN_TRANSPORT, address)
        sid = query.get("sid")
        if (denied := self._gate(headers, address, sid is None)) is not None:
            return denied
        if query.get("EIO") != engineio.VERSION:
            return self.refuse(Problem.UNSUPPORTED_VERSION, address)
        if sid is None:
            return None
        connection = self._connections.get(sid)
        if connection is not None and connection.overdue():
            connection.close(Close.NO_PONG, "no pong")
        return refused(Problem.UNKNOWN_SID) if connection is None or connection.closing else connection

    def refuse(self, problem: Problem, address: str | None) -> Refused:
        """Report a request that no client of this version sends; return its refusal."""
        self._on_refused(address, problem)
        return refused(problem)

    def is_identified(self, sid: str) -> bool:
        """Return whether the client of a session is identified."""
        connection = self._connections.get(sid)
        return connection is not None and connection.identified

    def open(self, headers: Headers, address: str | None, began: float | None = None) -> Connection:
        """Open a session with polls; its request began at the time `began` of the loop."""
        connection = self._new(headers, address, began)
        self._start(connection, None)
        return connection

    def _new(self, headers: Headers, address: str | None, began: float | None) -> Connection:
        connection = Connection(secrets.token_urlsafe(15), self.settings, self._heartbeats, self._forget)
        connection.address, connection.user_agent = address, headers.get("user-agent")
        connection.began = began
        return connection

    def _start(self, connection: Connection, socket: WebSocketTransport | None) -> None:
        self._connections[connection.sid] = connection
        connection.upper = self._accept(connection)
        connection.open(socket)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection.sid, None)
        if connection.ending is not None:
            self._ended(connection.ending)


def began(request: HTTPConnection) -> float | None:
    """Return the loop's time at the first byte of a request, None if the server does not say."""
    extension = request.scope.get("extensions", {}).get(BEGAN)
    return None if extension is None else extension["time"]
