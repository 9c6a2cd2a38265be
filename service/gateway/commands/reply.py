"""What a handler gives back: an ack, or when there will be one, or what is to follow it.

The rule: whoever carries a command out says in what it returns how the command is answered, and answers nobody itself.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from service.chat import CommandResult
from service.protocol.acks import Ack, RecordedAck
from service.protocol.events import timestamp


def recorded(receipt: CommandResult) -> RecordedAck:
    """Return the ack of a command that says no more than that it is recorded."""
    return RecordedAck(seq=receipt.seq, at=timestamp(receipt.at))


class Later(msgspec.Struct, frozen=True):
    """An ack that waits for a commit; `ack` makes it of what the commit said."""

    answer: Any
    ack: Callable[[CommandResult], Ack] = recorded


class Then(msgspec.Struct, frozen=True):
    """An ack, what is sent right after it, and what it says of the commit."""

    ack: Ack
    after: Callable[[], None]
    receipt: CommandResult


Reply = Ack | Later | Then | None
"""None: only those are answered who ask for it."""
