"""One authenticated connection at any endpoint: the user, the subscribed rooms, and the answers to commands.

Commands begin in the order in which they arrive. A recorded command is answered after its commit (`PendingAcks`); the
next one begins before that.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar
from uuid import uuid4

from service.chat import CommandResult
from service.errors import OnRecordError, Unavailable
from service.gateway.auth.tokens import Identity
from service.gateway.session.catch_ups import CatchUps
from service.gateway.session.delivered import DeliveredRanges
from service.gateway.session.rooms import RoomLimits, SubscribedRooms
from service.gateway.transport.transport import Transport
from service.protocol.acks import Ack
from service.protocol.close_codes import Close
from service.protocol.events import Connected, Outgoing, RoomUnsubscribed
from service.realtime.hub import Hub
from service.runtime.fast_event import FastEvent

MAX_IN_FLIGHT = 100

log = logging.getLogger("onrecord.session")

MakeAck = Callable[[CommandResult], Ack]
"""Builds a recorded command's ack from the result of its commit."""


class Session(ABC):
    """An authenticated connection at any endpoint. It is a `Subscriber` of the hub.

    Each endpoint has a subclass, which encodes events and answers. A `tag` identifies the command that an answer
    belongs to; its form depends on the endpoint, and None means that the client expects no answer.
    """

    door: ClassVar[str]
    """The endpoint's name in the metrics."""

    @property
    @abstractmethod
    def wire_format(self) -> str:
        """See `Subscriber`."""

    def __init__(self, transport: Transport, hub: Hub, identity: Identity, limits: RoomLimits) -> None:
        self.id = str(uuid4())
        self.user = identity.user
        self.expires_at = identity.expires_at
        self.turn = asyncio.Lock()
        self.connected = False
        self.refused = 0
        """Units that the rate limit refused, less those that it admitted since."""
        self.address: str | None = None
        self.client: str | None = None
        """The address of the connection, and its user agent; both are part of the session's record."""
        self.source = ""
        """The key under which the address is charged for commands."""
        self.transport = transport
        self.pending = PendingAcks(transport)
        self.written = DeliveredRanges()
        self._hub = hub
        self._rooms = SubscribedRooms(limits)
        """The rooms that this connection is subscribed to, or catching up with."""
        self._catch_ups = CatchUps(self.id, transport, hub.subscriptions)
        transport.on_ending = self._unsubscribe

    # Called by the hub.

    @property
    def descriptor(self) -> int:
        """See `Subscriber`."""
        return self.transport.descriptor

    def write(self, frame: bytes) -> None:
        """Send a frame without waiting."""
        self.transport.write(frame)

    def left(self, room: str) -> None:
        """Called when the hub has removed this session from a room."""
        self._rooms.discard(room)
        self._catch_ups.detach(room)

    def wrote(self, room: str, first: int, last: int) -> None:
        """Called when a range of a room's events was written."""
        self.written.add(room, first, last)
        if self.written.full and not self.closing:
            self.close(Close.SHUTTING_DOWN, "the session's record is full; connect again")

    async def drained(self) -> None:
        """See `Transport.drained`."""
        await self.transport.drained()

    @property
    def closing(self) -> bool:
        """Whether the connection is ending."""
        return self.transport.closing

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
        self.transport.close(code, reason)

    def is_subscribed(self, room: str) -> bool:
        """Return whether this connection is subscribed to a room, or catching up with it."""
        return room in self._rooms

    def expect(self, room: str, *, added: bool = False) -> None:
        """Reserve the subscription to a room before `listen` is called, so that no other task begins it too."""
        self._rooms.add(room, added=added)

    def check_room(self, room: str) -> None:
        """Raise unless the user may choose one more room on this connection.

        Raises:
            TooManyRooms: the limit is reached.
        """
        self._rooms.check(room)

    def use(self, room: str) -> None:
        """Note that the user has sent a command about a room."""
        self._rooms.use(room)

    def listen(self, room: str, after: int | None, *, added: bool = False) -> None:
        """Send everything after a seq, paced, and then subscribe to the room live; see `Subscriptions`.

        `added` says that another user added this one to the room. Such a room does not count as one that the user
        chose, and the least recently used one gives way.
        """
        self.stop(room)
        # Frames outside the room's order, such as read markers, are not in the log: without this they would be lost.
        self._hub.subscriptions.pre_subscribe(self, room)
        if (evicted := self._rooms.add(room, added=added)) is not None:
            self.stop(evicted)
            self.emit(RoomUnsubscribed(room_id=evicted))
        # A task is needed only to send past events, or while unsent bytes have to be waited for.
        if self.transport.outbox or not self._hub.subscriptions.subscribe_at_head(self, room, after):
            self._catch_ups.start(self, room, after)

    def stop(self, room: str) -> None:
        """Unsubscribe from a room."""
        self._rooms.discard(room)
        self._catch_ups.cancel(room)
        self._hub.subscriptions.unsubscribe(self, room)

    async def end(self) -> None:
        """Release everything; the transport is closed or closing."""
        for room in self._rooms:
            self.stop(room)
        self._hub.subscriptions.cancel(self)
        await self._catch_ups.settle()

    def _unsubscribe(self) -> None:
        for room in self._rooms:
            self._hub.subscriptions.unsubscribe(self, room)


class PendingAcks:
    """The commands of a session that wait for their commit, at most `MAX_IN_FLIGHT`.

    It does not refer to the session: a cycle would keep the memory of both until a full collection.

    Invariant: a command is never dropped without an answer to the client.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._in_flight = 0
        self._below_limit = FastEvent()

    @property
    def answered(self) -> bool:
        """Whether every command that was received has its answer, or the connection is ending."""
        return self._transport.closing or (self._in_flight == 0 and self._transport.idle)

    @property
    def may_begin(self) -> bool:
        """Whether another command may begin now, and nothing is unsent."""
        return self._in_flight < MAX_IN_FLIGHT and not self._transport.outbox

    async def ready(self) -> None:
        """Wait until another command may begin: fewer than `MAX_IN_FLIGHT` wait, and at most 128 KiB are unsent."""
        await self._below_limit.wait()
        await self._transport.drained()

    def add(
        self, session: Session, tag: str | None, answer: "asyncio.Future[CommandResult]", make: MakeAck
    ) -> None:
        """Answer a command of the session once the result of its commit is known."""
        self.begin()
        answer.add_done_callback(lambda done: self._answer(session, tag, done, make))

    def begin(self) -> None:
        """Count a command that waits for its commit."""
        self._in_flight += 1
        if self._in_flight >= MAX_IN_FLIGHT:
            self._below_limit.clear()

    def end(self) -> None:
        """Count a command no more, since it is answered."""
        self._in_flight -= 1
        if self._in_flight == MAX_IN_FLIGHT - 1:
            self._below_limit.set()

    def _answer(
        self, session: Session, tag: str | None, answer: "asyncio.Future[CommandResult]", make: MakeAck
    ) -> None:
        self.end()
        if answer.cancelled():
            session.refuse(tag, Unavailable())
            return
        error = answer.exception()
        if error is None:
            session.ack(tag, make(answer.result()))
        elif isinstance(error, OnRecordError):
            session.refuse(tag, error)
        else:
            log.error("command_failed", exc_info=error, extra={"session": session.id})
            session.refuse(tag, Unavailable())
