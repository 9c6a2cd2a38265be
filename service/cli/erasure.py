"""The commands that erase people.

What they do is recorded in the name of whoever runs them (`service.config.operator`). A list of erasures is what each
prints: kept elsewhere, it says after a restore whom to erase again.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from projections import PROJECTIONS, memberships
from service.audit.privacy.erasure import erase, erasures
from service.audit.privacy.leave_rooms import leave_rooms
from service.cli.output import print_json, say
from service.cli.run_on_log import work
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
    from service.cli.run_on_log import Connection

PURGED_WITHIN = 10.0
"""Seconds that a command waits for the projector to take the words out of the read models."""

LOOK_EVERY = 0.1


class Wanted(msgspec.Struct, frozen=True):
    """Whom to erase, and on which ground: what a line of a list of erasures says, whatever else is in it."""

    person: UserId
    ground: Ground


class ListInvalid(Exception):
    """A line of a list of erasures is none; the message is a sentence."""


class Listed(msgspec.Struct, frozen=True):
    """What `onrecord audit erasures` prints of each."""

    person: str
    ground: str
    by: str
    at: str
    position: int


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """What `onrecord audit erase` prints.

    `left` is how many rooms they have left just now, null where that is not known; `purged` says whether the read
    models hold no word of theirs any more.
    """

    person: str
    ground: str
    position: int
    at: str
    keys: int
    left: int | None
    purged: bool


def run_erase(settings: Settings, person: str, ground: str) -> int:
    """`onrecord audit erase`: a summary as JSON; 1 where it is refused."""

    async def run(connection: "Connection", serializer: EventSerializer) -> int:
        await _erase(settings, connection, serializer, Wanted(person, ground))
        return 0

    return work(settings, run)


def run_erasures(settings: Settings) -> int:
    """`onrecord audit erasures`: those on the record, one a line, the first first."""

    async def run(connection: "Connection", serializer: EventSerializer) -> int:
        for done in await erasures(connection, serializer, settings.database_timeout):
            event = done.event
            assert isinstance(event, PersonErased)  # noqa: S101 - asked for by its topic
            print_json(Listed(event.user, event.ground, done.by, timestamp(done.at), done.position))
        return 0

    return work(settings, run)


def run_erase_again(settings: Settings, wanted: Sequence[Wanted]) -> int:
    """`onrecord audit erase-again`: a summary of each that is erased; 1 where somebody is held, who is named."""

    async def run(connection: "Connection", serializer: EventSerializer) -> int:
        code = 0
        for one in wanted:
            try:
                await _erase(settings, connection, serializer, one)
            except PersonUnknown as problem:  # whoever came after the backup is not in it
                say(problem)
            except UnderLegalHold as problem:
                code = say(problem)
        return code

    return work(settings, run)


def wanted_in(text: str) -> list[Wanted]:
    """Return whom a list names, each once: JSON objects, one a line.

    Raises:
        ListInvalid: see there.
    """
    found: dict[str, Wanted] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            one = msgspec.json.decode(line, type=Wanted) if line.strip() else None
        except msgspec.MsgspecError as problem:
            words = f"Line {number} is no erasure as `onrecord audit erasures` prints it: {problem}."
            raise ListInvalid(words) from problem
        if one is not None:
            found.setdefault(one.person, one)
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
    _say_erased(person, left=left is not None, purged=purged)


async def _leave_rooms(
    settings: Settings, connection: "Connection", serializer: EventSerializer, person: str
) -> int | None:
    try:
        async with open_pool(settings) as pool, open_read_database(settings.database_url, pool) as reads:
            rows = await memberships.rooms_of(reads, serializer, person)
    except ProjectionBehind:
        return None
    rooms = [row.room_id for row in rows]
    how: dict[str, Any] = {"by": operator(settings.operator), "deadline": settings.database_timeout}
    return len(await leave_rooms(connection, serializer, person, rooms, **how))


async def _purged(connection: "Connection", position: int) -> bool:
    """Wait until every read model with words has come past a position; return whether they have."""
    tables = [projection.table for projection in PROJECTIONS if projection.forget]
    try:
        async with asyncio.timeout(PURGED_WITHIN):
            while not await _past(connection, tables, position):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        return False
    return True


async def _past(connection: "Connection", tables: Sequence[str], position: int) -> bool:
    return bool(await connection.fetchval(_PAST, tables, position))


def _say_erased(person: str, *, left: bool, purged: bool) -> None:
    say(f"{person} is erased: nobody is shown a word of theirs any more, and none can be read in the log.")
    if not left:
        say("They are still in their rooms: run this again when `onrecord project run` has caught up.")
    if not purged:
        say(
            "The read models still hold what they wrote, unseen, until `onrecord project run` has come past it."
        )
    say("Backups made before hold their keys: keep what `onrecord audit erasures` prints; see docs/audit.md.")


_PAST = """
    SELECT bool_and(notification_id >= $2) FROM notification_tracking WHERE application_name = ANY ($1::text[])
"""
