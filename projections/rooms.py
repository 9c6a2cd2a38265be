"""The rooms: what each is called, how far it has come, and how it looks to one of its members."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import msgspec
from databases import Database

from projections import memberships, messages, read_receipts
from projections.memberships import MembershipRow
from projections.messages import MessageRow
from projections.projection import Projection
from projections.rows import Key, Rows
from projections.tail import Row, Snapshot, snapshot
from service.domain.events import EVENTS, MessagePosted, Recorded, Role, RoomOpened, Visibility
from service.domain.streams import room_of, room_stream, user_subject
from service.log.mapper import Mapper


class SummaryRow(msgspec.Struct, frozen=True):
    """A room as one member sees it.

    `head` is the seq of the room's last event. `unread` counts others' messages after one's marker and one's join,
    `mentions` those of them that mention one; `last_read` is 0 where nothing was read yet.
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


async def summaries(database: Database, mapper: Mapper, user: str) -> list[SummaryRow]:
    """Return the rooms that a user is a member of, as of the log's head, by room.

    Raises:
        ProjectionBehind: one of the tables is too far behind the log.
    """
    used = (PROJECTION, memberships.PROJECTION, read_receipts.PROJECTION, messages.PROJECTION)
    async with snapshot(database, mapper, *used) as now:
        tail = await now.tail(_MINE, user=user, subject=user_subject(user), room=room_stream(""))
        members = await memberships.present(now, tail, user)
        markers = await read_receipts.markers(now, tail, user)
        floors = [max(markers.get(member.room_id, 0), member.joined_seq) for member in members]
        names = [member.room_id for member in members]
        rows = await now.fetch(_SUMMARIES, rooms=names, floors=floors, user=user)
    overlay = _Overlay(now, tail, rows, dict(zip(names, floors, strict=True)), user)
    found = {row["room_id"]: row for row in rows}
    return [
        overlay.summary(member, found[member.room_id], markers.get(member.room_id, 0)) for member in members
    ]


class _Overlay:
    """What the log's tail says about some rooms beyond their tables."""

    def __init__(
        self, now: Snapshot, tail: list[Row], rows: Iterable[Row], floors: dict[str, int], user: str
    ) -> None:
        mine = [row for row in tail if row["stream"].removeprefix(room_stream("")) in floors]
        known = ROWS.by_key(row for row in rows if row["head"] is not None)
        self.rooms = ROWS.fold(known, now.lacking(mine, PROJECTION, words=False))
        posted = list(map(messages.posted, now.lacking(mine, messages.PROJECTION, words=False)))
        # Only the newest message of a room is shown, so only its words are opened.
        newest = {row.room_id: row.id for row in posted}
        shown = [row for row in mine if newest.get(room_of(row["stream"])) == row["originator_version"]]
        opened = map(messages.posted, now.lacking(shown, messages.PROJECTION))
        self.last = {row.room_id: row for row in opened}
        unread = [row for row in posted if row.id > floors[row.room_id] and row.user_id != user]
        self.unread = Counter(row.room_id for row in unread)
        self.mentions = Counter(row.room_id for row in unread if user in row.mentions)

    def summary(self, member: MembershipRow, row: Row, last_read: int) -> SummaryRow:
        """Return a room's summary, of what its tables say and what is new."""
        room = self.rooms[member.room_id,]
        last = self.last.get(room.room_id)
        if last is None and row["id"] is not None:
            last = messages.row_of({**row, "created_at": row["posted_at"]})
        return SummaryRow(
            room_id=room.room_id,
            name=room.name,
            visibility=room.visibility,
            role=member.role,
            head=room.head,
            unread=row["unread"] + self.unread[room.room_id],
            mentions=row["mentioned"] + self.mentions[room.room_id],
            last_read=last_read,
            last_message=last,
        )


def _key_of(recorded: Recorded) -> Key:
    return (room_of(recorded.stream),)


def _evolve(row: RoomRow | None, recorded: Recorded) -> RoomRow:
    event, seq = recorded.event, recorded.seq
    if isinstance(event, RoomOpened):
        room = room_of(recorded.stream)
        return RoomRow(room, event.name, event.visibility, recorded.at, recorded.by, seq)
    if row is None:
        message = f"at position {recorded.position}, {event.TOPIC} is in a room that was never opened"
        raise LookupError(message)
    if isinstance(event, MessagePosted):
        return msgspec.structs.replace(row, head=seq, last_message_id=seq, last_message_at=recorded.at)
    return msgspec.structs.replace(row, head=seq)


ROWS = Rows(
    RoomRow,
    columns={
        "room_id": "text",
        "name": "text",
        "visibility": "text",
        "created_at": "timestamptz",
        "created_by": "text",
        "head": "bigint",
        "last_message_id": "bigint",
        "last_message_at": "timestamptz",
    },
    key=("room_id",),
    key_of=_key_of,
    evolve=_evolve,
)
PROJECTION = Projection(
    name="rooms",
    version=1,
    # Every event of a room moves its head.
    topics=tuple(topic for topic in EVENTS if topic.startswith("room.")),
    key=("room_id",),
    apply=ROWS.apply,
)
# What is about the user, and all about rooms that the user is in, or came into since.
_MINE = f"""
    e.subject = :subject OR e.stream IN (
        SELECT :room || room_id FROM {memberships.PROJECTION.table} WHERE user_id = :user AND left_seq IS NULL
        UNION ALL SELECT stream FROM tail WHERE subject = :subject)
"""  # noqa: S608 - constants
_UNREAD = f"""
    SELECT count(*) FROM {messages.PROJECTION.table} u
    WHERE u.room_id = mine.room_id AND u.id > mine.floor AND u.user_id <> :user
"""  # noqa: S608 - constants
_SUMMARIES = f"""
    SELECT mine.room_id, r.name, r.visibility, r.created_at, r.created_by, r.head, r.last_message_id, r.last_message_at,
        last.id, last.user_id, last.content, last.reply_to, last.mentions, last.created_at AS posted_at,
        ({_UNREAD}) AS unread,
        ({_UNREAD} AND u.mentions <> '{{}}' AND CAST(:user AS text) = ANY (u.mentions)) AS mentioned
    FROM unnest(CAST(:rooms AS text[]), CAST(:floors AS bigint[])) AS mine (room_id, floor)
        LEFT JOIN {PROJECTION.table} r USING (room_id)
        LEFT JOIN LATERAL (
            SELECT {messages.COLUMNS}
            FROM {messages.PROJECTION.table} m LEFT JOIN person_keys k ON k.key_id = m.key_id
            WHERE m.room_id = mine.room_id ORDER BY m.id DESC LIMIT 1) last ON true
"""  # noqa: S608 - constants
