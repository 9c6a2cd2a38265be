"""Seals the log, tampers with it, and runs the offline verifier."""

import asyncio
import sys

import asyncpg

from tests.support.environment import ROOT
from tests.support.servers.databases import Database
from tests.support.waiting import until


async def all_sealed(database: Database) -> int:
    """Wait until the projector's sealer has sealed the whole log; return its size."""
    connection = await asyncpg.connect(database.superuser_url)

    async def level() -> bool:
        query = "SELECT coalesce(max(size), 0) = (SELECT count(*) FROM stored_events) FROM seals"
        return bool(await connection.fetchval(query))

    await until(level)
    size: int = await connection.fetchval("SELECT max(size) FROM seals")
    await connection.close()
    return size


async def tamper(database: Database, change: str) -> None:
    connection = await asyncpg.connect(database.superuser_url)
    for table in ("stored_events", "seals", "seal_nodes"):
        await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
    await connection.execute(change)
    await connection.close()


async def offline(*arguments: str) -> tuple[int, str]:
    """Run the verifier as a single file, outside this project."""
    file = ROOT / "service" / "audit" / "proof" / "offline.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(file), *arguments, cwd="/", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
