"""An account: the display name, and whether the person may connect."""

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
    """An account as of `head`, the seq of its stream; `name` is None if none was given or the person was erased."""

    head: int = 0
    name: str | None = None
    suspended: bool = False
    erased: bool = False


def decide(state: PersonState, command: NamePerson, by: str) -> list[Event]:
    """Return the event of a new display name, or no event if the name is unchanged."""
    if command.name == state.name:
        return []
    return [PersonNamed(user=by, name=command.name)]


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


def guard(by: str) -> tuple[str, ...]:
    """Return the subject that `decide` relied on."""
    return (user_subject(by),)


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
