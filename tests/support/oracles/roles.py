"""A room with a user of each role, and their commands."""

from datetime import timedelta
from typing import Any

from service.domain import room
from service.domain.commands import RoomCommand
from service.domain.events import (
    Event,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MessagePosted,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    Visibility,
)
from service.domain.message import MessageState, MessageSummary
from service.domain.room import RoomState
from service.errors import Refusal
from tests.support.oracles.memory_log import AT, START, room_of_events
from tests.support.oracles.messages import summary_of

PAST, FUTURE = START + timedelta(hours=1), AT + timedelta(hours=1)
OWNERS, MODERATORS, MEMBERS = ("owner", "owner2"), ("moderator", "moderator2"), ("member", "member2")
OUTSIDE = ("stranger", "left", "kicked", "banned", "banned-once")
"""The ban of `banned-once` has expired."""


def cast(visibility: Visibility = "public", *more: Event) -> list[Event]:
    """Return the events of a room in which each user is named after their role."""
    return [
        RoomOpened(name="General", visibility=visibility),
        MemberJoined(user="owner", role="owner"),
        *(MemberJoined(user=user) for user in ("owner2", *MODERATORS, *MEMBERS, "muted", "muted-once")),
        *(MemberJoined(user=user) for user in OUTSIDE[1:]),
        RoleChanged(user="owner2", role="owner"),
        *(RoleChanged(user=user, role="moderator") for user in MODERATORS),
        MemberMuted(user="muted"),
        MemberMuted(user="muted-once", until=PAST),
        MemberInvited(user="invited"),
        MemberLeft(user="left"),
        MemberRemoved(user="kicked"),
        MemberBanned(user="banned"),
        MemberBanned(user="banned-once", until=PAST),
        MessagePosted(author="member", content="hello", ref="r"),
        *more,
    ]


SAID = len(cast())
"""The number of the message in the cast's room."""


def scene(visibility: Visibility = "public", *more: Event) -> RoomState:
    return room_of_events(*cast(visibility, *more))


def outcome(
    state: RoomState, command: RoomCommand, by: str, about: MessageState | MessageSummary | None = None
) -> Any:
    """Return the events of a command, or the class of its refusal."""
    known = summary_of(about, by) if isinstance(about, MessageState) else about
    try:
        return room.decide(state, command, by, AT, *([known] if known is not None else []))
    except Refusal as refusal:
        return type(refusal)


ARCHIVED = RoomArchived()
