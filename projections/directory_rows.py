"""Folds the log into the rows of the room directory: the public rooms, and how many members each has.

A room has a row with the user ''; each present member of it has another, so that the members are counted exactly.
Invariant: other rooms have no row, so nothing that reads the table can reveal one.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from projections.engine.projection import Projection
from service.domain.content.names import MAX_ROOM_NAME, clean_name
from service.domain.events import (
    ENDINGS,
    MemberJoined,
    Recorded,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomReopened,
)
from service.domain.streams import room_of

if TYPE_CHECKING:
    import asyncpg

ROOM = ""
"""The user of a room's own row; no user id is empty."""


class ListedRoom(msgspec.Struct, frozen=True):
    """A public room: `sought` is its name as it is searched and sorted, `listed` false while it is archived."""

    sought: str
    listed: bool
    members: int


def folded(name: str) -> str:
    """Return a text as it is searched and sorted: without differences of case, width and spaces."""
    return unicodedata.normalize("NFKC", (clean_name(name) or "").casefold())[:MAX_ROOM_NAME]


def fold(rooms: dict[str, ListedRoom], events: Iterable[Recorded]) -> dict[str, ListedRoom]:
    """Apply events about settings, by position, to public rooms; return the same dictionary."""
    for recorded in events:
        room, event = room_of(recorded.stream), recorded.event
        if isinstance(event, RoomOpened) and event.visibility == "public":
            rooms[room] = ListedRoom(folded(event.name) or room, listed=True, members=0)
        elif room in rooms and (changed := _change(room, event)):
            rooms[room] = msgspec.structs.replace(rooms[room], **changed)
    return rooms


def _change(room: str, event: object) -> dict[str, Any]:
    match event:
        case RoomRenamed(name=name):
            return {"sought": folded(name) or room}
        case RoomArchived():
            return {"listed": False}
        case RoomReopened():
            return {"listed": True}
        case _:
            return {}


def presence(events: Iterable[Recorded]) -> dict[tuple[str, str], bool]:
    """Return who is a member of a room after the events, by room and user."""
    found: dict[tuple[str, str], bool] = {}
    for recorded in events:
        event = recorded.event
        if isinstance(event, MEMBERS):
            found[room_of(recorded.stream), event.user] = isinstance(event, MemberJoined)
    return found


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.engine.projection.Apply`. Rooms come first: only members of public rooms have rows."""
    if settings := [recorded for recorded in batch if isinstance(recorded.event, SETTINGS)]:
        touched = list({room_of(recorded.stream) for recorded in settings})
        rows = await connection.fetch(_LOAD.format(table=table), touched)
        rooms = fold(
            {row["room_id"]: ListedRoom(row["sought"], row["listed"], row["members"]) for row in rows},
            settings,
        )
        values = [(room, row.sought, row.listed) for room, row in rooms.items()]
        if values:
            await connection.execute(_SAVE.format(table=table), *map(list, zip(*values, strict=True)))
    if members := presence(batch):
        values = [(room, user, present) for (room, user), present in members.items()]
        await connection.execute(_COUNT.format(table=table), *map(list, zip(*values, strict=True)))


SETTINGS = (RoomOpened, RoomRenamed, RoomArchived, RoomReopened)
MEMBERS = (MemberJoined, *ENDINGS)
PROJECTION = Projection(
    name="directory",
    version=1,
    topics=tuple(event.TOPIC for event in (*SETTINGS, *MEMBERS)),
    key=("room_id", "user_id"),
    apply=apply,
)
_LOAD = (
    "SELECT room_id, sought, listed, members FROM {table} WHERE room_id = ANY ($1::text[]) AND user_id = ''"
)
_SAVE = """
    INSERT INTO {table} (room_id, user_id, sought, listed, members)
    SELECT room_id, '', sought, listed, 0
    FROM unnest($1::text[], $2::text[], $3::boolean[]) AS new (room_id, sought, listed)
    ON CONFLICT (room_id, user_id) DO UPDATE SET sought = excluded.sought, listed = excluded.listed
"""
_COUNT = """
    WITH changed AS (
        SELECT new.* FROM unnest($1::text[], $2::text[], $3::boolean[]) AS new (room_id, user_id, present)
            JOIN {table} room ON room.room_id = new.room_id AND room.user_id = ''),
    came AS (
        INSERT INTO {table} (room_id, user_id) SELECT room_id, user_id FROM changed WHERE present
        ON CONFLICT DO NOTHING RETURNING room_id),
    went AS (
        DELETE FROM {table} known USING changed c
        WHERE NOT c.present AND known.room_id = c.room_id AND known.user_id = c.user_id RETURNING known.room_id)
    UPDATE {table} room SET members = room.members + counted.more
    FROM (
        SELECT room_id, sum(one) AS more FROM (SELECT room_id, 1 FROM came UNION ALL SELECT room_id, -1 FROM went)
            AS moved (room_id, one) GROUP BY room_id) counted
    WHERE room.room_id = counted.room_id AND room.user_id = '' AND counted.more <> 0
"""
