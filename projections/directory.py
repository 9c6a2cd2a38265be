"""The room directory: pages of the public rooms that are not archived, by name, with topic and number of members.

Invariant: a page reads at most `SCAN` rows of the directory, however few of them match; a search continues from `next`.
"""

from typing import NamedTuple

import msgspec
from databases import Database

from projections import room_rows
from projections.directory_rows import MEMBERS, PROJECTION, SETTINGS, ListedRoom, fold, folded, presence
from projections.engine.snapshot import Snapshot, snapshot
from projections.room_rows import RoomRow
from service.domain.events import Recorded, RoomTopicChanged
from service.domain.streams import room_of
from service.eventstore.serializer import EventSerializer

SCAN = 5_000
"""Rooms that one page looks through."""

_TOPICS = [event.TOPIC for event in (*SETTINGS, RoomTopicChanged, *MEMBERS)]


class Place(NamedTuple):
    """A room's place in the directory."""

    sought: str
    room_id: str


class DirectoryEntry(msgspec.Struct, frozen=True):
    """A public room: its row, of which only settings are as of the log's head, and the number of its members."""

    room: RoomRow
    members: int


class DirectoryPage(msgspec.Struct, frozen=True):
    """Rooms by name, and the id of the room after which the search goes on; None at the end."""

    rooms: list[DirectoryEntry]
    next: str | None


async def directory(
    database: Database, serializer: EventSerializer, *, part: str, after: str | None, limit: int
) -> DirectoryPage:
    """Return at most `limit` rooms whose name contains `part`, as of the log's head, that come after the room `after`.

    A room `after` that is not in the directory stands where its id would.

    A `part` that is not empty but has nothing to compare, such as spaces, is in no name.

    Raises:
        ProjectionBehind: one of the tables is too far behind the log.
    """
    sought = folded(part)
    if part and not sought:
        return DirectoryPage([], None)
    async with snapshot(database, serializer, PROJECTION, room_rows.PROJECTION) as now:
        tail = await now.tail("e.topic = ANY (CAST(:topics AS text[]))", topics=_TOPICS)
        newer = now.lacking(tail, PROJECTION)
        changed = await _changed(now, newer, after)
        start = _place(after, changed.get(after)) if after else Place("", "")
        found, last = await _page(now, changed, start, sought, limit)
        counts = await _counts(now, newer, found)
        rows = room_rows.ROWS.by_key(await now.fetch(_ROOMS, rooms=list(counts))) if counts else {}
        settings = now.lacking(tail, room_rows.PROJECTION)
        room_rows.ROWS.fold(rows, (event for event in settings if room_of(event.stream) in counts))
    entries = [
        DirectoryEntry(row, members)
        for room, members in counts.items()
        if (row := rows.get((room,))) is not None and row.visibility == "public"
    ]
    return DirectoryPage(entries, last and last.room_id)


def _place(room: str, row: ListedRoom | None) -> Place:
    return Place(row.sought if row else folded(room), room)


async def _changed(now: Snapshot, newer: list[Recorded], after: str | None) -> dict[str, ListedRoom]:
    """Return the rooms with settings that the table lacks, and the room `after`, as of the log's head."""
    settings = [recorded for recorded in newer if isinstance(recorded.event, SETTINGS)]
    names = {room_of(recorded.stream) for recorded in settings} | ({after} if after else set())
    rows = await now.fetch(_NAMED, rooms=list(names)) if names else []
    known = {row["room_id"]: ListedRoom(row["sought"], row["listed"], row["members"]) for row in rows}
    return fold(known, settings)


async def _page(
    now: Snapshot, changed: dict[str, ListedRoom], start: Place, part: str, limit: int
) -> tuple[dict[Place, int], Place | None]:
    """Return the members of each room of a page, in order, and the place after which the next page begins."""
    rows = await now.fetch(
        _SCANNED,
        sought=start.sought,
        room=start.room_id,
        changed=list(changed),
        part=part,
        scan=SCAN,
        most=limit + 1,
    )
    places = {Place(row["sought"], row["room_id"]): row["members"] for row in rows if row["found"]}
    end = None  # of what was read, where more may follow
    if rows and (len(rows) > limit or rows[-1]["number"] == SCAN):
        end = Place(rows[-1]["sought"], rows[-1]["room_id"])
    for room, row in changed.items():
        place = Place(row.sought, room)
        if row.listed and part in row.sought and start < place and (end is None or place <= end):
            places[place] = row.members
    ordered = sorted(places)
    if len(ordered) > limit:
        end = ordered[limit - 1]
    return {place: places[place] for place in ordered[:limit]}, end


async def _counts(now: Snapshot, newer: list[Recorded], found: dict[Place, int]) -> dict[str, int]:
    """Return the number of members of each room as of the log's head."""
    counts = {place.room_id: members for place, members in found.items()}
    members = {key: present for key, present in presence(newer).items() if key[0] in counts}
    if members:
        rooms, users = zip(*members, strict=True)
        rows = await now.fetch(_PRESENT, rooms=list(rooms), users=list(users))
        before = {(row["room_id"], row["user_id"]) for row in rows}
        for key, present in members.items():
            counts[key[0]] += present - (key in before)
    return counts


_NAMED = f"""
    SELECT room_id, sought, listed, members FROM {PROJECTION.relation}
    WHERE room_id = ANY (CAST(:rooms AS text[])) AND user_id = ''
"""  # noqa: S608 - constants
_ORDER = 'sought COLLATE "C", room_id COLLATE "C"'
# The row at the end of the scan is returned too, so that the next page can begin after it. The order is that of the
# index at each level, so the scan stops where the page is full.
_SCANNED = f"""
    SELECT * FROM (
        SELECT room_id, sought, members, strpos(sought, :part) > 0 AS found,
            row_number() OVER (ORDER BY {_ORDER}) AS number
        FROM (
            SELECT room_id, sought, members FROM {PROJECTION.relation}
            WHERE listed AND ({_ORDER}) > (:sought, :room) AND room_id <> ALL (CAST(:changed AS text[]))
            ORDER BY {_ORDER} LIMIT :scan) scanned) numbered
    WHERE found OR number = :scan ORDER BY {_ORDER} LIMIT :most
"""  # noqa: S608 - constants
_PRESENT = f"""
    SELECT room_id, user_id FROM {PROJECTION.relation}
        JOIN unnest(CAST(:rooms AS text[]), CAST(:users AS text[])) AS wanted (room_id, user_id)
            USING (room_id, user_id)
"""  # noqa: S608 - constants
_ROOMS = f"""
    SELECT r.room_id, {room_rows.COLUMNS} FROM {room_rows.PROJECTION.relation} r
    WHERE r.room_id = ANY (CAST(:rooms AS text[]))
"""  # noqa: S608 - constants
