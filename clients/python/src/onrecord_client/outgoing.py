"""The messages of a room that are not in its order yet: pending ones, and the latest that were refused. Pure.

Invariant: a message leaves when the room's order reaches its place, so it is never shown twice.
"""

from dataclasses import replace
from datetime import datetime

from onrecord_client.messages import Message

MAX_FAILED = 100
"""Refused messages that are shown at most; the oldest gives way."""


class Outgoing:
    """Messages by ref, in the order in which they were sent."""

    def __init__(self) -> None:
        self._by_ref: dict[str, Message] = {}
        self._cursor = 0

    def messages(self) -> list[Message]:
        """Return them, in order."""
        return [*self._by_ref.values()]

    def find(self, ref: str) -> Message | None:
        """Return the message with a ref."""
        return self._by_ref.get(ref)

    def put(self, message: Message) -> None:
        """Add a message, or replace the one with its ref."""
        self._by_ref[message.ref or ""] = message
        failed = [ref for ref, each in self._by_ref.items() if each.failed is not None]
        for ref in failed[:-MAX_FAILED]:
            del self._by_ref[ref]

    def remove(self, ref: str) -> None:
        """Remove a message, if it is there."""
        self._by_ref.pop(ref, None)

    def acknowledge(self, ref: str, message_id: int, seq: int, at: datetime) -> None:
        """Give a message its place. It stays until the order reaches that."""
        message = self._by_ref.get(ref)
        if message is not None and seq > self._cursor:
            self._by_ref[ref] = replace(message, message_id=message_id, seq=seq, at=at)
        else:
            self.remove(ref)

    def arrived(self, message: Message) -> None:
        """Remove the message that has come in the room's order."""
        if message.ref is not None:
            self.remove(message.ref)

    def reach(self, cursor: int) -> None:
        """The room's order has reached a seq: what was acknowledged up to there is in it."""
        self._cursor = cursor
        for ref in [ref for ref, each in self._by_ref.items() if 0 < each.seq <= cursor]:
            del self._by_ref[ref]
