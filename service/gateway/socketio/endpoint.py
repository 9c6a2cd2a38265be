"""The Socket.IO endpoint, `/socket.io/`, for stock clients; see `docs/guides/use-socketio-client.md`.

The chat is the main namespace; there is no other. Commands, rights and events are those of the native protocol: the
same `Dispatcher`, handlers and events.
"""

from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.routing import Route

from service.config.settings import Settings
from service.errors import NotAllowed, OnRecordError
from service.gateway.auth.origins import READABLE
from service.gateway.auth.tokens import MAX_TOKEN, Identity
from service.gateway.commands.admission import Admission, SessionStarter, client_name
from service.gateway.commands.dispatcher import Dispatcher
from service.gateway.engineio import Connection, Engine, Polls, Refused
from service.gateway.engineio import Settings as EngineSettings
from service.gateway.session.counters import OK
from service.gateway.socketio.server import Client, ConnectRefused, Server
from service.gateway.socketio.session import SOCKETIO, RecoveringSession, SocketSession
from service.gateway.socketio.socket import Socket
from service.gateway.transport.client_address import ClientAddresses
from service.gateway.transport.problem import headers_of
from service.protocol.close_codes import Close
from service.protocol.commands import Connect
from service.protocol.native import error_fields
from service.protocol.problems import status_of
from service.protocol.socketio import recovery
from service.protocol.socketio.emits import decode_auth, decode_command
from service.protocol.socketio.engineio import Problem
from service.protocol.socketio.packets import MAIN, Packet, Received
from service.realtime.hub import Hub

PATH = "/socket.io/"

MAX_PAYLOAD = 1_000_000
"""Bytes of one post, the reference's default; clients before 4.5 ignore the limit in the handshake and rely on it."""


_CONNECT = b"40"

MAX_FIRST = 4 * 1024
"""Bytes of a post before the client has entered the namespace, unless it is a CONNECT."""

BESIDES, EACH_ROOM = 1024, 96
"""Bytes of a CONNECT besides its token, its offset and its rooms, and for each of its rooms."""


class SocketIoEndpoint:
    """The endpoint, and the namespace behind it."""

    def __init__(
        self,
        admission: Admission,
        starter: SessionStarter,
        dispatcher: Dispatcher,
        hub: Hub,
        settings: Settings,
    ) -> None:
        self._admission = admission
        self._starter = starter
        self._dispatcher = dispatcher
        self._hub = hub
        self._sessions: dict[Socket, SocketSession] = {}
        self.max_first_payload = MAX_TOKEN + recovery.MAX_OFFSET + EACH_ROOM * sum(admission.limits) + BESIDES
        """Bytes of a post whose client has not entered the namespace.

        A CONNECT may have the longest token, the longest offset and all rooms of a connection, or the client could not
        come back.
        """
        self._server = Server({MAIN: self}, settings.connect_timeout, settings.max_frame, self._refused)
        self.engine = Engine(
            EngineSettings(
                ping_interval=settings.ping_interval,
                ping_timeout=settings.ping_timeout,
                max_payload=max(MAX_PAYLOAD, settings.max_frame),
                max_packet=settings.max_frame,
                max_outbox=settings.max_outbox,
                first_payload=self._first_payload,
            ),
            partial(Client, self._server),
            self._gate,
            lambda ending: admission.count_close(ending.code),
            ClientAddresses(settings.trusted_proxies),
            lambda address, problem: admission.refusals.write(SOCKETIO, address, problem.name.lower()),
        )

    def is_identified(self, url: bytes) -> bool:
        """Return whether the URL of a request names a session whose client is identified."""
        path, _, query = url.partition(b"?")
        if path != PATH.encode():
            return False
        return self.engine.is_identified(QueryParams(query).get("sid", ""))

    def route(self) -> Route:
        """Return the route of HTTP polling; `engine` is the endpoint of WebSockets at the same path."""
        return Polls.route(self.engine, PATH)

    async def close(self) -> None:
        """End every connection, so that clients reconnect elsewhere; waiting polls are answered."""
        self.engine.close(Close.SHUTTING_DOWN, "shutting down")
        await self._server.settle()

    def _gate(self, headers: Headers, address: str | None, opening: bool) -> Refused | None:  # noqa: FBT001 - the interface of the engine
        error = self._admission.check_request(headers, address, self._server.waiting if opening else None)
        if error is None:
            return None
        foreign = isinstance(error, NotAllowed)
        code = Problem.FORBIDDEN if foreign else Problem.BAD_REQUEST
        body = msgspec.json.encode({"code": code, "message": str(error)})
        return Refused(status_of(error), body, READABLE if foreign else headers_of(error))

    def _refused(self, connection: Connection, outcome: str) -> None:
        self._admission.refuse(outcome, connection.address, None)

    # The namespace.

    async def connect(self, socket: Socket, packet: Packet) -> None:
        """Admit a client."""
        await self._admission.turn(socket.connection.address)
        try:
            self._admission.check_rooms((packet.data or {}).get("rooms"))
            frame = decode_auth(packet)
            if socket.again:
                self._admission.handshakes.take(socket.connection.address)
            identity = await self._admission.authenticate(frame.token)
            socket.connection.identified = True
            session, frame = self._session(socket, identity, frame, packet.data)
            session.address = socket.connection.address
            session.client = client_name(socket.connection.user_agent)
            self._sessions[socket] = session
            await self._starter.start(session, identity, frame)
            self._admission.count_handshake(OK)
        except OnRecordError as error:
            self._sessions.pop(socket, None)
            socket.connection.identified = False
            self._admission.refuse(error.code, socket.connection.address, error)
            fields = error_fields(error)
            raise ConnectRefused(fields.pop("message"), fields) from error

    def _session(
        self, socket: Socket, identity: Identity, frame: Connect, auth: dict[str, Any]
    ) -> tuple[SocketSession, Connect]:
        """Return a session, and the `connect` frame with the cursors to resume from."""
        hub, limits = self._hub, self._admission.limits
        if not recovery.is_enabled(auth):
            return SocketSession(socket, hub, identity, limits), frame
        requested, pid = recovery.requested(auth), None
        if requested is not None and len(requested.cursors) <= sum(limits):
            frame = msgspec.structs.replace(frame, epoch=requested.epoch, rooms={**requested.cursors})
            pid = requested.pid
        return RecoveringSession(socket, hub, identity, limits, frame.rooms, pid), frame

    async def event(self, socket: Socket, received: Received) -> None:
        """Carry out a command."""
        tag = None if received.id is None else str(received.id)
        await self._dispatcher.dispatch(
            self._sessions[socket],
            lambda: tag,
            lambda: decode_command(received.packet(), lambda: str(uuid4())),
            socket.received,
        )

    async def gone(self, socket: Socket) -> None:
        """Release a client."""
        await self._starter.lifecycle.end(self._sessions.pop(socket))

    def _first_payload(self, body: bytearray) -> int:
        """Return the bytes that a post with this beginning may have before the client has entered the namespace."""
        return self.max_first_payload if body.startswith(_CONNECT) else MAX_FIRST
