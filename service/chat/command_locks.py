"""Commands that change the same stand in line, on this node, once two of them have met.

Each is decided on the facts that the other adds to: those of one message, or a room's settings and pins. Of those that
are decided at once only one can be placed; the others would be decided again and again, most of them in vain where a
crowd answers one message. The rule: whoever is decided again waits for their turn, and whoever comes while others wait
goes to the end of the line.
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
    """The lines of a node; one that nobody stands in is gone."""

    def __init__(self) -> None:
        self._lines: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def busy(self, command: RoomCommand) -> bool:
        """Return whether others are in line before a command."""
        line = self._lines.get((command.room, _changed_by(command)))
        return line is not None and line.locked()

    def turn(self, command: RoomCommand) -> AbstractAsyncContextManager[object]:
        """Return what waits for a command's turn, and ends it; a command that changes nothing of these needs none."""
        subject = _changed_by(command)
        return self._lines.setdefault((command.room, subject), asyncio.Lock()) if subject else nullcontext()


def _changed_by(command: RoomCommand) -> str:
    """Return the subject that a command relies on and adds to, nothing where others like it do not hinder it."""
    match command:
        case UpdateRoom() | ArchiveRoom() | ReopenRoom() | PinMessage() | UnpinMessage():
            return SETTINGS
        case MessageCommand(message=number):
            return message_subject(number)
        case _:
            return ""
