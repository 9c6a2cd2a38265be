"""A real uvicorn server on a real socket, with its own loop and thread.

The tests are therefore blocking code, the loop under test can be asyncio's or uvloop, and a hanging test does
not stop the server.
"""

import asyncio
import logging
import queue
import socket
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Self, TypeVar

import uvicorn

from service.gateway.http.first_request import http_class
from service.gateway.transport.transport import Transport

PATIENCE = 30.0  # seconds after which a test counts as hanging
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
T = TypeVar("T")


async def accept(scope: Message, receive: Receive, send: Send) -> Transport:
    """Complete the handshake, as an application does."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    transport: Transport = scope["extensions"]["onrecord.transport"]
    return transport


async def the_end(receive: Receive) -> tuple[int, str]:
    """Read to the end; return the code and reason that the application gets."""
    while (message := await receive())["type"] == "websocket.receive":
        pass
    return message["code"], message["reason"]


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    await accept(scope, receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class Heard(queue.Queue[Any]):
    """Values that an application passes to its test."""

    def next(self) -> Any:
        return self.get(timeout=PATIENCE)


class _Uvicorn(uvicorn.Server):
    """Stops on an event, instead of polling ten times a second."""

    async def main_loop(self) -> None:
        self.stopping = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self.ready.set()
        await self.stopping.wait()

    ready: threading.Event
    loop: asyncio.AbstractEventLoop
    stopping: asyncio.Event


class LiveServer:
    def __init__(
        self,
        app: App,
        protocol: type[asyncio.Protocol],
        loop: Callable[[], Any],
        size: int,
        http: type[asyncio.Protocol] | None = None,
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/"
        self.errors: list[str] = []
        config = uvicorn.Config(
            app, ws=protocol, http=http or http_class(), ws_max_size=size, lifespan="off", log_config=None
        )
        self.uvicorn = _Uvicorn(config)
        self.uvicorn.ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(loop,), daemon=True)
        self._handler = logging.Handler(logging.ERROR)
        self._handler.emit = self._note  # type: ignore[method-assign]

    def _note(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self.errors.append(f"{record.getMessage().strip()}: {cause!r}")

    def _run(self, loop: Callable[[], Any]) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(self.uvicorn.serve(sockets=[self.listener]))

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._handler)  # uvicorn's errors and those of the loop
        self._thread.start()
        assert self.uvicorn.ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        logging.getLogger().removeHandler(self._handler)

    def stop(self) -> None:
        self.begin_to_stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not stop"

    def begin_to_stop(self) -> None:
        if self._thread.is_alive():
            self.uvicorn.loop.call_soon_threadsafe(self.uvicorn.stopping.set)

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the server's loop."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.uvicorn.loop).result(PATIENCE)

    def idle(self) -> bool:
        """Whether all connections and their tasks have ended."""
        state = self.uvicorn.server_state
        return self.call(lambda: not state.connections and not state.tasks)


Serve = Callable[..., LiveServer]
"""Starts a server for an application; the keywords are its limits."""
