"""Removes an erased person from their rooms, so that no room keeps an owner who cannot return.

The ordinary rules of leaving decide: ownership passes to the next member, and direct rooms are not left. The erasing
operator is recorded as the author.

Invariant: this follows the erasure, after which the person cannot join again; it is idempotent.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from service.domain import room as rooms_domain
from service.domain.commands import LeaveRoom
from service.domain.streams import room_stream
from service.errors import Refusal
from service.eventstore.entries import AppendRequest, append_decided, append_one
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer


async def leave_rooms(
    database: Any, serializer: EventSerializer, person: str, rooms: Iterable[str], *, by: str, deadline: float
) -> list[str]:
    """Remove a person from rooms; return the rooms that this call removed them from.

    Raises:
        Overloaded: a room kept changing; a retry is safe.
        Unavailable: the database cannot be reached.
    """
    reader = LogReader(database, serializer, deadline)
    return [room for room in rooms if await _leave(database, reader, serializer, person, room, by)]


async def _leave(
    database: Any, reader: LogReader, serializer: EventSerializer, person: str, room: str, by: str
) -> bool:
    command = LeaveRoom(room=room)

    async def decide() -> AppendRequest | None:
        state = await reader.room(room)
        try:
            events = rooms_domain.decide(state, command, person, datetime.now(UTC))
        except Refusal:
            return None
        if not events:
            return None
        return AppendRequest.of(
            serializer, room_stream(room), events, user=by, ref=f"~leave:{uuid4()}",
            decided_on=state.head, guard=rooms_domain.guard(state, command, person),
        )  # fmt: skip

    result = await append_decided(decide, lambda request: append_one(database, request, serializer))
    # An administrator who erased themselves may no longer append.
    return result is not None and result.outcome == "appended"
