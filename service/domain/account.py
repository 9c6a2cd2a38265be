"""An account: the display name, whether the person may connect, and the users that the person has blocked."""

from datetime import datetime
from typing import Any

import msgspec
from rpds import HashTrieSet

from service.domain.commands import NamePerson, SetBlock, SetSuspension
from service.domain.events import (
    Event,
    PersonErased,
    PersonNamed,
    PersonRestored,
    PersonSuspended,
    Recorded,
    UserBlocked,
    UserUnblocked,
)
from service.domain.streams import WHOLE_STREAM
from service.errors import AccountErased, AccountSuspended, NotAllowed

NO_USERS: "HashTrieSet[str]" = HashTrieSet()


class PersonState(msgspec.Struct, frozen=True):
    """An account as of `head`, the seq of its stream; `name` is None if none was given or the person was erased.

    `unblocked` are the users who were blocked once and are not now. An erased person has neither. `issued_at` is when
    the token was issued that has the name.
    """

    head: int = 0
    name: str | None = None
    suspended: bool = False
    erased: bool = False
    blocked: "HashTrieSet[str]" = NO_USERS
    unblocked: "HashTrieSet[str]" = NO_USERS
    issued_at: datetime | None = None


def decide(state: PersonState, command: NamePerson, by: str) -> list[Event]:
    """Return the event of a new display name, or no event if the name is unchanged, or an older token has it.

    Devices connect with tokens of different age, so that the older ones would put an earlier name back.
    """
    known, given = state.issued_at, command.issued_at
    outdated = known is not None and (given is None or given <= known)
    if command.name == state.name or outdated:
        return []
    return [PersonNamed(user=by, name=command.name, issued_at=given)]


def decide_suspension(state: PersonState, command: SetSuspension) -> list[Event]:
    """Return the event of a suspension or of its end, or no event if the account is in that state already.

    Raises:
        AccountErased: the person was erased.
    """
    if state.erased:
        raise AccountErased
    if command.suspended == state.suspended:
        return []
    event = PersonSuspended if command.suspended else PersonRestored
    return [event(user=command.user, reason=command.reason)]


def decide_block(state: PersonState, command: SetBlock, by: str, most: int) -> list[Event]:
    """Return the event of a block or of its end, or no event if nothing changes.

    `most` is the number of different users that one person may block, those unblocked since included: it bounds what a
    node reads and keeps of an account.

    Raises:
        NotAllowed: the sender named themselves, or has blocked as many users as allowed.
    """
    if command.user == by:
        raise NotAllowed(problem="You cannot block yourself.")
    if command.blocked == (command.user in state.blocked):
        return []
    if not command.blocked:
        return [UserUnblocked(user=command.user)]
    if command.user not in state.unblocked and len(state.blocked) + len(state.unblocked) >= most:
        raise NotAllowed(
            problem=f"You have blocked {most} users, those unblocked since included: no more can be."
        )
    return [UserBlocked(user=command.user)]


GUARD = (WHOLE_STREAM,)
"""The subjects that each decision about an account relied on: nodes keep the state that follows from it."""


def require_standing(state: PersonState) -> None:
    """Raise unless the person may connect.

    Raises:
        AccountErased: the person was erased.
        AccountSuspended: the person is suspended.
    """
    if state.erased:
        raise AccountErased
    if state.suspended:
        raise AccountSuspended


def evolve(state: PersonState, recorded: Recorded) -> PersonState:
    """Return the state after one more event of the person's stream."""
    return msgspec.structs.replace(state, head=recorded.seq, **_change(state, recorded.event))


def with_block(state: PersonState, command: SetBlock, head: int) -> PersonState:
    """Return the state after the event of a block or of its end, which was recorded as `head`."""
    return msgspec.structs.replace(state, head=head, **_block(state, command.user, blocked=command.blocked))


def _block(state: PersonState, user: str, *, blocked: bool) -> dict[str, Any]:
    if blocked:
        return {"blocked": state.blocked.insert(user), "unblocked": state.unblocked.discard(user)}
    return {"blocked": state.blocked.discard(user), "unblocked": state.unblocked.insert(user)}


def _change(state: PersonState, event: Event) -> dict[str, Any]:
    match event:
        case PersonNamed(name=name, issued_at=issued_at):
            return {"name": name, "issued_at": issued_at}
        case PersonSuspended():
            return {"suspended": True}
        case PersonRestored():
            return {"suspended": False}
        case UserBlocked(user=user) | UserUnblocked(user=user):
            return _block(state, user, blocked=isinstance(event, UserBlocked))
        case PersonErased():
            return {
                "name": None,
                "issued_at": None,
                "erased": True,
                "blocked": NO_USERS,
                "unblocked": NO_USERS,
            }
        case _:
            return {}
