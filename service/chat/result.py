"""The answer to a command: each outcome of an append maps to one result or one error."""

from datetime import datetime
from typing import cast

import msgspec

from service.domain.streams import room_of
from service.errors import NotAllowed, OnRecordError, Overloaded, RefConflict, Refusal
from service.eventstore.entries import AppendResult, Outcome


class CommandResult(msgspec.Struct, frozen=True):
    """The acknowledgement of a command; `nothing` means no change, `known` that its ref was recorded before."""

    room: str
    seq: int
    at: datetime
    outcome: Outcome

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
            return NotAllowed(problem="The words of this account were erased; it cannot write any more.")
        case "refused" if refusal is not None:
            return refusal
        case _:
            return Overloaded()


def result_of(placed: AppendResult) -> CommandResult:
    """Return the acknowledgement of a successful command."""
    return CommandResult(room_of(placed.stream), placed.seq, cast("datetime", placed.at), placed.outcome)
