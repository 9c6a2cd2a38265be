"""The commands of legal holds and retention. Each change is recorded with the operator who runs the command."""

import argparse
from collections.abc import Sized
from typing import TYPE_CHECKING, Any

import msgspec

from service.audit.history.format import when
from service.audit.privacy.legal_holds import Hold, in_force, place, release
from service.audit.privacy.retention import expire, keep_for
from service.cli.connection import on_log, operator, titles
from service.cli.output import complain, form_of, print_as, print_text
from service.config.settings import Settings
from service.domain.streams import room_subject, user_subject
from service.eventstore.serializer import EventSerializer
from service.protocol.events import timestamp
from service.protocol.forms import printable

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
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit hold`: the hold; 1: it is in force already, or the room or user does not exist."""
    hold = await place(connection, _subject(args), ground=args.ground, **_context(settings))
    await _print_hold(hold, "placed", settings, args, connection, serializer)


@on_log
async def run_release(
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit release`: its event; 1: there is no such hold."""
    hold = await release(connection, _subject(args), ground=args.ground, **_context(settings))
    await _print_hold(hold, "released", settings, args, connection, serializer)


@on_log
async def run_holds(
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit holds`: the holds in force, one per line."""
    found = await in_force(connection, serializer, settings.database_timeout)
    for hold in found:
        await _print_hold(hold, "placed", settings, args, connection, serializer)

    _none(args, found, "No legal hold is in force.")


@on_log
async def run_retention(
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit retention`: the rule; 1: the room does not exist."""
    room, days = args.room, None if args.for_ever else args.days
    rule = Rule(room, days, await keep_for(connection, serializer, room, days, **_context(settings)))
    title = await titles(args, connection, serializer, settings).room(room)
    print_as(args, rule, f"The room {title} keeps content {_span(days)} (before: {_span(rule.before)}).")
    if days is not None:
        complain(f"The next expiry also covers older content of {room}; see docs/guides/erase-a-person.md.")


@on_log
async def run_expire(
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit expire`: what was made unreadable, one line per room."""
    found = await expire(connection, serializer, **_context(settings))
    shown = titles(args, connection, serializer, settings)
    for done in found:
        room, at = await shown.room(done.room), when(timestamp(done.at))
        text = f"{at}  {room}: messages up to {done.until} are unreadable; keys destroyed: {done.keys}"
        print_as(args, done, text)
    _none(args, found, "No content has expired.")


async def _print_hold(
    hold: Hold,
    how: str,
    settings: Settings,
    args: argparse.Namespace,
    connection: "Connection",
    serializer: EventSerializer,
) -> None:
    line, shown = _line(hold), titles(args, connection, serializer, settings)
    held = f"room {await shown.room(line.room)}" if line.room else f"person {await shown.person(line.person)}"
    text = f"{when(line.at)}  legal hold on the {held}, {how} by {line.by}: {printable(line.ground)}"
    print_as(args, line, text)


def _none(args: argparse.Namespace, found: Sized, sentence: str) -> None:
    """Print a sentence for people if a list is empty."""
    if not found and form_of(args) == "text":
        print_text(f"{sentence}\n")


def _span(days: int | None) -> str:
    return "for ever" if days is None else f"for {days} day{'' if days == 1 else 's'}"


def _context(settings: Settings) -> dict[str, Any]:
    return {"by": operator(settings), "deadline": settings.database_timeout}


def _subject(args: argparse.Namespace) -> str:
    return room_subject(args.room) if args.room else user_subject(args.person)


def _line(hold: Hold) -> HoldLine:
    kind, _, name = hold.held.partition(":")
    held = {"room": name} if kind == "room" else {"person": name}
    return HoldLine(**held, position=hold.position, at=timestamp(hold.at), by=hold.by, ground=hold.ground)
