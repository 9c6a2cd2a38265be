"""What this client receives of one room, over joins, reconnects and losses. No task, no clock, no socket.

Invariant: an event is applied only after the one before it. Events of a room that is being loaded count from the first
one that arrives, and the page that is loaded reaches at least to that one.
"""

import asyncio

from onrecord_client.emitter import Emitter
from onrecord_client.errors import OnRecordError
from onrecord_client.messages import Frame, Message
from onrecord_client.model import RoomModel
from onrecord_client.outgoing import Outgoing

EVENTS = ("message", "change", "member", "typing", "receipt", "reset")

RENUMBERED = ("epoch_changed", "ahead")
"""Reasons for which the numbers of before mean nothing any more."""


class Feed:
    """The state of a room at this client.

    It is absent, or being loaded (`is_joining`), or attached (`cursor` is not None). `gone` says why it ended. `moved`
    is set whenever a stream may find something new. A stream of an older `generation` goes on after `restart`.
    """

    def __init__(self, room_id: str, outgoing: Outgoing) -> None:
        self.room_id = room_id
        self.me = ""
        self.outgoing = outgoing
        self.model = RoomModel(room_id, "")
        self.emitter = Emitter(*EVENTS)
        self.moved: set[asyncio.Event] = set()
        self.gone: OnRecordError | None = None
        self.generation, self.restart = 0, 0
        self.joined_at: int | None = None
        """Where the first stream begins: an event may arrive before the application sees the end of `join`."""
        self._arrival: asyncio.Future[None] | None = None
        self._attached = False
        self._acked = False
        self._early = False
        """Whether events arrived before the ack: the connection receives the room already."""
        self._reset_reason: str | None = None
        self._ends_at: int | None = None

    async def arrived(self) -> None:
        """Wait until the room is loaded.

        Raises:
            OnRecordError: the user may not join it, or the client was closed.
        """
        if self._arrival is not None:
            await asyncio.shield(self._arrival)

    @property
    def cursor(self) -> int | None:
        """The seq after which to resume the room, None if it has to be joined."""
        return self.model.cursor if self._attached else None

    @property
    def is_renumbering(self) -> bool:
        """Whether the numbers of before mean nothing any more, and the room is being loaded again."""
        return self._reset_reason in RENUMBERED

    @property
    def is_joining(self) -> bool:
        """Whether the page that follows a join is awaited."""
        return self._arrival is not None

    def begin(self, reset: str | None = None) -> None:
        """Await the page that follows a join; with `reset`, why it is loaded again."""
        if self._arrival is None:
            self._arrival = asyncio.get_running_loop().create_future()
            self._arrival.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._reset_reason = reset or self._reset_reason
        self._attached, self._acked, self._early = False, False, False
        self.gone, self._ends_at = None, None

    def settle_join(self, outcome: Frame | OnRecordError) -> None:
        """Take the answer to the join."""
        if isinstance(outcome, OnRecordError):
            self.end(outcome)
            return
        self._acked = True
        if not self._early:
            self._start(outcome["seq"] - 1, outcome["head"])

    def receive(self, event: Frame) -> None:
        """Apply an event.

        Raises:
            Gap: an event before this one is missing.
            KeyError, TypeError, ValueError: the event is not one of the protocol.
        """
        if self._arrival is not None:
            self._receive_joining(event)
        elif self._attached:
            self._apply(event)
        else:
            return
        if event["type"] == "room:user_left" and event["userId"] == self.me and "seq" in event:
            self.end(OnRecordError("not_a_member", f"You are no longer in {self.room_id}."))
        elif self._ends_at is not None:
            self.end_at(self._ends_at)

    def end_at(self, seq: int, code: str = "not_a_member") -> None:
        """End the room once everything up to a seq has arrived."""
        self._ends_at = seq
        if self.model.cursor >= seq:
            self.end(OnRecordError(code, f"You are no longer in {self.room_id}."))

    def end(self, error: OnRecordError) -> None:
        """End what this client receives of the room; `error` says why."""
        arrival, self._arrival = self._arrival, None
        was_joined = self._attached or self._reset_reason is not None
        self._attached, self.gone, self._ends_at, self._reset_reason = False, error, None, None
        if arrival is not None and not arrival.done():
            arrival.set_exception(error)
        if was_joined:
            self.emitter.emit("reset", error.code)
        self.move()

    def abandon(self, error: OnRecordError) -> None:
        """End a join, since the client is closed. A room that is being loaded again is so after the next `connect`."""
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_exception(error)
        if self._reset_reason is not None:
            self.begin()
        self.move()

    def disconnected(self) -> None:
        """Forget what belongs to a connection: who is typing, and a join that is not complete."""
        if self.model.typing:
            self.model.typing = []
            self.emitter.emit("typing", [])
        if self._arrival is not None:
            self._acked, self._early = False, False

    def move(self) -> None:
        """Let the streams look again."""
        for event in self.moved:
            event.set()

    def arrived_after(self, seq: int) -> list[Message]:
        """Return the loaded messages after a seq."""
        return [message for message in self.model.messages if message.seq > seq]

    def show(self, message: Message) -> None:
        """Notify listeners of a message that is not in the room's order."""
        self.emitter.emit("change", message)

    def _receive_joining(self, event: Frame) -> None:
        if event["type"] == "message:history":
            if self._acked:
                self._complete(event)
            return
        if isinstance(event.get("seq"), int) and not self._acked and not self._early:
            # The connection receives the room already, since others added the user or it is loaded again.
            self._early = True
            self._start(event["seq"] - 1, event["seq"] - 1)
        if self._acked or self._early:
            self._apply(event)

    def _start(self, cursor: int, head: int) -> None:
        self.model = RoomModel(self.room_id, self.me)
        self.model.begin(cursor, head)
        if self._early and self.is_renumbering:
            self.generation, self.restart = self.generation + 1, cursor

    def _complete(self, event: Frame) -> None:
        self.model.first_page(event["messages"], has_more=event["hasMore"] is True)
        arrival, self._arrival = self._arrival, None
        if self.is_renumbering and not self._early:
            self.generation, self.restart = self.generation + 1, self.model.start
        reason, self._reset_reason = self._reset_reason, None
        self._attached = True
        if reason is None:
            self.joined_at = self.model.start
        self.outgoing.reach(self.model.start)
        if arrival is not None and not arrival.done():
            arrival.set_result(None)
        if reason is not None:
            self.emitter.emit("reset", reason)
        self.move()

    def _apply(self, event: Frame) -> None:
        for name, value in self.model.apply(event):
            if name == "message" and isinstance(value, Message):
                self.outgoing.arrived(value)
            self.emitter.emit(name, value)
        self.outgoing.reach(self.model.cursor)
        self.move()
