"""A read marker: how far one user has read in one room. It only moves forward."""

import msgspec

from service.domain.commands import MoveReadMarker
from service.domain.events import Event, ReadMarkerMoved, Recorded
from service.domain.streams import user_subject


class ReaderState(msgspec.Struct, frozen=True):
    """The marker as of `head`, the seq of the reader's stream; `marker` 0 means that nothing is read yet."""

    head: int = 0
    marker: int = 0


def decide(state: ReaderState, command: MoveReadMarker, by: str) -> list[Event]:
    """Return the event that moves the marker, or no event if it is there or further already."""
    if command.message <= state.marker:
        return []
    return [ReadMarkerMoved(user=by, message=command.message)]


def guard(by: str) -> tuple[str, ...]:
    """Return the subject that `decide` relied on."""
    return (user_subject(by),)


def evolve(state: ReaderState, recorded: Recorded) -> ReaderState:
    """Return the state after one more event of the reader's stream."""
    match recorded.event:
        case ReadMarkerMoved(message=message):
            return ReaderState(head=recorded.seq, marker=max(state.marker, message))
        case _:
            return msgspec.structs.replace(state, head=recorded.seq)
