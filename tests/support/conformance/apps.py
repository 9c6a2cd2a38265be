"""The applications for the conformance tests, made only of the layers below the endpoints.

`engineio` echoes over Engine.IO, `socketio` has two namespaces, `echo` is a plain WebSocket for Autobahn's test suite.
"""

from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from service.gateway.engineio import Connection, Engine, Polls, Settings
from service.gateway.http.protocol import http_class
from service.gateway.socketio.server import Client, Server
from service.gateway.socketio.socket import Socket
from service.gateway.websocket.connection import transport_class
from service.protocol.socketio.engineio import binary_message, message
from service.protocol.socketio.packets import Kind, Packet, Received

MAX_PAYLOAD = 1_000_000
SETTINGS = Settings(
    ping_interval=0.3, ping_timeout=0.2, max_payload=MAX_PAYLOAD, max_packet=MAX_PAYLOAD, max_outbox=2**20
)
CONNECT_TIMEOUT = 1.0


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
    return _open_to_all(Polls.routes(engine, "/engine.io/")), engine


def socketio(settings: Settings = SETTINGS) -> tuple[Starlette, Engine]:
    namespaces = {"/": Talk(), "/custom": Talk()}
    server = Server(namespaces, CONNECT_TIMEOUT, MAX_PAYLOAD)
    engine = Engine(settings, partial(Client, server))
    return _open_to_all(Polls.routes(engine, "/socket.io/")), engine


def served(engine: Engine) -> Starlette:
    """A test's own engine, at the path of Socket.IO."""
    return _open_to_all(Polls.routes(engine, "/socket.io/"))


def echo() -> Starlette:
    async def serve(websocket: WebSocket) -> None:
        await websocket.accept()
        while (received := await websocket.receive())["type"] == "websocket.receive":
            await websocket.send({**received, "type": "websocket.send"})

    return Starlette(routes=[WebSocketRoute("/", serve)])


APPS: dict[str, Callable[[], ASGIApp]] = {
    "engineio": lambda: engineio()[0],
    "socketio": lambda: socketio()[0],
    "echo": echo,
}


def config(
    app: ASGIApp, max_size: int = MAX_PAYLOAD, host: str = "localhost", port: int = 0
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=http_class(),
        ws=transport_class(max_fragments=2**17),  # Autobahn's 9.3.1 sends 4 MiB, 64 bytes at a time
        ws_max_size=max_size,
        lifespan="off",
        log_config=None,  # uvicorn's own would be global to this process
        access_log=False,
    )


def _open_to_all(routes: list[BaseRoute]) -> Starlette:
    everybody = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return Starlette(routes=routes, middleware=[everybody])
