"""Restores a backup over a database."""

import asyncio
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from service.embedded import Servers
from service.embedded.postgres import OWNER
from tests.support.environment import environment
from tests.support.processes.processes import run
from tests.support.servers.databases import Database, database_named


def postgres(servers: Servers, program: str, *words: str | Path) -> None:
    place = Path(servers.postgres.command()[0]).parent
    done = subprocess.run([place / program, *words], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def renewed(database: Database) -> str:
    code, epoch, words = await run(environment(database), "epoch", "--renew")
    assert code == 0, words
    return epoch.strip()


async def restore(servers: Servers, database: Database, backup: Path) -> str:
    """Restore the backup as docs/guides/back-up-and-restore.md describes; return the new epoch."""
    beside = database_named(servers, f"{database.name}_restored")
    lost = f"{database.name}_lost"
    with psycopg.connect(database_named(servers, "postgres").superuser_url, autocommit=True) as owner:

        def do(statement: str, *names: str) -> None:
            owner.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

        do("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0", beside.name, OWNER)
        await asyncio.to_thread(
            postgres, servers, "pg_restore", "--exit-on-error", "--dbname", beside.superuser_url, backup
        )
        epoch = await renewed(beside)
        do("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", database.name)
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY (%s)",
            [[database.name, beside.name]],
        )
        do("ALTER DATABASE {} RENAME TO {}", database.name, lost)
        do("ALTER DATABASE {} RENAME TO {}", beside.name, database.name)
        do("DROP DATABASE {}", lost)
    return epoch
