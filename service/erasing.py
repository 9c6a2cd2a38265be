"""What the commands that make words unreadable run, put together from the parts; beside `service.app`, by its rule.

What they do is recorded in the name of the operating system's user.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg
import msgspec

from projections import PROJECTIONS, memberships
from service.audit.erase import erase
from service.audit.holds import Hold, in_force, place, release
from service.audit.leaving import leave_rooms
from service.audit.retention import expire, keep_for
from service.console import print_json, say
from service.errors import ProjectionBehind, Refusal
from service.log.keys import KeyRing
from service.log.mapper import Mapper
from service.node import read_models
from service.operator import operator
from service.protocol.events import timestamp
from service.settings import Settings

PURGED_WITHIN = 10.0
"""Seconds that a command waits for the projector to take the words out of the read models."""

LOOK_EVERY = 0.1


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """What `onrecord audit erase` prints.

    `left` is how many rooms they have left just now, null where that is not known; `purged` says whether the read
    models hold no word of theirs any more.
    """

    person: str
    position: int
    at: str
    keys: int
    left: int | None
    purged: bool


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


def run_erase(settings: Settings, person: str, ground: str) -> int:
    """`onrecord audit erase`: a summary as JSON; 1 where it is refused."""

    async def run(connection: "asyncpg.Connection[Any]", mapper: Mapper) -> None:
        erased = await erase(
            connection, mapper, person, ground=ground, by=operator(), deadline=settings.database_timeout
        )
        left = await _leave_rooms(settings, connection, mapper, person)
        purged = await _purged(connection, erased.position)
        print_json(Summary(person, erased.position, timestamp(erased.at), erased.keys, left, purged))
        _say_erased(person, left=left is not None, purged=purged)

    return _run(settings, run)


def run_hold(settings: Settings, held: str, ground: str) -> int:
    """`onrecord audit hold`: the hold as JSON; 1 where it stands already, or what is to be held was never here."""

    async def run(connection: "asyncpg.Connection[Any]", mapper: Mapper) -> None:
        placed = await place(
            connection, mapper, held, ground=ground, by=operator(), deadline=settings.database_timeout
        )
        print_json(_shown(placed))

    return _run(settings, run)


def run_release(settings: Settings, held: str, ground: str) -> int:
    """`onrecord audit release`: its event as JSON; 1 where there is no such hold."""

    async def run(connection: "asyncpg.Connection[Any]", mapper: Mapper) -> None:
        released = await release(
            connection, mapper, held, ground=ground, by=operator(), deadline=settings.database_timeout
        )
        print_json(_shown(released))

    return _run(settings, run)


def run_holds(settings: Settings) -> int:
    """`onrecord audit holds`: the holds in force, one a line."""

    async def run(connection: "asyncpg.Connection[Any]", mapper: Mapper) -> None:
        for hold in await in_force(connection, mapper, settings.database_timeout):
            print_json(_shown(hold))

    return _run(settings, run)


def run_retention(settings: Settings, room: str, days: int | None) -> int:
    """`onrecord audit retention`: the rule as JSON; 1 where there is no such room."""

    async def run(connection: "asyncpg.Connection[Any]", mapper: Mapper) -> None:
        before = await keep_for(
            connection, mapper, room, days, by=operator(), deadline=settings.database_timeout
        )
        print_json(Rule(room, days, before))
        if days is not None:
            say(f"What was said in {room} before is covered too, from the next look on; see docs/audit.md.")

    return _run(settings, run)


def run_expire(settings: Settings) -> int:
    """`onrecord audit expire`: what was made unreadable, a JSON object a room."""

    async def run(connection: "asyncpg.Connection[Any]", mapper: Mapper) -> None:
        for done in await expire(connection, mapper, by=operator(), deadline=settings.database_timeout):
            print_json(done)

    return _run(settings, run)


def _shown(hold: Hold) -> ShownHold:
    kind, _, name = hold.held.partition(":")
    what = {"room": name} if kind == "room" else {"person": name}
    return ShownHold(**what, position=hold.position, at=timestamp(hold.at), by=hold.by, ground=hold.ground)


def _run(
    settings: Settings, work: Callable[["asyncpg.Connection[Any]", Mapper], Coroutine[Any, Any, None]]
) -> int:
    """Do some work over a connection; 1 and a sentence where it is refused."""

    async def run() -> None:
        connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
        try:
            await work(connection, Mapper(KeyRing(settings.key_encryption_key)))
        finally:
            await connection.close()

    try:
        asyncio.run(run())
    except Refusal as problem:
        return say(problem)
    return 0


async def _leave_rooms(
    settings: Settings, connection: "asyncpg.Connection[Any]", mapper: Mapper, person: str
) -> int | None:
    try:
        async with read_models(settings) as reads:
            rows = await memberships.rooms_of(reads, mapper, person)
    except ProjectionBehind:
        return None
    rooms = [row.room_id for row in rows]
    how: dict[str, Any] = {"by": operator(), "deadline": settings.database_timeout}
    return len(await leave_rooms(connection, mapper, person, rooms, **how))


async def _purged(connection: "asyncpg.Connection[Any]", position: int) -> bool:
    """Wait until every read model with words has come past a position; return whether they have."""
    tables = [projection.table for projection in PROJECTIONS if projection.forget]
    try:
        async with asyncio.timeout(PURGED_WITHIN):
            while not await _past(connection, tables, position):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        return False
    return True


async def _past(connection: "asyncpg.Connection[Any]", tables: Sequence[str], position: int) -> bool:
    return bool(await connection.fetchval(_PAST, tables, position))


def _say_erased(person: str, *, left: bool, purged: bool) -> None:
    say(f"{person} is erased: nobody is shown a word of theirs any more, and none can be read in the log.")
    if not left:
        say("They are still in their rooms: run this again when `onrecord project run` has caught up.")
    if not purged:
        say(
            "The read models still hold what they wrote, unseen, until `onrecord project run` has come past it."
        )
    say("Backups made before hold their keys: see docs/audit.md.")


_PAST = """
    SELECT bool_and(notification_id >= $2) FROM notification_tracking WHERE application_name = ANY ($1::text[])
"""
