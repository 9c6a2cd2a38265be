"""The scope of an export: one room, one person, or everything. Pure.

A person's scope is the data that a subject access request covers: events by the person, events about the person, and
the person's own streams. Events about the person in another person's stream are left out: they are blocks, which are
private to the user who made them. `CURSOR` is the indexed column that orders the events. Both columns give log order,
because a room's seqs rise with the positions.
"""

from typing import Any, ClassVar

import msgspec

from service.domain.streams import person_stream, room_stream, session_stream, stream_id, user_subject


class OneRoom(msgspec.Struct, frozen=True, tag="room", tag_field="kind"):
    """The events of one room, by seq."""

    CURSOR: ClassVar[str] = "seq"
    room: str

    def condition(self) -> tuple[str, list[Any]]:
        """Return the SQL condition that selects the events, and its parameters from $4 on."""
        return "originator_id = $4", [stream_id(room_stream(self.room))]

    @property
    def title(self) -> str:
        """The scope, for display."""
        return f"Room {self.room}"


class OnePerson(msgspec.Struct, frozen=True, tag="person", tag_field="kind"):
    """The events by or about one person, in any stream."""

    CURSOR: ClassVar[str] = "position"
    person: str

    def condition(self) -> tuple[str, list[Any]]:
        """See `OneRoom`."""
        streams = [stream_id(person_stream(self.person)), stream_id(session_stream(self.person))]
        where = (
            "(recorded_by = $4 OR (subject = $5 AND NOT starts_with(stream, 'person:'))"
            " OR originator_id = ANY ($6::uuid[]))"
        )
        return where, [self.person, user_subject(self.person), streams]

    @property
    def title(self) -> str:
        """The scope, for display."""
        return f"Person {self.person}"


class Everything(msgspec.Struct, frozen=True, tag="all", tag_field="kind"):
    """The whole log."""

    CURSOR: ClassVar[str] = "position"

    def condition(self) -> tuple[str, list[Any]]:
        """See `OneRoom`."""
        return "true", []

    @property
    def title(self) -> str:
        """The scope, for display."""
        return "The whole record"


Scope = OneRoom | OnePerson | Everything
