"""Serializes conflicting commands on this node: those about the same message, or about the settings of the same room.

Of several commands that are decided on the same state, only one can be appended. When many users react to one message,
the others would be decided again and again, most of them in vain.

Invariant: the first decision of a command takes no lock, unless others hold it. A command that is decided again waits
for its turn, and keeps it until the command is answered.
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
        lock = self._locks.get((command.room, _contended_subject(command)))
        return lock is not None and lock.locked()

    def turn(self, command: RoomCommand) -> AbstractAsyncContextManager[object]:
        """Return a context that holds a command's lock; it does nothing for commands without a shared subject."""
        subject = _contended_subject(command)
        return self._locks.setdefault((command.room, subject), asyncio.Lock()) if subject else nullcontext()


def _contended_subject(command: RoomCommand) -> str:
    """Return the subject that a command both depends on and changes, empty if there is none."""
    match command:
        case UpdateRoom() | ArchiveRoom() | ReopenRoom() | PinMessage() | UnpinMessage():
            return SETTINGS
        case MessageCommand(message=number):
            return message_subject(number)
        case _:
            return ""
