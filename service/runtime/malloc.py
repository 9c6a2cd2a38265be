"""What keeps the memory of a long reading the same, however long it is.

glibc gives large blocks back to the kernel, but raises the size from which it does when it frees one (mallopt(3),
M_MMAP_THRESHOLD). So after the first of asyncio's buffers of 256 KiB they come out of the heap, small blocks that live
a little longer split it, and the heap creeps: a replay of ten million events ended 16 MiB above one of twenty thousand.
Where the size is set it stays as it is. Other C libraries do not do this.
"""

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE = 128 * 1024
"""Bytes; what glibc begins with."""


def pin_mmap_threshold() -> None:
    """Have large blocks of this process come from the kernel and go back to it, always."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
