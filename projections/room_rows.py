"""Folds a room's events into its row.

A topic is a user's content: like a message, it is shown only while the key that encrypts it in the log exists.
`topic_position`, the position of the event that set the topic, identifies the key.
"""

from datetime import datetime
from typing import Any

import msgspec

from projections.engine.projection import Projection
from projections.engine.rows import Key, Rows
from service.domain import events
from service.domain.events import EVENTS, Recorded, Visibility
from service.domain.streams import room_of


class RoomRow(msgspec.Struct, frozen=True):
    """A room; `head` is the seq of its last event."""

    room_id: str
    name: str
    visibility: Visibility
    created_at: datetime
    created_by: str
    head: int
    last_message_id: int | None = None
    last_message_at: datetime | None = None
    topic: str | None = None
    topic_position: int | None = None
    archived: bool = False


def _key_of(recorded: Recorded) -> Key:
    return (room_of(recorded.stream),)


def _evolve(row: RoomRow | None, recorded: Recorded) -> RoomRow:
    event, seq = recorded.event, recorded.seq
    if isinstance(event, events.RoomOpened):
        room = room_of(recorded.stream)
        return RoomRow(room, event.name, event.visibility, recorded.at, recorded.by, seq)
    if row is None:
        # The opening is missing from the log: show the room like one whose opening cannot be read.
        room = room_of(recorded.stream)
        row = RoomRow(room, room, "private", recorded.at, recorded.by, seq)
    return msgspec.structs.replace(row, head=seq, **_change(recorded))


def _change(recorded: Recorded) -> dict[str, Any]:
    match recorded.event:
        case events.MessagePosted():
            return {"last_message_id": recorded.seq, "last_message_at": recorded.at}
        case events.RoomRenamed(name=name):
            return {"name": name}
        case events.RoomTopicChanged(topic=topic):
            return {"topic": topic or None, "topic_position": recorded.position}
        case events.RoomArchived():
            return {"archived": True}
        case events.RoomReopened():
            return {"archived": False}
        case _:
            return {}


ROWS = Rows(RoomRow, key=("room_id",), key_of=_key_of, evolve=_evolve)
PROJECTION = Projection(
    name="rooms",
    version=2,
    # Every event of a room moves its head.
    topics=tuple(topic for topic in EVENTS if topic.startswith("room.")),
    key=ROWS.key,
    apply=ROWS.apply,
    heads=True,
    row_key=_key_of,
    forget="""
        UPDATE {table} r SET topic = NULL FROM stored_events e
        WHERE e.notification_id = r.topic_position AND e.recorded_by = ANY ($1::text[]) AND r.topic IS NOT NULL
    """,
)
COLUMNS = """
    r.name, r.visibility, r.created_at, r.created_by, r.head, r.last_message_id, r.last_message_at,
    r.topic_position, r.archived,
    CASE WHEN EXISTS (SELECT FROM readable_events e JOIN open_keys USING (key_id)
        WHERE e.notification_id = r.topic_position AND wrapped IS NOT NULL) THEN r.topic END AS topic
"""
"""The columns of a `RoomRow` but the first, of `rooms_v2 r`."""
