"""The interface of a connection for live delivery, and the range of a room's events that it has received."""

import asyncio
from typing import Protocol


class Subscriber(Protocol):
    """A connection that receives rooms."""

    user: str
    turn: asyncio.Lock
    """Held while a room sends this subscriber a page of past events, so that rooms take turns."""

    @property
    def wire_format(self) -> str:
        """The format of the frames that `write` takes at the moment, a key of the encoders."""

    @property
    def descriptor(self) -> int:
        """The socket to which frames of the concatenable format may be written directly, or `NOWHERE`."""

    @property
    def closing(self) -> bool:
        """Whether the connection is closing, so that nothing more needs to be sent."""

    def write(self, frame: bytes) -> None:
        """Send a frame without waiting."""

    def left(self, room: str) -> None:
        """Callback: the room sends nothing more, since the user is not a member."""

    def wrote(self, room: str, first: int, last: int) -> None:
        """Callback at the end of a subscription: the events from `first` to `last`, both included, were written."""

    async def drained(self) -> None:
        """Wait until little unsent data is left."""


class DeliveredRange:
    """The events of a room that were written to a subscriber: `after` < seq <= `delivered_up_to`.

    While the subscriber has a slot, `RoomSubscribers` computes the end, and `delivered_up_to` is not updated.
    """

    __slots__ = ("after", "delivered_up_to", "slot")

    def __init__(self, after: int) -> None:
        self.after = self.delivered_up_to = after
        self.slot: int | None = None


def report(subscriber: Subscriber, room: str, delivered: DeliveredRange) -> None:
    """Report to a subscriber the range of a room that was written to it."""
    if delivered.delivered_up_to > delivered.after:
        subscriber.wrote(room, delivered.after + 1, delivered.delivered_up_to)
