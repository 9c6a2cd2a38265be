"""The `eventsourcing` library reads our log as its own, and what is saved through it keeps the log's invariants."""

import asyncio
import re
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    Notification,
    PersistenceError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    TrackingRecorder,
)
from eventsourcing.postgres import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresFactory,
    PostgresProcessRecorder,
    PostgresTrackingRecorder,
)
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict

from service.domain import room
from service.domain.events import (
    Event,
    MemberJoined,
    MemberLeft,
    MessagePosted,
    Recorded,
    RoleChanged,
    RoomOpened,
)
from service.domain.room import RoomState
from service.domain.streams import room_stream, stream_id
from service.embedded import Servers
from service.encryption.keyring import KeyRing
from service.eventstore.eventsourcing_adapter import ChatApplication, ChatFactory
from service.eventstore.eventsourcing_recorder import ChatRecorder, LoggedEvent, LoggedNotification
from service.eventstore.serializer import EventSerializer
from tests.support.eventstore import library_cases
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, Node, message, node, stored
from tests.support.servers.databases import Database, fresh_database
from tests.support.servers.lost_replies import proxied
from tests.support.waiting import until


def environment(database: Database) -> Environment:
    return environment_of(database.app_url)


def environment_of(url: str) -> Environment:
    address = conninfo_to_dict(url)
    keys = ("dbname", "host", "port", "user", "password")
    env = {f"POSTGRES_{key.upper()}": str(address[key]) for key in keys}
    return Environment("", {**env, "CREATE_TABLE": "n", "POSTGRES_POOL_SIZE": "1"})


def application(database: Database, one: Node, url: str | None = None) -> ChatApplication:
    """Return an application of the library that shares a node's keys."""
    return ChatApplication(
        url or database.app_url, EventSerializer(one.keys), lambda person: one.keys._by_owner[person, ""]
    )


def draft(event: Event, seq: int, *, by: str = "alice", stream: str = GENERAL) -> Recorded:
    """Return an event as a user of the library would make it."""
    return Recorded(stream, seq, 0, event.subject, datetime(1970, 1, 1, tzinfo=UTC), by, event)


async def a_lively_room(one: Node) -> list[Recorded]:
    await one.open_room("alice", "bob", "carol")
    await one.append(message("hello"), decided_on=4)
    await one.append(MemberLeft(user="bob"), by="bob", decided_on=4)
    await one.append(
        RoleChanged(user="carol", role="owner"), MemberLeft(user="alice"), decided_on=6, guard=()
    )
    await one.append(message("and me?", author="carol"), by="carol", decided_on=8, guard=())
    await one.append(MemberJoined(user="bob"), by="bob", decided_on=9)
    return await one.log.stream(GENERAL, 0, 100)


# Reading


async def test_the_library_folds_a_room_to_what_we_hold_at_every_version(database: Database) -> None:
    async with node(database) as one:
        log = await a_lively_room(one)
        with application(database, one) as library:
            state = RoomState("general")
            for recorded in log:
                state = room.evolve(state, recorded)
                assert library.room("general", version=recorded.seq) == state
            assert library.room("general") == state == await one.log.room("general")


async def test_a_room_that_never_was_is_not_found(database: Database) -> None:
    async with node(database) as one:
        with application(database, one) as library, pytest.raises(AggregateNotFoundError):
            library.room("nowhere")


async def test_the_librarys_event_store_gives_our_records(database: Database) -> None:
    async with node(database) as one:
        log = await a_lively_room(one)
        with application(database, one) as library:
            assert [*library.events.get(stream_id(GENERAL))] == log
            assert [*library.events.get(stream_id(GENERAL), gt=2, lte=5)] == log[2:5]
            assert [*library.events.get(stream_id(GENERAL), desc=True, limit=2)] == log[:-3:-1]


async def test_stored_events_and_notifications_carry_our_columns(database: Database) -> None:
    async with node(database) as one:
        *_, recorded = await a_lively_room(one)
        said = (await one.log.stream(GENERAL, 4, 1))[0]
        key = await one.keys.of_person("alice", one.pool)
        with application(database, one) as library:
            event = library.recorder.select_events(stream_id(GENERAL), gt=4, limit=1)[0]
            notification = library.recorder.select_notifications(said.position, 1)[0]
            for logged in (event, notification):
                assert isinstance(logged, LoggedEvent | LoggedNotification)
                assert logged.stream == GENERAL
                assert logged.subject == "message:5"
                assert (logged.recorded_at, logged.recorded_by) == (said.at, "alice")
                assert logged.key_id == key.key_id
                assert logged.notification_id == said.position
            assert notification.id == said.position
            assert library.recorder.max_notification_id() == recorded.position


