"""A room: the events that a command leads to (`decide`), what that relies on (`guard`), and the next state (`evolve`).

The state that `decide` gets may be slightly stale. `guard` names the subjects that the decision relied on, and the log
appends the events only if no event about these subjects came after that state (`chat_append`). The rules of commands
are in `room_lifecycle`, `membership` and `message`; `permissions` has the checks that they share.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from service.domain import membership, message, room_lifecycle
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
from service.domain.events import Event
from service.domain.message import MessageSummary
from service.domain.permissions import readable_until, require_member, visible_until
from service.domain.room_state import Member, RoomState, evolve
from service.domain.streams import EVERY_USER, SETTINGS, message_subject, user_subject

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

NO_MESSAGE = MessageSummary()

_ABOUT_ROOMS: dict[type[RoomCommand], Callable[[RoomState, Any, str, datetime], list[Event]]] = {
    OpenRoom: room_lifecycle.open_room,
    UpdateRoom: room_lifecycle.update_room,
    ArchiveRoom: room_lifecycle.archive_room,
    ReopenRoom: room_lifecycle.reopen_room,
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
