"""The command that shows or renews the log's epoch.

A restored log is a different log: it assigns the numbers that were assigned after the backup once more, to other
events. By the new epoch clients and nodes recognize that their cursors belong to the old log.
"""

import argparse
import asyncio
import sys

import asyncpg

from service.cli.connection import connected
from service.config.settings import Settings
from service.eventstore.notifications import CHANNEL


def run_epoch(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord epoch`: print the epoch; with `--renew` a new one. 2: `--renew` without the owner's login."""
    try:
        print(asyncio.run(_renew(settings) if args.renew else _read(settings)))
    except asyncpg.InsufficientPrivilegeError as problem:
        print(f"ONRECORD_MIGRATE_DATABASE_URL has to be the owner's: {problem}.", file=sys.stderr)
        return 2
    return 0


async def _read(settings: Settings) -> str:
    async with asyncio.timeout(settings.database_timeout), connected(settings) as connection:
        return str(await connection.fetchval("SELECT epoch FROM log_epoch"))


async def _renew(settings: Settings) -> str:
    url = settings.migrate_database_url
    async with (
        asyncio.timeout(settings.database_timeout),
        connected(settings, url) as connection,
        connection.transaction(),
    ):
        await connection.execute(f"NOTIFY {CHANNEL}")  # running nodes read the epoch at once
        return str(await connection.fetchval(_RENEW))


_RENEW = "UPDATE log_epoch SET epoch = gen_random_uuid(), since = clock_timestamp() RETURNING epoch"
