"""Reads the log: streams by seq, the whole log by position, and the small states that decisions depend on.

Every read goes to the primary and has a deadline.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from service.domain import account, read_marker, room
from service.domain.account import PersonState
from service.domain.events import (
    MessagePosted,
    PersonErased,
    PersonNamed,
    PersonRestored,
    PersonSuspended,
    Recorded,
    RoomOpened,
    RoomRenamed,
)
from service.domain.message import MessageSummary
from service.domain.read_marker import ReaderState
from service.domain.room import RoomState
from service.domain.streams import (
    RETENTION,
    message_subject,
    person_stream,
    reader_stream,
    room_of,
    room_stream,
    session_stream,
    stream_id,
    user_of,
)
from service.eventstore.event_queries import EventQueries
from service.eventstore.serializer import ROW, ROWS

PERSON_TOPICS = [cls.TOPIC for cls in (PersonNamed, PersonSuspended, PersonRestored, PersonErased)]
"""The kinds of events that a person's state is folded from."""

MOST_DAMAGED = 100
"""The most recent moves of a read marker, or names of a room, that are searched for a readable one."""


class Place(NamedTuple):
    """The place of an event in the log: its stream, its seq in it, its position, and when it was recorded."""

    stream: str
    seq: int
    position: int
    at: datetime


class LogReader(EventQueries):
    """Reads events, and the small states that decisions depend on, as of now."""

    async def epoch(self) -> str:
        """Return the log's epoch, a UUID."""
        return str(await self._value("SELECT epoch FROM log_epoch"))

    async def epoch_and_position(self) -> tuple[str, int]:
        """Return the log's epoch and the position of its last event."""
        row = (await self._fetch(_EPOCH_AND_POSITION))[0]
        return str(row["epoch"]), row["position"]

    async def changed_streams(self, after: int, until: int) -> list[Place]:
        """Return the place of each stream's last event with `after` < position <= `until`."""
        return [Place(*row) for row in await self._fetch(_CHANGED_STREAMS, after, until)]

    async def places(self, events: Iterable[tuple[str, int]]) -> list[Place]:
        """Return the places of events, each given by stream and seq; those not in the log are left out."""
        streams = [(stream_id(stream), seq) for stream, seq in events]
        rows = await self._fetch(_PLACES, [stream for stream, _ in streams], [seq for _, seq in streams])
        return [Place(*row) for row in rows]

    async def account_changes(self, after: int, until: int) -> list[str]:
        """Return the users suspended, restored or erased with `after` < position <= `until`."""
        rows = await self._fetch(_ACCOUNT_CHANGES, after, until, _ACCOUNT_TOPICS)
        return [user_of(row["stream"]) for row in rows]

    async def expired(self, after: int, until: int) -> list[Recorded]:
        """Return the events that record expiry, with `after` < position <= `until`."""
        return await self._read(_EXPIRED, stream_id(RETENTION), after, until)

    async def memberships(self, after: int, until: int) -> list[Recorded]:
        """Return the changes of a membership by another user with `after` < position <= `until`, in order."""
        return await self._read(_MEMBERSHIPS, after, until)

    async def stream(self, stream: str, after: int, limit: int, until: int | None = None) -> list[Recorded]:
        """Return at most `limit` events of a stream with `after` < seq <= `until`, by seq."""
        return await self._read(_STREAM, stream_id(stream), after, until, limit)

    async def message(self, room_id: str, seq: int) -> Recorded | None:
        """Return the message with a number in a room, None if there is none."""
        events = await self._read(_MESSAGE, stream_id(room_stream(room_id)), seq, message_subject(seq))
        return events[0] if events else None

    async def events_at(self, stream: str, seqs: list[int]) -> dict[int, Recorded]:
        """Return those of a stream's events that have the seqs `seqs`, by seq."""
        events = await self._read(_NUMBERED, [stream_id(stream)] * len(seqs), seqs) if seqs else []
        return {recorded.seq: recorded for recorded in events}

    async def about(
        self, room_id: str, message: int, user: str, *, with_content: bool = False, of_others: bool = False
    ) -> MessageSummary:
        """Return what a command of `user` about a message depends on, as of now.

        `with_content` adds the content of the user's own messages, `of_others` also that of other users' messages.
        This reads a few rows by their keys, and decrypts one at most, however long the history of the message is.
        """
        stream = stream_id(room_stream(room_id))
        rows = await self._fetch(
            _ABOUT, stream, message, message_subject(message), user, with_content, of_others
        )
        if not rows:
            return MessageSummary()
        row = rows[0]
        content = self._serializer.read(row).event if row["state"] is not None else None
        return MessageSummary(
            author=row["author"],
            deleted=row["deleted"] is not None,
            content=getattr(content, "content", None),
            edits=row["edits"] or 0,
            emoji=frozenset(row["emoji"] or ()),
            own=frozenset(row["own"] or () if row["deleted"] is None else ()),
            reactions=row["reactions"] or 0,
            pins=row["pins"] or 0,
        )

    async def deleted(self, room_id: str, messages: Iterable[int]) -> set[int]:
        """Return the numbers of those of `messages` that are deleted."""
        numbers = list(messages)
        rows = await self._fetch(_DELETED, stream_id(room_stream(room_id)), numbers) if numbers else []
        return {row["message"] for row in rows}

    async def silenced(self, messages: Iterable[tuple[str, int]], user: str) -> set[tuple[str, int]]:
        """Return those of `messages`, each a room and a number, whose mention of a user does not count."""
        wanted = [(stream_id(room_stream(room_id)), number) for room_id, number in messages]
        events = await self._read(
            _NUMBERED, [stream for stream, _ in wanted], [number for _, number in wanted]
        )
        return {
            (room_of(recorded.stream), recorded.seq)
            for recorded in events
            if isinstance(recorded.event, MessagePosted) and user in recorded.event.silenced
        }

    async def room(self, room_id: str) -> RoomState:
        """Return a room as of now, folded from its settings and members; its messages only move the head."""
        state = RoomState(room_id)
        for recorded in await self._read(_ROOM, stream_id(room_stream(room_id))):
            state = room.evolve(state, recorded)
        return state

    async def room_name(self, room_id: str, seq: int) -> str:
        """Return the name of a room as of a seq: the newest one that can be read, else the room's id."""
        names = await self._read(_NAMING, stream_id(room_stream(room_id)), seq, _NAMINGS, MOST_DAMAGED)
        for recorded in names:
            if not recorded.undecoded and isinstance(recorded.event, RoomOpened | RoomRenamed):
                return recorded.event.name
        return room_id

    async def reader(self, room_id: str, user: str) -> ReaderState:
        """Return a read marker as of now."""
        stream = stream_id(reader_stream(room_id, user))
        newest = await self._read(_LAST, stream, 1)
        if newest and newest[0].undecoded:  # an earlier one holds the last known marker
            newest = await self._read(_LAST, stream, MOST_DAMAGED)
        state = ReaderState()
        for recorded in reversed(newest):
            state = read_marker.evolve(state, recorded)
        return state

    async def person(self, user: str) -> PersonState:
        """Return a person as of now."""
        return (await self.persons([user]))[user]

    async def persons(self, users: Iterable[str]) -> dict[str, PersonState]:
        """Return each of `users` as of now; the initial state for those without events."""
        streams = {stream_id(person_stream(user)): user for user in users}
        states = {user: PersonState() for user in streams.values()}
        for recorded in await self._read(_ACCOUNTS, list(streams), PERSON_TOPICS):
            user = streams[recorded.originator_id]
            states[user] = account.evolve(states[user], recorded)
        return states

    async def on_record(self, users: Iterable[str]) -> set[str]:
        """Return those of `users` who have signed in, or whose account was changed."""
        users = list(users)
        people, sessions = (
            [stream_id(name(user)) for user in users] for name in (person_stream, session_stream)
        )
        return {row["user_id"] for row in await self._fetch(_ON_RECORD, users, people, sessions)}


