"""The commands of legal holds and retention.

What they do is recorded in the name of whoever runs them (`service.config.operator`).
"""

from typing import TYPE_CHECKING, Any

import msgspec

from service.audit.privacy.legal_holds import Hold, in_force, place, release
from service.audit.privacy.retention import expire, keep_for
from service.cli.output import print_json, say
from service.cli.run_on_log import work
from service.config.operator import operator
from service.config.settings import Settings
from service.eventstore.serializer import EventSerializer
from service.protocol.events import timestamp

if TYPE_CHECKING:
    from service.cli.run_on_log import Connection


class Rule(msgspec.Struct, frozen=True):
    """For how many days a room keeps what is said, and did before; null is for ever."""

    room: str
    days: int | None
    before: int | None


class ShownHold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hold as the commands print it: on a room or a person."""

    room: str = ""
    person: str = ""
    position: int
    at: str
    by: str
    ground: str


def run_hold(settings: Settings, held: str, ground: str) -> int:
    """`onrecord audit hold`: the hold as JSON; 1 where it stands already, or what is to be held was never here."""

    async def run(connection: "Connection", _serializer: EventSerializer) -> int:
        print_json(_shown(await place(connection, held, ground=ground, **_how(settings))))
        return 0

    return work(settings, run)


def run_release(settings: Settings, held: str, ground: str) -> int:
    """`onrecord audit release`: its event as JSON; 1 where there is no such hold."""

    async def run(connection: "Connection", _serializer: EventSerializer) -> int:
        print_json(_shown(await release(connection, held, ground=ground, **_how(settings))))
        return 0

    return work(settings, run)


def run_holds(settings: Settings) -> int:
    """`onrecord audit holds`: the holds in force, one a line."""

    async def run(connection: "Connection", serializer: EventSerializer) -> int:
        for hold in await in_force(connection, serializer, settings.database_timeout):
            print_json(_shown(hold))
        return 0

    return work(settings, run)


def run_retention(settings: Settings, room: str, days: int | None) -> int:
    """`onrecord audit retention`: the rule as JSON; 1 where there is no such room."""

    async def run(connection: "Connection", serializer: EventSerializer) -> int:
        print_json(Rule(room, days, await keep_for(connection, serializer, room, days, **_how(settings))))
        if days is not None:
            say(
                f"What was said in {room} before is covered too, from the next look on; "
                f"see docs/guides/erase-a-person.md."
            )
        return 0

    return work(settings, run)


def run_expire(settings: Settings) -> int:
    """`onrecord audit expire`: what was made unreadable, a JSON object a room."""

    async def run(connection: "Connection", serializer: EventSerializer) -> int:
        for done in await expire(connection, serializer, **_how(settings)):
            print_json(done)
        return 0

    return work(settings, run)


def _how(settings: Settings) -> dict[str, Any]:
    return {"by": operator(settings.operator), "deadline": settings.database_timeout}


def _shown(hold: Hold) -> ShownHold:
    kind, _, name = hold.held.partition(":")
    what = {"room": name} if kind == "room" else {"person": name}
    return ShownHold(**what, position=hold.position, at=timestamp(hold.at), by=hold.by, ground=hold.ground)
