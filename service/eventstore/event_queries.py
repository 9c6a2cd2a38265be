"""Runs queries on the log and decodes their rows.

Every read goes to the primary and has a deadline. `EventFilter` selects the events of a read of the whole log.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from service.domain.events import (
    AuditRead,
    KeyReplaced,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessageReported,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    Recorded,
    ReportResolved,
    SessionClosed,
)
from service.domain.streams import (
    person_stream,
    reader_stream,
    report_stream,
    room_stream,
    room_subject,
    session_stream,
    stream_id,
    user_subject,
)
from service.eventstore.serializer import ROW, ROWS, EventSerializer
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

DEADLINE = 5.0
"""The default limit of a read in seconds."""


MAX_REACTIONS = 2_000
"""Events of reactions that one query reads, unless a single message has more."""


NAMING_A_PERSON = [
    event.TOPIC
    for event in (
        *(AuditRead, MessageReported, ReportResolved, MessageEdited, MessageDeleted),
        *(ReactionAdded, ReactionRemoved, MessagePinned, MessageUnpinned),
    )
]
"""The topics of events that may concern a person by a field, or by the message that they are about."""

NAMING_A_ROOM = [SessionClosed.TOPIC, KeyReplaced.TOPIC]
"""The topics of events that may concern a room by a field only."""


class EventFilter(msgspec.Struct, frozen=True):
    """Selects events of the log: those of a topic, by or about a person, of or about a room. None selects all.

    With `fields` it also selects all events of `NAMING_A_PERSON` and `NAMING_A_ROOM`; the caller has to look at them.
    """

    topic: str | None = None
    person: str | None = None
    room: str | None = None
    fields: bool = False

    @property
    def subject(self) -> str | None:
        """The subject of events about the person."""
        return user_subject(self.person) if self.person else None

    @property
    def streams(self) -> list[str]:
        """The person's own streams."""
        return [person_stream(self.person), session_stream(self.person)] if self.person else []

    def arguments(self) -> tuple[Any, ...]:
        """Return the parameters of `EVENTS_BETWEEN` from $4 on."""
        own = [stream_id(stream) for stream in self.streams]
        by_room = self.room or ""
        streams = [stream_id(room_stream(by_room)), stream_id(report_stream(by_room))]
        return (
            self.topic,
            *(self.person, self.subject, own, NAMING_A_PERSON if self.fields else []),
            *(self.room, streams, reader_stream(by_room, ""), room_subject(by_room)),
            NAMING_A_ROOM if self.fields else [],
        )


class EventQueries:
    """Runs queries on the log through a pool of connections and decodes their rows.

    Every method raises `Unavailable` if there is no answer within `deadline` seconds.
    """

    def __init__(
        self,
        database: "asyncpg.Pool[Any] | asyncpg.Connection[Any]",
        serializer: EventSerializer,
        deadline: float = DEADLINE,
    ) -> None:
        self._database = database
        self._serializer = serializer
        self._deadline = deadline

    async def position(self) -> int:
        """Return the position of the log's last event, 0 if the log is empty."""
        return int(await self._value("SELECT coalesce(max(notification_id), 0) FROM stored_events"))

    async def head(self, stream: str) -> int:
        """Return the seq of a stream's last event, 0 if there is none."""
        return int(await self._value(_HEAD, stream_id(stream)))

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        return await retry_read(lambda: self._database.fetch(query, *arguments), self._deadline)

    async def _read(self, query: str, *arguments: object) -> list[Recorded]:
        return [self._serializer.read(row) for row in await self._fetch(query, *arguments)]

    async def _value(self, query: str, *arguments: object) -> Any:
        return (await self._fetch(query, *arguments))[0][0]


def portions(messages: Iterable[int], reactions: Mapping[int, int]) -> list[list[int]]:
    """Split messages, in their order, into parts that one query reads each; `reactions` counts those of a message."""
    parts: list[list[int]] = []
    left = 0
    for message in messages:
        left -= reactions.get(message, 0)
        if not parts or left < 0:
            parts.append([])
            left = MAX_REACTIONS - reactions.get(message, 0)
        parts[-1].append(message)
    return parts


def events_query(stream: str, messages: str, until: str) -> str:
    """Return the query for what decides how messages read as of a seq, in order; its arguments are placeholders.

    It leaves out the edits that a later one replaced: of each message it finds the post, the newest edit, the deletion
    and the reactions by their indexes (BETWEEN keeps the planner from going through the room, latest first). Reactions
    are read whole, since their order matters; `portions` bounds them.
    """
    return f"""
        SELECT {ROW}
        FROM unnest(CAST({messages} AS bigint[])) AS wanted (message)
            LEFT JOIN message_summaries s ON s.originator_id = {stream} AND s.message = wanted.message
            CROSS JOIN LATERAL (
                SELECT wanted.message AS seq
                UNION ALL SELECT s.deleted
                UNION ALL (
                    SELECT originator_version FROM stored_events
                    WHERE originator_id = {stream} AND topic = 'room.MessageEdited.v1'
                        AND subject BETWEEN 'message:' || wanted.message AND 'message:' || wanted.message
                        AND originator_version <= {until}
                    ORDER BY subject DESC, originator_version DESC LIMIT 1)
                UNION ALL
                    SELECT originator_version FROM stored_events
                    WHERE originator_id = {stream} AND subject = 'message:' || wanted.message
                        AND topic IN ('room.ReactionAdded.v1', 'room.ReactionRemoved.v1')
                        AND originator_version <= {until} AND coalesce(s.deleted > {until}, true)) kept
            JOIN readable_events e ON e.originator_id = {stream} AND e.originator_version = kept.seq
                AND e.subject = 'message:' || wanted.message
            LEFT JOIN open_keys k ON k.key_id = e.key_id
        WHERE e.originator_version <= {until}
        ORDER BY e.originator_version
    """  # noqa: S608 - placeholders


def reactions_query(stream: str, messages: str) -> str:
    """Return the query for how many events of reactions each message has; the arguments are as in `events_query`."""
    return f"""
        SELECT message, reactions FROM message_summaries
        WHERE originator_id = {stream} AND message = ANY (CAST({messages} AS bigint[])) AND reactions > 0
    """  # noqa: S608 - placeholders


_HEAD = "SELECT coalesce(max(originator_version), 0) FROM stored_events WHERE originator_id = $1"
EVENTS_BETWEEN = f"""{ROWS}
    WHERE e.notification_id > $1 AND e.notification_id <= $2 AND ($4::text IS NULL OR e.topic = $4)
        AND ($5::text IS NULL OR e.recorded_by = $5 OR e.subject = $6 OR e.originator_id = ANY ($7::uuid[])
            OR e.topic = ANY ($8::text[]))
        AND ($9::text IS NULL OR e.originator_id = ANY ($10::uuid[]) OR starts_with(e.stream, $11)
            OR e.subject = $12 OR e.topic = ANY ($13::text[]))
    ORDER BY e.notification_id LIMIT $3
"""
