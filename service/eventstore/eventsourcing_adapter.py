"""Adapter for the `eventsourcing` library: its repository, log and subscriptions read this log.

    with ChatApplication(database_url, EventSerializer(keys)) as application:
        application.room("general", version=41)

It is synchronous, for tools of auditors and users of the library. The server itself appends and reads with
`service.eventstore.appender` and `service.eventstore.reader`.

Invariant: every write goes through `chat_append`. The library's own `insert_events` is overridden: it would skip
guards, subjects and refs, and take another lock.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import InfrastructureFactory, Mapper, StoredEvent
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment, EnvType
from psycopg.conninfo import conninfo_to_dict

from service.domain import room
from service.domain.events import Recorded
from service.domain.room import RoomState
from service.domain.streams import room_of, room_stream, stream_id
from service.encryption.person_key import PersonKey
from service.eventstore.eventsourcing_recorder import ChatRecorder, LoggedEvent, LoggedNotification
from service.eventstore.serializer import EventSerializer

KeyOf = Callable[[str], PersonKey]
"""Returns the key for a person's personal fields."""


class ChatMapper(Mapper[UUID]):
    """The library's mapper over `EventSerializer`: stored rows to `Recorded` and back.

    `key_of` returns the keys to save personal fields; without it, they can only be read.
    """

    def __init__(self, serializer: EventSerializer, key_of: KeyOf | None = None) -> None:
        self._serializer = serializer
        self._key_of = key_of

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> LoggedEvent:
        """Return the stored form of a `Recorded`; the database sets its position and time.

        Raises:
            ValueError: it holds personal fields, and there is no key.
        """
        recorded = cast("Recorded", domain_event)
        words = any(getattr(recorded.event, name) is not None for name in recorded.event.PERSONAL)
        key = self._key_of(recorded.by) if words and self._key_of is not None else None
        stored = self._serializer.to_stored(recorded.event, recorded.stream, key)
        return LoggedEvent(
            originator_id=recorded.originator_id,
            originator_version=recorded.originator_version,
            topic=stored.topic,
            state=stored.state,
            stream=recorded.stream,
            subject=stored.subject,
            recorded_by=recorded.by,
            key_id=stored.key_id,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """Return the `Recorded` in a row or notification; a damaged one has `damage`."""
        logged = cast("LoggedEvent | LoggedNotification", stored_event)
        row = {**vars(logged), "notification_id": logged.notification_id}
        return cast("DomainEventProtocol[UUID]", self._serializer.read(row))


class ChatFactory(PostgresFactory):
    """The library's factory with `ChatRecorder`."""

    application_recorder_class = ChatRecorder


class ChatApplication(Application[UUID]):
    """An application of the library on the log. `key_of`: see `ChatMapper`."""

    # The library names an application's tables after it; those of one without a name are `stored_events`.
    name = ""

    def __init__(self, database_url: str, serializer: EventSerializer, key_of: KeyOf | None = None) -> None:
        self._parameters = conninfo_to_dict(database_url)
        self._mapper = ChatMapper(serializer, key_of)
        super().__init__()

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Return the library's settings, without those in the process's environment.

        `POSTGRES_ENABLE_DB_FUNCTIONS` is never set (it loses events), and there is no cache of aggregates.
        """
        settings = {
            f"POSTGRES_{key.upper()}": str(self._parameters.get(key) or "")
            for key in ("dbname", "host", "port", "user", "password")
        }
        return Environment(name, {**settings, "CREATE_TABLE": "n", "POSTGRES_POOL_SIZE": "2", **(env or {})})

    def construct_factory(self, env: Environment) -> "InfrastructureFactory[Any]":
        """Return the factory, which connects with all parameters of the address, such as TLS."""
        factory = ChatFactory(env)
        assert isinstance(factory.datastore.pool.kwargs, dict)  # noqa: S101 - for the type checker
        factory.datastore.pool.kwargs.update(self._parameters)
        return factory

    def construct_mapper(self) -> ChatMapper:
        """Return the mapper."""
        return self._mapper

    def room(self, room_id: str, version: int | None = None) -> RoomState:
        """Return a room as of the event numbered `version`, or as of now.

        Raises:
            eventsourcing.application.AggregateNotFoundError: there was no such room.
        """
        # A room has no `id` and `version`, which the library's type of an aggregate requires and its code does not.
        get = cast("Callable[..., RoomState]", self.repository.get)
        return get(stream_id(room_stream(room_id)), version=version, projector_func=fold_room)


def fold_room(state: RoomState | None, events: Iterable[Recorded]) -> RoomState | None:
    """Return a room after more events of its stream; None without any event."""
    for recorded in events:
        state = room.evolve(state or RoomState(room_of(recorded.stream)), recorded)
    return state
