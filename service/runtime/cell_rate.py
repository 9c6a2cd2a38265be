"""Limits how often one connection may send what carries no command: control frames, heartbeats, tiny fragments.

A connection keeps one number, the time at which its allowance is full again, and no timer (the generic cell rate
algorithm, ITU-T I.371), so that an idle connection costs nothing.
"""

from typing import NamedTuple


class TooFast(Exception):
    """The allowance is used up; close the connection with 4009."""


class Pace(NamedTuple):
    """An allowance of `burst` at once that fills by `per_second`."""

    per_second: float
    burst: float

    def spend(self, whole_at: float, now: float, cost: float = 1.0) -> float:
        """Return when the allowance is full again, if it was full at `whole_at`; times in seconds.

        Raises:
            TooFast: less than `cost` is left.
        """
        whole_at = max(whole_at, now) + cost / self.per_second
        if whole_at - now > self.burst / self.per_second:
            raise TooFast
        return whole_at


CONTROLS = Pace(16.0, 256.0)
"""Control frames, and packets of the same kind above them. Answers to the server's own pings are not counted, so an
honest client that sends a ping of its own each few seconds uses a fiftieth of it."""

UNLIMITED = Pace(1.0, float("inf"))

TINY_FRAGMENT_COST = 1 / 8
"""The cost of a tiny fragment; a message in the greatest number of fragments is within the burst."""
