"""The recorder of the `eventsourcing` library, over the tables of the migrations: it appends by `chat_append`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NoReturn, cast
from uuid import UUID, uuid4

from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    InterfaceError,
    Notification,
    OperationalError,
    ProgrammingError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder
from eventsourcing.utils import retry
from psycopg import Cursor
from psycopg.rows import DictRow

from service.domain.streams import WHOLE_STREAM, stream_id
from service.eventstore.entries import AppendRequest, arguments
from service.eventstore.serializer import ROWS, Stored


@dataclass(frozen=True, kw_only=True)
class _LogColumns:
    """The columns that the library does not have; `wrapped` is the encrypted key, None once it is destroyed."""

    stream: str
    subject: str
    recorded_by: str
    recorded_at: datetime | None = None
    key_id: UUID | None = None
    wrapped: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class LoggedEvent(StoredEvent, _LogColumns):
    """A stored event with the additional columns; its position and time are set when it is appended."""

    notification_id: int = 0


@dataclass(frozen=True, kw_only=True)
class LoggedNotification(Notification, _LogColumns):
    """A notification with the additional columns. Its id is the position."""

    @property
    def notification_id(self) -> int:
        """The position, by the name of its column."""
        return self.id


class ChatRecorder(PostgresApplicationRecorder):
    """The library's recorder, on the tables of the migrations."""

    def create_table(self) -> NoReturn:
        """Raise `ProgrammingError`: the migrations own every table."""
        raise ProgrammingError("the migrations own every table; set CREATE_TABLE=n")

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append events by `chat_append`, all or none; return their positions, or None if there are none.

        Raises:
            IntegrityError: the events' versions do not continue their stream; nothing was appended.
            DataError: the key of a personal field is destroyed; nothing was appended.
            ProgrammingError: an event has no stream, subject and author, which `ChatMapper` sets.
        """
        if not stored_events:
            return None
        # The refs are made before the first try, so that a retry recognizes a commit whose reply was lost.
        entries = [_entry(run) for _, run in groupby(stored_events, _stream_and_author)]
        return cast("list[int]", self._append(entries))

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def _append(self, entries: list[AppendRequest]) -> list[int]:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(_APPEND, arguments(entries, lambda _stream: None))
            outcomes = {row["command"]: row["outcome"] for row in cursor.fetchall()}
            for number, entry in enumerate(entries, start=1):
                _check(outcomes[number], entry)
            return _positions(cursor, entries)

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[LoggedEvent]:
        """Return a stream's events with `gt` < version <= `lte`."""
        where = _Where()
        where.add("e.originator_id = %s", originator_id)
        where.add("e.originator_version > %s", gt)
        where.add("e.originator_version <= %s", lte)
        order = "e.originator_version DESC" if desc else "e.originator_version"
        return [LoggedEvent(**row) for row in self._select(where, order, limit)]

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[LoggedNotification]:
        """Return at most `limit` events of the whole log by position, from `start` to `stop`."""
        where = _Where()
        where.add(f"e.notification_id {'>=' if inclusive_of_start else '>'} %s", start)
        where.add("e.notification_id <= %s", stop)
        where.add("e.topic = ANY(%s)", list(topics) or None)
        rows = self._select(where, "e.notification_id", limit)
        return [LoggedNotification(id=row.pop("notification_id"), **row) for row in rows]

    def _select(self, where: "_Where", order: str, limit: int | None) -> list[DictRow]:
        query = f"{_SELECT} WHERE {where.condition} ORDER BY {order} LIMIT %s"
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(query.encode(), [*where.parameters, limit], prepare=True)
            return cursor.fetchall()


class _Where:
    """Conditions joined by AND, each left out where its value is None."""

    def __init__(self) -> None:
        self.condition = "true"
        self.parameters: list[Any] = []

    def add(self, condition: str, value: object) -> None:
        if value is not None:
            self.condition += f" AND {condition}"
            self.parameters.append(value)


def _stream_and_author(event: StoredEvent) -> tuple[str, str]:
    if not isinstance(event, LoggedEvent) or event.originator_id != stream_id(event.stream):
        raise ProgrammingError("an event needs a stream, a subject and an author: use ChatMapper")
    return event.stream, event.recorded_by


def _entry(run: Iterable[StoredEvent]) -> AppendRequest:
    """Return consecutive events of one stream by one author as one request."""
    events = cast("list[LoggedEvent]", list(run))
    first = events[0]
    versions = [event.originator_version for event in events]
    if versions != list(range(versions[0], versions[0] + len(events))):
        raise IntegrityError(f"{first.stream}: the versions {versions} do not follow each other")
    return AppendRequest(
        stream=first.stream,
        user=first.recorded_by,
        ref=str(uuid4()),
        fingerprint=b"",
        decided_on=first.originator_version - 1,
        guard=(WHOLE_STREAM,),
        stored=tuple(Stored(event.topic, event.subject, event.state, event.key_id) for event in events),
    )


def _check(outcome: str, entry: AppendRequest) -> None:
    """Raise an error if an entry was not appended, which rolls back the transaction."""
    if outcome == "key_gone":
        raise DataError(f"{entry.stream}: the key of its personal fields is destroyed")
    if outcome not in ("appended", "known"):
        raise IntegrityError(f"{entry.stream} is not at {entry.decided_on}: {outcome}")


def _positions(cursor: Cursor[DictRow], entries: list[AppendRequest]) -> list[int]:
    """Return the positions of the entries' events, which a `known` result does not contain."""
    numbers = [
        (entry.stream, entry.decided_on + n) for entry in entries for n in range(1, len(entry.stored) + 1)
    ]
    cursor.execute(_POSITIONS, [[stream_id(stream) for stream, _ in numbers], [seq for _, seq in numbers]])
    return [row["notification_id"] for row in cursor.fetchall()]


_SELECT = ROWS.replace("SELECT", "SELECT e.originator_id,", 1)
_APPEND = """
    SELECT * FROM chat_append(
        %s::text[], %s::uuid[], %s::text[], %s::text[], %s::bytea[], %s::bigint[], %s::text[], %s::boolean[],
        %s::bigint[], %s::integer[], %s::text[], %s::text[], %s::bytea[], %s::uuid[])
"""
_POSITIONS = """
    SELECT e.notification_id
    FROM unnest(%s::uuid[], %s::bigint[]) WITH ORDINALITY AS asked (id, version, place)
    JOIN stored_events e ON e.originator_id = asked.id AND e.originator_version = asked.version
    ORDER BY asked.place
"""
