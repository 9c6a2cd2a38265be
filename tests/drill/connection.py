"""One native connection that records every frame it sends and receives.

Invariant: an operation is recorded before its frame is sent, and completed when its answer is read. Its time span in
the history is therefore never shorter than the real one.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.drill.evidence.history import Closed, Delivery, Head, History, Operation, Said, Snapshot
from tests.support.environment import token

OPENS = 5.0
"""Seconds to wait for a node to accept a client."""

ANSWERS = 8.0
"""Seconds to wait for an answer; longer than the node's own deadline for the database."""

Event = dict[str, Any]


class Lost(Exception):
    """The connection ended or timed out, so no outstanding answer will come."""


class Connection:
    """A connection of one client (`process`) of a user."""

    def __init__(
        self, socket: ClientConnection, history: History, *, process: str, user: str, node: int
    ) -> None:
        self.id = f"{process}/{uuid4().hex[:6]}"
        self.process = process
        self.user = user
        self.node = node
        self.hear: Callable[[Delivery], None] = lambda _delivery: None
        self.ended = asyncio.Event()
        self._socket = socket
        self._history = history
        self._waiting: dict[str, tuple[Operation, asyncio.Future[Operation]]] = {}
        self._reading = asyncio.create_task(self._read())

    def operation(self, op: Any, **fields: Any) -> Operation:
        """Record the start of an operation on this connection."""
        made = Operation(
            process=self.process, user=self.user, connection=self.id, node=self.node, op=op,
            invoked=self._history.now(), **fields,
        )  # fmt: skip
        self._history.add(made)
        return made

    async def connect(self, cursors: dict[str, int]) -> Operation:
        """Authenticate, and resume after the cursors.

        Raises:
            Lost: there was no `connected` in time.
        """
        operation = self.operation("connect", cursors={**cursors}, ref="connect")
        frame = {"type": "connect", "protocol": 1, "token": token(self.user), "rooms": cursors}
        return await self._ask(operation, frame)

    async def command(self, op: Any, kind: str, ref: str, **fields: Any) -> Operation:
        """Send a command; `fields` are those of the history, and in camel case those of the frame.

        Raises:
            Lost: there was no answer in time.
        """
        operation = self.operation(op, ref=ref, **fields)
        return await self._ask(operation, {"type": kind, "ref": ref, **_camel(fields)})

    async def send_and_cut(self, op: Any, kind: str, ref: str, **fields: Any) -> None:
        """Send a command, and cut the connection before the answer can arrive."""
        self.operation(op, ref=ref, **fields)
        await self._send({"type": kind, "ref": ref, **_camel(fields)})
        self.cut()

    def cut(self) -> None:
        """Cut the connection without a close frame."""
        self._socket.transport.abort()

    async def close(self) -> None:
        """Close it, with the closing handshake if the other side answers."""
        closing = asyncio.create_task(self._socket.close())
        await asyncio.wait([closing], timeout=0.5)
        self.cut()
        await self._reading

    async def _ask(self, operation: Operation, frame: Event) -> Operation:
        answer: asyncio.Future[Operation] = asyncio.get_running_loop().create_future()
        self._waiting[operation.ref] = (operation, answer)
        await self._send(frame)
        try:
            async with asyncio.timeout(ANSWERS):
                return await answer
        except TimeoutError:
            self.cut()
            raise Lost from None
        finally:
            self._waiting.pop(operation.ref, None)

    async def _send(self, frame: Event) -> None:
        if self.ended.is_set():
            raise Lost
        try:
            await self._socket.send(json.dumps(frame))
        except ConnectionClosed:
            raise Lost from None

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                self._take(json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self.ended.set()
            code = self._socket.close_code or 1006
            self._history.add(Closed(connection=self.id, time=self._history.now(), code=code))
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(Lost())
                    answer.exception()  # marks the exception as retrieved, since the caller may be gone

    def _take(self, event: Event) -> None:
        match event["type"]:
            case "ack" | "error" | "connected":
                self._answered(event)
            case "message:history":
                page = [*map(said, event["messages"])]
                self._history.add(
                    Snapshot(
                        connection=self.id, time=self._history.now(), room=event["roomId"], page=page,
                        more=event["hasMore"],
                    )
                )  # fmt: skip
            case _ if "seq" in event and "roomId" in event:
                delivery = delivery_of(event, self.id, self._history.now())
                self._history.add(delivery)
                self.hear(delivery)
            case _:
                pass  # receipts, members, presence: not of the room's order

    def _answered(self, event: Event) -> None:
        ref = "connect" if event["type"] == "connected" else event.get("ref", "")
        operation, answer = self._waiting.get(ref, (None, None))
        if operation is None or answer is None or answer.done():
            return
        operation.completed = self._history.now()
        if event["type"] == "error":
            operation.outcome, operation.code = "refused", event["code"]
            operation.retryable = event["retryable"]
        else:
            operation.outcome = "ok"
            fill_in(operation, event)
        answer.set_result(operation)


@asynccontextmanager
async def opened(
    url: str, history: History, *, process: str, user: str, node: int
) -> AsyncIterator[Connection]:
    """Give an open connection before its `connect` frame.

    Raises:
        Lost: the node does not accept the connection.
    """
    try:
        socket = await connect(
            url, open_timeout=OPENS, ping_interval=None, close_timeout=0.5, max_size=None, compression=None
        )
    except (OSError, InvalidHandshake, InvalidMessage, ConnectionClosed, EOFError):
        raise Lost from None
    connection = Connection(socket, history, process=process, user=user, node=node)
    try:
        yield connection
    finally:
        await connection.close()


def fill_in(operation: Operation, event: Event) -> None:
    operation.seq, operation.at, operation.head = (
        event.get("seq", 0),
        event.get("at", ""),
        event.get("head", 0),
    )
    if operation.op == "connect":
        operation.heads = msgspec.convert(event["rooms"], dict[str, Head])
    if operation.op == "history":
        operation.page, operation.more = [*map(said, event["messages"])], event["hasMore"]


def said(message: Event) -> Said:
    return Said(message["seq"], message["userId"], message["content"], message["at"])


def delivery_of(event: Event, connection: str, now: float) -> Delivery:
    return Delivery(
        connection=connection,
        time=now,
        room=event["roomId"],
        seq=event["seq"],
        type=event["type"],
        user=event.get("userId"),
        content=event.get("content"),
        ref=event.get("ref"),
        at=event["at"],
    )


def _camel(fields: dict[str, Any]) -> Event:
    return {
        "roomId" if name == "room" else name: value for name, value in fields.items() if value is not None
    }
