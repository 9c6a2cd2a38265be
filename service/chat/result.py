"""What a command is answered with, once the log has said what became of it.

The rule: every outcome has one answer, whichever way the command took: a receipt, or the error that it stands for.
"""

from datetime import datetime
from typing import cast

import msgspec

from service.domain.streams import room_of
from service.errors import NotAllowed, OnRecordError, Overloaded, RefConflict, Refusal
from service.eventstore.entries import AppendResult, Outcome


class CommandResult(msgspec.Struct, frozen=True):
    """What a recorded command is acknowledged with: `nothing` was to do, or its ref was `known`, as of a retry."""

    room: str
    seq: int
    at: datetime
    outcome: Outcome

    @property
    def fresh(self) -> bool:
        """Whether it is on the record since just now."""
        return self.outcome == "appended"


def failed(outcome: Outcome, ref: str, refusal: Refusal | None) -> OnRecordError | None:
    """Return the error that an outcome stands for, or None where the command was placed."""
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
    """Return what a placed command is acknowledged with."""
    return CommandResult(room_of(placed.stream), placed.seq, cast("datetime", placed.at), placed.outcome)
