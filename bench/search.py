"""Searches for the highest rate that passes. Pure: the caller decides what passes."""

from collections.abc import Callable

LOWEST = 1.0
SMALLER = 0.93


def highest(passes: Callable[[float], bool], *, start: float, narrow: int) -> float:
    """Return the highest rate found to pass: double it from `start` until it fails, then bisect `narrow` times.

    Returns 0 if not even the lowest rate passes.
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
    """Return the rate if it passes a longer run, else the next lower one that does; 0 if all `tries` fail."""
    for _ in range(tries):
        if passes(rate):
            return rate
        rate *= SMALLER
    return 0.0
