"""The unread markers of users who marked messages as unread: where their own unread counts begin.

A row counts only while its user's read marker is not past `marker`, the read marker at the time. So the table needs no
event of the read markers, which are many, and has a row only for who ever marked a message of a room as unread.
"""

from collections.abc import Collection
from datetime import datetime

import msgspec

from projections.engine.projection import Projection
from projections.engine.rows import Key, Rows
from projections.engine.snapshot import Row, Snapshot
from service.domain.events import Recorded, UnreadMarkerMoved
from service.domain.streams import room_of, user_of_subject


class UnreadMarkerRow(msgspec.Struct, frozen=True):
    """A user's unread count in a room begins after `message_id`, since `at` (UTC), while nothing past `marker` is read.

    `seq` is the number of the event in the reader's stream.
    """

    user_id: str
    room_id: str
    message_id: int
    marker: int
    seq: int
    at: datetime

    def holds(self, marker: int) -> bool:
        """Return whether the row counts for a user with a read marker: it is current, and before that marker."""
        return marker <= self.marker and self.message_id < self.marker


async def of_user(now: Snapshot, tail: list[Row], user: str) -> dict[str, UnreadMarkerRow]:
    """Return a user's rows by room, within a snapshot whose `tail` has the events about the user."""
    return {row.room_id: row for row in await _ROWS.of_user(now, tail, PROJECTION, user)}


async def of_rooms(
    now: Snapshot, tail: list[Row], rooms: Collection[str]
) -> dict[tuple[str, ...], UnreadMarkerRow]:
    """Return the rows of some rooms by user and room, within a snapshot whose `tail` has their readers' events."""
    return await _ROWS.of_rooms(now, tail, PROJECTION, rooms)


def _key_of(recorded: Recorded) -> Key:
    return user_of_subject(recorded.subject), room_of(recorded.stream)


def _evolve(_row: UnreadMarkerRow | None, recorded: Recorded) -> UnreadMarkerRow:
    event = recorded.event
    assert isinstance(event, UnreadMarkerMoved)  # noqa: S101 - the one event in `topics`
    user, room = _key_of(recorded)
    return UnreadMarkerRow(user, room, event.message, event.marker, recorded.seq, recorded.at)


_ROWS = Rows(UnreadMarkerRow, key=("user_id", "room_id"), key_of=_key_of, evolve=_evolve)
PROJECTION = Projection(
    name="unread_markers",
    version=1,
    topics=(UnreadMarkerMoved.TOPIC,),
    key=_ROWS.key,
    apply=_ROWS.apply,
    row_key=_key_of,
)
