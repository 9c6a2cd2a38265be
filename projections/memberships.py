"""Memberships, invitations, bans and mutes per room. A former member keeps the row, with role and leave."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec
from databases import Database

from projections.engine.projection import Projection
from projections.engine.rows import Key, Rows
from projections.engine.snapshot import Row, Snapshot, snapshot
from service.domain import events
from service.domain.events import Event, Recorded, Role
from service.domain.streams import room_of, user_of_subject, user_subject
from service.eventstore.serializer import EventSerializer

LeaveKind = Literal["left", "kicked", "banned"]
_LEAVE_KINDS: dict[type, LeaveKind] = {
    events.MemberLeft: "left",
    events.MemberRemoved: "kicked",
    events.MemberBanned: "banned",
}


class MembershipRow(msgspec.Struct, frozen=True):
    """The relation of a user to a room.

    `joined_seq` is the seq of the last join, None for a user who was never a member; `left_seq` that of the leave
    after it, if any, and `left_how` its kind. Bans and mutes end at `..._until`, None: never.
    """

    room_id: str
    user_id: str
    role: Role | None = None
    joined_seq: int | None = None
    joined_at: datetime | None = None
    left_seq: int | None = None
    left_at: datetime | None = None
    left_how: LeaveKind | None = None
    invited_at: datetime | None = None
    invited_by: str | None = None
    banned: bool = False
    banned_until: datetime | None = None
    muted: bool = False
    muted_until: datetime | None = None

    @property
    def present(self) -> bool:
        """Return whether the user is a member now."""
        return self.joined_seq is not None and self.left_seq is None


async def rooms_of(database: Database, serializer: EventSerializer, user: str) -> list[MembershipRow]:
    """Return a user's current memberships as of the log's head, by room.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    async with snapshot(database, serializer, PROJECTION) as now:
        tail = await now.tail("e.subject = :subject", subject=user_subject(user))
        return [row for row in await of_user(now, tail, user) if row.present]


async def of_user(now: Snapshot, tail: list[Row], user: str) -> list[MembershipRow]:
    """Return a user's rows, by room, within a snapshot whose `tail` has the events about the user."""
    rows = await ROWS.of_user(now, tail, PROJECTION, user)
    return sorted(rows, key=lambda row: row.room_id)


def _key_of(recorded: Recorded) -> Key:
    return room_of(recorded.stream), user_of_subject(recorded.subject)


def _evolve(row: MembershipRow | None, recorded: Recorded) -> MembershipRow:
    room, user = _key_of(recorded)
    before = row or MembershipRow(room, user)
    changed = _CHANGES[type(recorded.event)](before, recorded, recorded.event)
    return msgspec.structs.replace(before, **changed)


def _invited(_row: MembershipRow, recorded: Recorded, _event: events.MemberInvited) -> dict[str, Any]:
    return {"invited_at": recorded.at, "invited_by": recorded.by}


def _joined(row: MembershipRow, recorded: Recorded, event: events.MemberJoined) -> dict[str, Any]:
    """Reset the row, except for a mute."""
    joined = MembershipRow(row.room_id, row.user_id, event.role, recorded.seq, recorded.at)
    return msgspec.structs.asdict(joined) | {"muted": row.muted, "muted_until": row.muted_until}


def _gone(row: MembershipRow, recorded: Recorded, event: Event) -> dict[str, Any]:
    """End the membership or, if the user was only invited, the invitation."""
    ended = {"left_seq": recorded.seq, "left_at": recorded.at, "left_how": _LEAVE_KINDS[type(event)]}
    return {"invited_at": None, "invited_by": None, **(ended if row.present else {})}


def _banned(row: MembershipRow, recorded: Recorded, event: events.MemberBanned) -> dict[str, Any]:
    return {**_gone(row, recorded, event), "banned": True, "banned_until": event.until}


_CHANGES: dict[type[Event], Callable[[MembershipRow, Recorded, Any], dict[str, Any]]] = {
    events.MemberInvited: _invited,
    events.MemberJoined: _joined,
    events.MemberLeft: _gone,
    events.MemberRemoved: _gone,
    events.MemberBanned: _banned,
    events.MemberUnbanned: lambda *_: {"banned": False, "banned_until": None},
    events.MemberMuted: lambda _, __, event: {"muted": True, "muted_until": event.until},
    events.MemberUnmuted: lambda *_: {"muted": False, "muted_until": None},
    events.RoleChanged: lambda _, __, event: {"role": event.role},
}
"""The fields of a user's row that an event changes."""


ROWS = Rows(MembershipRow, key=("room_id", "user_id"), key_of=_key_of, evolve=_evolve)
PROJECTION = Projection(
    name="memberships",
    version=2,
    topics=tuple(cls.TOPIC for cls in _CHANGES),
    key=ROWS.key,
    apply=ROWS.apply,
    row_key=_key_of,
)
