"""The commands that erase users.

Each erasure is recorded with the operator who runs the command. The output of `onrecord audit erasures`, kept
elsewhere, lists the users to erase again after a restore.
"""

import argparse
import asyncio
from typing import TYPE_CHECKING

import msgspec

from projections import PROJECTIONS, memberships
from service.audit.history.format import when
from service.audit.privacy.erasure import erase, erasures
from service.audit.privacy.leave_rooms import leave_rooms
from service.cli.connection import on_log, operator
from service.cli.output import complain, form_of, print_as, print_text
from service.cli.preconditions import WrongUsage, read_file
from service.config.settings import Settings
from service.domain.events import PersonErased
from service.errors import PersonUnknown, ProjectionBehind, UnderLegalHold
from service.eventstore.connections import connector
from service.eventstore.read_database import open_read_database
from service.eventstore.serializer import EventSerializer
from service.node.storage import open_pool
from service.protocol.commands import UserId
from service.protocol.events import timestamp
from service.protocol.forms import printable
from service.protocol.http import Ground

if TYPE_CHECKING:
    from service.cli.connection import Connection

PURGE_TIMEOUT = 10.0
"""Seconds that a command waits for the projector to purge the read models."""

POLL_INTERVAL = 0.1


class Wanted(msgspec.Struct, frozen=True):
    """A user to erase and the legal ground. Other fields of a line of a list of erasures are ignored."""

    person: UserId
    ground: Ground


class Listed(msgspec.Struct, frozen=True):
    """A line of the output of `onrecord audit erasures`."""

    person: str
    ground: str
    by: str
    at: str
    position: int


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """The output of `onrecord audit erase`.

    `ground`: the recorded one. `left`: the number of rooms that the user was removed from, null if unknown. `purged`:
    whether the read models no longer hold the user's content. `already`: an earlier call erased the user, and this one
    changed nothing.
    """

    person: str
    ground: str
    position: int
    at: str
    keys: int
    left: int | None
    purged: bool
    already: bool


@on_log
async def run_erase(
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit erase`: a summary; 1: it is refused."""
    await _erase(settings, args, connection, serializer, Wanted(args.person, args.ground))


@on_log
async def run_erasures(
    settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
) -> None:
    """`onrecord audit erasures`: the recorded erasures, one per line, oldest first."""
    found = await erasures(connection, serializer, settings.database_timeout)
    if not found and form_of(args) == "text":
        print_text("Nobody was erased.\n")
    for done in found:
        event = done.event
        assert isinstance(event, PersonErased)  # noqa: S101 - asked for by its topic
        listed = Listed(event.user, event.ground, done.by, timestamp(done.at), done.position)
        text = f"{when(listed.at)}  {listed.person}, by {listed.by}: {printable(listed.ground)}"
        print_as(args, listed, text)


def run_erase_again(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit erase-again`: a summary of each erasure; 1: a user is under a legal hold, and is named."""
    wanted = _wanted_in(read_file(args.list))  # before anything is connected

    @on_log
    async def run(
        settings: Settings, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer
    ) -> int:
        code = 0
        for each in wanted:
            try:
                await _erase(settings, args, connection, serializer, each)
            except PersonUnknown as problem:  # the backup is older than the user
                complain(problem)
            except UnderLegalHold as problem:
                code = complain(problem)
        return code

    return run(settings, args)


def _wanted_in(text: str) -> list[Wanted]:
    """Return the users that a list names, each once: JSON objects, one per line.

    Raises:
        WrongUsage: a line is not an erasure.
    """
    found: dict[str, Wanted] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            wanted = msgspec.json.decode(line, type=Wanted)
        except msgspec.MsgspecError as problem:
            message = f"Line {number} is not an erasure as `onrecord audit erasures` prints it: {problem}."
            raise WrongUsage(message) from problem
        found.setdefault(wanted.person, wanted)
    return list(found.values())


async def _erase(
    settings: Settings,
    args: argparse.Namespace,
    connection: "Connection",
    serializer: EventSerializer,
    wanted: Wanted,
) -> None:
    person, ground = wanted.person, wanted.ground
    by, deadline = operator(settings), settings.database_timeout
    erased = await erase(connection, person, ground=ground, by=by, deadline=deadline)
    left = await _leave_rooms(settings, connection, serializer, person)
    purged = await _purged(connection, erased.position)
    at = timestamp(erased.at)
    done = Summary(person, erased.ground, erased.position, at, erased.keys, left, purged, erased.already)
    print_as(args, done, _as_text(done))
    _report(person, left=left is not None, purged=purged)


def _as_text(done: Summary) -> str:
    left = "not known yet" if done.left is None else done.left
    return (
        f"{done.person} was {'already ' if done.already else ''}erased {when(done.at)} (position {done.position})\n"
        f"  ground: {printable(done.ground)}\n"
        f"  keys destroyed: {done.keys}\n"
        f"  rooms left: {left}\n"
        f"  content gone from the read models: {'yes' if done.purged else 'not yet'}"
    )


async def _leave_rooms(
    settings: Settings, connection: "Connection", serializer: EventSerializer, person: str
) -> int | None:
    """Remove a user from their rooms; return their number, or None if the read model is too far behind."""
    try:
        async with (
            open_pool(settings, connector(settings, settings.session_url)) as pool,
            open_read_database(settings.database_url, pool) as reads,
        ):
            rows = await memberships.rooms_of(reads, serializer, person)
    except ProjectionBehind:
        return None
    rooms = [row.room_id for row in rows]
    by, deadline = operator(settings), settings.database_timeout
    return len(await leave_rooms(connection, serializer, person, rooms, by=by, deadline=deadline))


async def _purged(connection: "Connection", position: int) -> bool:
    """Wait until every read model that follows erasures has passed a position; return whether they have."""
    tables = [projection.table for projection in PROJECTIONS if PersonErased.TOPIC in projection.followed]
    try:
        async with asyncio.timeout(PURGE_TIMEOUT):
            while not await connection.fetchval(_PASSED, tables, position):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(POLL_INTERVAL)
    except TimeoutError:
        return False
    return True


def _report(person: str, *, left: bool, purged: bool) -> None:
    complain(f"{person} is erased: their content is no longer shown, and cannot be read in the log.")
    if not left:
        complain("They are still in their rooms: run this again when `onrecord project run` has caught up.")
    if not purged:
        complain("The read models hold their content, not shown, until `onrecord project run` has caught up.")
    advice = "keep the output of `onrecord audit erasures`; see docs/guides/erase-a-person.md"
    complain(f"Older backups hold their keys: {advice}.")


_PASSED = """
    SELECT bool_and(notification_id >= $2) FROM notification_tracking WHERE application_name = ANY ($1::text[])
"""