_EPOCH_AND_POSITION = """
    SELECT epoch, coalesce((SELECT max(notification_id) FROM stored_events), 0) AS position FROM log_epoch
"""
_CHANGED_STREAMS = """
    SELECT stream, max(originator_version), max(notification_id), max(recorded_at) FROM stored_events
    WHERE notification_id > $1 AND notification_id <= $2
    GROUP BY stream
"""
_PLACES = """
    SELECT e.stream, e.originator_version, e.notification_id, e.recorded_at
    FROM unnest($1::uuid[], $2::bigint[]) AS wanted (stream, seq)
    JOIN stored_events e ON e.originator_id = wanted.stream AND e.originator_version = wanted.seq
"""
_ACCOUNT_TOPICS = [PersonSuspended.TOPIC, PersonRestored.TOPIC, PersonErased.TOPIC]
_ACCOUNT_CHANGES = """
    SELECT DISTINCT stream FROM stored_events
    WHERE notification_id > $1 AND notification_id <= $2 AND topic = ANY ($3::text[])
"""
_EXPIRED = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.notification_id > $2 AND e.notification_id <= $3 ORDER BY e.notification_id
"""
_MEMBERSHIPS = f"""{ROWS}
    WHERE e.notification_id > $1 AND e.notification_id <= $2 AND starts_with(e.stream, 'room:')
        AND starts_with(e.subject, 'user:') AND e.subject <> 'user:' || e.recorded_by
    ORDER BY e.notification_id
