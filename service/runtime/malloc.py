"""Pins glibc's mmap threshold, so that the memory of a long scan does not grow.

glibc returns freed blocks above a threshold to the kernel, and raises the threshold when it frees such a block
(mallopt(3), M_MMAP_THRESHOLD). Once one of asyncio's buffers of 256 KiB is freed, later ones come from the heap; small
blocks that live longer fragment it, and it grows: a replay of ten million events ended 16 MiB above one of twenty
thousand. A threshold that is set explicitly stays as it is. Other C libraries have no adaptive threshold.
"""

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE = 128 * 1024
"""Bytes; glibc's initial threshold."""


def pin_mmap_threshold() -> None:
    """Keep this process's large blocks out of the heap."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
