"""Membership: joining, leaving, inviting, and what moderators do.

Invariant: a room that is not direct and has members has an owner. The last owner may leave, which makes another member
the owner; no command takes the role from the last owner otherwise.
"""

from datetime import UTC, datetime

from service.domain.commands import (
    BanMember,
    ChangeRole,
    InviteMember,
    JoinRoom,
    LeaveRoom,
    ModerateMember,
    MuteMember,
    RemoveMember,
    UnbanMember,
    UnmuteMember,
)
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
    RoleChanged,
    RoomOpened,
)
from service.domain.permissions import (
    refuse_direct_room,
    refuse_outsider,
    require_active,
    require_authority,
    require_other_owner,
    require_role,
)
from service.domain.room_state import RoomState
from service.domain.streams import is_direct_room
from service.errors import Banned, NotAllowed, RoomIsArchived, RoomNotFound, UserNotFound


def join(state: RoomState, command: JoinRoom, by: str, at: datetime) -> list[Event]:
    """Become a member of a room that is public or to which the user is invited."""
    if by in state.members:
        return []
    if not state.exists and command.create and not is_direct_room(command.room):
        return [RoomOpened(name=command.room), MemberJoined(user=by, role="owner")]
    if not state.exists or (state.visibility != "public" and by not in state.invited):
        raise RoomNotFound(room=command.room)
    if state.is_banned(by, at):
        raise Banned(room=command.room)
    if state.archived:
        raise RoomIsArchived(room=command.room)
    # The first to join an empty room becomes its owner; otherwise the room would stay without one.
    return [MemberJoined(user=by, role="member" if state.members else "owner")]


def leave(state: RoomState, _command: LeaveRoom, by: str, at: datetime) -> list[Event]:
    """End the sender's membership, or decline an invitation; another member becomes owner if the last owner leaves."""
    if by in state.members:
        refuse_direct_room(state)
        heir = successor(state, by)
        handover: list[Event] = [RoleChanged(user=heir, role="owner")] if heir else []
        return [*handover, MemberLeft(user=by)]
    if by in state.invited:
        return [MemberLeft(user=by)]
    if by not in state.left or state.is_banned(by, at):
        refuse_outsider(state, by, at)
    return []


def invite(state: RoomState, command: InviteMember, by: str, at: datetime) -> list[Event]:
    """Allow a user to join: members may invite into a public room, moderators into a private one.

    The invitation of another author is recorded too: the invited user may have blocked the first one, which `by` must
    not learn from the answer.
    """
    require_active(state, by, at)
    refuse_direct_room(state)
    if state.visibility != "public":
        require_role(state, by, "moderator", "invite people into a private room")
    if command.user in state.members or state.invited.get(command.user) == by:
        return []
    if state.is_banned(command.user, at):
        raise NotAllowed(problem=f"{command.user} is banned from {state.room}; lift the ban first.")
    return [MemberInvited(user=command.user)]


def remove(state: RoomState, command: RemoveMember, by: str, at: datetime) -> list[Event]:
    """Remove a member, or withdraw an invitation."""
    _require_moderator(state, command, by, at, "remove people")
    target = command.user
    if target in state.members:
        _refuse_oneself(state, command, by)
    elif target not in state.invited:
        if target in state.left or target in state.banned:
            return []
        raise UserNotFound(room=state.room, user=target)
    return [MemberRemoved(user=target, reason=command.reason)]


def ban(state: RoomState, command: BanMember, by: str, at: datetime) -> list[Event]:
    """Ban a user, member or not."""
    _require_moderator(state, command, by, at, "ban people")
    _refuse_oneself(state, command, by)
    until = _future(command.until, at)
    if state.is_banned(command.user, at) and state.banned[command.user] == until:
        return []
    # A separate event withdraws an invitation, so that a ban need not be shown to users who do not know of the room.
    withdrawn: list[Event] = [MemberRemoved(user=command.user)] if command.user in state.invited else []
    return [*withdrawn, MemberBanned(user=command.user, until=until, reason=command.reason)]


def unban(state: RoomState, command: UnbanMember, by: str, at: datetime) -> list[Event]:
    """Lift a ban; this does not restore the membership or an invitation."""
    _require_moderator(state, command, by, at, "lift bans of people")
    if not state.is_banned(command.user, at):
        return []
    return [MemberUnbanned(user=command.user, reason=command.reason)]


def mute(state: RoomState, command: MuteMember, by: str, at: datetime) -> list[Event]:
    """Mute a member; leaving and joining again does not end it."""
    _require_moderator(state, command, by, at, "mute people")
    _require_target(state, command.user)
    _refuse_oneself(state, command, by)
    until = _future(command.until, at)
    if state.is_muted(command.user, at) and state.muted[command.user] == until:
        return []
    return [MemberMuted(user=command.user, until=until, reason=command.reason)]


def unmute(state: RoomState, command: UnmuteMember, by: str, at: datetime) -> list[Event]:
    """Lift a mute."""
    _require_moderator(state, command, by, at, "unmute people")
    if not state.is_muted(command.user, at):
        return []
    return [MemberUnmuted(user=command.user, reason=command.reason)]


def change_role(state: RoomState, command: ChangeRole, by: str, at: datetime) -> list[Event]:
    """Change the role of a member, or of the sender."""
    require_active(state, by, at)
    refuse_direct_room(state)
    require_role(state, by, "owner", "change roles")
    _require_target(state, command.user)
    if state.role(command.user) == command.role:
        return []
    require_other_owner(state, command.user)
    return [RoleChanged(user=command.user, role=command.role, reason=command.reason)]


def successor(state: RoomState, leaving: str) -> str | None:
    """Return the next owner if the last one leaves: the longest-serving moderator, else member."""
    others = {user: member for user, member in state.members.items() if user != leaving}
    if not others or state.owners() != [leaving]:
        return None
    return min(others, key=lambda user: (others[user].role != "moderator", others[user].since, user))


def _require_moderator(state: RoomState, command: ModerateMember, by: str, at: datetime, what: str) -> None:
    require_active(state, by, at)
    refuse_direct_room(state)
    require_authority(state, by, command.user, what)


def _require_target(state: RoomState, user: str) -> None:
    if user not in state.members:
        raise UserNotFound(room=state.room, user=user)


def _refuse_oneself(state: RoomState, command: ModerateMember, by: str) -> None:
    if command.user == by:
        require_other_owner(state, by)
        raise NotAllowed(problem="This command is for other users; to leave, send room:leave.")


def _future(until: datetime | None, at: datetime) -> datetime | None:
    if until is None:
        return None
    if until <= at:
        raise NotAllowed(problem="The time in until has passed.")
    return until.astimezone(UTC)
