"""A connection, as the hub sees it, and how far it was written a room."""

import asyncio
from typing import Protocol


class Subscriber(Protocol):
    """Who hears rooms."""

    user: str
    turn: asyncio.Lock
    """Held by whichever room catches this listener up: one page at a time, however many rooms it hears."""

    @property
    def wire_format(self) -> str:
        """Which of the encoders makes what `write` takes just now."""

    @property
    def descriptor(self) -> int:
        """The socket that frames of the joining format may be written to straight, or `NOWHERE`."""

    @property
    def closing(self) -> bool:
        """Whether the connection is ending, so that nothing more needs to be sent."""

    def write(self, frame: bytes) -> None:
        """Send a frame without waiting."""

    def left(self, room: str) -> None:
        """Hear that nothing more comes from a room, since this listener's user is no member (any more)."""

    def wrote(self, room: str, first: int, last: int) -> None:
        """Hear which stretch of a room was written here, both seqs included, when it has come to its end."""

    async def drained(self) -> None:
        """Wait until little is in flight."""


class DeliveredRange:
    """How far a listener was written a room: everything with `after` < seq <= `upto`.

    While it has a `place` in a crowd, `upto` stands still and the crowd knows; so that delivering costs nothing here.
    """

    __slots__ = ("after", "delivered_up_to", "place")

    def __init__(self, after: int) -> None:
        self.after = self.delivered_up_to = after
        self.place: int | None = None


def report(listener: Subscriber, room: str, reach: DeliveredRange) -> None:
    """Tell a listener what it was written of a room."""
    if reach.delivered_up_to > reach.after:
        listener.wrote(room, reach.after + 1, reach.delivered_up_to)
