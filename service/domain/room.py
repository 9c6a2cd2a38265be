"""A room: the events that a command leads to (`decide`), what that relies on (`guard`), and the next state (`evolve`).

The state that `decide` gets may be slightly stale. `guard` names the subjects that the decision relied on, and the log
appends the events only if no event about these subjects came after that state (`chat_append`). The rules of commands
on the room as a whole are here, the others in `membership` and `message`; `permissions` has the checks that they share.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from service.domain import membership, message
from service.domain.commands import (
    AddReaction,
    ArchiveRoom,
    BanMember,
    ChangeRole,
    DeleteMessage,
    EditMessage,
    InviteMember,
    JoinRoom,
    LeaveRoom,
    MemberCommand,
    MessageCommand,
    MuteMember,
    OpenRoom,
    PinMessage,
    PostMessage,
    RemoveMember,
    RemoveReaction,
    ReopenRoom,
    RoomCommand,
    UnbanMember,
    UnmuteMember,
    UnpinMessage,
    UpdateRoom,
)
from service.domain.content.names import usable_room_name, usable_topic
from service.domain.events import (
    Event,
    MemberInvited,
    MemberJoined,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomReopened,
    RoomTopicChanged,
)
from service.domain.message import MessageSummary
from service.domain.permissions import (
    readable_until,
    refuse_direct_room,
    require_active,
    require_member,
    require_role,
    visible_until,
)
from service.domain.room_state import Member, RoomState, evolve
from service.domain.streams import (
    EVERY_USER,
    SETTINGS,
    direct_room,
    is_direct_room,
    message_subject,
    user_subject,
)
from service.errors import NotAllowed, RoomExists

__all__ = [
    "Member",
    "RoomState",
    "decide",
    "evolve",
    "guard",
    "readable_until",
    "require_member",
    "visible_until",
]

FEWEST_DIRECT = 2
MOST_DIRECT = 8
"""Greatest number of members of a direct room, its creator included."""


def _open_room(state: RoomState, command: OpenRoom, by: str, _at: datetime) -> list[Event]:
    """Create a room, unless it exists; the direct room of the same people counts as existing."""
    members = list(dict.fromkeys((by, *command.members)))
    _check_id(command, members)
    name = usable_room_name(command.name)
    if command.visibility == "direct":
        return _open_direct(state, command, name, members, by)
    if state.exists:
        raise RoomExists(room=command.room)
    return [
        RoomOpened(name=name, visibility=command.visibility),
        MemberJoined(user=by, role="owner"),
        *_enter(command, members[1:]),
    ]


def _enter(command: OpenRoom, users: list[str]) -> list[Event]:
    return [
        MemberInvited(user=user) if user in command.invited else MemberJoined(user=user) for user in users
    ]


def _open_direct(state: RoomState, command: OpenRoom, name: str, members: list[str], by: str) -> list[Event]:
    """Create a direct room, or enter the one that these people have: who opens it accepts the invitation to it."""
    if not FEWEST_DIRECT <= len(members) <= MOST_DIRECT:
        raise NotAllowed(
            problem=f"A direct room has {FEWEST_DIRECT} to {MOST_DIRECT} members, its opener among them, "
            f"not {len(members)}."
        )
    if state.visibility == "direct" and _is_of(state, members):
        return [] if by in state.members else [MemberJoined(user=by)]
    if state.exists:
        raise RoomExists(room=command.room)
    return [
        RoomOpened(name=name, visibility="direct"),
        MemberJoined(user=by),
        *_enter(command, members[1:]),
    ]


def _is_of(state: RoomState, people: list[str]) -> bool:
    """Return whether a direct room is that of these people; some of them may have declined its invitation."""
    return state.room == direct_room(people) or {*state.members, *state.invited} == set(people)


def _check_id(command: OpenRoom, members: list[str]) -> None:
    """Reserve the id of a direct room for its people: no other user may create a room of that id."""
    own = command.visibility == "direct" and command.room == direct_room(members)
    if is_direct_room(command.room) and not own:
        raise NotAllowed(problem="Ids of this form belong to direct rooms; leave roomId out.")


def _update_room(state: RoomState, command: UpdateRoom, by: str, at: datetime) -> list[Event]:
    """Change name and topic, both or neither."""
    require_active(state, by, at)
    if command.name is not None:
        require_role(state, by, "owner", "rename a room")
    require_role(state, by, "moderator", "change a room's topic")
    events: list[Event] = []
    if command.name is not None and command.name != state.name:
        name = usable_room_name(command.name)
        events += [RoomRenamed(name=name)] if name != state.name else []
    if command.topic is not None and command.topic != (state.topic or ""):
        topic = usable_topic(command.topic)
        events += [RoomTopicChanged(topic=topic)] if topic != (state.topic or "") else []
    return events


def _archive_room(state: RoomState, _command: ArchiveRoom, by: str, at: datetime) -> list[Event]:
    """Archive a room: it can be read and left, and nothing else."""
    require_member(state, by, at)
    refuse_direct_room(state)
    require_role(state, by, "owner", "archive a room")
    return [] if state.archived else [RoomArchived()]


def _reopen_room(state: RoomState, _command: ReopenRoom, by: str, at: datetime) -> list[Event]:
    """Reopen an archived room."""
    require_member(state, by, at)
    refuse_direct_room(state)
    require_role(state, by, "owner", "reopen a room")
    return [RoomReopened()] if state.archived else []


NO_MESSAGE = MessageSummary()

_ABOUT_ROOMS: dict[type[RoomCommand], Callable[[RoomState, Any, str, datetime], list[Event]]] = {
    OpenRoom: _open_room,
    UpdateRoom: _update_room,
    ArchiveRoom: _archive_room,
    ReopenRoom: _reopen_room,
    JoinRoom: membership.join,
    LeaveRoom: membership.leave,
    InviteMember: membership.invite,
    RemoveMember: membership.remove,
    BanMember: membership.ban,
    UnbanMember: membership.unban,
    MuteMember: membership.mute,
    UnmuteMember: membership.unmute,
    ChangeRole: membership.change_role,
}
_ABOUT_MESSAGES: dict[
    type[RoomCommand], Callable[[RoomState, Any, str, datetime, MessageSummary], list[Event]]
] = {
    PostMessage: message.post,
    EditMessage: message.edit,
    DeleteMessage: message.delete,
    AddReaction: message.react,
    RemoveReaction: message.unreact,
    PinMessage: message.pin,
    UnpinMessage: message.unpin,
}


def decide(
    state: RoomState, command: RoomCommand, by: str, at: datetime, about: MessageSummary = NO_MESSAGE
) -> list[Event]:
    """Return the events that `command`, sent by the user `by`, leads to; an empty list if nothing changes.

    `at` is the time (UTC) that bans and mutes are measured by, `about` the message that a `MessageCommand` names.

    Raises:
        Refusal: the room's rules forbid it.
    """
    if (rule := _ABOUT_ROOMS.get(type(command))) is not None:
        return rule(state, command, by, at)
    if (on_message := _ABOUT_MESSAGES.get(type(command))) is not None:
        return on_message(state, command, by, at, about)
    raise TypeError(f"a room cannot decide {type(command).__name__}")


def guard(state: RoomState, command: RoomCommand, by: str) -> tuple[str, ...]:
    """Return the subjects that `decide` relied on: no event about them may have come after `state.head`."""
    if isinstance(command, OpenRoom):
        return (SETTINGS, EVERY_USER) if state.exists else (SETTINGS,)
    if _depends_on_all_members(state, command, by):
        return (SETTINGS, EVERY_USER)
    subjects = [SETTINGS, user_subject(by)]
    match command:
        case JoinRoom():
            # A room is empty only after its last owner has left; then the first to join becomes the owner.
            subjects += map(user_subject, state.owners())
        case MemberCommand(user=user):
            subjects.append(user_subject(user))
        case MessageCommand(message=number):
            subjects.append(message_subject(number))
        case _:
            pass
    return tuple(dict.fromkeys(subjects))


def _depends_on_all_members(state: RoomState, command: RoomCommand, by: str) -> bool:
    """Return whether the decision depends on the other owners, or on whether the room has members."""
    match command:
        case JoinRoom():
            return state.exists and not state.members
        case LeaveRoom():
            return state.role(by) == "owner"
        case MemberCommand(user=user):
            return state.role(user) == "owner"
        case _:
            return False
