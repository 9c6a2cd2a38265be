"""The directory in memory for the servers of a run.

PostgreSQL keeps fsync on there, as everywhere. To copy and to drop a database takes a quarter of the time, and a commit
waits for no disk.
"""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - the servers' directory in it is closed to others
NEEDED = 6 * 1024**3
"""Bytes that have to be free: the write-ahead log and the databases of three workers, and a reserve."""


def in_memory() -> Path | None:
    """Return a directory in memory, None where there is none with enough space from which programs can run."""
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    if shutil.disk_usage(MEMORY).free < NEEDED:
        return None
    return MEMORY
