"""Room lists: a member's rooms with unread counts and last messages, a user's invitations, and the public rooms."""

from collections.abc import Iterable
from datetime import datetime
from typing import cast

import msgspec
from databases import Database

from projections import memberships, message_rows, read_receipts, unread_bitmaps, unread_markers
from projections.engine.snapshot import Row, Snapshot, snapshot
from projections.memberships import MembershipRow
from projections.message_rows import MessageRow
from projections.room_rows import COLUMNS, PROJECTION, ROWS, RoomRow
from service.domain.events import MessageEdited, MessagePosted, Recorded, Role, RoomOpened, Visibility
from service.domain.streams import SETTINGS, room_of, room_stream, user_subject
from service.eventstore.serializer import EventSerializer

__all__ = [
    "PROJECTION",
    "InvitationRow",
    "Page",
    "RoomRow",
    "Summaries",
    "SummaryRow",
    "invitations",
    "public_rooms",
    "summaries",
]

ENTRY_BYTES = 100
"""Bytes that an entry of a list has at least, besides the name and the topic."""

FEW = 20
"""Rooms that are all read, since their sizes cost as much."""

_CONTENT = (MessagePosted.TOPIC, MessageEdited.TOPIC)


class SummaryRow(msgspec.Struct, frozen=True):
    """A room as one member sees it.

    `head` is the seq of the room's last event. `unread` counts the undeleted messages of others after the member's
    own marker and join, `mentions` those that mention the member. `last_read` is that marker: the read marker, or where
    the member marked messages as unread since; 0 if nothing was read yet.
    """

    room_id: str
    name: str
    visibility: Visibility
    role: Role
    head: int
    unread: int
    mentions: int
    last_read: int
    last_message: MessageRow | None
    topic: str | None
    archived: bool


class Summaries(msgspec.Struct, frozen=True):
    """Rooms by id, and whether the user is in more rooms after them."""

    rows: list[SummaryRow]
    has_more: bool


class InvitationRow(msgspec.Struct, frozen=True):
    """A room to which a user is invited."""

    room_id: str
    name: str
    visibility: Visibility
    invited_by: str
    invited_at: datetime


class Page(msgspec.Struct, frozen=True):
    """Rooms by id, and whether more follow. Their heads and last messages are those of the table."""

    rooms: list[RoomRow]
    has_more: bool


