"""Inputs for tests of budgets: any few pieces, repeated up to a size, and the memory of a call.

A cost that is quadratic shows at a few thousand bytes, so a budget per byte at that size finds it.
"""

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

T = TypeVar("T", str, bytes)

CONSTANT = 64 * 1024
"""Bytes that a call may hold whatever the size of its input."""


def pumped(pieces: Sequence[T], size: int) -> st.SearchStrategy[T]:
    """Draw an input of about `size`: two drawn sequences of pieces, each repeated, and a piece around each."""
    empty = pieces[0][:0]
    some = st.lists(st.sampled_from(pieces), max_size=4).map(empty.join)
    repeated = st.lists(st.sampled_from(pieces), min_size=1, max_size=4).map(empty.join)

    def whole(head: T, first: T, middle: T, second: T, tail: T) -> T:
        return (
            head
            + first * (size // 2 // (len(first) or 1))
            + middle
            + second * (size // 2 // (len(second) or 1))
            + tail
        )

    return st.builds(whole, some, repeated, some, repeated, some)


def peak(call: Callable[[], Any]) -> int:
    """Return how many bytes more than before are held at once during a call. Raises what `call` raises."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
