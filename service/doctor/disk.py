"""Checks the free disk space of the database, which only its owner can see, and only on its own machine."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from service.config.settings import Settings
from service.doctor.finding import Finding, fail, ok, warn
from service.runtime.database_retry import TROUBLE

LITTLE, VERY_LITTLE = 0.10, 0.02
"""Free shares of a disk: below the first the operator should act, below the second PostgreSQL will soon stop."""


async def disk(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Report the size of the database, and the free space if it can be seen."""
    size = await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    place = await _data_directory(settings)
    if place is None:
        yield ok("disk", f"The database takes {size}; how much is free is known on its own machine only.")
    else:
        usage = shutil.disk_usage(place)
        yield judge(size, usage.free, usage.total)


def judge(size: str, free: int, total: int) -> Finding:
    """Return whether so many free bytes of a disk are enough."""
    words = f"The database takes {size}, and {free / 2**30:.1f} GiB ({free / total:.0%}) of its disk are free"
    if free < VERY_LITTLE * total:
        return fail("disk", f"{words}: PostgreSQL stops when it is full.")
    if free < LITTLE * total:
        return warn("disk", f"{words}: make room before it stops.")
    return ok("disk", f"{words}.")


async def _data_directory(settings: Settings) -> Path | None:
    """Return the directory of the database's files, if it is on this machine and visible to this process."""
    host = urlsplit(settings.migrate_database_url).hostname or ""
    if host not in ("localhost", "127.0.0.1", "::1"):
        return None
    try:
        owner: Any = await asyncpg.connect(settings.migrate_database_url, timeout=settings.database_timeout)
    except TROUBLE:
        return None
    try:
        place = Path(await owner.fetchval("SELECT current_setting('data_directory')"))
    except asyncpg.InsufficientPrivilegeError:
        return None
    finally:
        owner.terminate()
    # Behind a published port of a container the same path may be another directory; PG_VERSION identifies a cluster.
    return place if os.access(place, os.X_OK) and (place / "PG_VERSION").exists() else None
