"""Permissions: which role may do what in a room, and how far a user may read (`docs/reference/protocol.md`).

Invariant: a user who may not know that a room exists gets the same error as for a room that does not exist.
"""

from datetime import datetime
from typing import NoReturn

from service.domain.events import Role
from service.domain.room_state import RoomState
from service.errors import Banned, LastOwner, Muted, NotAllowed, NotAMember, RoomIsArchived, RoomNotFound

RANK: dict[Role, int] = {"member": 1, "moderator": 2, "owner": 3}
"""A higher role may do all that a lower one may. In a direct room all members are equal."""


def visible_until(state: RoomState, user: str, at: datetime) -> int | None:
    """Return the last seq that `user` may read, or None if all of the room is readable.

    Members read everything, former members up to their last leave, banned users nothing.

    Raises:
        RoomNotFound: there is no such room, or `user` may not know that it exists.
        Banned: the room is public and `user` is banned.
        NotAMember: `user` may know that the room exists and was never a member.
    """
    end = readable_until(state, user, at)
    if end == 0:
        refuse_outsider(state, user, at)
    return end


def readable_until(state: RoomState, user: str, at: datetime) -> int | None:
    """Return the last seq that `user` may read: None for a member (no limit), 0 for a user who may read nothing."""
    if user in state.members:
        return None
    return 0 if state.is_banned(user, at) else state.left.get(user, 0)


def require_member(state: RoomState, user: str, at: datetime) -> None:
    """Raise unless `user` is a member.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
    """
    if user not in state.members:
        refuse_outsider(state, user, at)


def refuse_outsider(state: RoomState, user: str, at: datetime) -> NoReturn:
    """Raise the error that a user who is not a member gets; it reveals a room only to users who may know of it.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
    """
    if not state.exists or (state.visibility != "public" and user not in state.invited):
        raise RoomNotFound(room=state.room)
    if state.is_banned(user, at):
        raise Banned(room=state.room)
    raise NotAMember(room=state.room)


def require_active(state: RoomState, user: str, at: datetime) -> None:
    """Raise unless `user` is a member and the room is not archived.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
        RoomIsArchived: the room is archived; nothing in it changes until an owner reopens it.
    """
    require_member(state, user, at)
    if state.archived:
        raise RoomIsArchived(room=state.room)


def require_voice(state: RoomState, user: str, at: datetime) -> None:
    """Raise unless `user` may post now.

    Raises:
        RoomNotFound, Banned, NotAMember, RoomIsArchived: as for `require_active`.
        Muted: a moderator has muted `user`.
    """
    require_active(state, user, at)
    if state.is_muted(user, at):
        raise Muted(room=state.room)


def require_role(state: RoomState, user: str, least: Role, what: str) -> None:
    """Raise unless the member `user` has at least the role `least`; a direct room has no roles, so it never raises.

    `what` ends the sentence "Only an owner may ...".

    Raises:
        NotAllowed: the role is too low.
    """
    if state.visibility != "direct" and not ranks(state, user, least):
        allowed = "an owner" if least == "owner" else "a moderator or an owner"
        raise NotAllowed(problem=f"Only {allowed} may {what}.")


def refuse_direct_room(state: RoomState) -> None:
    """Raise if the room is direct: its members are equal, and they never change.

    Raises:
        NotAllowed: the room is direct.
    """
    if state.visibility == "direct":
        raise NotAllowed(problem="A direct room has the members it was opened with, all of them equal.")


def require_authority(state: RoomState, by: str, over: str, what: str) -> None:
    """Raise unless `by` is an owner, or a moderator who ranks above `over`; `what` is as for `require_role`.

    Raises:
        NotAllowed: `by` is neither.
    """
    require_role(state, by, "moderator", what)
    role = state.role(over)
    if role is not None and not ranks(state, by, "owner") and RANK[role] >= RANK["moderator"]:
        raise NotAllowed(problem=f"Only an owner may {what} who are moderators or owners.")


def require_other_owner(state: RoomState, user: str) -> None:
    """Raise unless the room has an owner besides `user`.

    Raises:
        LastOwner: `user` is the last owner.
    """
    if state.owners() == [user]:
        raise LastOwner(room=state.room)


def ranks(state: RoomState, user: str, least: Role) -> bool:
    """Return whether `user` is a member of this role or a higher one."""
    role = state.role(user)
    return role is not None and RANK[role] >= RANK[least]
