"""One authenticated connection: who it is, which rooms it hears, and how a command on it is answered, at every door.

Commands are begun in the order in which they came. One that is recorded is answered after its commit, while the next is
begun already; at most `MAX_IN_FLIGHT` wait so, and reading stops until one is answered.

The rule: whatever a session started ends with it, and nothing it waits for is dropped without a word to the client.
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
"""Makes a recorded command's ack of what its commit said."""


class Session(ABC):
    """A connection that has said who it is, at any door. It is a `Listener` of the hub.

    How events and answers are worded is the door's. A `tag` is what an answer is addressed to: whatever the door calls
    a command, or None where nobody waits for an answer.
    """

    door: ClassVar[str]
    """The door's name in the metrics."""

    @property
    @abstractmethod
    def wire_format(self) -> str:
        """See `Listener`."""

    def __init__(self, transport: Transport, hub: Hub, identity: Identity, max_rooms: int) -> None:
        self.id = str(uuid4())
        self.user = identity.user
        self.expires_at = identity.expires_at
        self.turn = asyncio.Lock()
        self.connected = False
        self.refused = 0
        """Commands in a row that were too many."""
        self.address: str | None = None
        self.client: str | None = None
        """Where the connection comes from, and what the client says of itself; for the record of the session."""
        self._transport = transport
        self._hub = hub
        self._max_rooms = max_rooms
        self.written = DeliveredRanges()
        self._rooms: dict[str, asyncio.Task[None] | None] = {}
        """What this hears, each with the task that catches up, as long as it does."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._room_for_more = FastEvent()
        transport.on_ending = self._halt

    # What the hub calls.

    @property
    def descriptor(self) -> int:
        """See `Listener`."""
        return self._transport.descriptor

    def write(self, frame: bytes) -> None:
        """Send a frame without waiting."""
        self._transport.write(frame)

    def left(self, room: str) -> None:
        """Hear that the hub has taken this session out of a room."""
        self._rooms.pop(room, None)

    def wrote(self, room: str, first: int, last: int) -> None:
        """Note that a stretch of a room was written."""
        self.written.add(room, first, last)

    async def drained(self) -> None:
        """Wait until little is in flight."""
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
        """Take no further commands; those that were received are still answered."""
        self._transport.hold()

    @property
    def answered(self) -> bool:
        """Whether every command that was received has its answer."""
        return self.closing or (self._in_flight == 0 and self._transport.taken)

    # What the handlers call.

    @abstractmethod
    def welcome(self, connected: Connected) -> None:
        """Say that the connection is let in."""

    @abstractmethod
    def emit(self, outgoing: Outgoing) -> None:
        """Send an event to this connection alone."""

    @abstractmethod
    def ack(self, tag: str | None, ack: Ack) -> None:
        """Answer a command."""

    @abstractmethod
    def refuse(self, tag: str | None, error: OnRecordError) -> None:
        """Answer a command that is refused."""

    def close(self, code: Close, reason: str) -> None:
        """End the connection."""
        self._transport.close(code, reason)

    def ack_later(self, tag: str | None, answer: "asyncio.Future[CommandResult]", make: MakeAck) -> None:
        """Answer a command once its commit is known."""
        self._in_flight += 1
        if self._in_flight >= MAX_IN_FLIGHT:
            self._room_for_more.clear()
        answer.add_done_callback(lambda done: self._answered(tag, done, make))

    async def ready(self) -> None:
        """Wait until another command may be begun: few wait for their commit, and little waits for the socket."""
        await self._room_for_more.wait()
        await self._transport.drained()

    def hears(self, room: str) -> bool:
        """Return whether this connection hears a room, or is catching up with it."""
        return room in self._rooms

    def expect(self, room: str) -> None:
        """Count a room as heard that `listen` is about to be called for, so that nothing else begins it too."""
        self._rooms.setdefault(room, None)

    def check_room(self, room: str) -> None:
        """Do nothing where this connection may hear one more room.

        Raises:
            TooManyRooms: it may not.
        """
        if room not in self._rooms and len(self._rooms) >= self._max_rooms:
            raise TooManyRooms(limit=self._max_rooms)

    def listen(self, room: str, after: int | None) -> None:
        """Send everything after a seq, paced, and then hear the room live; see `Subscriptions`."""
        self.stop(room)
        # A frame without a place in the room's order, as a read marker, is lost unless it is sent while the past is.
        self._hub.subscriptions.pre_subscribe(self, room)
        task = self._rooms[room] = asyncio.create_task(self._catch_up(room, after))
        self._tasks.add(task)
        task.add_done_callback(partial(self._caught_up, room))

    def stop(self, room: str) -> None:
        """Hear a room no more."""
        task = self._rooms.pop(room, None)
        if task is not None:
            task.cancel()
        self._hub.subscriptions.unsubscribe(self, room)

    async def end(self) -> None:
        """Let go of everything; the transport is closed or closing."""
        for room in list(self._rooms):
            self.stop(room)
        self._hub.subscriptions.cancel(self)
        # Those too that were stopped before: each still says how far it came.
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
            # The client cannot know what it misses, so it has to come back with its cursors.
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
