"""Checkpoints in the format C2SP `tlog-checkpoint`: the size of the log and the root of its tree. Pure.

    <origin: the name of the log>
    <size: the number of sealed events>
    <base64 of the tree's root>
    position <of the last sealed event>

The last line is an extension, which the format allows. It is needed because events are identified by position, and
positions have gaps.
"""

import re
from base64 import b64decode, b64encode
from typing import NamedTuple, Self

from service.audit.proof.signed_note import NoteInvalid

_TEXT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\nposition ([1-9][0-9]{0,18})\n")


class Checkpoint(NamedTuple):
    """The sealed part of a log."""

    origin: str
    size: int
    root: bytes
    position: int

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\nposition {self.position}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the checkpoint in the text of a verified note.

        Raises:
            NoteInvalid: the text is not a checkpoint.
        """
        if match := _TEXT.fullmatch(text):
            checkpoint = cls(match[1], int(match[2]), b64decode(match[3]), int(match[4]))
            if str(checkpoint) == text:  # otherwise the base64 is not canonical
                return checkpoint
        raise NoteInvalid("it is not a checkpoint of an OnRecord log")
