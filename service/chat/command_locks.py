"""Serializes commands on this node that target the same message or the same room's settings, after a first conflict.

Of such commands, decided at the same time, only one can be appended; the others would be decided again and again, most
of them in vain when many users react to one message.

Invariant: a command that is decided again waits for its turn, which it keeps until it is answered; a command that
arrives while others wait queues last.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from weakref import WeakValueDictionary

from service.domain.commands import (
    ArchiveRoom,
    MessageCommand,
    PinMessage,
    ReopenRoom,
    RoomCommand,
    UnpinMessage,
    UpdateRoom,
)
from service.domain.streams import SETTINGS, message_subject


class CommandLocks:
    """A lock for each subject in use; unused ones are dropped."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def busy(self, command: RoomCommand) -> bool:
        """Return whether a command has to wait for others."""
        lock = self._locks.get((command.room, _changed_by(command)))
        return lock is not None and lock.locked()

    def turn(self, command: RoomCommand) -> AbstractAsyncContextManager[object]:
        """Return a context that holds a command's lock; it does nothing for commands without a shared subject."""
        subject = _changed_by(command)
        return self._locks.setdefault((command.room, subject), asyncio.Lock()) if subject else nullcontext()


def _changed_by(command: RoomCommand) -> str:
    """Return the subject that a command both depends on and changes, empty where there is none."""
    match command:
        case UpdateRoom() | ArchiveRoom() | ReopenRoom() | PinMessage() | UnpinMessage():
            return SETTINGS
        case MessageCommand(message=number):
            return message_subject(number)
        case _:
            return ""
