"""A checkpoint as C2SP `tlog-checkpoint` has it: how long the record is, and the hash of all of it. All pure.

    <origin: which log>
    <size: how many events are sealed>
    <base64 of the tree's root>
    position <of the last sealed event>

The last line is an extension of ours, as the format allows: positions skip, and the record is quoted by them.
"""

import re
from base64 import b64decode, b64encode
from typing import NamedTuple, Self

from service.audit.proof.signed_note import NoteInvalid

_TEXT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\nposition ([1-9][0-9]{0,18})\n")


class Checkpoint(NamedTuple):
    """How far a log was sealed."""

    origin: str
    size: int
    root: bytes
    position: int

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\nposition {self.position}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the checkpoint in a text, which is to be that of an opened note.

        Raises:
            NoteInvalid: it is none.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise NoteInvalid("it is no checkpoint of this kind of log")
        made = cls(found[1], int(found[2]), b64decode(found[3]), int(found[4]))
        if str(made) != text:  # the same root in other letters
            raise NoteInvalid("it is no checkpoint of this kind of log")
        return made
