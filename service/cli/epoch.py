"""What `onrecord epoch` runs: which log this is, and saying that it is another one; beside `service.node.server`.

A restored log is another one: numbers that were given out after the backup will be given again, to other events. Its
epoch is what tells clients and nodes so, whatever cursors they hold.
"""

import asyncio
import sys
from typing import Any

import asyncpg

from service.config.settings import Settings
from service.eventstore.notifications import CHANNEL


def run_epoch(settings: Settings, *, renew: bool) -> int:
    """`onrecord epoch`: print the log's epoch; with `renew` a new one, made as the owner, or 2 where that is not so."""
    try:
        print(asyncio.run(_epoch(settings, renew=renew)))
    except asyncpg.InsufficientPrivilegeError as problem:
        words = f"ONRECORD_MIGRATE_DATABASE_URL has to be the owner's: {problem}."
        print(words, file=sys.stderr)
        return 2
    return 0


async def _epoch(settings: Settings, *, renew: bool) -> str:
    url = settings.migrate_database_url if renew else settings.database_url
    timeout = settings.database_timeout
    connection: Any = await asyncpg.connect(url, timeout=timeout, command_timeout=timeout)
    try:
        if not renew:
            return str(await connection.fetchval("SELECT epoch FROM log_epoch"))
        async with connection.transaction():
            await connection.execute(f"NOTIFY {CHANNEL}")  # nodes that run look at once
            return str(await connection.fetchval(_RENEW))
    finally:
        await connection.close()


_RENEW = "UPDATE log_epoch SET epoch = gen_random_uuid(), since = clock_timestamp() RETURNING epoch"
