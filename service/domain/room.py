"""A room: what it is now (`RoomState`), what may happen next (`decide`), and what happened (`evolve`).

All pure. The state is small, settings and members, never messages, so that a node can hold it for every room it serves.
`decide` may be given a state that is a little old: `guard` names the subjects it relied on, and the log places the
facts only if nothing about those subjects has happened since (`chat_append`).
"""

from typing import NoReturn

import msgspec

from service.domain.commands import JoinRoom, LeaveRoom, OpenRoom, PostMessage, RoomCommand
from service.domain.events import (
    Event,
    MemberJoined,
    MemberLeft,
    MessagePosted,
    Recorded,
    Role,
    RoleChanged,
    RoomOpened,
    Visibility,
)
from service.domain.streams import EVERY_USER, SETTINGS, user_subject
from service.errors import NotAllowed, NotAMember, RoomExists, RoomNotFound


class Member(msgspec.Struct, frozen=True):
    """A membership: the role, and the seq of the join."""

    role: Role
    since: int


class RoomState(msgspec.Struct, frozen=True):
    """A room as of `head`, the seq of its last event (0: there is no such room)."""

    room: str
    head: int = 0
    name: str = ""
    visibility: Visibility = "public"
    members: dict[str, Member] = {}
    left: dict[str, int] = {}
    """Former members, with the seq of their last leave."""

    @property
    def exists(self) -> bool:
        """Whether the room was ever opened."""
        return self.head > 0


def decide(state: RoomState, command: RoomCommand, by: str) -> list[Event]:
    """Return the facts that `command`, sent by the user `by`, leads to; an empty list where it changes nothing.

    Raises:
        Refusal: the room's rules forbid it.
    """
    match command:
        case OpenRoom():
            return _open(state, command, by)
        case JoinRoom():
            return _join(state, command, by)
        case LeaveRoom():
            return _leave(state, by)
        case PostMessage():
            return _post(state, command, by)
        case _:
            message = f"a room cannot decide {type(command).__name__}"
            raise TypeError(message)


def guard(state: RoomState, command: RoomCommand, by: str) -> tuple[str, ...]:
    """Return the subjects that `decide` relied on: nothing about them may have happened since `state.head`."""
    match command:
        case OpenRoom():
            return (SETTINGS,)
        case LeaveRoom() if _role(state, by) == "owner":
            return (SETTINGS, EVERY_USER)
        case JoinRoom() if state.exists and not state.members:
            return (SETTINGS, EVERY_USER)
        case JoinRoom():
            # A room is empty only after its last owner has left: then the joiner is to own it.
            owners = (user for user, member in state.members.items() if member.role == "owner")
            return (SETTINGS, user_subject(by), *map(user_subject, owners))
        case _:
            return (SETTINGS, user_subject(by))


def evolve(state: RoomState, recorded: Recorded) -> RoomState:
    """Return the state after one more event of the room's stream."""
    seq = recorded.seq
    match recorded.event:
        case RoomOpened(name=name, visibility=visibility):
            return msgspec.structs.replace(state, head=seq, name=name, visibility=visibility)
        case MemberJoined(user=user, role=role):
            members = state.members | {user: Member(role, seq)}
            left = {known: at for known, at in state.left.items() if known != user}
            return msgspec.structs.replace(state, head=seq, members=members, left=left)
        case RoleChanged(user=user, role=role):
            members = state.members | {user: Member(role, state.members[user].since)}
            return msgspec.structs.replace(state, head=seq, members=members)
        case MemberLeft(user=user):
            members = {known: member for known, member in state.members.items() if known != user}
            return msgspec.structs.replace(state, head=seq, members=members, left=state.left | {user: seq})
        case _:
            return msgspec.structs.replace(state, head=seq)


def visible_until(state: RoomState, user: str) -> int | None:
    """Return the last seq that `user` may read, or None where all of it is open to them.

    Members read everything, people who left read up to their last leave.

    Raises:
        RoomNotFound: there is no such room, or it is private and `user` was never in it.
        NotAMember: the room is public and `user` was never in it.
    """
    end = readable_until(state, user)
    if end == 0:
        _refuse_outsider(state)
    return end


def readable_until(state: RoomState, user: str) -> int | None:
    """Return the last seq that `user` may read: None without end for a member, 0 for somebody who never was one."""
    return None if user in state.members else state.left.get(user, 0)


def require_member(state: RoomState, user: str) -> None:
    """Do nothing where `user` is a member.

    Raises:
        RoomNotFound: there is no such room, or it is not public.
        NotAMember: the room is public.
    """
    if user not in state.members:
        _refuse_outsider(state)


def _open(state: RoomState, command: OpenRoom, by: str) -> list[Event]:
    if state.exists:
        raise RoomExists(room=command.room)
    others = [user for user in dict.fromkeys(command.members) if user != by]
    if command.visibility == "direct" and len(others) != 1:
        raise NotAllowed(problem="A direct room has exactly two members.")
    return [
        RoomOpened(name=command.name, visibility=command.visibility),
        MemberJoined(user=by, role="owner"),
        *(MemberJoined(user=user) for user in others),
    ]


def _join(state: RoomState, command: JoinRoom, by: str) -> list[Event]:
    if by in state.members:
        return []
    if not state.exists and command.create:
        return [RoomOpened(name=command.room), MemberJoined(user=by, role="owner")]
    if state.visibility != "public" or not state.exists:
        raise RoomNotFound(room=command.room)
    # Whoever comes first into a room that everybody has left owns it, or nobody ever would again.
    return [MemberJoined(user=by, role="member" if state.members else "owner")]


def _leave(state: RoomState, by: str) -> list[Event]:
    if by in state.left:
        return []
    require_member(state, by)
    heir = _heir(state, by)
    handover: list[Event] = [RoleChanged(user=heir, role="owner")] if heir else []
    return [*handover, MemberLeft(user=by)]


def _heir(state: RoomState, leaving: str) -> str | None:
    """Return who becomes the owner when the last owner leaves: the longest-serving moderator, else member."""
    if _role(state, leaving) != "owner":
        return None
    others = {user: member for user, member in state.members.items() if user != leaving}
    if not others or any(member.role == "owner" for member in others.values()):
        return None
    return min(others, key=lambda user: (others[user].role != "moderator", others[user].since, user))


def _post(state: RoomState, command: PostMessage, by: str) -> list[Event]:
    require_member(state, by)
    return [
        MessagePosted(
            author=by,
            content=command.content,
            ref=command.ref,
            reply_to=command.reply_to,
            mentions=tuple(dict.fromkeys(command.mentions)),
        )
    ]


def _role(state: RoomState, user: str) -> Role | None:
    member = state.members.get(user)
    return member.role if member else None


def _refuse_outsider(state: RoomState) -> NoReturn:
    if not state.exists or state.visibility != "public":
        raise RoomNotFound(room=state.room)
    raise NotAMember(room=state.room)
