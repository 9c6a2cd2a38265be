"""The directory for the servers of tests, in memory where that is possible.

PostgreSQL keeps fsync on there, as everywhere. To copy and to drop a database takes a quarter of the time, and a commit
waits for no disk.
"""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - the servers' directory in it is closed to others
DISK = Path("/var/tmp")  # noqa: S108 - likewise; root's /tmp is often private
NEEDED = 6 * 1024**3
"""Bytes that have to be free: the write-ahead log and the databases of three workers, and a reserve."""


def servers_directory() -> Path:
    """Return a directory in memory, or on disk where memory is short or programs cannot run from it."""
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return DISK
    return MEMORY if shutil.disk_usage(MEMORY).free >= NEEDED else DISK
