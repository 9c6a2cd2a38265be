"""The commands of `onrecord keys`: count how the keys of users are wrapped, and wrap them with the first key."""

import argparse
import asyncio
from typing import TYPE_CHECKING

import asyncpg

from service.audit.proof import signing_keys
from service.cli.connection import connected
from service.cli.output import complain, print_json
from service.cli.preconditions import WrongUsage
from service.config.settings import Settings
from service.encryption.rewrap import Wrapped, count, rewrap
from service.encryption.wrapping import Wrapping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.cli.connection import Connection


def run_status(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord keys status`: a JSON line; 1: a key is wrapped with none of the configured keys."""
    return _run(settings, settings.database_url, count)


def run_rotate(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord keys rotate`: wrap every key with the first one, then print the counts; 1: as in `run_status`."""

    async def rotate(connection: "Connection", wrapping: Wrapping) -> Wrapped:
        await signing_keys.rewrap(connection, settings.key_encryption_key)
        return await rotated(connection, wrapping)

    try:
        return _run(settings, settings.migrate_database_url, rotate)
    except asyncpg.InsufficientPrivilegeError as problem:
        raise WrongUsage(f"ONRECORD_MIGRATE_DATABASE_URL has to be the owner's: {problem}.") from problem


async def rotated(connection: "Connection", wrapping: Wrapping) -> Wrapped:
    """Wrap every key with the first one; return the counts.

    The first key is noted as in use before it wraps anything; the others are struck off once they wrap nothing.
    """
    await connection.execute(_NOTE, wrapping.identifiers[0])
    await rewrap(connection, wrapping)
    found = await count(connection, wrapping)
    if not found.older and not found.unknown:
        await connection.execute(_STRIKE_OFF, wrapping.identifiers[0])
    return found


def _run(settings: Settings, url: str, work: "Callable[[Connection, Wrapping], Awaitable[Wrapped]]") -> int:
    async def run() -> Wrapped:
        async with connected(settings, url) as connection:
            return await work(connection, Wrapping(settings.key_encryption_key))

    try:
        found = asyncio.run(run())
    except signing_keys.SealKeyInvalid as problem:
        return complain(problem)
    print_json(found)
    if found.unknown:
        return complain(f"No key in ONRECORD_KEY_ENCRYPTION_KEY unwraps {found.unknown} of the keys.")
    return 0


_NOTE = "INSERT INTO key_encryption_keys (identifier) VALUES ($1) ON CONFLICT DO NOTHING"
_STRIKE_OFF = "DELETE FROM key_encryption_keys WHERE identifier <> $1"
