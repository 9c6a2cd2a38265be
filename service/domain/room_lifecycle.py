"""A room as a whole: creating, renaming, setting the topic, archiving and reopening."""

from datetime import datetime

from service.domain.commands import ArchiveRoom, OpenRoom, ReopenRoom, UpdateRoom
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
from service.domain.permissions import refuse_direct_room, require_active, require_member, require_role
from service.domain.room_state import RoomState
from service.domain.streams import direct_room, is_direct_room
from service.errors import NotAllowed, RoomExists

FEWEST_DIRECT = 2
MOST_DIRECT = 8
"""Greatest number of members of a direct room, its creator included."""


def open_room(state: RoomState, command: OpenRoom, by: str, _at: datetime) -> list[Event]:
    """Create a room, unless it exists; the direct room of the same people counts as existing."""
    members = list(dict.fromkeys((by, *command.members)))
    _check_id(command, members)
    if command.visibility == "direct":
        return _open_direct(state, command, members, by)
    if state.exists:
        raise RoomExists(room=command.room)
    return [
        RoomOpened(name=command.name, visibility=command.visibility),
        MemberJoined(user=by, role="owner"),
        *_enter(command, members[1:]),
    ]


def _enter(command: OpenRoom, users: list[str]) -> list[Event]:
    return [
        MemberInvited(user=user) if user in command.invited else MemberJoined(user=user) for user in users
    ]


def _open_direct(state: RoomState, command: OpenRoom, members: list[str], by: str) -> list[Event]:
    """Create a direct room, or enter the one that these people have: who opens it accepts the invitation to it."""
    if not FEWEST_DIRECT <= len(members) <= MOST_DIRECT:
        raise NotAllowed(problem=f"A direct room has {FEWEST_DIRECT} to {MOST_DIRECT} members.")
    if state.visibility == "direct" and _is_of(state, members):
        return [] if by in state.members else [MemberJoined(user=by)]
    if state.exists:
        raise RoomExists(room=command.room)
    return [
        RoomOpened(name=command.name, visibility="direct"),
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


def update_room(state: RoomState, command: UpdateRoom, by: str, at: datetime) -> list[Event]:
    """Change name and topic, both or neither."""
    require_active(state, by, at)
    if command.name is not None:
        require_role(state, by, "owner")
    require_role(state, by, "moderator")
    events: list[Event] = []
    if command.name is not None and command.name != state.name:
        events.append(RoomRenamed(name=command.name))
    if command.topic is not None and command.topic != (state.topic or ""):
        events.append(RoomTopicChanged(topic=command.topic))
    return events


def archive_room(state: RoomState, _command: ArchiveRoom, by: str, at: datetime) -> list[Event]:
    """Archive a room: it can be read and left, and nothing else."""
    require_member(state, by, at)
    refuse_direct_room(state)
    require_role(state, by, "owner")
    return [] if state.archived else [RoomArchived()]


def reopen_room(state: RoomState, _command: ReopenRoom, by: str, at: datetime) -> list[Event]:
    """Reopen an archived room."""
    require_member(state, by, at)
    refuse_direct_room(state)
    require_role(state, by, "owner")
    return [RoomReopened()] if state.archived else []
