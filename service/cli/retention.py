"""The commands of legal holds and retention. Each change is recorded with the operator who runs the command."""

import argparse
from typing import TYPE_CHECKING, Any

import msgspec

from service.audit.privacy.legal_holds import Hold, in_force, place, release
from service.audit.privacy.retention import expire, keep_for
from service.cli.connection import on_log, operator
from service.cli.output import complain, print_json
from service.config.settings import Settings
from service.domain.streams import room_subject, user_subject
from service.eventstore.serializer import EventSerializer
from service.protocol.events import timestamp

if TYPE_CHECKING:
    from service.cli.connection import Connection


class Rule(msgspec.Struct, frozen=True):
    """The number of days for which a room keeps content, and the previous number; null is for ever."""

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


@on_log
async def run_hold(
    settings: Settings, args: argparse.Namespace, connection: "Connection", _serializer: EventSerializer
) -> None:
    """`onrecord audit hold`: the hold as JSON; 1: it is in force already, or the room or user does not exist."""
    print_json(_line(await place(connection, _subject(args), ground=args.ground, **_context(settings))))


@on_log
async def run_release(
    settings: Settings, args: argparse.Namespace, connection: "Connection", _serializer: EventSerializer
) -> None:
    """`onrecord audit release`: its event as JSON; 1: there is no such hold."""
    print_json(_line(await release(connection, _subject(args), ground=args.ground, **_context(settings))))


@on_log
async def run_holds(
    settings: Settings, _args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit holds`: the holds in force, one per line."""
    for hold in await in_force(connection, serializer, settings.database_timeout):
        print_json(_line(hold))


@on_log
async def run_retention(
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit retention`: the rule as JSON; 1: the room does not exist."""
    room, days = args.room, None if args.for_ever else args.days
    print_json(Rule(room, days, await keep_for(connection, serializer, room, days, **_context(settings))))
    if days is not None:
        complain(f"The next expiry also covers older content of {room}; see docs/guides/erase-a-person.md.")


@on_log
async def run_expire(
    settings: Settings, _args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit expire`: what was made unreadable, a JSON object per room."""
    for done in await expire(connection, serializer, **_context(settings)):
        print_json(done)


def _context(settings: Settings) -> dict[str, Any]:
    return {"by": operator(settings), "deadline": settings.database_timeout}


def _subject(args: argparse.Namespace) -> str:
    return room_subject(args.room) if args.room else user_subject(args.person)


def _line(hold: Hold) -> HoldLine:
    kind, _, name = hold.held.partition(":")
    held = {"room": name} if kind == "room" else {"person": name}
    return HoldLine(**held, position=hold.position, at=timestamp(hold.at), by=hold.by, ground=hold.ground)
