"""What goes over the wire between a client and a server, recorded as the drill's checker judges it.

A `Recorder` stands between the two and passes each frame on. `Dead` is a proxy before it whose present connections can
be left open and dead while new ones are served.

Invariant: an operation is recorded before its frame is passed on, and completed before its answer is.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.drill.connection import delivery_of, fill_in, said
from tests.drill.evidence.history import Closed, History, Operation, Snapshot
from tests.support.servers.proxies import Link, Proxy, proxied

Frame = dict[str, Any]
OPS = {"message:send": "send", "room:join": "join", "room:leave": "leave", "message:history": "history"}
SENDABLE = (1000, 1001, 1008, 1009, 1011, 1012, 1013, *range(4000, 4600))


class Recorder:
    """Between the clients of one process and a server. `passes` decides on each frame of the server."""

    def __init__(self, server: str, history: History, process: str) -> None:
        self.server = server
        self.history = history
        self.process = process
        self.passes: Callable[[Frame], bool] = lambda _frame: True
        self.sent: list[Frame] = []
        """The frames of the clients."""
        self.received: list[Frame] = []
        """The frames of the server, passed on or not."""

    def commands(self, kind: str) -> list[Frame]:
        """Return the clients' frames of one type."""
        return [frame for frame in self.sent if frame["type"] == kind]

    async def serve(self, client: ServerConnection) -> None:
        """Pass the frames of one connection on, both ways, until either side ends."""
        try:
            server = await connect(
                self.server, ping_interval=None, max_size=None, compression=None, close_timeout=0.3
            )
        except (OSError, InvalidHandshake, ConnectionClosed, EOFError, TimeoutError):
            client.transport.abort()
            return
        tape = Tape(self)
        pumps = [
            asyncio.create_task(each)
            for each in (self._up(client, server, tape), self._down(client, server, tape))
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            tape.closed(server.close_code or 1006)
            await _end(client, server)

    async def _up(self, client: ServerConnection, server: ClientConnection, tape: "Tape") -> None:
        with suppress(ConnectionClosed):
            async for text in client:
                tape.up(json.loads(text))
                await server.send(text)

    async def _down(self, client: ServerConnection, server: ClientConnection, tape: "Tape") -> None:
        with suppress(ConnectionClosed):
            async for text in server:
                frame = json.loads(text)
                self.received.append(frame)
                if self.passes(frame):
                    tape.down(frame)
                    await client.send(text)


class Tape:
    """The record of one connection."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._history = recorder.history
        self._id = f"{recorder.process}/{uuid4().hex[:6]}"
        self._user = ""
        self._waiting: dict[str, Operation] = {}

    def up(self, frame: Frame) -> None:
        """Record a frame of the client."""
        self._recorder.sent.append(frame)
        if frame["type"] == "connect":
            self._user = _subject(frame["token"])
            self._begin("connect", "connect", cursors=frame["rooms"])
        elif frame["type"] in OPS:
            fields = {name: frame.get(name) for name in ("after", "before", "content")}
            self._begin(OPS[frame["type"]], frame["ref"], room=frame["roomId"], **fields)

    def down(self, frame: Frame) -> None:
        """Record a frame of the server."""
        now = self._history.now()
        match frame["type"]:
            case "ack" | "error" | "connected":
                self._answer(frame, now)
            case "message:history":
                page = [*map(said, frame["messages"])]
                self._history.add(
                    Snapshot(
                        connection=self._id, time=now, room=frame["roomId"], page=page, more=frame["hasMore"]
                    )
                )
            case _ if "seq" in frame and "roomId" in frame:
                self._history.add(delivery_of(frame, self._id, now))
            case _:
                pass

    def closed(self, code: int) -> None:
        """Record the end of the connection, if it was one of the protocol."""
        if self._user:
            self._history.add(Closed(connection=self._id, time=self._history.now(), code=code))

    def _begin(self, op: Any, ref: str, **fields: Any) -> None:
        made = Operation(
            process=self._recorder.process, user=self._user, connection=self._id, node=0, op=op, ref=ref,
            invoked=self._history.now(), **fields,
        )  # fmt: skip
        self._history.add(made)
        self._waiting[ref] = made

    def _answer(self, frame: Frame, now: float) -> None:
        ref = "connect" if frame["type"] == "connected" else frame.get("ref", "")
        operation = self._waiting.pop(ref, None)
        if operation is None:
            return
        operation.completed = now
        if frame["type"] == "error":
            operation.outcome, operation.code = "refused", frame["code"]
            operation.retryable = frame["retryable"]
        else:
            operation.outcome = "ok"
            fill_in(operation, frame)


class Dead(Proxy):
    """A proxy that can leave its present connections open and dead; new ones are served."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._alive = asyncio.Event()
        self._alive.set()

    def freeze(self) -> None:
        """Let nothing pass on the present connections, for ever."""
        self._alive.clear()
        self._alive = asyncio.Event()
        self._alive.set()

    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Link:
        """Return what forwards the bytes of one connection."""
        alive = self._alive
        link = Link(self, client, server)

        async def passing() -> None:
            await alive.wait()
            await self.passing()

        link._passing = passing
        return link


@asynccontextmanager
async def recorded(server: str, history: History, process: str) -> AsyncIterator[tuple[Dead, str, Recorder]]:
    """Give a proxy before a recorder before a server, and the address that leads through both."""
    recorder = Recorder(server, history, process)
    async with serve(
        recorder.serve, "127.0.0.1", 0, ping_interval=None, max_size=None, compression=None, close_timeout=0.3
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        async with proxied(f"ws://127.0.0.1:{port}/ws", Dead) as (proxy, url):
            yield proxy, url, recorder


async def _end(client: ServerConnection, server: ClientConnection) -> None:
    """End both sides as the other side ended."""
    for this, other in ((client, server), (server, client)):
        code = other.close_code
        if code is not None and code in SENDABLE and this.close_code is None:
            with suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(0.5):
                    await this.close(code, other.close_reason or "")
        this.transport.abort()


def _subject(token: str) -> str:
    payload = token.split(".")[1]
    found: str = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    return found
