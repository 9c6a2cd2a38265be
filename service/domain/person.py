"""A person: what they are called. All pure."""

import msgspec

from service.domain.commands import NamePerson
from service.domain.events import Event, PersonNamed, Recorded
from service.domain.streams import user_subject


class PersonState(msgspec.Struct, frozen=True):
    """A person as of `head`, the seq of the person's stream; `name` is None where none was given or it was erased."""

    head: int = 0
    name: str | None = None


def decide(state: PersonState, command: NamePerson, by: str) -> list[Event]:
    """Return the naming, or nothing where that is the name already."""
    if command.name == state.name:
        return []
    return [PersonNamed(user=by, name=command.name)]


def guard(by: str) -> tuple[str, ...]:
    """Return the subject that `decide` relied on."""
    return (user_subject(by),)


def evolve(state: PersonState, recorded: Recorded) -> PersonState:
    """Return the state after one more event of the person's stream."""
    match recorded.event:
        case PersonNamed(name=name):
            return PersonState(head=recorded.seq, name=name)
        case _:
            return msgspec.structs.replace(state, head=recorded.seq)
