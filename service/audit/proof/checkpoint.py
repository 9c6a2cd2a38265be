"""Checkpoints in the format C2SP `tlog-checkpoint`: the size of the log and the root of its tree. Pure.

    <origin: the name of the log>
    <size: the number of sealed events>
    <base64 of the tree's root>
    position <of the last sealed event>

The last line is an extension, which the format allows: positions have gaps, and events are referred to by position.
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
        match = _TEXT.fullmatch(text)
        if match is None:
            raise NoteInvalid("it is no checkpoint of this kind of log")
        checkpoint = cls(match[1], int(match[2]), b64decode(match[3]), int(match[4]))
        if str(checkpoint) != text:  # non-canonical base64 of the same root
            raise NoteInvalid("it is no checkpoint of this kind of log")
        return checkpoint
