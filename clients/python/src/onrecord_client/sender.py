"""Messages on their way: stored, sent, shown as pending, and settled by the answer.

Invariant: a message is in the storage before it can be sent, until the server has answered it for good.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from onrecord_client.commands import Command, Commands, Outcome, new_ref
from onrecord_client.errors import CLOSED, OUTBOX_EXPIRED, OUTBOX_FULL, OnRecordError
from onrecord_client.messages import Frame, Message, Sent, time_of
from onrecord_client.outbox import Entry, Outbox
from onrecord_client.outgoing import Outgoing
from onrecord_client.session import encoded
from onrecord_client.storage import Storage

log = logging.getLogger("onrecord_client")

MAX_FRAME = 128 * 2**10
"""Bytes of a frame that the server accepts; a longer one would close the connection for good."""

Shown = Callable[[Message], None]
"""Called with a message that is shown otherwise than before."""


class Sender:
    """The messages of one user; `shown` gives what shows those of a room, None where the room was not joined."""

    def __init__(
        self,
        commands: Commands,
        clock: Callable[[], float],
        shown: Callable[[str], Shown | None],
    ) -> None:
        self._commands = commands
        self._clock = clock
        self._shown = shown
        self._outbox: Outbox | None = None
        self._user_id = ""
        self._by_room: dict[str, Outgoing] = {}

    def outgoing(self, room_id: str) -> Outgoing:
        """Return the messages of a room that are not in its order yet."""
        return self._by_room.setdefault(room_id, Outgoing())

    def connected(self, storage: Storage, url: str, user_id: str) -> None:
        """On a new connection: send what is stored, except what the server may have forgotten."""
        if self._outbox is None:
            self._outbox, self._user_id = Outbox(storage, url, user_id), user_id
        now = self._clock()
        for entry in [*self._outbox.entries.values()]:
            if self._commands.find(entry.ref) is None:
                self._commands.add(self._command(entry))
                self.outgoing(entry.room_id).put(self._message(entry))
            if entry.is_forgotten(now):
                expired = OnRecordError(
                    OUTBOX_EXPIRED, "The message was stored for too long to be sent safely."
                )
                self._commands.end(entry.ref, expired)

    def post(
        self,
        room_id: str,
        content: str,
        reply_to: int | None,
        mentions: Sequence[str] | None,
        ref: str | None,
    ) -> "asyncio.Task[Sent]":
        """Store a message and begin to send it; return its future place.

        The same message under a ref that is stored already, by a process before this one perhaps, is that message.

        Raises:
            OnRecordError: the client was never connected, too much waits to be sent, the message is too long, or
                another has the ref.
            OSError: the storage failed, and the message is not sent.
        """
        named = None if mentions is None else tuple(mentions)
        entry = Entry(ref or new_ref(), room_id, content, self._clock(), reply_to, named)
        command = self._command(entry)
        if self._outbox is None:
            raise OnRecordError(CLOSED, "The client has not been connected yet.", retryable=True)
        if self._outbox.is_full:
            raise OnRecordError(OUTBOX_FULL, "Too many messages wait to be sent already.", retryable=True)
        if len(encoded(command.frame())) > MAX_FRAME:
            raise OnRecordError("message_too_long", "The message is too long for a frame.")
        stored = self._commands.find(entry.ref)
        if stored is None or stored.frame() != command.frame():
            self._begin(self._outbox, entry, command)
            stored = command
        place = asyncio.ensure_future(_place(stored.answer))
        place.add_done_callback(lambda done: done.cancelled() or done.exception())  # the caller may have gone
        return place

    def _begin(self, outbox: Outbox, entry: Entry, command: Command) -> None:
        self._commands.add(command)
        try:
            outbox.add(entry)
        except BaseException:
            self._commands.forget(entry.ref)
            raise
        self._show(self._message(entry))

    def _command(self, entry: Entry) -> Command:
        def settle(outcome: Outcome) -> None:
            self._settle(entry, outcome)

        return Command("message:send", entry.fields(), entry.ref, settle)

    def _settle(self, entry: Entry, outcome: Outcome) -> None:
        try:
            if self._outbox is not None:
                self._outbox.remove(entry.ref)
        except Exception:
            # The next process sends it again, under the same ref, which has no second effect.
            log.exception("the storage did not remove a message that was answered")
        if isinstance(outcome, OnRecordError):
            log.warning("a message to %s was refused: %s", entry.room_id, outcome)
            self._show(self._message(entry, failed=outcome))
        elif self._shown(entry.room_id) is None:
            self.outgoing(entry.room_id).remove(entry.ref)
        else:
            self.outgoing(entry.room_id).acknowledge(
                entry.ref, outcome["messageId"], outcome["seq"], time_of(outcome["at"])
            )

    def _show(self, message: Message) -> None:
        self.outgoing(message.room_id).put(message)
        if (show := self._shown(message.room_id)) is not None:
            show(message)

    def _message(self, entry: Entry, failed: OnRecordError | None = None) -> Message:
        return Message(
            room_id=entry.room_id,
            message_id=0,
            seq=0,
            user_id=self._user_id,
            content=entry.content,
            at=datetime.fromtimestamp(entry.at, UTC),
            ref=entry.ref,
            reply_to=entry.reply_to,
            mentions=entry.mentions or (),
            pending=failed is None,
            failed=failed,
        )


async def _place(answer: "asyncio.Future[Frame]") -> Sent:
    frame = await asyncio.shield(answer)  # others may wait for it too
    return Sent(frame["messageId"], frame["seq"], time_of(frame["at"]), tuple(frame.get("dropped") or ()))