async def test_words_whose_key_is_gone_read_as_none_through_the_library(database: Database) -> None:
    async with node(database) as one:
        await a_lively_room(one)
        await stored(database, "DELETE FROM person_keys WHERE person = 'alice'")
        with application(database, one) as library:
            said = [cast("Recorded", event) for event in library.events.get(stream_id(GENERAL))]
            assert [(r.event.content, r.erased) for r in said if isinstance(r.event, MessagePosted)] == [
                (None, True),
                ("and me?", False),
            ]


@pytest.mark.parametrize("page", [1, 3, 4, 100])
async def test_notifications_page_through_the_whole_log(database: Database, page: int) -> None:
    async with node(database) as one:
        await a_lively_room(one)
        for n in range(7):
            await one.append(MemberJoined(user="alice"), stream=room_stream(f"room{n}"))
        everything = [
            row[0] for row in await stored(database, "SELECT notification_id FROM stored_events ORDER BY 1")
        ]
        with application(database, one) as library:
            seen: list[int] = []
            while found := library.recorder.select_notifications(
                seen[-1] if seen else 0, page, inclusive_of_start=False
            ):
                seen.extend(notification.id for notification in found)
            assert seen == everything
            only = library.recorder.select_notifications(None, 100, topics=[MessagePosted.TOPIC])
            assert [notification.originator_version for notification in only] == [5, 9]


async def test_the_librarys_notification_log_reads_ours_in_sections(database: Database) -> None:
    async with node(database) as one:
        log = await a_lively_room(one)
        with application(database, one) as library:
            section = library.notification_log["1,10"]
            assert [item.id for item in section.items] == [recorded.position for recorded in log]


