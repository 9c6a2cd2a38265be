"""Who may do what in a room, and who may read it. The table stands in `docs/reference/protocol.md`. All pure.

The rule: whoever may not know of a room is told the same of it as of one that is not there.
"""

from datetime import datetime
from typing import NoReturn

from service.domain.events import Role
from service.domain.room_state import RoomState
from service.errors import Banned, LastOwner, Muted, NotAllowed, NotAMember, RoomIsArchived, RoomNotFound

RANK: dict[Role, int] = {"member": 1, "moderator": 2, "owner": 3}
"""Higher may what lower may. In a direct room nobody ranks above another."""


def visible_until(state: RoomState, user: str, at: datetime) -> int | None:
    """Return the last seq that `user` may read, or None where all of it is open to them.

    Members read everything, people who left read up to their last leave, banned people nothing.

    Raises:
        RoomNotFound: there is no such room, or `user` may not know of it.
        Banned: the room is public and `user` may not be in it.
        NotAMember: `user` may know of it and was never in it.
    """
    end = readable_until(state, user, at)
    if end == 0:
        refuse_outsider(state, user, at)
    return end


def readable_until(state: RoomState, user: str, at: datetime) -> int | None:
    """Return the last seq that `user` may read: None without end for a member, 0 for somebody who may read nothing."""
    if user in state.members:
        return None
    return 0 if state.is_banned(user, at) else state.left.get(user, 0)


def require_member(state: RoomState, user: str, at: datetime) -> None:
    """Do nothing where `user` is a member.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
    """
    if user not in state.members:
        refuse_outsider(state, user, at)


def refuse_outsider(state: RoomState, user: str, at: datetime) -> NoReturn:
    """Tell somebody who is not in a room as much of it as they may know.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
    """
    if not state.exists or (state.visibility != "public" and user not in state.invited):
        raise RoomNotFound(room=state.room)
    if state.is_banned(user, at):
        raise Banned(room=state.room)
    raise NotAMember(room=state.room)


def require_active(state: RoomState, user: str, at: datetime) -> None:
    """Do nothing where `user` is a member and the room is not archived.

    Raises:
        RoomNotFound, Banned, NotAMember: as for `visible_until`.
        RoomIsArchived: nothing changes in it before an owner reopens it.
    """
    require_member(state, user, at)
    if state.archived:
        raise RoomIsArchived(room=state.room)


def require_voice(state: RoomState, user: str, at: datetime) -> None:
    """Do nothing where `user` may say something now.

    Raises:
        RoomNotFound, Banned, NotAMember, RoomIsArchived: as for `require_active`.
        Muted: a moderator has silenced them.
    """
    require_active(state, user, at)
    if state.is_muted(user, at):
        raise Muted(room=state.room)


def require_role(state: RoomState, user: str, least: Role) -> None:
    """Do nothing where the member `user` ranks high enough; among the equals of a direct room everybody does.

    Raises:
        NotAllowed: they do not.
    """
    if state.visibility != "direct" and not ranks(state, user, least):
        raise NotAllowed(problem=f"Only {'an owner' if least == 'owner' else 'a moderator or an owner'} may.")


def require_roles_at_all(state: RoomState) -> None:
    """Do nothing where people can come, go and have roles.

    Raises:
        NotAllowed: it is a direct room.
    """
    if state.visibility == "direct":
        raise NotAllowed(problem="A direct room has the members it was opened with, all of them equal.")


def require_authority(state: RoomState, by: str, over: str) -> None:
    """Do nothing where `by` is an owner, or a moderator who ranks above `over`.

    Raises:
        NotAllowed: neither.
    """
    require_role(state, by, "moderator")
    role = state.role(over)
    if role is not None and not ranks(state, by, "owner") and RANK[role] >= RANK["moderator"]:
        raise NotAllowed(problem="A moderator may act upon members only.")


def require_other_owner(state: RoomState, user: str) -> None:
    """Do nothing where the room has an owner beside `user`.

    Raises:
        LastOwner: it has not.
    """
    if state.owners() == [user]:
        raise LastOwner(room=state.room)


def ranks(state: RoomState, user: str, least: Role) -> bool:
    """Return whether `user` is a member of this role or a higher one."""
    role = state.role(user)
    return role is not None and RANK[role] >= RANK[least]
