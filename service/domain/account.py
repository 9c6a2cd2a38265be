"""A person: their name, and whether they may sign in. Pure."""

import msgspec

from service.domain.commands import NamePerson, SetSuspension
from service.domain.events import (
    Event,
    PersonErased,
    PersonNamed,
    PersonRestored,
    PersonSuspended,
    Recorded,
)
from service.domain.streams import user_subject
from service.errors import AccountErased, AccountSuspended


class PersonState(msgspec.Struct, frozen=True):
    """A person as of `head`, the seq of the person's stream; `name` is None if none was given or it was erased."""

    head: int = 0
    name: str | None = None
    suspended: bool = False
    erased: bool = False


def decide(state: PersonState, command: NamePerson, by: str) -> list[Event]:
    """Return `PersonNamed`, or nothing if the name is unchanged."""
    if command.name == state.name:
        return []
    return [PersonNamed(user=by, name=command.name)]


def judge(state: PersonState, command: SetSuspension) -> list[Event]:
    """Return the suspension or its end, or nothing if that is already the state.

    Raises:
        AccountErased: the person is erased.
    """
    if state.erased:
        raise AccountErased
    if command.suspended == state.suspended:
        return []
    verdict = PersonSuspended if command.suspended else PersonRestored
    return [verdict(user=command.user, reason=command.reason)]


def guard(by: str) -> tuple[str, ...]:
    """Return the subject that `decide` read."""
    return (user_subject(by),)


def require_standing(state: PersonState) -> None:
    """Check that a person may sign in.

    Raises:
        AccountErased, AccountSuspended: the person is erased or suspended.
    """
    if state.erased:
        raise AccountErased
    if state.suspended:
        raise AccountSuspended


def evolve(state: PersonState, recorded: Recorded) -> PersonState:
    """Return the state after the next event of the person's stream."""
    return msgspec.structs.replace(state, head=recorded.seq, **_change(recorded.event))


def _change(event: Event) -> dict[str, str | bool | None]:
    match event:
        case PersonNamed(name=name):
            return {"name": name}
        case PersonSuspended():
            return {"suspended": True}
        case PersonRestored():
            return {"suspended": False}
        case PersonErased():
            return {"name": None, "erased": True}
        case _:
            return {}
