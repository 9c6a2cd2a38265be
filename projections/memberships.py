"""Who is, was or may be in which room. Whoever left keeps the row, with the last role, when that was and how."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec
from databases import Database

from projections.engine.projection import Projection
from projections.engine.rows import Key, Rows
from projections.engine.snapshot import Row, Snapshot, snapshot
from service.domain.events import (
    Event,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MemberUnbanned,
    MemberUnmuted,
    Recorded,
    Role,
    RoleChanged,
)
from service.domain.streams import room_of, user_subject
from service.eventstore.serializer import EventSerializer

Way = Literal["left", "kicked", "banned"]
_WAYS: dict[type, Way] = {MemberLeft: "left", MemberRemoved: "kicked", MemberBanned: "banned"}


class MembershipRow(msgspec.Struct, frozen=True):
    """What somebody is to a room.

    `joined_seq` is the seq of the last join, None for somebody who never was in; `left_seq` that of the leave after
    it, if any, and `left_how` says which. Bans and mutes stand as they were said: until a time, None for good.
    """

    room_id: str
    user_id: str
    role: Role | None = None
    joined_seq: int | None = None
    joined_at: datetime | None = None
    left_seq: int | None = None
    left_at: datetime | None = None
    left_how: Way | None = None
    invited_at: datetime | None = None
    invited_by: str | None = None
    banned: bool = False
    banned_until: datetime | None = None
    muted: bool = False
    muted_until: datetime | None = None

    @property
    def present(self) -> bool:
        """Whether they are a member now."""
        return self.joined_seq is not None and self.left_seq is None


async def rooms_of(database: Database, serializer: EventSerializer, user: str) -> list[MembershipRow]:
    """Return the memberships that a user has as of the log's head, by room.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    async with snapshot(database, serializer, PROJECTION) as now:
        tail = await now.tail("e.subject = :subject", subject=user_subject(user))
        return [row for row in await of_user(now, tail, user) if row.present]


async def of_user(now: Snapshot, tail: list[Row], user: str) -> list[MembershipRow]:
    """Return what a user is to any room, by room, within a snapshot whose `tail` about the user was read already."""
    rows = ROWS.by_key(await now.fetch(_OF_USER, user=user))
    about = user_subject(user)
    ROWS.fold(rows, (event for event in now.lacking(tail, PROJECTION) if event.subject == about))
    return sorted(rows.values(), key=lambda row: row.room_id)


def _key_of(recorded: Recorded) -> Key:
    return room_of(recorded.stream), recorded.subject.removeprefix(user_subject(""))


def _evolve(row: MembershipRow | None, recorded: Recorded) -> MembershipRow:
    room, user = _key_of(recorded)
    before = row or MembershipRow(room, user)
    changed = _CHANGES[type(recorded.event)](before, recorded, recorded.event)
    return msgspec.structs.replace(before, **changed)


def _invited(_row: MembershipRow, recorded: Recorded, _event: MemberInvited) -> dict[str, Any]:
    return {"invited_at": recorded.at, "invited_by": recorded.by}


def _joined(row: MembershipRow, recorded: Recorded, event: MemberJoined) -> dict[str, Any]:
    """Whoever comes in starts anew, but for a mute."""
    anew = MembershipRow(row.room_id, row.user_id, event.role, recorded.seq, recorded.at)
    return msgspec.structs.asdict(anew) | {"muted": row.muted, "muted_until": row.muted_until}


def _gone(row: MembershipRow, recorded: Recorded, event: Event) -> dict[str, Any]:
    """Whoever only was invited has been nowhere."""
    ended = {"left_seq": recorded.seq, "left_at": recorded.at, "left_how": _WAYS[type(event)]}
    return {"invited_at": None, "invited_by": None, **(ended if row.present else {})}


def _banned(row: MembershipRow, recorded: Recorded, event: MemberBanned) -> dict[str, Any]:
    return {**_gone(row, recorded, event), "banned": True, "banned_until": event.until}


_CHANGES: dict[type[Event], Callable[[MembershipRow, Recorded, Any], dict[str, Any]]] = {
    MemberInvited: _invited,
    MemberJoined: _joined,
    MemberLeft: _gone,
    MemberRemoved: _gone,
    MemberBanned: _banned,
    MemberUnbanned: lambda *_: {"banned": False, "banned_until": None},
    MemberMuted: lambda _, __, event: {"muted": True, "muted_until": event.until},
    MemberUnmuted: lambda *_: {"muted": False, "muted_until": None},
    RoleChanged: lambda _, __, event: {"role": event.role},
}
"""What an event about somebody changes of their row."""


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
        "left_how": "text",
        "invited_at": "timestamptz",
        "invited_by": "text",
        "banned": "boolean",
        "banned_until": "timestamptz",
        "muted": "boolean",
        "muted_until": "timestamptz",
    },
    key=("room_id", "user_id"),
    key_of=_key_of,
    evolve=_evolve,
)
PROJECTION = Projection(
    name="memberships",
    version=2,
    topics=tuple(cls.TOPIC for cls in _CHANGES),
    key=("room_id", "user_id"),
    apply=ROWS.apply,
    row_of=_key_of,
)
_OF_USER = f"SELECT * FROM {PROJECTION.relation} WHERE user_id = :user"  # noqa: S608 - a constant
