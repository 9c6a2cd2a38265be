"""Holds a command from its arrival to its answer, and the data that its decision reads."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.exceptions import InvalidTag

from service.chat.result import CommandResult
from service.domain import room
from service.domain.commands import EditMessage, PostMessage, RoomCommand
from service.domain.content.policy import check_content
from service.domain.events import Event
from service.domain.message import MessageSummary
from service.encryption.keyring import KeyRing
from service.encryption.person_key import PersonKey
from service.errors import KeyUnreadable, OnRecordError, Refusal

if TYPE_CHECKING:
    import asyncio

    import asyncpg


class Limits(msgspec.Struct, frozen=True):
    """The limits of messages: code points of the content, and edits of one message."""

    max_content: int
    max_edits: int


class PendingCommand(msgspec.Struct):
    """A command of the user `by`.

    `content_error` refuses its content in any state of the room. `decisions` counts how often it was decided;
    `refusal` or `events` are the result of the last decision.
    """

    command: RoomCommand
    by: str
    ref: str
    fingerprint: bytes
    answer: "asyncio.Future[CommandResult]"
    content_error: Refusal | None
    refusal: Refusal | None = None
    decisions: int = 0
    events: Sequence[Event] = ()
    key: PersonKey | None = None
    scope: str | None = None
    """What `key` is for; None before there is a key."""
    at: datetime | None = None
    """The log's time when the command was last found stale; None before."""

    def succeed(self, result: CommandResult) -> None:
        """Answer with a result, unless there is an answer or the sender has gone."""
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: OnRecordError) -> None:
        """Answer with an error, unless there is an answer or the sender has gone."""
        if not self.answer.done():
            self.answer.set_exception(error)


class DecisionContext(msgspec.Struct, frozen=True):
    """What a decision needs beside the room's state, read when the room was at `head` or later."""

    head: int
    about: MessageSummary = room.NO_MESSAGE
    refusal: Refusal | None = None


def content_error(command: RoomCommand, max_content: int) -> Refusal | None:
    """Return why a command's content is refused in any room, None if it is not; `max_content` is in code points."""
    try:
        if isinstance(command, PostMessage | EditMessage):
            check_content(command.content, max_content)
    except Refusal as refusal:
        return refusal
    return None


async def key_for_writing(
    keys: KeyRing, person: str, database: "asyncpg.Pool[Any]", scope: str = ""
) -> PersonKey:
    """Return a person's key.

    Raises:
        AccountErased: it is destroyed.
        KeyUnreadable: it is damaged.
        Unavailable: the log cannot be read.
    """
    try:
        return await keys.of_person(person, database, scope)
    except InvalidTag as error:
        raise KeyUnreadable from error
