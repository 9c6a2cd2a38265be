"""Pins glibc's mmap threshold, so that the memory of a long scan does not grow.

glibc returns large blocks to the kernel, but raises the size from which it does so whenever it frees one (mallopt(3),
M_MMAP_THRESHOLD). After the first of asyncio's buffers of 256 KiB they come from the heap, longer-lived small blocks
fragment it, and it grows: a replay of ten million events ended 16 MiB above one of twenty thousand. A threshold that
is set explicitly stays. Other C libraries do not adapt it.
"""

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE = 128 * 1024
"""Bytes; glibc's initial threshold."""


def pin_mmap_threshold() -> None:
    """Keep this process's large blocks out of the heap."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
