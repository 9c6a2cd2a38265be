"""The price of a command, in units of a user's rate: what it makes the node and the database compute.

An ordinary command costs 1. One unit is about the CPU of posting a short message; `bench/experiments/costs.py` measures
it, and `docs/decisions/0028-prices.md` has the results. A price is a function of the input and of the answer alone, so
a client can compute it.
"""

import msgspec

from service.protocol.acks import ReportListAck, RoomJoinAck, RoomListAck
from service.protocol.commands import (
    Frame,
    MessageEdit,
    MessageHistory,
    MessagePins,
    MessageSend,
    RoomCreate,
    RoomDirectory,
    RoomJoin,
    UserFind,
)

BYTES = 16 * 1024
"""Bytes of a frame for which one more unit is charged."""

MARKUP = 1_000
"""Code points of content with `<`, which is parsed as HTML several times, for which one more unit is charged."""

PEOPLE = 10
"""People in `room:create` that cost one more unit."""

SEARCH = 3
"""What a search of the room directory costs beside its page: it looks through thousands of rooms."""

PAGE = 50
"""Messages of a page or public rooms beyond the first 50, or entries of `room:list` and `report:list`, that cost one
more unit."""

FIND = 1
"""The price of `user:find` beside its bytes: it costs as much as three posts."""

MISSED = 20
"""Events that `room:join` sends after a cursor for which one more unit is charged."""

EXPORT = 40
"""What is owed for an export of a user's own data, of which there is one in an interval: a burst by default."""

REPLAY = 10
"""The price of an auditor's read, which replays a part of the log."""


def bytes_of(text: str) -> int:
    """Return the size of a frame in bytes."""
    return len(text) if text.isascii() else len(text.encode())


def price_of_bytes(size: int) -> int:
    """Return the price of reading a frame of so many bytes, charged before it is decoded."""
    return 1 + size // BYTES


def price_of_command(frame: msgspec.Struct) -> int:
    """Return what is charged for a decoded command beside its bytes, before it is carried out."""
    match frame:
        case MessageSend(content=content) | MessageEdit(content=content) if "<" in content:
            return len(content) // MARKUP
        case RoomCreate(members=members):
            return len(members) // PEOPLE
        case MessageHistory(limit=limit) | MessagePins(limit=limit):
            return (limit - 1) // PAGE
        case UserFind():
            return FIND
        case RoomDirectory(query=query, limit=limit):
            return (limit - 1) // PAGE + (SEARCH if query else 0)
    return 0


def price_of_answer(frame: Frame | msgspec.Struct, answer: object) -> int:
    """Return what is owed for an answer whose size was not known before.

    It is a debt: it refuses nothing, and is paid off before later commands are admitted.
    """
    match answer:
        case RoomListAck(rooms=rooms, invitations=invitations):
            return (len(rooms) + len(invitations)) // PAGE
        case ReportListAck(reports=reports):
            return len(reports) // PAGE
        case RoomJoinAck(head=head) if isinstance(frame, RoomJoin) and frame.after is not None:
            return max(0, head - frame.after) // MISSED
    return 0