async def test_a_subscription_of_the_library_hears_what_we_append(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        heard: list[Any] = []
        with application(database, one) as library:
            mapper, subscription = library.mapper, library.recorder.subscribe(gt=0)
            listening = threading.Thread(
                target=lambda: heard.extend(mapper.to_domain_event(each) for each in subscription)
            )
            with subscription:
                listening.start()
                await until(lambda: len(heard) == 2)
                await one.append(message("do you hear me?"), decided_on=2)
                await until(lambda: len(heard) == 3)
                await one.append(MemberLeft(user="alice"), decided_on=3)
                await until(lambda: len(heard) == 4)
            listening.join()
        assert heard == await one.log.stream(GENERAL, 0, 10)


# Saving


async def test_what_is_saved_through_the_library_is_placed_like_any_command(database: Database) -> None:
    async with node(database) as one, node(database) as two:
        two.follow(GENERAL)
        await one.keys.of_person("alice", one.pool)
        with application(database, one) as library:
            recordings = library.save(
                draft(RoomOpened(name="General"), 1),
                draft(MemberJoined(user="alice", role="owner"), 2),
                draft(message("hello"), 3),
            )
        log = await one.log.stream(GENERAL, 0, 10)
        assert [recorded.position for recorded in log] == [
            recording.notification.id for recording in recordings
        ]
        assert [recorded.subject for recorded in log] == ["settings", "user:alice", "message:3"]
        assert {recorded.by for recorded in log} == {"alice"}
        assert log[2].event == message("hello")
        now = (await stored(database, "SELECT clock_timestamp()"))[0][0]
        assert now - timedelta(minutes=5) < log[0].at <= now, (
            "the database gives the time, whatever the event says"
        )
        assert (await two.append(message(author="alice"), decided_on=2)).seq == 4
        assert two.feeds[GENERAL][:3] == log


async def test_a_version_that_is_taken_is_a_conflict_and_nothing_is_saved(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        with application(database, one) as library:
            other = draft(RoomOpened(name="Other"), 1, stream=room_stream("other"))
            for versions in ([2], [4], [1], [3, 3], [3, 5]):
                late = [draft(MemberJoined(user=f"u{version}"), version) for version in versions]
                with pytest.raises(IntegrityError):
                    library.save(other, *late)
            assert [row[0] for row in await stored(database, "SELECT stream FROM stored_events")] == [
                GENERAL
            ] * 2
            assert [row[0] for row in await stored(database, "SELECT stream FROM refs")] == [GENERAL]
            library.save(other, draft(MemberJoined(user="bob"), 3))
        assert await one.log.head(GENERAL) == 3


async def test_a_stream_that_moved_on_is_a_conflict_whatever_the_subject(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message(), decided_on=2)
        with application(database, one) as library, pytest.raises(IntegrityError):
            library.save(draft(MemberJoined(user="bob"), 3))


async def test_streams_that_take_turns_in_one_save_keep_their_order(database: Database) -> None:
    async with node(database) as one:
        other = room_stream("other")
        with application(database, one) as library:
            saved = library.save(
                draft(RoomOpened(name="G"), 1),
                draft(RoomOpened(name="O"), 1, stream=other, by="bob"),
                draft(MemberJoined(user="alice"), 2),
                draft(MemberJoined(user="bob"), 3, by="bob"),
                draft(MemberJoined(user="bob"), 2, stream=other, by="bob"),
            )
        rows = await stored(
            database,
            "SELECT notification_id, stream, originator_version, recorded_by FROM stored_events ORDER BY 1",
        )
        assert [recording.notification.id for recording in saved] == [row[0] for row in rows]
        assert [tuple(row)[1:] for row in rows] == [
            (GENERAL, 1, "alice"),
            (other, 1, "bob"),
            (GENERAL, 2, "alice"),
            (GENERAL, 3, "bob"),
            (other, 2, "bob"),
        ]


async def test_a_save_whose_reply_is_lost_is_saved_once(database: Database) -> None:
    async with node(database) as one, proxied(database.app_url) as (proxy, url):
        # The proxy runs in the loop of this test, so the library may not hold it up.
        library = await asyncio.to_thread(application, database, one, url)
        with library:
            await asyncio.to_thread(library.recorder.max_notification_id)
            proxy.what = re.compile(b"COMMIT")
            proxy.lose_next_reply = True
            saved = await asyncio.to_thread(
                library.save, draft(RoomOpened(name="G"), 1), draft(MemberJoined(user="alice"), 2)
            )
            assert proxy.lost == 1
        log = await one.log.stream(GENERAL, 0, 10)
        assert [recorded.position for recorded in log] == [recording.notification.id for recording in saved]
        assert [recorded.seq for recorded in log] == [1, 2]


async def test_words_under_a_destroyed_key_are_not_saved(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.keys.of_person("alice", one.pool)
        await stored(database, "DELETE FROM person_keys")
        with application(database, one) as library, pytest.raises(DataError):
            library.save(draft(MemberJoined(user="bob"), 3), draft(message("too late"), 4))
        assert await one.log.head(GENERAL) == 2


async def test_words_are_not_saved_without_keys(database: Database) -> None:
    async with node(database) as one:
        with ChatApplication(database.app_url, one.serializer) as library:
            with pytest.raises(ValueError, match="without a key"):
                library.save(draft(message("hello"), 1))
            library.save(draft(MemberJoined(user="alice"), 1))


async def test_events_that_do_not_say_their_stream_are_refused(database: Database) -> None:
    async with node(database) as one:
        with application(database, one) as library:
            plain = StoredEvent(originator_id=uuid4(), originator_version=1, topic="t", state=b"{}")
            with pytest.raises(ProgrammingError, match="ChatMapper"):
                library.recorder.insert_events([plain])
            elsewhere = LoggedEvent(
                originator_id=uuid4(),
                originator_version=1,
                topic="t",
                state=b"{}",
                stream=GENERAL,
                subject="settings",
                recorded_by="alice",
            )
            with pytest.raises(ProgrammingError, match="ChatMapper"):
                library.recorder.insert_events([elsewhere])


def test_the_librarys_own_recorders_cannot_write_to_our_log(database: Database) -> None:
    """Its lock is not the application's to take, and it does not know the columns that may not be empty."""
    event = StoredEvent(originator_id=uuid4(), originator_version=1, topic="t", state=b"{}")
    with PostgresFactory(environment(database)) as factory:
        for recorder in (
            factory.application_recorder(),
            factory.aggregate_recorder(),
            factory.process_recorder(),
        ):
            with pytest.raises(PersistenceError):
                recorder.insert_events([event])
    with psycopg.connect(database.superuser_url) as connection:
        assert connection.execute("SELECT count(*) FROM stored_events").fetchone() == (0,)


def test_the_process_environment_does_not_reach_the_library(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", "y")
    monkeypatch.setenv("CREATE_TABLE", "y")
    monkeypatch.setenv("IS_SNAPSHOTTING_ENABLED", "y")
    monkeypatch.setenv("AGGREGATE_CACHE_MAXSIZE", "10")
    monkeypatch.setenv("POSTGRES_DBNAME", "elsewhere")
    with ChatApplication(database.app_url, EventSerializer(KeyRing(KEY_ENCRYPTION_KEY))) as library:
        assert isinstance(library.recorder, ChatRecorder)
        assert not library.recorder.datastore.enable_db_functions
        assert library.recorder.events_table_name == library.recorder.channel_name == "stored_events"
        assert library.snapshots is None
        assert library.repository.cache is None
        assert library.recorder.max_notification_id() is None
        with pytest.raises(ProgrammingError, match="migrations own every table"):
            library.recorder.create_table()


# The library's own tests of its recorders


class Adapter(ChatRecorder):
    """Lets the library's tests speak as they do, of plain events in streams that start at any version.

    Ours carry their stream's name, and are numbered from 1: each stream is shifted to start there, and back.
    """

    names: dict[UUID | str, str]
    shifts: dict[UUID | str, int]

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return super().insert_events([*map(self.to_ours, stored_events)], **kwargs)

    def to_ours(self, event: StoredEvent) -> LoggedEvent:
        shift = self.shifts.setdefault(event.originator_id, 1 - event.originator_version)
        return LoggedEvent(
            originator_id=event.originator_id,
            originator_version=event.originator_version + shift,
            topic=event.topic,
            state=event.state,
            stream=self.names[event.originator_id],
            subject="settings",
            recorded_by="alice",
        )

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        shift = self.shifts.get(originator_id, 0)
        gt, lte = (None if bound is None else bound + shift for bound in (gt, lte))
        found = super().select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
        return [StoredEvent(**self.to_theirs(event)) for event in found]

    def select_notifications(self, *args: Any, **kwargs: Any) -> Sequence[Notification]:
        found = super().select_notifications(*args, **kwargs)
        return [Notification(**self.to_theirs(event), id=event.id) for event in found]

    def to_theirs(self, event: StoredEvent) -> dict[str, Any]:
        return {
            "originator_id": event.originator_id,
            "originator_version": event.originator_version - self.shifts[event.originator_id],
            "topic": event.topic,
            "state": event.state,
        }


class AggregateAdapter(Adapter):
    """What the library calls an aggregate recorder gives no positions."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        super().insert_events(stored_events, **kwargs)


class OnOurTables:
    """A fresh database for each of the library's tests."""

    recorder_class: type[Adapter] = Adapter

    @pytest.fixture(autouse=True)
    def fresh(self, servers: Servers) -> Iterator[None]:
        self.names: dict[UUID | str, str] = {}
        with (
            fresh_database(servers) as database,
            PostgresFactory(environment_of(self.login(database))) as factory,
        ):
            self.factory = factory
            yield

    def login(self, database: Database) -> str:
        """Return the address of the login that does what the tests ask for."""
        return database.app_url

    def create_recorder(self) -> Adapter:
        recorder = self.recorder_class(self.factory.datastore)
        recorder.names, recorder.shifts = self.names, {}
        return recorder

    def new_originator_id(self) -> UUID:
        name = room_stream(uuid4().hex)
        self.names[stream_id(name)] = name
        return stream_id(name)


class TestAsAnAggregateRecorder(OnOurTables, library_cases.AggregateRecorderTestCase):
    recorder_class = AggregateAdapter


class TestAsAnApplicationRecorder(OnOurTables, library_cases.ApplicationRecorderTestCase[Adapter]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestThatPositionsDoNotInterleave(OnOurTables, library_cases.NonInterleavingNotificationIDsBaseCase):
    pass


class TestTheTrackingTable(OnOurTables, library_cases.TrackingRecorderTestCase):
    def login(self, database: Database) -> str:
        return database.worker_url

    def create_recorder(self) -> TrackingRecorder:  # type: ignore[override]
        return PostgresTrackingRecorder(self.factory.datastore)


class OtherTracking(PostgresTrackingRecorder):
    pass


class TestTheFactory(library_cases.InfrastructureFactoryTestCase[ChatFactory]):
    @pytest.fixture(autouse=True)
    def fresh(self, database: Database) -> None:
        self.env = environment(database)
        self.env["PERSISTENCE_MODULE"] = "service.eventstore.eventsourcing_adapter:ChatFactory"

    def expected_factory_class(self) -> type[ChatFactory]:
        return ChatFactory

    def expected_aggregate_recorder_class(self) -> type[PostgresAggregateRecorder]:
        return PostgresAggregateRecorder

    def expected_application_recorder_class(self) -> type[PostgresApplicationRecorder]:
        return ChatRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return PostgresTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return OtherTracking

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return PostgresProcessRecorder


# Not run, with the reason:
#   ProcessRecorderTestCase    our positions are moved by the projection runner, beside the rows and not beside events;
#                              ChatRecorder takes no tracking
#   TranscoderTestCase         our mapper has no transcoder: msgspec writes the stored form
#   ApplicationTestCase,       they save the library's own example aggregates, whose topics are module paths; our mapper
#   ExampleApplicationTestCase knows the topics in EVENTS and nothing else
#   the projections' cases     they test the library's runner over example applications; ours is another
