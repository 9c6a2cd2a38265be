"""Holds a command from its arrival to its answer, and the data that its decision reads."""

from collections.abc import Callable, Sequence
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

Answer = Callable[[CommandResult | OnRecordError], None]
"""Receives the result of a command, or the error that refuses it."""


class Limits(msgspec.Struct, frozen=True):
    """The limits of messages: code points of the content, and edits of one message."""

    max_content: int
    max_edits: int


class PendingCommand(msgspec.Struct):
    """A command of the user `by`.

    `answer` is called once, with its result or with the error that refuses it. `content_error` refuses its content in
    any state of the room. `decisions` counts how often it was decided; `refusal` or `events` are the result of the last
    decision.
    """

    command: RoomCommand
    by: str
    ref: str
    fingerprint: bytes
    answer: Answer
    content_error: Refusal | None
    refusal: Refusal | None = None
    decisions: int = 0
    events: Sequence[Event] = ()
    key: PersonKey | None = None
    scope: str | None = None
    """What `key` is for; None before there is a key."""
    at: datetime | None = None
    """The log's time when the command was last found stale; None before."""
    awaited: "asyncio.Future[CommandResult] | None" = None
    """What the sender awaits, if it can be cancelled."""

    @property
    def abandoned(self) -> bool:
        """Whether the sender has gone, so that the command need not be decided again."""
        return self.awaited is not None and self.awaited.done()


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