"""
_STREAM = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.originator_version > $2
        AND e.originator_version <= coalesce($3::bigint, 9223372036854775807)
    ORDER BY e.originator_version LIMIT $4
"""
_MESSAGE = f"{ROWS} WHERE e.originator_id = $1 AND e.originator_version = $2 AND e.subject = $3"
_NAMINGS = [RoomOpened.TOPIC, RoomRenamed.TOPIC]
_NAMING = f"""{ROWS}
    WHERE e.originator_id = $1 AND e.subject = 'settings' AND e.originator_version <= $2
        AND e.topic = ANY ($3::text[])
    ORDER BY e.originator_version DESC LIMIT $4
"""
_ABOUT = f"""
    SELECT posted.recorded_by AS author, s.deleted, s.edits, ARRAY(SELECT jsonb_object_keys(s.emoji)) AS emoji,
        u.emoji AS own, u.reactions, u.pins, {ROW}
    FROM stored_events posted
        LEFT JOIN message_summaries s ON s.originator_id = $1 AND s.message = $2
        LEFT JOIN message_users u ON u.originator_id = $1 AND u.message = $2 AND u.user_id = $4
        LEFT JOIN LATERAL (
            SELECT * FROM readable_events
            WHERE $5::boolean AND ($6::boolean OR posted.recorded_by = $4) AND s.deleted IS NULL
                AND originator_id = $1 AND originator_version = coalesce(s.last_edit, $2)) e ON true
        LEFT JOIN open_keys k ON k.key_id = e.key_id
    WHERE posted.originator_id = $1 AND posted.originator_version = $2 AND posted.subject = $3
"""  # noqa: S608 - constants
_DELETED = """
    SELECT message FROM message_summaries
    WHERE originator_id = $1 AND message = ANY ($2::bigint[]) AND deleted IS NOT NULL
"""
_NUMBERED = f"""{ROWS}
    JOIN unnest($1::uuid[], $2::bigint[]) AS wanted (stream, seq)
        ON e.originator_id = wanted.stream AND e.originator_version = wanted.seq
"""
# The last event gives the head; before it, only events about the room and its members matter. One statement, so that
# head and members are of the same moment.
_ROOM = f"""
    WITH last AS (
        SELECT max(originator_version) AS seq FROM stored_events WHERE originator_id = $1)
    {ROWS}
    WHERE e.originator_id = $1
        AND (e.subject = 'settings' OR (e.subject >= 'user:' AND e.subject < 'user;')
            OR e.originator_version = (SELECT seq FROM last))
    ORDER BY e.originator_version
"""  # noqa: S608 - constants
_ON_RECORD = """
    SELECT user_id FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS wanted (user_id, person, session)
    WHERE EXISTS (SELECT FROM stored_events e WHERE e.originator_id IN (wanted.person, wanted.session))
"""
_LAST = f"{ROWS} WHERE e.originator_id = $1 ORDER BY e.originator_version DESC LIMIT $2"
# Of what is about the person, only the last event of each topic matters, however often a person was renamed; the
# condition on the stream lets the planner use the index of the streams of people. Of each user that the person ever
# blocked, only the last event matters. The recursion steps through these users by index, so that a user who is blocked
# and unblocked a million times costs no more than one who is blocked once. Among these is the last event of all, which
# gives the head. BETWEEN instead of equality keeps the planner from going through the whole stream, latest first.
_ACCOUNTS = f"""
    SELECT {ROW}
    FROM unnest($1::uuid[]) AS wanted (id)
    CROSS JOIN LATERAL (
        (SELECT newest.* FROM unnest($2::text[]) AS own (topic) CROSS JOIN LATERAL (
            SELECT * FROM readable_events r
            WHERE r.originator_id = wanted.id AND r.topic BETWEEN own.topic AND own.topic
                AND starts_with(r.stream, 'person:')
            ORDER BY r.topic DESC, r.originator_version DESC LIMIT 1) newest)
        UNION ALL
        (WITH RECURSIVE others (subject) AS (
            (SELECT subject FROM stored_events
                WHERE originator_id = wanted.id AND subject > '' ORDER BY subject LIMIT 1)
            UNION ALL
            SELECT (SELECT e.subject FROM stored_events e
                WHERE e.originator_id = wanted.id AND e.subject > others.subject ORDER BY e.subject LIMIT 1)
            FROM others WHERE others.subject IS NOT NULL)
        SELECT newest.* FROM others CROSS JOIN LATERAL (
            SELECT * FROM readable_events r
            WHERE r.originator_id = wanted.id AND r.subject BETWEEN others.subject AND others.subject
            ORDER BY r.subject DESC, r.originator_version DESC LIMIT 1) newest)) e
    LEFT JOIN open_keys k USING (key_id)
    ORDER BY e.originator_version
"""  # noqa: S608 - constants
