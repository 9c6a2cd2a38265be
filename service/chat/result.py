"""Maps the outcome of an append to the answer of a command: a result or an error."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from service.domain.commands import PostMessage, RoomCommand
from service.domain.events import Event, MessagePosted
from service.domain.streams import room_of
from service.errors import NotAllowed, OnRecordError, Overloaded, RefConflict, Refusal
from service.eventstore.entries import AppendResult, Outcome


class CommandResult(msgspec.Struct, frozen=True):
    """The acknowledgement of a command.

    The outcome `nothing` means that the command changed nothing, `known` that its ref was recorded before. `dropped`
    has the users that a message does not mention as asked, since they are not members.
    """

    room: str
    seq: int
    at: datetime
    outcome: Outcome
    dropped: tuple[str, ...] = ()

    @property
    def fresh(self) -> bool:
        """Whether this command appended events."""
        return self.outcome == "appended"


def failed(outcome: Outcome, ref: str, refusal: Refusal | None) -> OnRecordError | None:
    """Return the error for an outcome, None for a success."""
    match outcome:
        case "appended" | "nothing" | "known":
            return None
        case "conflict":
            return RefConflict(ref=ref)
        case "key_gone":
            return NotAllowed(problem="The content of this account was erased, so it can no longer write.")
        case "refused" if refusal is not None:
            return refusal
        case _:
            return Overloaded()


def result_of(result: AppendResult, dropped: tuple[str, ...] = ()) -> CommandResult:
    """Return the acknowledgement of a successful command."""
    assert result.at is not None  # noqa: S101 - a success has a time
    return CommandResult(room_of(result.stream), result.seq, result.at, result.outcome, dropped)


def answered(result: AppendResult | None, ref: str, refusal: Refusal | None) -> CommandResult:
    """Return the acknowledgement for the result of a request.

    Raises:
        OnRecordError: the command failed.
    """
    assert result is not None  # noqa: S101 - there was a request
    if (failure := failed(result.outcome, ref, refusal)) is not None:
        raise failure
    return result_of(result)


def attempt(decide: Callable[[], list[Event]]) -> tuple[list[Event], Refusal | None]:
    """Return what a decision leads to: events, or a refusal."""
    try:
        return decide(), None
    except Refusal as refusal:
        return [], refusal


def dropped_mentions(command: RoomCommand, posted: Event | None) -> tuple[str, ...]:
    """Return the users that a command mentions and the message that it posted does not."""
    if not isinstance(command, PostMessage) or not command.mentions or not isinstance(posted, MessagePosted):
        return ()
    kept = set(posted.mentions)
    return tuple(user for user in dict.fromkeys(command.mentions) if user not in kept)
