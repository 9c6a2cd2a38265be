"""One authenticated connection at any endpoint: the user, the subscribed rooms, and the answers to commands.

Commands begin in the order in which they came. A recorded command is answered after its commit, while the next one
begins already; at most `MAX_IN_FLIGHT` wait for a commit, and reading stops until one is answered.

Invariant: all tasks of a session end with it, and a command is never dropped without an answer to the client.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar
from uuid import uuid4

from service.chat import CommandResult
from service.errors import OnRecordError, TooManyRooms, Trouble, Unavailable
from service.gateway.auth.tokens import Identity
from service.gateway.session.delivered import DeliveredRanges
from service.gateway.transport.transport import Ending, Transport
from service.protocol.acks import Ack
from service.protocol.close_codes import Close
from service.protocol.events import Connected, Outgoing
from service.realtime.hub import Hub
from service.runtime.fast_event import FastEvent

MAX_IN_FLIGHT = 100

log = logging.getLogger("onrecord.session")

MakeAck = Callable[[CommandResult], Ack]
"""Builds a recorded command's ack from the result of its commit."""


class Session(ABC):
    """An authenticated connection at any endpoint. It is a `Subscriber` of the hub.

    The endpoint encodes events and answers. A `tag` identifies the command that an answer belongs to, in the endpoint's
    terms, or is None if no answer is expected.
    """

    door: ClassVar[str]
    """The endpoint's name in the metrics."""

    @property
    @abstractmethod
    def wire_format(self) -> str:
        """See `Subscriber`."""

    def __init__(self, transport: Transport, hub: Hub, identity: Identity, max_rooms: int) -> None:
        self.id = str(uuid4())
        self.user = identity.user
        self.expires_at = identity.expires_at
        self.turn = asyncio.Lock()
        self.connected = False
        self.refused = 0
        """Commands in a row that were over the limit."""
        self.address: str | None = None
        self.client: str | None = None
        """The address of the connection and the client's description of itself; for the record of the session."""
        self._transport = transport
        self._hub = hub
        self._max_rooms = max_rooms
        self.written = DeliveredRanges()
        self._rooms: dict[str, asyncio.Task[None] | None] = {}
        """The subscribed rooms, each with the task that catches up, as long as it runs."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._room_for_more = FastEvent()
        transport.on_ending = self._halt

    # Called by the hub.

    @property
    def descriptor(self) -> int:
        """See `Subscriber`."""
        return self._transport.descriptor

    def write(self, frame: bytes) -> None:
        """Send a frame without waiting."""
        self._transport.write(frame)

    def left(self, room: str) -> None:
        """Note that the hub has removed this session from a room."""
        self._rooms.pop(room, None)

    def wrote(self, room: str, first: int, last: int) -> None:
        """Note that a range of a room was written."""
        self.written.add(room, first, last)

    async def drained(self) -> None:
        """Wait until few bytes are in flight."""
        await self._transport.drained()

    @property
    def ending(self) -> Ending | None:
        """How the connection ended, None while it is open."""
        return self._transport.ending

    @property
    def closing(self) -> bool:
        """Whether the connection is ending."""
        return self._transport.closing

    @property
    def outbox(self) -> int:
        """Bytes that wait for the client."""
        return self._transport.outbox

    def hold(self) -> None:
        """Accept no further commands; those that were received are still answered."""
        self._transport.hold()

    @property
    def answered(self) -> bool:
        """Whether every command that was received has its answer."""
        return self.closing or (self._in_flight == 0 and self._transport.taken)

    # Called by the command handlers.

    @abstractmethod
    def welcome(self, connected: Connected) -> None:
        """Send `connected`."""

    @abstractmethod
    def emit(self, outgoing: Outgoing) -> None:
        """Send an event to this connection alone."""

    @abstractmethod
    def ack(self, tag: str | None, ack: Ack) -> None:
        """Acknowledge a command."""

    @abstractmethod
    def refuse(self, tag: str | None, error: OnRecordError) -> None:
        """Refuse a command."""

    def close(self, code: Close, reason: str) -> None:
        """End the connection."""
        self._transport.close(code, reason)

    def ack_later(self, tag: str | None, answer: "asyncio.Future[CommandResult]", make: MakeAck) -> None:
        """Answer a command once the result of its commit is known."""
        self._in_flight += 1
        if self._in_flight >= MAX_IN_FLIGHT:
            self._room_for_more.clear()
        answer.add_done_callback(lambda done: self._answered(tag, done, make))

    async def ready(self) -> None:
        """Wait until another command may begin: few wait for their commit, and few bytes wait for the socket."""
        await self._room_for_more.wait()
        await self._transport.drained()

    def hears(self, room: str) -> bool:
        """Return whether this connection is subscribed to a room, or catching up with it."""
        return room in self._rooms

    def expect(self, room: str) -> None:
        """Reserve the subscription to a room before `listen` is called, so that no other task begins it too."""
        self._rooms.setdefault(room, None)

    def check_room(self, room: str) -> None:
        """Raise unless this connection may subscribe to one more room.

        Raises:
            TooManyRooms: the limit is reached.
        """
        if room not in self._rooms and len(self._rooms) >= self._max_rooms:
            raise TooManyRooms(limit=self._max_rooms)

    def listen(self, room: str, after: int | None) -> None:
        """Send everything after a seq, paced, and then subscribe to the room live; see `Subscriptions`."""
        self.stop(room)
        # A frame without a place in the room's order, such as a read marker, is sent while the past is, or it is lost.
        self._hub.subscriptions.pre_subscribe(self, room)
        task = self._rooms[room] = asyncio.create_task(self._catch_up(room, after))
        self._tasks.add(task)
        task.add_done_callback(partial(self._caught_up, room))

    def stop(self, room: str) -> None:
        """Unsubscribe from a room."""
        task = self._rooms.pop(room, None)
        if task is not None:
            task.cancel()
        self._hub.subscriptions.unsubscribe(self, room)

    async def end(self) -> None:
        """Release everything; the transport is closed or closing."""
        for room in list(self._rooms):
            self.stop(room)
        self._hub.subscriptions.cancel(self)
        # Also those that were cancelled before: each still notes how far it came.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _caught_up(self, room: str, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._rooms.get(room) is task:
            self._rooms[room] = None

    def _halt(self) -> None:
        for room in self._rooms:
            self._hub.subscriptions.unsubscribe(self, room)

    async def _catch_up(self, room: str, after: int | None) -> None:
        self._transport.catchup += 1
        try:
            await self._hub.subscriptions.subscribe(self, room, after)
        except Exception as error:
            # The client cannot know what it misses, so it has to reconnect with its cursors.
            trouble = None if isinstance(error, Trouble) else error
            log.error("catch_up_failed", exc_info=trouble, extra={"room": room, "session": self.id})  # noqa: TRY400 - Trouble is known
            self.close(Close.SHUTTING_DOWN, "the log cannot be read; come back")
        finally:
            self._transport.catchup -= 1

    def _answered(self, tag: str | None, answer: "asyncio.Future[CommandResult]", make: MakeAck) -> None:
        self._in_flight -= 1
        self._room_for_more.set()
        if answer.cancelled():
            self.refuse(tag, Unavailable())
            return
        error = answer.exception()
        if error is None:
            self.ack(tag, make(answer.result()))
        elif isinstance(error, OnRecordError):
            self.refuse(tag, error)
        else:
            log.error("command_failed", exc_info=error, extra={"session": self.id})
            self.refuse(tag, Unavailable())
