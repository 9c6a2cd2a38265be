"""Permissions in a room: who may act, and who may read. The table is in `docs/protocol.md`. Pure.

Invariant: a user who may not know of a room gets the same answer as for a room that does not exist.
"""

from datetime import datetime
from typing import NoReturn

from service.domain.events import Role
from service.domain.room_state import RoomState
from service.errors import Banned, LastOwner, Muted, NotAllowed, NotAMember, RoomIsArchived, RoomNotFound

RANK: dict[Role, int] = {"member": 1, "moderator": 2, "owner": 3}
"""A higher role includes the permissions of lower ones. In a direct room all members rank equally."""


def visible_until(state: RoomState, user: str, at: datetime) -> int | None:
    """Return the last seq that `user` may read, or None if the user may read all of it.

    Members read everything, people who left read up to their last leave, banned people nothing.

    Raises:
        RoomNotFound: the room does not exist, or `user` may not know of it.
        Banned: the room is public and `user` is banned.
        NotAMember: `user` may know of the room and was never a member.
    """
    end = readable_until(state, user, at)
    if end == 0:
        refuse_outsider(state, user, at)
    return end


def readable_until(state: RoomState, user: str, at: datetime) -> int | None:
    """Return the last seq that `user` may read: None (no limit) for a member, 0 if nothing may be read."""
    if user in state.members:
        return None
    return 0 if state.is_banned(user, at) else state.left.get(user, 0)


def require_member(state: RoomState, user: str, at: datetime) -> None:
    """Check that `user` is a member.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
    """
    if user not in state.members:
        refuse_outsider(state, user, at)


def refuse_outsider(state: RoomState, user: str, at: datetime) -> NoReturn:
    """Raise the error that reveals no more of a room than a non-member may know.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
    """
    if not state.exists or (state.visibility != "public" and user not in state.invited):
        raise RoomNotFound(room=state.room)
    if state.is_banned(user, at):
        raise Banned(room=state.room)
    raise NotAMember(room=state.room)


def require_active(state: RoomState, user: str, at: datetime) -> None:
    """Check that `user` is a member and the room is not archived.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
        RoomIsArchived: the room is archived.
    """
    require_member(state, user, at)
    if state.archived:
        raise RoomIsArchived(room=state.room)


def require_voice(state: RoomState, user: str, at: datetime) -> None:
    """Check that `user` may post now.

    Raises:
        RoomNotFound, Banned, NotAMember, RoomIsArchived: as for `require_active`.
        Muted: the user is muted.
    """
    require_active(state, user, at)
    if state.is_muted(user, at):
        raise Muted(room=state.room)


def require_role(state: RoomState, user: str, least: Role) -> None:
    """Check that the member `user` has a role or a higher one; all members of a direct room pass.

    Raises:
        NotAllowed: the role is too low.
    """
    if state.visibility != "direct" and not ranks(state, user, least):
        raise NotAllowed(problem=f"Only {'an owner' if least == 'owner' else 'a moderator or an owner'} may.")


def require_roles_at_all(state: RoomState) -> None:
    """Check that the room has changeable membership and roles.

    Raises:
        NotAllowed: the room is direct.
    """
    if state.visibility == "direct":
        raise NotAllowed(problem="A direct room has the members it was opened with, all of them equal.")


def require_authority(state: RoomState, by: str, over: str) -> None:
    """Check that `by` is an owner, or a moderator who ranks above `over`.

    Raises:
        NotAllowed: `by` is neither.
    """
    require_role(state, by, "moderator")
    role = state.role(over)
    if role is not None and not ranks(state, by, "owner") and RANK[role] >= RANK["moderator"]:
        raise NotAllowed(problem="A moderator may act upon members only.")


def require_other_owner(state: RoomState, user: str) -> None:
    """Check that the room has an owner other than `user`.

    Raises:
        LastOwner: `user` is the only owner.
    """
    if state.owners() == [user]:
        raise LastOwner(room=state.room)


def ranks(state: RoomState, user: str, least: Role) -> bool:
    """Return whether `user` is a member with this role or a higher one."""
    role = state.role(user)
    return role is not None and RANK[role] >= RANK[least]
