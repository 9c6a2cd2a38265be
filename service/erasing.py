"""What the commands that make words unreadable run, put together from the parts; beside `service.app`, by its rule.

What they do is recorded in the name of the operating system's user.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from projections import PROJECTIONS
from service.audit.erase import Erasure, erase
from service.errors import Refusal
from service.log.keys import KeyRing
from service.log.mapper import Mapper
from service.operator import operator
from service.protocol.events import timestamp
from service.settings import Settings

PURGED_WITHIN = 10.0
"""Seconds that a command waits for the projector to take the words out of the read models."""

LOOK_EVERY = 0.1


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """What `onrecord audit erase` prints: `purged` says whether the read models hold no word of theirs any more."""

    person: str
    position: int
    at: str
    keys: int
    purged: bool


def run_erase(settings: Settings, person: str, ground: str) -> int:
    """`onrecord audit erase`: a summary as JSON; 1 where it is refused."""

    async def run() -> int:
        connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
        try:
            mapper = Mapper(KeyRing(settings.key_encryption_key))
            erased = await erase(
                connection, mapper, person, ground=ground, by=operator(), deadline=settings.database_timeout
            )
            purged = await _purged(connection, erased.position)
        finally:
            await connection.close()
        _print(_summary(erased, purged=purged))
        return _say_erased(erased, purged=purged)

    try:
        return asyncio.run(run())
    except Refusal as problem:
        _say(str(problem))
        return 1


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


def _summary(erased: Erasure, *, purged: bool) -> Summary:
    return Summary(erased.person, erased.position, timestamp(erased.at), erased.keys, purged)


def _say_erased(erased: Erasure, *, purged: bool) -> int:
    _say(
        f"{erased.person} is erased: nobody is shown a word of theirs any more, and none can be read in the log."
    )
    if not purged:
        _say(
            "The read models still hold what they wrote, unseen, until `onrecord project run` has come past it."
        )
    _say("Backups made before hold their keys: see docs/audit.md.")
    return 0


def _print(summary: Summary) -> None:
    print(msgspec.json.encode(summary).decode())  # noqa: T201 - a command's output


def _say(words: str) -> None:
    print(words, file=sys.stderr)  # noqa: T201 - a command's words


_PAST = """
    SELECT bool_and(notification_id >= $2) FROM notification_tracking WHERE application_name = ANY ($1::text[])
"""
