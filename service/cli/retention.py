"""The commands of legal holds and retention.

Each change is recorded in the name of the operator who runs the command (`service.config.operator`).
"""

import argparse
from typing import TYPE_CHECKING, Any

import msgspec

from service.audit.privacy.legal_holds import Hold, in_force, place, release
from service.audit.privacy.retention import expire, keep_for
from service.cli.connection import run_on_log
from service.cli.output import complain, print_json
from service.config.operator import operator
from service.config.settings import Settings
from service.domain.streams import room_subject, user_subject
from service.eventstore.serializer import EventSerializer
from service.protocol.events import timestamp

if TYPE_CHECKING:
    from service.cli.connection import Connection


class Rule(msgspec.Struct, frozen=True):
    """For how many days a room keeps content, and the number before; null is for ever."""

    room: str
    days: int | None
    before: int | None


class HoldLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hold on a room or a user, as the commands print it."""

    room: str = ""
    person: str = ""
    position: int
    at: str
    by: str
    ground: str


def run_hold(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit hold`: the hold as JSON; 1: it is in force already, or the room or user does not exist."""

    async def run(connection: "Connection", _serializer: EventSerializer) -> None:
        print_json(_line(await place(connection, _subject(args), ground=args.ground, **_signed(settings))))

    return run_on_log(settings, run)


def run_release(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit release`: its event as JSON; 1: there is no such hold."""

    async def run(connection: "Connection", _serializer: EventSerializer) -> None:
        print_json(_line(await release(connection, _subject(args), ground=args.ground, **_signed(settings))))

    return run_on_log(settings, run)


def run_holds(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord audit holds`: the holds in force, one per line."""

    async def run(connection: "Connection", serializer: EventSerializer) -> None:
        for hold in await in_force(connection, serializer, settings.database_timeout):
            print_json(_line(hold))

    return run_on_log(settings, run)


def run_retention(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit retention`: the rule as JSON; 1: the room does not exist."""
    room, days = args.room, None if args.for_ever else args.days

    async def run(connection: "Connection", serializer: EventSerializer) -> None:
        print_json(Rule(room, days, await keep_for(connection, serializer, room, days, **_signed(settings))))
        if days is not None:
            complain(
                f"Older content of {room} is covered too, from the next expiry on; "
                "see docs/guides/erase-a-person.md."
            )

    return run_on_log(settings, run)


def run_expire(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord audit expire`: what was made unreadable, a JSON object per room."""

    async def run(connection: "Connection", serializer: EventSerializer) -> None:
        for done in await expire(connection, serializer, **_signed(settings)):
            print_json(done)

    return run_on_log(settings, run)


def _signed(settings: Settings) -> dict[str, Any]:
    """Return who acts and how long the database may take."""
    return {"by": operator(settings.operator), "deadline": settings.database_timeout}


def _subject(args: argparse.Namespace) -> str:
    return room_subject(args.room) if args.room else user_subject(args.person)


def _line(hold: Hold) -> HoldLine:
    kind, _, name = hold.held.partition(":")
    held = {"room": name} if kind == "room" else {"person": name}
    return HoldLine(**held, position=hold.position, at=timestamp(hold.at), by=hold.by, ground=hold.ground)
