"""What an export is of: one room, one person, or everything. All pure, but for the name of a column.

A person's data is what they did, what is about them, and their own streams: what a subject request is owed. `CURSOR` is
what orders the events and an index finds: both orders are the same, a room's numbers being dense.
"""

from typing import Any, ClassVar

import msgspec

from service.domain.streams import person_stream, room_stream, session_stream, stream_id, user_subject


class OneRoom(msgspec.Struct, frozen=True, tag="room", tag_field="kind"):
    """The events of one room, in its order."""

    CURSOR: ClassVar[str] = "seq"
    room: str

    def condition(self) -> tuple[str, list[Any]]:
        """Return which events, as SQL and its parameters from $4 on."""
        return "originator_id = $4", [stream_id(room_stream(self.room))]

    @property
    def title(self) -> str:
        """In words."""
        return f"Room {self.room}"


class OnePerson(msgspec.Struct, frozen=True, tag="person", tag_field="kind"):
    """The events by or about one person, wherever they stand."""

    CURSOR: ClassVar[str] = "position"
    person: str

    def condition(self) -> tuple[str, list[Any]]:
        """See `OneRoom`."""
        streams = [stream_id(person_stream(self.person)), stream_id(session_stream(self.person))]
        where = "(recorded_by = $4 OR subject = $5 OR originator_id = ANY ($6::uuid[]))"
        return where, [self.person, user_subject(self.person), streams]

    @property
    def title(self) -> str:
        """In words."""
        return f"Person {self.person}"


class Everything(msgspec.Struct, frozen=True, tag="all", tag_field="kind"):
    """The whole log."""

    CURSOR: ClassVar[str] = "position"

    def condition(self) -> tuple[str, list[Any]]:
        """See `OneRoom`."""
        return "true", []

    @property
    def title(self) -> str:
        """In words."""
        return "The whole record"


Scope = OneRoom | OnePerson | Everything
