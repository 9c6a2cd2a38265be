"""Reads the log as of a position: without the events after it.

The log only grows, so reads as of one position are consistent in any number of statements: they need no snapshot, and
can be paged.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime

from service.domain.events import Recorded
from service.domain.streams import (
    NEW_MESSAGE,
    person_stream,
    room_of,
    room_stream,
    session_stream,
    stream_id,
    user_subject,
)
from service.eventstore.event_queries import (
    EVENTS_BETWEEN,
    EventFilter,
    EventQueries,
    events_query,
    portions,
    reactions_query,
)
from service.eventstore.reader import PERSON_TOPICS
from service.eventstore.serializer import ROW, ROWS

SPAN = 50_000
"""Positions that one query for the events recorded by a user scans; they have no index."""


class AsOfReader(EventQueries):
    """Reads the log as of a position."""

    async def now(self) -> datetime:
        """Return the database's time."""
        moment: datetime = await self._value("SELECT clock_timestamp()")
        return moment

    async def is_future(self, time: datetime) -> bool:
        """Return whether a time is later than now and than every event; the end of the present day (UTC) is not."""
        now: datetime = await self._value(_NOW)
        today = now.astimezone(UTC).replace(hour=23, minute=59, second=59, microsecond=999_999)
        return time > now and time != today

    async def knows_person(self, user: str) -> bool:
        """Return whether a user has a key, a stream of their own, an event about them in a room, or recorded an event.

        Readings of the record do not count: they name what was asked for, mistyped or not.
        """
        streams = [stream_id(person_stream(user)), stream_id(session_stream(user))]
        if await self._value(_KNOWN, user, streams, user_subject(user)):
            return True
        after, end = 0, await self.position()
        while after < end:
            if await self._value(_RECORDED, after, after + SPAN, user):
                return True
            after += SPAN
        return False

    async def rooms_about(self, user: str, position: int) -> list[str]:
        """Return the ids of the rooms with an event about a user up to a position, in order."""
        rows = await self._fetch(_ROOMS_ABOUT, user_subject(user), position)
        return sorted(room_of(row["stream"]) for row in rows)

    async def about_member(self, room: str, user: str, seq: int) -> list[Recorded]:
        """Return the events of `about_room` about the settings and one user: what their rights are folded from."""
        return await self._read(_ABOUT_MEMBER, stream_id(room_stream(room)), user_subject(user), seq)

    async def position_at(self, time: datetime) -> int:
        """Return the greatest position up to which every event was recorded at or before `time`."""

        async def is_recorded_by_then(position: int) -> bool:
            last = await self._fetch(_LAST_BEFORE, position)
            return not last or last[0]["recorded_at"] <= time  # times never decrease along the log

        return await _greatest(await self.position(), is_recorded_by_then)

    async def seq_at(self, stream: str, position: int) -> int:
        """Return the seq of a stream's last event up to a position, 0 if there was none."""
        stream_key = stream_id(stream)

        async def is_up_to_position(seq: int) -> bool:
            return int(await self._value(_POSITION, stream_key, seq)) <= position

        return await _greatest(await self.head(stream), is_up_to_position)

    async def event(self, stream: str, seq: int) -> Recorded | None:
        """Return an event of a stream, None if the stream has no such event."""
        return next(iter(await self._read(_EVENT, stream_id(stream), seq)), None)

    async def last_upto(self, stream: str, seq: int) -> Recorded | None:
        """Return the last event of a stream up to a seq, None if there is none."""
        return next(iter(await self._read(_LAST_UPTO, stream_id(stream), seq)), None)

    async def first_missing(self, stream: str, after: int, head: int) -> int | None:
        """Return the smallest seq with `after` < seq <= `head` whose event is not stored, None if all are."""
        for start in range(after, head, SPAN):
            end = min(start + SPAN, head)
            rows = await self._fetch(_FIRST_MISSING, stream_id(stream), start, end)
            if rows:
                return int(rows[0]["seq"])
        return None

    async def about_room(self, room: str, seq: int) -> list[Recorded]:
        """Return the events up to a seq from which a room's state is folded: those about its settings and members."""
        return await self._read(_ABOUT_ROOM, stream_id(room_stream(room)), seq)

    async def posted(self, room: str, after: int, seq: int, limit: int) -> list[int]:
        """Return the numbers of at most `limit` messages with `after` < number <= `seq`, ascending."""
        key = stream_id(room_stream(room))
        return [row["seq"] for row in await self._fetch(_POSTED, key, after, seq, limit)]

    async def changed_messages(self, room: str, after: int, seq: int) -> list[int]:
        """Return the numbers of the messages that events with `after` < seq <= `seq` are about, ascending."""
        rows = await self._fetch(_CHANGED_MESSAGES, stream_id(room_stream(room)), after, seq)
        return sorted(int(row["subject"].removeprefix(NEW_MESSAGE)) for row in rows)

    async def about_messages(self, room: str, numbers: Iterable[int], seq: int) -> list[Recorded]:
        """Return the facts about some messages of a room up to a seq, in order, without edits replaced by then."""
        return await self._read(_ABOUT_MESSAGES, stream_id(room_stream(room)), list(numbers), seq)

    async def portions(self, room: str, numbers: Iterable[int]) -> list[list[int]]:
        """Split the numbers of messages into parts that `about_messages` reads each, by how much there is to read."""
        wanted = list(numbers)
        rows = await self._fetch(_REACTIONS, stream_id(room_stream(room)), wanted)
        return portions(wanted, {row["message"]: row["reactions"] for row in rows})

    async def last_of(self, streams: Sequence[str], topic: str, position: int) -> list[Recorded]:
        """Return the last event of a topic in each stream up to a position, of those that had one."""
        return await self._read(_LAST_OF_EACH, [stream_id(stream) for stream in streams], position, topic)

    async def last_of_each_topic(self, people: Sequence[str], position: int) -> list[Recorded]:
        """Return the last event of each kind about each person up to a position, in order."""
        streams = [stream_id(person_stream(user)) for user in people]
        return await self._read(_LAST_OF_EACH_TOPIC, streams, PERSON_TOPICS, position)

    async def page(self, stream: str, after: int, position: int, limit: int) -> list[Recorded]:
        """Return at most `limit` events of a stream after a seq and up to a position, in order."""
        return await self._read(_PAGE, stream_id(stream), after, position, limit)

    async def newest_about(
        self, stream: str, subjects: Sequence[str], before: int | None, limit: int
    ) -> list[Recorded]:
        """Return the newest `limit` events before a seq that are about one of `subjects`, oldest first."""
        rows = await self._read(_NEWEST_ABOUT, stream_id(stream), list(subjects), before, limit)
        return rows[::-1]

    async def newest_by(self, stream: str, subject: str, user: str) -> Recorded | None:
        """Return the newest event of a stream that a user recorded about a subject, None if there is none."""
        return next(iter(await self._read(_NEWEST_BY, stream_id(stream), subject, user)), None)

    async def events_between(self, after: int, upto: int, which: EventFilter, limit: int) -> list[Recorded]:
        """Return the first `limit` events of the whole log with `after` < position <= `upto`, by position."""
        return await self._read(EVENTS_BETWEEN, after, upto, limit, *which.arguments())

    async def recorded_by(self, user: str, places: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Return those places (stream and seq) whose event a user recorded."""
        keys = {(stream_id(stream), seq): stream for stream, seq in places}
        ids, seqs = [key for key, _ in keys], [seq for _, seq in keys]
        rows = await self._fetch(_RECORDED_BY, ids, seqs, user)
        return {(row["stream"], row["originator_version"]) for row in rows}

    async def first_about(self, places: Iterable[tuple[str, str]], topic: str) -> list[Recorded]:
        """Return the events of a topic about the subjects in their streams, of places (stream and subject)."""
        wanted = list(places)
        ids, subjects = [stream_id(stream) for stream, _ in wanted], [subject for _, subject in wanted]
        return await self._read(_FIRST_ABOUT, ids, subjects, topic)


async def _greatest(most: int, holds: Callable[[int], Awaitable[bool]]) -> int:
    """Return the greatest number from 1 to `most` for which `holds` is true, 0 if there is none, by binary search.

    If `holds` is true for a number, it is true for all smaller ones.
    """
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        if await holds(middle):
            low = middle
        else:
            most = middle - 1
    return low


_NOW = """
    SELECT greatest(clock_timestamp(), (
        SELECT recorded_at FROM stored_events ORDER BY notification_id DESC LIMIT 1))
"""
# The condition on both columns is that of the index `stored_events_members_idx`.
_OF_MEMBERS = "starts_with(stream, 'room:') AND starts_with(subject, 'user:')"
_KNOWN = f"""
    SELECT EXISTS (SELECT FROM open_keys WHERE person = $1)
        OR EXISTS (SELECT FROM stored_events WHERE originator_id = ANY ($2::uuid[]))
        OR EXISTS (SELECT FROM stored_events WHERE {_OF_MEMBERS} AND subject = $3)
"""  # noqa: S608 - constants
_RECORDED = """
    SELECT EXISTS (
        SELECT FROM stored_events WHERE notification_id > $1 AND notification_id <= $2 AND recorded_by = $3)
"""
_ROOMS_ABOUT = f"""
    SELECT DISTINCT stream FROM stored_events WHERE {_OF_MEMBERS} AND subject = $1 AND notification_id <= $2
"""  # noqa: S608 - constants
_ABOUT_MEMBER = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.subject IN ('settings', $2) AND e.originator_version <= $3
    ORDER BY e.originator_version
"""
_LAST_BEFORE = """
    SELECT recorded_at FROM stored_events WHERE notification_id <= $1 ORDER BY notification_id DESC LIMIT 1
"""
# Auditors have to read damaged logs too: if the event was removed, this is the position of the next one.
_POSITION = """
    SELECT notification_id FROM stored_events WHERE originator_id = $1 AND originator_version >= $2
    ORDER BY originator_version LIMIT 1
"""
_EVENT = f"{ROWS} WHERE e.originator_id = $1 AND e.originator_version = $2"
_LAST_UPTO = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.originator_version <= $2 ORDER BY e.originator_version DESC LIMIT 1
"""
_FIRST_MISSING = """
    SELECT wanted.seq FROM generate_series($2::bigint + 1, $3::bigint) AS wanted (seq)
        LEFT JOIN (
            SELECT originator_version AS seq FROM stored_events
            WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3) stored USING (seq)
    WHERE stored.seq IS NULL ORDER BY 1 LIMIT 1
"""
_ABOUT_ROOM = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.originator_version <= $2
        AND (e.subject = 'settings' OR (e.subject >= 'user:' AND e.subject < 'user;'))
    ORDER BY e.originator_version
"""
_POSTED = """
    SELECT originator_version AS seq FROM stored_events
    WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3
        AND subject = 'message:' || originator_version
    ORDER BY originator_version LIMIT $4
"""
_CHANGED_MESSAGES = """
    SELECT DISTINCT subject FROM stored_events
    WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3
        AND starts_with(subject, 'message:')
"""
_ABOUT_MESSAGES = events_query("$1", "$2", "$3")
_REACTIONS = reactions_query("$1", "$2")
_LAST_OF_EACH = f"""
    SELECT {ROW}
    FROM unnest($1::uuid[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT * FROM readable_events WHERE originator_id = wanted.id AND notification_id <= $2 AND topic = $3
        ORDER BY originator_version DESC LIMIT 1) e
    LEFT JOIN open_keys k USING (key_id)
"""  # noqa: S608 - constants
_PAGE = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.originator_version > $2 AND e.notification_id <= $3
    ORDER BY e.originator_version LIMIT $4
"""
_NEWEST_ABOUT = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.subject = ANY ($2::text[])
        AND e.originator_version < coalesce($3::bigint, 9223372036854775807)
    ORDER BY e.originator_version DESC LIMIT $4
"""
_NEWEST_BY = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.subject = $2 AND e.recorded_by = $3
    ORDER BY e.originator_version DESC LIMIT 1
"""
_RECORDED_BY = """
    SELECT stream, originator_version
    FROM unnest($1::uuid[], $2::bigint[]) AS wanted (originator_id, originator_version)
        JOIN stored_events USING (originator_id, originator_version)
    WHERE recorded_by = $3
"""
_FIRST_ABOUT = f"""
    SELECT {ROW}
    FROM unnest($1::uuid[], $2::text[]) AS wanted (id, about)
        JOIN readable_events e ON e.originator_id = wanted.id AND e.subject = wanted.about AND e.topic = $3
        LEFT JOIN open_keys k USING (key_id)
"""  # noqa: S608 - constants
_LAST_OF_EACH_TOPIC = f"""
    SELECT {ROW}
    FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN unnest($2::text[]) AS kind (topic)
        CROSS JOIN LATERAL (
            SELECT * FROM readable_events
            WHERE originator_id = wanted.id AND topic BETWEEN kind.topic AND kind.topic AND notification_id <= $3
                AND starts_with(stream, 'person:')
            ORDER BY topic DESC, originator_version DESC LIMIT 1) e
        LEFT JOIN open_keys k USING (key_id)
    ORDER BY e.notification_id
"""  # noqa: S608 - constants
