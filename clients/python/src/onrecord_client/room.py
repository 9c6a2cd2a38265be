"""One room as the application sees it: its messages and people, and what the user can do in it.

Invariant: `messages` has no hole. Where the server cannot continue a room after what is known of it, the room is loaded
again as a whole, and a `reset` says so. What is not in the room's order yet stands at the end, as pending or failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onrecord_client.emitter import Emitter, Listener
from onrecord_client.errors import OnRecordError
from onrecord_client.messages import Frame, Message, Sent
from onrecord_client.model import Member, RoomModel
from onrecord_client.outgoing import Outgoing

if TYPE_CHECKING:
    from onrecord_client.client import OnRecord

PAGE = 200
"""Messages that a stream loads at a time, where its reader is behind what the room keeps."""

TYPING_S = 3.0
"""Seconds between two notices that the user types."""

RENUMBERED = ("epoch_changed", "ahead")
"""Reasons for which the numbers of before mean nothing any more."""

EVENTS = ("message", "change", "member", "typing", "receipt", "reset")


class Room:
    """A room that `OnRecord.join` returned.

    Listeners get: `message` a new `Message`; `change` a `Message` that is otherwise than before, pending and failed ones
    included; `member` a `Member`; `typing` the user ids; `receipt` a `Receipt`; `reset` the reason, a string.
    """

    def __init__(self, client: OnRecord, room_id: str) -> None:
        self._client = client
        self._model = RoomModel(room_id, client.user_id or "")
        self._emitter = Emitter(*EVENTS)
        self._outgoing = Outgoing()
        self._moved: set[asyncio.Event] = set()
        self._typed_at = float("-inf")
        self._generation, self._restart = 0, 0
        self._arrival: asyncio.Future[None] | None = None
        self._attached = False
        self._early = False
        self._acked = False
        self._reset_reason: str | None = None
        self._gone: OnRecordError | None = None
        self._ends_at: int | None = None

    def __repr__(self) -> str:
        return f"<Room {self.id} at {self.head}, {len(self._model.messages)} messages>"

    @property
    def id(self) -> str:
        """The room's id."""
        return self._model.room_id

    @property
    def name(self) -> str:
        """The room's name, its id where it is not known."""
        return self._client.name_of(self.id) or self._model.name

    @property
    def head(self) -> int:
        """The highest `seq` of the room that this client knows of."""
        return self._model.head

    @property
    def joined(self) -> bool:
        """Whether the user is in the room, as far as this client knows."""
        return self._gone is None

    @property
    def members(self) -> Mapping[str, Member]:
        """The members by user id: the first 200 by id, and those who have come since."""
        return self._model.members

    @property
    def messages(self) -> Sequence[Message]:
        """The loaded messages, the oldest first, then those that are pending or failed."""
        return [*self._model.messages, *self._outgoing.messages()]

    @property
    def has_more(self) -> bool:
        """Whether there are messages before the first one, for `load_earlier`."""
        return self._model.has_more

    @property
    def typing(self) -> Sequence[str]:
        """The ids of users who are typing now, in the order in which they began."""
        return self._model.typing

    @property
    def receipts(self) -> Mapping[str, int]:
        """The last message that each member has read, by user id."""
        return self._model.receipts

    @property
    def unread(self) -> int:
        """The number of messages of others that the user has not read."""
        return self._client.unread_of(self.id)

    def on(self, event: str, listener: Listener) -> None:
        """Call a listener, a plain function, on every such event.

        Raises:
            TypeError: the listener is a coroutine function.
            ValueError: there is no such event.
        """
        self._emitter.on(event, listener)

    def off(self, event: str, listener: Listener) -> None:
        """Call a listener no more.

        Raises:
            ValueError: there is no such event.
        """
        self._emitter.off(event, listener)

    async def send(
        self,
        content: str,
        *,
        reply_to: int | None = None,
        mentions: Sequence[str] | None = None,
        ref: str | None = None,
    ) -> Sent:
        """Send a message, and return its place once it is committed, over any number of connections.

        The message is in the storage before this first awaits, and stays there if the caller is cancelled or the process
        ends. `ref` identifies it for seven days, as a bot's answer to one message; it is a new one by default.

        Raises:
            OnRecordError: the server refused it; or too many messages wait (`outbox_full`); or the client was closed
                first (`closed`), and the message is sent by the next client with the same storage.
        """
        sent = self._client.post(self, content, reply_to=reply_to, mentions=mentions, ref=ref)
        return await asyncio.shield(sent)

    async def edit(self, message_id: int, content: str) -> None:
        """Change an own message.

        Raises:
            OnRecordError: the server refused it, or the client was closed.
        """
        await self._command("message:edit", messageId=message_id, content=content)

    async def delete(self, message_id: int, reason: str | None = None) -> None:
        """Delete a message.

        Raises:
            OnRecordError: the server refused it, or the client was closed.
        """
        given = {} if reason is None else {"reason": reason}
        await self._command("message:delete", messageId=message_id, **given)

    async def react(self, message_id: int, emoji: str) -> None:
        """Add a reaction to a message.

        Raises:
            OnRecordError: the server refused it, or the client was closed.
        """
        await self._command("message:react", messageId=message_id, emoji=emoji)

    async def unreact(self, message_id: int, emoji: str) -> None:
        """Remove a reaction from a message.

        Raises:
            OnRecordError: the server refused it, or the client was closed.
        """
        await self._command("message:unreact", messageId=message_id, emoji=emoji)

    async def read(self, message_id: int) -> None:
        """Mark the messages up to this one as read.

        Raises:
            OnRecordError: the server refused it, or the client was closed.
        """
        self._client.mark_read(self.id, message_id)
        await self._command("message:read", messageId=message_id)

    def start_typing(self) -> None:
        """Show the others that the user types, at most once in three seconds and only while connected."""
        now = asyncio.get_running_loop().time()
        if now - self._typed_at >= TYPING_S and self._client.lossy("typing:start", self.id):
            self._typed_at = now

    async def load_earlier(self, limit: int = 50) -> list[Message]:
        """Load up to `limit` messages (at most 200) before the first one; return them, an empty list if there are none.

        Raises:
            OnRecordError: the server refused it, or the client was closed.
        """
        while self._model.has_more:
            model = self._model
            before = model.complete_from
            page = await self._command("message:history", before=before, limit=limit)
            if model is self._model and before == model.complete_from:
                return model.earlier_page(page["messages"], has_more=page["hasMore"] is True)
        return []

    def stream(self, after: int | None = None) -> AsyncIterator[Message]:
        """Iterate over the messages after a seq (None: after the last one that is loaded now), in order, each once.

        The iteration goes on over reconnects, until the client is closed. Messages without content are left out. No queue
        stands behind it: a reader that is slower than the room reads what the room keeps, and beyond that from the server.
        After a reset for `epoch_changed` or `ahead` it goes on with the first new message.

        Raises:
            OnRecordError: the user is no longer in the room, or the server refused the client for good.
        """
        return self._stream(self._model.cursor if after is None else after, self._generation)

    async def _stream(self, after: int, generation: int) -> AsyncIterator[Message]:
        moved = asyncio.Event()
        self._moved.add(moved)
        try:
            while True:
                moved.clear()
                if generation != self._generation:
                    after, generation = self._restart, self._generation
                page = await self._next_messages(after)
                for message in page:
                    after = message.seq
                    if message.content is not None:
                        yield message
                    if generation != self._generation:
                        break
                if not page:
                    self._check_alive()
                    if self._client.is_closed:
                        return
                    await moved.wait()
        finally:
            self._moved.discard(moved)

    async def _next_messages(self, after: int) -> list[Message]:
        """Return the messages after a seq that come next, from the room or, where it has no longer kept them, the server."""
        if after + 1 < self._model.complete_from:
            page = await self._command("message:history", after=after, limit=PAGE)
            return self._model.read_page(page["messages"])
        message = self._model.after(after)
        return [] if message is None else [message]

    def _check_alive(self) -> None:
        error = self._gone or self._client.refusal
        if error is not None:
            raise error

    async def _command(self, kind: str, **fields: Any) -> Frame:
        return await self._client.command(kind, {"roomId": self.id, **fields})

    # What the client calls.

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
        return self._model.cursor if self._attached else None

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
        self._gone, self._ends_at = None, None

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
        if event["type"] == "room:user_left" and event["userId"] == self._client.user_id and "seq" in event:
            self.end(OnRecordError("not_a_member", f"You are no longer in {self.id}."))
        elif self._ends_at is not None:
            self.end_at(self._ends_at)

    def end_at(self, seq: int, code: str = "not_a_member") -> None:
        """End the room once everything up to a seq has arrived."""
        self._ends_at = seq
        if self._model.cursor >= seq:
            self.end(OnRecordError(code, f"You are no longer in {self.id}."))

    def end(self, error: OnRecordError) -> None:
        """End what this client receives of the room; `error` says why."""
        arrival, self._arrival = self._arrival, None
        was_joined = self._attached or self._reset_reason is not None
        self._attached, self._gone, self._ends_at, self._reset_reason = False, error, None, None
        if arrival is not None and not arrival.done():
            arrival.set_exception(error)
        if was_joined:
            self._emitter.emit("reset", error.code)
        self.move()

    def abandon(self, error: OnRecordError) -> None:
        """Wait for no page any more, since the client is closed; it is asked again by the next `connect`."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_exception(error)
        self._arrival = None
        self.move()

    def disconnected(self) -> None:
        """Forget what belongs to a connection: who is typing, and a join that is not complete."""
        if self._model.typing:
            self._model.typing = []
            self._emitter.emit("typing", [])
        if self._arrival is not None:
            self._acked, self._early = False, False

    def move(self) -> None:
        """Let the streams look again."""
        for event in self._moved:
            event.set()

    def show(self, message: Message) -> None:
        """Show a message that is not in the room's order yet, or that it is otherwise than before."""
        self._outgoing.put(message)
        self._emitter.emit("change", message)

    def committed(self, ref: str, frame: Frame, at: Callable[[str], Any]) -> None:
        """Show the place of an acknowledged message, which stays pending until the room's order reaches it."""
        message = self._outgoing.find(ref)
        if message is None:
            return
        if frame["seq"] <= self._model.cursor or not self._attached:
            self._outgoing.remove(ref)
        else:
            self._outgoing.put(
                replace(message, message_id=frame["messageId"], seq=frame["seq"], at=at(frame["at"]))
            )

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
        self._model = RoomModel(self.id, self._client.user_id or "")
        self._model.begin(cursor, head)
        if self._reset_reason in RENUMBERED:
            self._generation, self._restart = self._generation + 1, self._model.start

    def _complete(self, event: Frame) -> None:
        self._model.first_page(event["messages"], has_more=event["hasMore"] is True)
        arrival, self._arrival = self._arrival, None
        reason, self._reset_reason = self._reset_reason, None
        self._attached = True
        self._outgoing.settle(self._model.cursor, {message.seq for message in self._model.messages})
        if arrival is not None and not arrival.done():
            arrival.set_result(None)
        if reason is not None:
            self._emitter.emit("reset", reason)
        self.move()

    def _apply(self, event: Frame) -> None:
        for name, value in self._model.apply(event):
            if name == "message" and isinstance(value, Message):
                self._outgoing.arrived(value)
            self._emitter.emit(name, value)
            if name == "message":
                self.move()
