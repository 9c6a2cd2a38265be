"""Who is, or was, in which room. Whoever left keeps the row, with the last role and when that was."""

from datetime import datetime

import msgspec
from databases import Database

from projections.projection import Projection
from projections.rows import Key, Rows
from projections.tail import Row, Snapshot, snapshot
from service.domain.events import MemberJoined, MemberLeft, Recorded, Role, RoleChanged
from service.domain.streams import room_of, user_subject
from service.log.mapper import Mapper


class MembershipRow(msgspec.Struct, frozen=True):
    """A membership. `joined_seq` is the seq of the last join, `left_seq` that of the leave after it, if any."""

    room_id: str
    user_id: str
    role: Role
    joined_seq: int
    joined_at: datetime
    left_seq: int | None = None
    left_at: datetime | None = None


async def rooms_of(database: Database, mapper: Mapper, user: str) -> list[MembershipRow]:
    """Return the memberships that a user has as of the log's head, by room.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    async with snapshot(database, mapper, PROJECTION) as now:
        tail = await now.tail("e.subject = :subject", subject=user_subject(user))
        return await present(now, tail, user)


async def present(now: Snapshot, tail: list[Row], user: str) -> list[MembershipRow]:
    """Return the same within a snapshot, whose `tail` about the user was read already."""
    rows = ROWS.by_key(await now.fetch(_OF_USER, user=user))
    about = user_subject(user)
    ROWS.fold(rows, (event for event in now.lacking(tail, PROJECTION) if event.subject == about))
    return sorted((row for row in rows.values() if row.left_seq is None), key=lambda row: row.room_id)


def _key_of(recorded: Recorded) -> Key:
    return room_of(recorded.stream), recorded.subject.removeprefix(user_subject(""))


def _evolve(row: MembershipRow | None, recorded: Recorded) -> MembershipRow:
    if isinstance(recorded.event, MemberJoined):
        room, user = _key_of(recorded)
        return MembershipRow(room, user, recorded.event.role, recorded.seq, recorded.at)
    if row is None:
        message = (
            f"at position {recorded.position}, {recorded.event.TOPIC} is about somebody who never joined"
        )
        raise LookupError(message)
    if isinstance(recorded.event, RoleChanged):
        return msgspec.structs.replace(row, role=recorded.event.role)
    return msgspec.structs.replace(row, left_seq=recorded.seq, left_at=recorded.at)


ROWS = Rows(
    MembershipRow,
    columns={
        "room_id": "text",
        "user_id": "text",
        "role": "text",
        "joined_seq": "bigint",
        "joined_at": "timestamptz",
        "left_seq": "bigint",
        "left_at": "timestamptz",
    },
    key=("room_id", "user_id"),
    key_of=_key_of,
    evolve=_evolve,
)
PROJECTION = Projection(
    name="memberships",
    version=1,
    topics=(MemberJoined.TOPIC, MemberLeft.TOPIC, RoleChanged.TOPIC),
    key=("room_id", "user_id"),
    apply=ROWS.apply,
)
_OF_USER = f"SELECT * FROM {PROJECTION.table} WHERE user_id = :user"  # noqa: S608 - a constant
