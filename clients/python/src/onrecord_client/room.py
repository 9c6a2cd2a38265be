"""One room as the application sees it: its messages and people, and what the user can do in it.

Invariant: `messages` has no hole. Where the server cannot continue a room after what is known of it, the room is loaded
again as a whole, and a `reset` says so. What is not in the room's order yet stands at the end, as pending or failed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from onrecord_client.errors import CLOSED, OnRecordError
from onrecord_client.feed import Feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from onrecord_client.emitter import Listener
    from onrecord_client.engine import Engine
    from onrecord_client.messages import Frame, Message, Sent
    from onrecord_client.model import Member

PAGE = 200
"""Messages that a stream loads at a time, where its reader is behind what the room keeps."""

TYPING_S = 3.0
"""Seconds between two notices that the user types."""


class Room:
    """A room that `OnRecord.join` returned.

    Listeners get: `message` a new `Message`; `change` a `Message` that is otherwise than before, pending and failed
    ones included; `member` a `Member`; `typing` the user ids; `receipt` a `Receipt`; `reset` the reason, a string.
    """

    def __init__(self, engine: Engine, room_id: str) -> None:
        self._engine = engine
        self.id = room_id
        """The room's id."""
        self.feed = Feed(room_id, engine.sender.outgoing(room_id))
        """What this client has received of the room; for the client itself."""
        self._typed_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Room {self.id} at {self.head}, {len(self.feed.model.messages)} messages>"

    @property
    def name(self) -> str:
        """The room's name, its id where it is not known."""
        listed = self._engine.directory.find(self.id)
        return self.feed.model.name if listed is None else listed.name

    @property
    def head(self) -> int:
        """The highest `seq` of the room that this client knows of."""
        return self.feed.model.head

    @property
    def joined(self) -> bool:
        """Whether the user is in the room, as far as this client knows."""
        return self.feed.gone is None

    @property
    def members(self) -> Sequence[Member]:
        """The members: the first 200 by user id, and those who have come since."""
        return [*self.feed.model.members.values()]

    @property
    def messages(self) -> Sequence[Message]:
        """The loaded messages, the oldest first, then those that are pending or failed."""
        return [*self.feed.model.messages, *self.feed.outgoing.messages()]

    @property
    def has_more(self) -> bool:
        """Whether there are messages before the first one, for `load_earlier`."""
        return self.feed.model.has_more

    @property
    def typing(self) -> Sequence[str]:
        """The ids of users who are typing now, in the order in which they began."""
        return self.feed.model.typing

    @property
    def receipts(self) -> Mapping[str, int]:
        """The last message that each member has read, by user id."""
        return self.feed.model.receipts

    @property
    def unread(self) -> int:
        """The number of messages of others that the user has not read."""
        listed = self._engine.directory.find(self.id)
        return 0 if listed is None else listed.unread

    def on(self, event: str, listener: Listener) -> None:
        """Call a listener, a plain function, on every such event.

        Raises:
            TypeError: the listener is a coroutine function.
            ValueError: there is no such event.
        """
        self.feed.emitter.on(event, listener)

    def off(self, event: str, listener: Listener) -> None:
        """Call a listener no more.

        Raises:
            ValueError: there is no such event.
        """
        self.feed.emitter.off(event, listener)

    async def send(
        self,
        content: str,
        *,
        reply_to: int | None = None,
        mentions: Sequence[str] | None = None,
        ref: str | None = None,
    ) -> Sent:
        """Send a message, and return its place once it is committed, over any number of connections.

        The message is in the storage before this first awaits, and stays there if the caller is cancelled or the
        process ends. `ref` identifies it for seven days, as a bot's answer to one message; by default it is a new one.

        Raises:
            OnRecordError: the server refused it; or too many messages wait (`outbox_full`); or the client was closed
                first (`closed`), and the message is sent by the next client with the same storage.
        """
        self._engine.check_open()
        return await asyncio.shield(self._engine.sender.post(self.id, content, reply_to, mentions, ref))

    async def retry(self, ref: str) -> Sent:
        """Send a refused message again.

        Raises:
            OnRecordError: as `send`.
            LookupError: no message with this ref was refused.
        """
        message = self.feed.outgoing.find(ref)
        if message is None or message.failed is None or message.content is None:
            raise LookupError(f"no message with the ref {ref} was refused")
        return await self.send(
            message.content, reply_to=message.reply_to, mentions=message.mentions or None, ref=ref
        )

    def discard(self, ref: str) -> None:
        """Take a refused message away."""
        message = self.feed.outgoing.find(ref)
        if message is not None and message.failed is not None:
            self.feed.outgoing.remove(ref)
            self.feed.emitter.emit("change", message)

    async def edit(self, message_id: int, content: str) -> None:
        """Change an own message; raises an `OnRecordError` if it is refused or the client is closed."""
        await self._command("message:edit", messageId=message_id, content=content)

    async def delete(self, message_id: int, reason: str | None = None) -> None:
        """Delete a message; raises an `OnRecordError` if it is refused or the client is closed."""
        given = {} if reason is None else {"reason": reason}
        await self._command("message:delete", messageId=message_id, **given)

    async def react(self, message_id: int, emoji: str) -> None:
        """Add a reaction; raises an `OnRecordError` if it is refused or the client is closed."""
        await self._command("message:react", messageId=message_id, emoji=emoji)

    async def unreact(self, message_id: int, emoji: str) -> None:
        """Remove a reaction; raises an `OnRecordError` if it is refused or the client is closed."""
        await self._command("message:unreact", messageId=message_id, emoji=emoji)

    async def pin(self, message_id: int) -> None:
        """Pin a message; raises an `OnRecordError` if it is refused or the client is closed."""
        await self._command("message:pin", messageId=message_id)

    async def unpin(self, message_id: int) -> None:
        """Unpin a message; raises an `OnRecordError` if it is refused or the client is closed."""
        await self._command("message:unpin", messageId=message_id)

    async def read(self, message_id: int) -> None:
        """Mark the messages up to one as read; raises an `OnRecordError` if it is refused or the client is closed."""
        self._engine.mark_read(self.id, message_id)
        await self._command("message:read", messageId=message_id)

    async def mark_unread(self, message_id: int) -> None:
        """Let the unread count begin before a message; raises an `OnRecordError` if it is refused or closed."""
        await self._command("message:unread", messageId=message_id)

    async def leave(self) -> None:
        """End the membership; raises an `OnRecordError` if it is refused or the client is closed."""
        await self._command("room:leave")

    def start_typing(self) -> None:
        """Show the others that the user types, at most once in three seconds and only while connected."""
        now = asyncio.get_running_loop().time()
        if now - self._typed_at >= TYPING_S and self._engine.lossy("typing:start", self.id):
            self._typed_at = now

    def stop_typing(self) -> None:
        """Show the others that the user types no more."""
        if self._typed_at > float("-inf"):
            self._typed_at = float("-inf")
            self._engine.lossy("typing:stop", self.id)

    async def load_earlier(self, count: int = 50) -> int:
        """Load up to `count` messages (at most 200) before the first one; return how many there were.

        Raises:
            OnRecordError: the server refused it, or the client was closed.
        """
        while self.feed.model.has_more:
            model = self.feed.model
            before = model.complete_from
            page = await self._command("message:history", before=before, limit=count)
            if model is self.feed.model and before == model.complete_from:
                return len(model.earlier_page(page["messages"], has_more=page["hasMore"] is True))
        return 0

    def stream(self, after: int | None = None) -> AsyncIterator[Message]:
        """Iterate over the messages after a seq, in order, each once.

        Without `after`, the first iteration begins after the messages that `join` loaded, and each later one with the
        next message. It goes on over reconnects until the client is closed. Messages without content are left out.
        There is no queue: a reader that is slower than the room reads what the room keeps, and what is older from the
        server.
        After a reset for `epoch_changed` or `ahead`, the first new message is the next.

        Raises:
            OnRecordError: the user is no longer in the room, or the server refused the client for good.
        """
        joined_at, self.feed.joined_at = self.feed.joined_at, None
        if after is None:
            after = self.feed.model.start if joined_at is None else joined_at
        return self._stream(after, self.feed.generation)

    async def _stream(self, after: int, generation: int) -> AsyncIterator[Message]:
        moved = asyncio.Event()
        self.feed.moved.add(moved)
        try:
            while True:
                moved.clear()
                if generation != self.feed.generation:
                    after, generation = self.feed.restart, self.feed.generation
                page = await self._next_messages(after)
                if page is None:
                    return
                for message in page:
                    after = message.seq
                    if message.content is not None:
                        yield message
                    if generation != self.feed.generation:
                        break
                if not page:
                    await moved.wait()
        finally:
            self.feed.moved.discard(moved)

    async def _next_messages(self, after: int) -> list[Message] | None:
        """Return the messages that come next after a seq, none if there are none yet; None: the client is closed.

        They come from the room, or from the server where the room keeps none so old.
        """
        if self.feed.is_renumbering and self._engine.state != "closed":
            return []
        if after + 1 >= self.feed.model.complete_from:
            message = self.feed.model.after(after)
            return self._ended() if message is None else [message]
        try:
            page = await self._command("message:history", after=after, limit=PAGE)
        except OnRecordError as error:
            if error.code == CLOSED:
                return None
            raise
        return self.feed.model.read_page(page["messages"]) or self._ended()

    def _ended(self) -> list[Message] | None:
        """Return what a stream finds where there is no message: none yet, or the end.

        Raises:
            OnRecordError: there will be none.
        """
        if self.feed.gone is not None:
            raise self.feed.gone
        if self._engine.refusal is not None:
            raise self._engine.refusal
        return None if self._engine.state == "closed" else []

    async def _command(self, kind: str, **fields: Any) -> Frame:
        return await self._engine.command(kind, {"roomId": self.id, **fields})