async def public_rooms(
    database: Database, serializer: EventSerializer, *, after: str | None, limit: int
) -> Page:
    """Return at most `limit` public rooms whose ids come after `after`, as of the log's head.

    The page shows only settings of rooms, so only events about settings are read from the log's tail.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    cursor = after or ""
    async with snapshot(database, serializer, PROJECTION) as now:
        found = ROWS.by_key(await now.fetch(_PUBLIC, after=cursor, most=limit + 1))
        tail = await now.tail("e.subject = :settings", settings=SETTINGS)
    newer = now.lacking(tail, PROJECTION)
    ROWS.fold(found, (event for event in newer if _affects_page(event, cursor, found)))
    ordered = sorted(found.values(), key=lambda row: row.room_id)
    return Page(ordered[:limit], has_more=len(ordered) > limit)


def _affects_page(recorded: Recorded, cursor: str, found: dict[tuple[str, ...], RoomRow]) -> bool:
    """Return whether an event is about a room of this page, or opens a room that may belong to it."""
    room = room_of(recorded.stream)
    if isinstance(recorded.event, RoomOpened):
        return recorded.event.visibility == "public" and room > cursor
    return (room,) in found


async def invitations(
    database: Database,
    serializer: EventSerializer,
    user: str,
    *,
    without: frozenset[str] = frozenset(),
    after: str | None = None,
    limit: int | None = None,
) -> list[InvitationRow]:
    """Return the rooms that a user is invited to, as of the log's head, by room, `after` exclusive.

    Invitations whose author is in `without` are left out.

    Raises:
        ProjectionBehind: one of the tables is too far behind the log.
    """
    async with snapshot(database, serializer, PROJECTION, memberships.PROJECTION) as now:
        tail = await now.tail("e.subject = :subject", subject=user_subject(user))
        known = await memberships.of_user(now, tail, user)
        invited = [row for row in known if row.invited_at and row.invited_by not in without]
        found = _page(invited, after, limit)
        if not found:
            return []
        names = [row.room_id for row in found]
        rows = ROWS.by_key(await now.fetch(_ROOMS, rooms=names))
        later = await now.tail(
            "e.stream = ANY (CAST(:streams AS text[]))", streams=list(map(room_stream, names))
        )
        ROWS.fold(rows, now.lacking(later, PROJECTION, sealed=_CONTENT))
    return [
        InvitationRow(
            row.room_id,
            rows[row.room_id,].name,
            rows[row.room_id,].visibility,
            cast("str", row.invited_by),
            cast("datetime", row.invited_at),
        )
        for row in found
    ]


async def summaries(
    database: Database,
    serializer: EventSerializer,
    user: str,
    *,
    after: str | None = None,
    limit: int | None = None,
    budget: tuple[int, int] | None = None,
) -> Summaries:
    """Return at most `limit` rooms that a user is a member of, as of the log's head, by room, `after` exclusive.

    `budget` is the bytes of last messages, and of everything else, that the caller can use. Last messages beyond it are
    left out, and rooms after the one that exceeds it.

    Raises:
        ProjectionBehind: one of the tables is too far behind the log.
    """
    modules = (memberships, read_receipts, unread_markers, message_rows, unread_bitmaps)
    used = (PROJECTION, *(module.PROJECTION for module in modules))
    async with snapshot(database, serializer, *used) as now:
        tail = await now.tail(_MINE, user=user, subject=user_subject(user), room=room_stream(""))
        known = await memberships.of_user(now, tail, user)
        present = _page([row for row in known if row.present], after, None)
        rows = await _read(now, [row.room_id for row in present[:limit]], budget)
        listed = {row["room_id"] for row in rows}
        members = [row for row in present[:limit] if row.room_id in listed]
        markers = await read_receipts.markers(now, tail, user)
        floors = {
            row.room_id: max(markers.get(row.room_id, 0), cast("int", row.joined_seq)) for row in members
        }
        streams = {room_stream(room) for room in floors}
        mine = [row for row in tail if row["stream"] in streams or row["topic"] in unread_bitmaps.UNREADABLE]
        unread = await unread_bitmaps.unread(now, mine, floors, user)
    overlay = _Overlay(now, mine, rows)
    return Summaries(
        [overlay.summary(row, markers.get(row.room_id, 0), unread[row.room_id]) for row in members],
        has_more=len(members) < len(present),
    )


async def _read(now: Snapshot, wanted: list[str], budget: tuple[int, int] | None) -> list[Row]:
    """Return the rows of rooms and of their last messages, within `budget`."""
    if budget is None or len(wanted) <= FEW:
        return await now.fetch(_SUMMARIES.format(mine=_ALL), rooms=wanted)
    contents, rest = budget
    return await now.fetch(_SUMMARIES.format(mine=_FITTING), rooms=wanted, contents=contents, rest=rest)


def _page(rows: list[MembershipRow], after: str | None, limit: int | None) -> list[MembershipRow]:
    return [row for row in rows if after is None or row.room_id > after][:limit]


class _Overlay:
    """The rows of some rooms and their last messages, with the log's tail applied."""

    def __init__(self, now: Snapshot, tail: list[Row], rows: Iterable[Row]) -> None:
        self._rows = {row["room_id"]: row for row in rows}
        known = ROWS.by_key(row for row in self._rows.values() if row["head"] is not None)
        self.rooms = ROWS.fold(known, now.lacking(tail, PROJECTION, sealed=_CONTENT))
        lacking = now.lacking(tail, message_rows.PROJECTION, sealed=_CONTENT)
        self.last = self._last_messages(now, tail, lacking)

    def _last_messages(
        self, now: Snapshot, tail: list[Row], lacking: list[Recorded]
    ) -> dict[message_rows.Key, MessageRow]:
        """Return the last message of each room, by room and number; only their content is decrypted."""
        newest = {room: (room, row["id"]) for room, row in self._rows.items() if row["id"] is not None}
        for recorded in lacking:
            if isinstance(recorded.event, MessagePosted):
                key = message_rows.key_of(recorded)
                newest[key[0]] = key
        wanted = set(newest.values())
        about = {each.position for each in lacking if message_rows.key_of(each) in wanted}
        opened = now.lacking(
            [row for row in tail if row["notification_id"] in about], message_rows.PROJECTION
        )
        stored = {
            (room, row["id"]): message_rows.row_of({**row, "created_at": row["posted_at"]})
            for room, row in self._rows.items()
            if row["id"] is not None
        }
        found = message_rows.fold(stored, opened)
        return {key: found[key] for key in newest.values()}

    def summary(self, member: MembershipRow, last_read: int, unread: unread_bitmaps.Unread) -> SummaryRow:
        """Return a room's summary."""
        room = self.rooms[member.room_id,]
        return SummaryRow(
            room_id=room.room_id,
            name=room.name,
            visibility=room.visibility,
            role=cast("Role", member.role),
            head=room.head,
            unread=unread.messages,
            mentions=unread.mentions,
            last_read=last_read,
            last_message=self.last.get((room.room_id, room.last_message_id or 0)),
            topic=room.topic,
            archived=room.archived,
        )


