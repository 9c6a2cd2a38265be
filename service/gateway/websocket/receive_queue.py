"""Queues the messages of one connection, and passes them to its conversation one after the other, then its end.

An idle connection has no task: one runs only while a message or the end is being passed on. A message that the
conversation can handle within the call that received it needs none (`Conversation.take_now`).

Invariant: in one iteration of the event loop, a connection handles messages for `TURN` seconds, and the one that it is
handling then; or as many as are parsed in one turn (`FRAMES_A_TURN`), if each is handled within the call.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from sys import getsizeof
from typing import Any, Protocol

from uvicorn.server import ServerState

from service.gateway.transport.callbacks import nothing
from service.gateway.transport.transport import ABNORMAL, Conversation, Ending
from service.runtime.time_slice import TimeSlice

TURN = 0.0005
"""Seconds after which a connection that has sent more messages lets other connections have their turn."""

_RECEIVE_AHEAD = 4  # queued messages; no more are read until the conversation takes one
_INTERNAL_ERROR = 1011  # RFC 6455, section 7.4.1

log = logging.getLogger("onrecord.transport")


class Reader(Protocol):
    """The reader of a connection, as its queue uses it."""

    def read(self) -> None:
        """Parse until the queue is full."""


class Receiver(Protocol):
    """The connection, as its queue uses it."""

    server: ServerState
    transport: asyncio.Transport
    open: bool
    ending: Ending | None
    on_ending: Callable[[], None]
    messages: "ReceiveQueue | None"

    @property
    def reader(self) -> Reader:
        """Its reader."""

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""


class ReceiveQueue:
    """The received messages of a connection that were not passed on yet."""

    __slots__ = ("_connection", "_conversation", "_current", "_messages", "_task")

    def __init__(self, connection: Receiver, conversation: Conversation) -> None:
        self._connection = connection
        self._conversation = conversation
        self._messages: list[str | bytes] = []
        self._current: str | bytes = b""  # the message that is being handled
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the queue is at its limit."""
        return len(self._messages) >= _RECEIVE_AHEAD

    @property
    def idle(self) -> bool:
        """Whether no message waits or is being handled."""
        return self._task is None and not self._messages

    @property
    def held(self) -> int:
        """Bytes of memory that the messages take, with the one that is being handled."""
        return sum(map(getsizeof, self._messages)) + (getsizeof(self._current) if self._current else 0)

    def add(self, message: str | bytes) -> None:
        """Handle a message now if none is before it and the conversation can; otherwise queue it."""
        if not (self.idle and self._conversation.take_now(message)):
            self._messages.append(message)
            self.wake()

    def wake(self) -> None:
        """Pass on the queued messages, and the end of the connection if it has ended."""
        if self._task is None:
            self._task = start_task(self._connection.server, self._pass_on())

    async def _pass_on(self) -> None:
        connection = self._connection
        try:
            turn = TimeSlice(TURN)
            while self._messages:
                await self._take(self._messages.pop(0))
                if self._messages:
                    await turn.over()
        except asyncio.CancelledError:
            connection.transport.abort()
            connection.ending = connection.ending or Ending(ABNORMAL, by_client=False)
            raise
        finally:
            self._task = None
            if connection.ending is not None:
                connection.messages = None
                await self._conversation.ended()
                connection.on_ending = nothing  # a reference cycle otherwise

    async def _take(self, message: str | bytes) -> None:
        self._current = message
        try:
            await self._conversation.take(message)
        except Exception:
            log.exception("conversation_failed")
            self._messages.clear()
            if self._connection.open:
                self._connection.close(_INTERNAL_ERROR, "internal error")
        self._current = b""
        self._connection.reader.read()


def start_task(server: ServerState, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start a task that the server waits for when it stops."""
    task = asyncio.get_running_loop().create_task(work)
    server.tasks.add(task)
    task.add_done_callback(server.tasks.discard)
    return task
