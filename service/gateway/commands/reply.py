"""The result of a command handler: an ack, a future ack, or an ack with frames to send right after it."""

from collections.abc import Callable
from typing import Any

import msgspec

from service.chat import CommandResult
from service.protocol.acks import Ack, NamingAck, RecordedAck
from service.protocol.events import timestamp


def recorded(result: CommandResult) -> RecordedAck:
    """Return the ack of a command that has no fields of its own."""
    return RecordedAck(seq=result.seq, at=timestamp(result.at))


def naming(result: CommandResult, unknown: tuple[str, ...]) -> NamingAck:
    """Return the ack of a command that names users, of whom `unknown` have never signed in.

    A command that changed nothing names none of them; a retry gets the ack of the first attempt.
    """
    named = () if result.outcome == "nothing" else unknown
    return NamingAck(seq=result.seq, at=timestamp(result.at), unknown=named)


class Later(msgspec.Struct, frozen=True):
    """An ack that waits for a commit; `ack` makes it from the result."""

    answer: Any
    ack: Callable[[CommandResult], Ack] = recorded


class Then(msgspec.Struct, frozen=True):
    """An ack; `after` is called right after it was written."""

    ack: Ack
    after: Callable[[], None]
    result: CommandResult


Reply = Ack | Later | Then | None
"""The result of a handler. None: an ack without fields, sent only if the command has a tag."""
