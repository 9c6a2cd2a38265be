"""The highest rate that still passes. Pure: what passing means is the caller's."""

from collections.abc import Callable

LOWEST = 1.0
SMALLER = 0.93


def highest(passes: Callable[[float], bool], *, start: float, narrow: int) -> float:
    """Return the highest rate found to pass: doubled from `start` until it fails, then halved in `narrow` times.

    0 where not even the lowest rate passes.
    """
    low, high = 0.0, start
    while passes(high):
        low, high = high, high * 2
    while not low and high > LOWEST:
        lower = max(LOWEST, high / 2)
        low, high = (lower, high) if passes(lower) else (0.0, lower)
    for _ in range(narrow if low else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


def confirmed(passes: Callable[[float], bool], rate: float, tries: int) -> float:
    """Return the rate, or the next smaller one that passes in a longer run; 0 where none of so many does."""
    for _ in range(tries):
        if passes(rate):
            return rate
        rate *= SMALLER
    return 0.0
