"""The commands that erase users.

Each erasure is recorded in the name of the operator who runs the command (`service.config.operator`). The output of
`onrecord audit erasures`, kept elsewhere, lists whom to erase again after a restore.
"""

import argparse
import asyncio
from typing import TYPE_CHECKING

import msgspec

from projections import PROJECTIONS, memberships
from service.audit.privacy.erasure import erase, erasures
from service.audit.privacy.leave_rooms import leave_rooms
from service.cli.connection import run_on_log
from service.cli.output import complain, print_json
from service.cli.preconditions import WrongUsage, read_file
from service.config.operator import operator
from service.config.settings import Settings
from service.domain.events import PersonErased
from service.errors import PersonUnknown, ProjectionBehind, UnderLegalHold
from service.eventstore.read_database import open_read_database
from service.eventstore.serializer import EventSerializer
from service.node.storage import open_pool
from service.protocol.commands import UserId
from service.protocol.events import timestamp
from service.protocol.http import Ground

if TYPE_CHECKING:
    from service.cli.connection import Connection

PURGE_TIMEOUT = 10.0
"""Seconds that a command waits for the projector to purge the read models."""

POLL_INTERVAL = 0.1


class Wanted(msgspec.Struct, frozen=True):
    """A user to erase and the legal ground: the fields of a line of a list of erasures that count."""

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

    `left`: how many rooms the user left just now, null if unknown. `purged`: whether the read models hold none of the
    user's content any more.
    """

    person: str
    ground: str
    position: int
    at: str
    keys: int
    left: int | None
    purged: bool


def run_erase(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit erase`: a summary as JSON; 1: it is refused."""

    async def run(connection: "Connection", serializer: EventSerializer) -> None:
        await _erase(settings, connection, serializer, Wanted(args.person, args.ground))

    return run_on_log(settings, run)


def run_erasures(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord audit erasures`: the recorded erasures, one per line, oldest first."""

    async def run(connection: "Connection", serializer: EventSerializer) -> None:
        for done in await erasures(connection, serializer, settings.database_timeout):
            event = done.event
            assert isinstance(event, PersonErased)  # noqa: S101 - asked for by its topic
            print_json(Listed(event.user, event.ground, done.by, timestamp(done.at), done.position))

    return run_on_log(settings, run)


def run_erase_again(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit erase-again`: a summary of each erasure; 1: a user is under a legal hold, and is named."""
    wanted = _wanted_in(read_file(args.list))

    async def run(connection: "Connection", serializer: EventSerializer) -> int:
        code = 0
        for each in wanted:
            try:
                await _erase(settings, connection, serializer, each)
            except PersonUnknown as problem:  # the backup is older than the user
                complain(problem)
            except UnderLegalHold as problem:
                code = complain(problem)
        return code

    return run_on_log(settings, run)


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
            message = f"Line {number} is no erasure as `onrecord audit erasures` prints it: {problem}."
            raise WrongUsage(message) from problem
        found.setdefault(wanted.person, wanted)
    return list(found.values())


async def _erase(
    settings: Settings, connection: "Connection", serializer: EventSerializer, wanted: Wanted
) -> None:
    person, ground = wanted.person, wanted.ground
    by = operator(settings.operator)
    erased = await erase(connection, person, ground=ground, by=by, deadline=settings.database_timeout)
    left = await _leave_rooms(settings, connection, serializer, person)
    purged = await _purged(connection, erased.position)
    print_json(Summary(person, ground, erased.position, timestamp(erased.at), erased.keys, left, purged))
    _report(person, left=left is not None, purged=purged)


async def _leave_rooms(
    settings: Settings, connection: "Connection", serializer: EventSerializer, person: str
) -> int | None:
    try:
        async with open_pool(settings) as pool, open_read_database(settings.database_url, pool) as reads:
            rows = await memberships.rooms_of(reads, serializer, person)
    except ProjectionBehind:
        return None
    rooms = [row.room_id for row in rows]
    by, deadline = operator(settings.operator), settings.database_timeout
    return len(await leave_rooms(connection, serializer, person, rooms, by=by, deadline=deadline))


async def _purged(connection: "Connection", position: int) -> bool:
    """Wait until every read model that holds content has passed a position; return whether they have."""
    tables = [projection.table for projection in PROJECTIONS if projection.forget]
    try:
        async with asyncio.timeout(PURGE_TIMEOUT):
            while not await connection.fetchval(_PASSED, tables, position):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(POLL_INTERVAL)
    except TimeoutError:
        return False
    return True


def _report(person: str, *, left: bool, purged: bool) -> None:
    complain(f"{person} is erased: their content is not shown any more, and cannot be read in the log.")
    if not left:
        complain("They are still in their rooms: run this again when `onrecord project run` has caught up.")
    if not purged:
        complain(
            "The read models still hold their content, unseen, until `onrecord project run` has caught up."
        )
    complain(
        "Older backups hold their keys: keep what `onrecord audit erasures` prints; "
        "see docs/guides/erase-a-person.md."
    )


_PASSED = """
    SELECT bool_and(notification_id >= $2) FROM notification_tracking WHERE application_name = ANY ($1::text[])
"""
