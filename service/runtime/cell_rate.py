"""Limits the rate of input that carries no command (control frames, heartbeats, tiny fragments), per connection.

A connection keeps one number and no timer: the time at which its allowance is full again (the generic cell rate
algorithm, ITU-T I.371). So an idle connection costs nothing.
"""

from typing import NamedTuple


class TooFast(Exception):
    """The allowance is used up; close the connection with 4009."""


class Pace(NamedTuple):
    """An allowance of `burst` at once that fills by `per_second`."""

    per_second: float
    burst: float

    def spend(self, full_at: float, now: float, cost: float = 1.0) -> float:
        """Spend `cost`; return the time at which the allowance is full again. `full_at` is that time before this call.

        Raises:
            TooFast: less than `cost` is left.
        """
        full_at = max(full_at, now) + cost / self.per_second
        if full_at - now > self.burst / self.per_second:
            raise TooFast
        return full_at


CONTROLS = Pace(16.0, 256.0)
"""WebSocket control frames, and Engine.IO packets of the same purpose. Answers to the server's pings are not counted.
A well-behaved client that sends a ping every few seconds uses a fiftieth of it."""

UNLIMITED = Pace(1.0, float("inf"))

TINY_FRAGMENT_COST = 1 / 8
"""The cost of a tiny fragment; a message with the most fragments allowed costs less than the burst."""
