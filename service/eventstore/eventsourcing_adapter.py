"""The `eventsourcing` library over our log: its repository, log and subscriptions read our rows as its own.

    with ChatApplication(database_url, Mapper(keys)) as application:
        application.room("general", version=41)

Synchronous, for auditors' tools and whoever knows the library; the server itself appends and reads through
`service.eventstore.appender` and `service.eventstore.reader`.

The rule: nothing gets round `chat_append`. The library's own `insert_events` would skip guards, subjects and refs, and
takes another lock; here it hands everything to `chat_append`, so that `Application.save` keeps the log's promises too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NoReturn, cast
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    DataError,
    InfrastructureFactory,
    IntegrityError,
    InterfaceError,
    Mapper,
    Notification,
    OperationalError,
    ProgrammingError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory
from eventsourcing.utils import Environment, EnvType, retry
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow

from service.domain import room
from service.domain.events import Recorded
from service.domain.room import RoomState
from service.domain.streams import WHOLE_STREAM, room_of, room_stream, stream_id
from service.encryption.keyring import PersonKey
from service.eventstore.entries import AppendRequest, arguments
from service.eventstore.serializer import ROWS, Stored
from service.eventstore.serializer import EventSerializer as LogMapper

KeyOf = Callable[[str], PersonKey]
"""The key that a person's words are sealed with."""


@dataclass(frozen=True, kw_only=True)
class _Ours:
    """What our rows hold beside the library's columns; `wrapped` is the key, while it lives."""

    stream: str
    subject: str
    recorded_by: str
    recorded_at: datetime | None = None
    key_id: UUID | None = None
    wrapped: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class LoggedEvent(StoredEvent, _Ours):
    """A stored event, with our columns. One that is not in the log yet has no position and no time."""

    notification_id: int = 0


@dataclass(frozen=True, kw_only=True)
class LoggedNotification(Notification, _Ours):
    """A notification, with our columns. Its id is the position."""

    @property
    def notification_id(self) -> int:
        """The position, under the name of its column."""
        return self.id


class ChatRecorder(PostgresApplicationRecorder):
    """The library's recorder, on the tables of our migrations."""

    def create_table(self) -> NoReturn:
        """Refuse.

        Raises:
            ProgrammingError: always.
        """
        raise ProgrammingError("the migrations own every table; set CREATE_TABLE=n")

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Place events by `chat_append`, all or none; return their positions, or None where there are none.

        Raises:
            IntegrityError: a stream is not where the events' versions say; nothing was placed.
            DataError: the key that words are sealed with is destroyed; nothing was placed.
            ProgrammingError: an event does not say its stream, subject and author (`ChatMapper` does).
        """
        if not stored_events:
            return None
        # The refs are made before the first try, so that a commit whose reply was lost is known by the next.
        entries = [_entry(run) for _, run in groupby(stored_events, _stream_and_author)]
        return cast("list[int]", self._place(entries))

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def _place(self, entries: list[AppendRequest]) -> list[int]:
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


class ChatMapper(Mapper[UUID]):
    """The library's mapper over ours: stored rows to `Recorded` and back.

    `key_of` gives the keys for saving people's words; without it they are read only.
    """

    def __init__(self, mapper: LogMapper, key_of: KeyOf | None = None) -> None:
        self._mapper = mapper
        self._key_of = key_of

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> LoggedEvent:
        """Return the stored form of a `Recorded`; its position and time are the database's to give.

        Raises:
            ValueError: it holds words, and there is no key.
        """
        recorded = cast("Recorded", domain_event)
        words = any(getattr(recorded.event, name) is not None for name in recorded.event.PERSONAL)
        key = self._key_of(recorded.by) if words and self._key_of is not None else None
        topic, subject, state, key_id = self._mapper.to_stored(recorded.event, recorded.stream, key)
        return LoggedEvent(
            originator_id=recorded.originator_id,
            originator_version=recorded.originator_version,
            topic=topic,
            state=state,
            stream=recorded.stream,
            subject=subject,
            recorded_by=recorded.by,
            key_id=key_id,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """Return the `Recorded` in a row or notification of ours.

        Raises:
            As `service.eventstore.serializer.EventSerializer.to_recorded`.
        """
        logged = cast("LoggedEvent | LoggedNotification", stored_event)
        row = {**vars(logged), "notification_id": logged.notification_id}
        return cast("DomainEventProtocol[UUID]", self._mapper.read(row))


class ChatFactory(PostgresFactory):
    """The library's factory, with our recorder."""

    application_recorder_class = ChatRecorder


class ChatApplication(Application[UUID]):
    """An application of the library that is our log. `key_of`: see `ChatMapper`."""

    name = (
        ""  # The library names an application's tables after it; where it has no name they are stored_events.
    )

    def __init__(self, database_url: str, mapper: LogMapper, key_of: KeyOf | None = None) -> None:
        self._parameters = conninfo_to_dict(database_url)
        self._mapper_over = ChatMapper(mapper, key_of)
        super().__init__()

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Return the library's settings: ours alone, whatever the process's environment says.

        `POSTGRES_ENABLE_DB_FUNCTIONS` is never set (it loses events), and there is no cache of aggregates.
        """
        known = {
            key: str(self._parameters.get(key) or "")
            for key in ("dbname", "host", "port", "user", "password")
        }
        ours = {f"POSTGRES_{key.upper()}": value for key, value in known.items()}
        return Environment(name, {**ours, "CREATE_TABLE": "n", "POSTGRES_POOL_SIZE": "2", **(env or {})})

    def construct_factory(self, env: Environment) -> "InfrastructureFactory[Any]":
        """Return our factory, connecting with all that the address says (TLS, for one)."""
        factory = ChatFactory(env)
        assert isinstance(factory.datastore.pool.kwargs, dict)  # noqa: S101 - for the type checker
        factory.datastore.pool.kwargs.update(self._parameters)
        return factory

    def construct_mapper(self) -> ChatMapper:
        """Return our mapper."""
        return self._mapper_over

    def room(self, room_id: str, version: int | None = None) -> RoomState:
        """Return a room as of the event numbered `version`, or as of now.

        Raises:
            eventsourcing.application.AggregateNotFoundError: there was no such room.
        """
        # A room is no aggregate in the library's eyes (its protocol wants `id` and `version`), which only types see.
        get = cast("Callable[..., RoomState]", self.repository.get)
        return get(stream_id(room_stream(room_id)), version=version, projector_func=fold_room)


def fold_room(state: RoomState | None, events: Iterable[Recorded]) -> RoomState | None:
    """Return a room after more events of its stream, as the library folds aggregates; None where there are none."""
    for recorded in events:
        state = room.evolve(state or RoomState(room_of(recorded.stream)), recorded)
    return state


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
        raise ProgrammingError("an event of this log says its stream, subject and author: use ChatMapper")
    return event.stream, event.recorded_by


def _entry(run: Iterable[StoredEvent]) -> AppendRequest:
    """Return a run of events of one stream by one author as the command that `chat_append` places together."""
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
    """Do nothing where an entry is placed; else raise, which undoes those placed beside it."""
    if outcome == "key_gone":
        raise DataError(f"{entry.stream}: the key that its words are sealed with is destroyed")
    if outcome not in ("appended", "known"):
        raise IntegrityError(f"{entry.stream} is not at {entry.decided_on}: {outcome}")


def _positions(cursor: Cursor[DictRow], entries: list[AppendRequest]) -> list[int]:
    """Return the positions of the entries' events, asked for since a known command is not answered with them."""
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
