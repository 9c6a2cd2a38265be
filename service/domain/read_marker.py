"""The read marker of one user in one room. Markers only move forward. Pure."""

import msgspec

from service.domain.commands import MoveReadMarker
from service.domain.events import Event, ReadMarkerMoved, Recorded
from service.domain.streams import user_subject


class ReaderState(msgspec.Struct, frozen=True):
    """The marker as of `head`, the seq of the reader's stream; `marker` 0 means nothing read yet."""

    head: int = 0
    marker: int = 0


def decide(state: ReaderState, command: MoveReadMarker, by: str) -> list[Event]:
    """Return `ReadMarkerMoved`, or nothing if the marker is there or further already."""
    if command.message <= state.marker:
        return []
    return [ReadMarkerMoved(user=by, message=command.message)]


def guard(by: str) -> tuple[str, ...]:
    """Return the subject that `decide` read."""
    return (user_subject(by),)


def evolve(state: ReaderState, recorded: Recorded) -> ReaderState:
    """Return the state after the next event of the reader's stream."""
    match recorded.event:
        case ReadMarkerMoved(message=message):
            return ReaderState(head=recorded.seq, marker=max(state.marker, message))
        case _:
            return msgspec.structs.replace(state, head=recorded.seq)
