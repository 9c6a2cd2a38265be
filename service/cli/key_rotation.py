"""What `onrecord keys` runs: how people's keys are wrapped, and wrapping them anew; beside `service.node.server`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from service.audit.proof import signing_keys
from service.cli.output import print_json, say
from service.config.settings import Settings
from service.encryption.rewrap import Wrapped, count, rewrap
from service.encryption.wrapping import Wrapping

Work = Callable[["asyncpg.Connection[Any]", Wrapping], Awaitable[Wrapped]]


def run_status(settings: Settings) -> int:
    """`onrecord keys status`: a JSON line; 1 where a key is wrapped by none of the key encryption keys given."""
    return _run(settings, settings.database_url, count)


def run_rotate(settings: Settings) -> int:
    """`onrecord keys rotate`: wraps every key by the first one, and prints how they are wrapped then; 1 as above."""

    async def work(connection: "asyncpg.Connection[Any]", wrapping: Wrapping) -> Wrapped:
        await signing_keys.rewrap(connection, settings.key_encryption_key)
        await rewrap(connection, wrapping)
        return await count(connection, wrapping)

    return _run(settings, settings.migrate_database_url, work)


def _run(settings: Settings, url: str, work: Work) -> int:
    async def run() -> Wrapped:
        connection = await asyncpg.connect(url, timeout=settings.database_timeout)
        try:
            return await work(connection, Wrapping(settings.key_encryption_key))
        finally:
            await connection.close()

    try:
        found = asyncio.run(run())
    except signing_keys.SealKeyInvalid as problem:
        return say(problem)
    print_json(found)
    if found.unknown:
        return say(f"{found.unknown} keys are wrapped by none of the keys in ONRECORD_KEY_ENCRYPTION_KEY.")
    return 0