# The events about the user, those of rooms that the user is in, or joined since, and what makes content unreadable.
_MINE = f"""
    e.subject = :subject OR e.topic IN {unread_bitmaps.UNREADABLE} OR e.stream IN (
        SELECT :room || room_id FROM {memberships.PROJECTION.relation}
        WHERE user_id = :user AND joined_seq IS NOT NULL AND left_seq IS NULL
        UNION ALL SELECT stream FROM tail WHERE subject = :subject)
"""  # noqa: S608 - constants
# In byte order, as in Python, independent of the locale.
_PUBLIC = f"""
    SELECT * FROM {PROJECTION.relation}
    WHERE visibility = 'public' AND room_id COLLATE "C" > :after
    ORDER BY room_id COLLATE "C" LIMIT :most
"""  # noqa: S608 - a constant
_ROOMS = (
    f"SELECT r.room_id, {COLUMNS} FROM {PROJECTION.relation} r WHERE r.room_id = ANY (CAST(:rooms AS text[]))"  # noqa: S608 - constants
)
_SUMMARIES = f"""
    SELECT mine.room_id, {COLUMNS},
        last.id, last.user_id, last.content, last.reply_to, last.mentions, last.created_at AS posted_at,
        last.changed_seq, last.edited_at, last.deleted_at, last.reactions, last.pinned
    FROM {{mine}}
        LEFT JOIN {PROJECTION.relation} r USING (room_id)
        LEFT JOIN LATERAL (
            SELECT {message_rows.COLUMNS}
            FROM {message_rows.PROJECTION.relation} m LEFT JOIN open_keys k ON k.key_id = m.key_id
            WHERE m.room_id = mine.room_id ORDER BY m.id DESC LIMIT 1) last ON mine.fits
"""  # noqa: S608 - constants
_ALL = "(SELECT room_id, true AS fits FROM unnest(CAST(:rooms AS text[])) AS each (room_id)) mine"
# The sizes are lower bounds of those in JSON. PostgreSQL has them without reading the texts.
_FITTING = f"""
    (SELECT room_id, content_before <= CAST(:contents AS bigint) AS fits
    FROM (
        SELECT room_id, coalesce(sum(content_size) OVER before, 0) AS content_before,
            coalesce(sum(size) OVER before, 0) AS size_before
        FROM (
            SELECT wanted.*, coalesce(last.size, 0) AS content_size,
                coalesce(octet_length(r.name), 0) + coalesce(octet_length(r.topic), 0) + {ENTRY_BYTES} AS size
            FROM unnest(CAST(:rooms AS text[])) WITH ORDINALITY AS wanted (room_id, place)
                LEFT JOIN {PROJECTION.relation} r USING (room_id)
                LEFT JOIN LATERAL (
                    SELECT octet_length(m.content) AS size FROM {message_rows.PROJECTION.relation} m
                    WHERE m.room_id = wanted.room_id ORDER BY m.id DESC LIMIT 1) last ON true) sized
        WINDOW before AS (ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) summed
    WHERE size_before <= CAST(:rest AS bigint)) mine
"""  # noqa: S608 - constants
