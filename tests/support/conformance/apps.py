"""The applications for the conformance tests, made only of the layers below the endpoints.

`engineio` echoes over Engine.IO, `socketio` has two namespaces, `echo` is a plain WebSocket for Autobahn's test suite.
"""

from collections.abc import Callable, Mapping
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from service.gateway.engineio import Connection, Engine, Polls, Settings
from service.gateway.http.first_request import http_class
from service.gateway.socketio.server import Client, Server
from service.gateway.socketio.socket import Socket
from service.gateway.transport.transport import Endpoint
from service.gateway.websocket.connection import transport_class
from service.protocol.socketio.engineio import binary_message, message
from service.protocol.socketio.packets import Kind, Packet, Received
from tests.support.servers.asgi_endpoint import Everywhere
from tests.support.servers.websocket_server import echo

MAX_PAYLOAD = 1_000_000
SETTINGS = Settings(
    ping_interval=0.3, ping_timeout=0.2, max_payload=MAX_PAYLOAD, max_packet=MAX_PAYLOAD, max_outbox=2**20
)
CONNECT_TIMEOUT = 2.0


class Echo:
    """Sends every message back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self, data: str | bytes) -> None:
        packet = binary_message(data) if isinstance(data, bytes) else message(data.encode())
        self._connection.send(packet)

    def ended(self) -> None:
        pass


class Talk:
    """A namespace that echoes."""

    async def connect(self, socket: Socket, packet: Packet) -> None:
        socket.accept()
        socket.send_packet(Kind.EVENT, ["auth", packet.data or {}])

    async def event(self, socket: Socket, received: Received) -> None:
        packet = received.packet()
        name, *arguments = packet.data
        if name == "message":
            socket.send_packet(Kind.EVENT, ["message-back", *arguments])
        elif name == "message-with-ack" and packet.id is not None:
            socket.send_packet(Kind.ACK, arguments, packet.id)

    async def gone(self, socket: Socket) -> None:
        pass


def engineio(settings: Settings = SETTINGS) -> tuple[Starlette, Engine]:
    engine = Engine(settings, Echo)
    return _open_to_all(Polls.route(engine, "/engine.io/")), engine


def socketio(settings: Settings = SETTINGS) -> tuple[Starlette, Engine]:
    namespaces = {"/": Talk(), "/custom": Talk()}
    server = Server(namespaces, CONNECT_TIMEOUT, MAX_PAYLOAD)
    engine = Engine(settings, partial(Client, server))
    return _open_to_all(Polls.route(engine, "/socket.io/")), engine


def served(engine: Engine) -> Starlette:
    """A test's own engine, at the path of Socket.IO."""
    return _open_to_all(Polls.route(engine, "/socket.io/"))


APPS: dict[str, Callable[[], tuple[ASGIApp, Mapping[str, Endpoint]]]] = {
    "engineio": lambda: _at("/engine.io/", *engineio()),
    "socketio": lambda: _at("/socket.io/", *socketio()),
    "echo": lambda: (Starlette(), Everywhere(echo)),
}


def _at(path: str, app: ASGIApp, engine: Engine) -> tuple[ASGIApp, Mapping[str, Endpoint]]:
    return app, {path: engine}


def config(
    app: ASGIApp,
    endpoints: Mapping[str, Endpoint],
    max_size: int = MAX_PAYLOAD,
    host: str = "localhost",
    port: int = 0,
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=http_class(),
        # Autobahn's 9.3.1 sends 4 MiB, 64 bytes at a time.
        ws=transport_class(endpoints=endpoints, max_fragments=2**17),
        ws_max_size=max_size,
        lifespan="off",
        log_config=None,  # uvicorn's own would be global to this process
        access_log=False,
    )


def _open_to_all(route: Route) -> Starlette:
    everybody = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return Starlette(routes=[route], middleware=[everybody])
