"""How far one user has read in one room: the read marker, which others see, and the reader's own unread marker.

The read marker only moves forward. The unread marker goes back with `MarkUnread` and forward with `MoveReadMarker`, and
is never past the read marker.
"""

import msgspec

from service.domain.commands import MarkUnread, MoveReadMarker
from service.domain.events import Event, ReadMarkerMoved, Recorded, UnreadMarkerMoved
from service.domain.streams import user_subject


class ReaderState(msgspec.Struct, frozen=True):
    """The markers as of `head`, the seq of the reader's stream; `marker` 0 means that nothing is read yet.

    `unread` is the unread marker if it is before the read marker, otherwise None.
    """

    head: int = 0
    marker: int = 0
    unread: int | None = None

    @property
    def position(self) -> int:
        """The number after which the reader's own unread count begins."""
        return self.marker if self.unread is None else self.unread


def decide(state: ReaderState, command: MoveReadMarker | MarkUnread, by: str) -> list[Event]:
    """Return the event that moves a marker, or no event if the command changes nothing."""
    number = command.message
    if isinstance(command, MarkUnread):
        position = min(number - 1, state.marker)  # what was never read is unread already
        if position == state.position:
            return []
        return [UnreadMarkerMoved(user=by, message=position, marker=state.marker)]
    if number <= state.position:
        return []
    if number > state.marker:
        return [ReadMarkerMoved(user=by, message=number)]
    return [UnreadMarkerMoved(user=by, message=number, marker=state.marker)]


def guard(by: str) -> tuple[str, ...]:
    """Return the subject that `decide` relied on."""
    return (user_subject(by),)


def evolve(state: ReaderState, recorded: Recorded) -> ReaderState:
    """Return the state after one more event of the reader's stream."""
    match recorded.event:
        case ReadMarkerMoved(message=message) if message > state.marker:
            return ReaderState(head=recorded.seq, marker=message)
        case UnreadMarkerMoved(message=message, marker=marker) if marker >= state.marker:
            return ReaderState(recorded.seq, marker, message if message < marker else None)
        case _:
            return msgspec.structs.replace(state, head=recorded.seq)
