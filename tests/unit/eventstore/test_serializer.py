"""The stored form of events is a contract: it is read back as it was written, for ever, and holds no personal word."""

import json
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.domain.events import (
    EVENTS,
    AuditRead,
    ContentExpired,
    Event,
    HoldPlaced,
    HoldReleased,
    KeyReplaced,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MemberUnbanned,
    MemberUnmuted,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageReported,
    MessageUnpinned,
    PersonErased,
    PersonNamed,
    PersonRestored,
    PersonSuspended,
    ReactionAdded,
    ReactionRemoved,
    ReadMarkerMoved,
    Recorded,
    ReportResolved,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomReopened,
    RoomRetentionChanged,
    RoomTopicChanged,
    SessionClosed,
    SessionOpened,
    UnreadMarkerMoved,
    UserBlocked,
    UserUnblocked,
)
from service.domain.streams import (
    NAMESPACE,
    person_stream,
    reader_stream,
    room_of,
    room_stream,
    stream_id,
)
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer, PeerRow, Stored, UnknownTopic
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, node, stored
from tests.support.eventstore.strategies import ANY, AT, events
from tests.support.servers.databases import Database

GOLDEN: list[tuple[Event, str, str, str]] = [
    (RoomOpened(name="General"), "room.RoomOpened.v1", "settings", '{"name":"General"}'),
    (
        RoomOpened(name="Raum 🌍", visibility="direct"),
        "room.RoomOpened.v1",
        "settings",
        '{"name":"Raum 🌍","visibility":"direct"}',
    ),
    (MemberJoined(user="alice"), "room.MemberJoined.v1", "user:alice", '{"user":"alice"}'),
    (
        MemberJoined(user="alice", role="owner"),
        "room.MemberJoined.v1",
        "user:alice",
        '{"user":"alice","role":"owner"}',
    ),
    (MemberLeft(user="a@b|c"), "room.MemberLeft.v1", "user:a@b|c", '{"user":"a@b|c"}'),
    (
        RoleChanged(user="bob", role="moderator"),
        "room.RoleChanged.v1",
        "user:bob",
        '{"user":"bob","role":"moderator"}',
    ),
    (
        MessagePosted(author="alice", content=None, ref="r-1"),
        "room.MessagePosted.v1",
        "message:",
        '{"author":"alice","content":null,"ref":"r-1"}',
    ),
    (
        MessagePosted(author="alice", content=None, ref="r-1", reply_to=7, mentions=("bob", "carol")),
        "room.MessagePosted.v1",
        "message:",
        '{"author":"alice","content":null,"ref":"r-1","reply_to":7,"mentions":["bob","carol"]}',
    ),
    (
        AuditRead(what="events", via="http"),
        "audit.AuditRead.v1",
        "log",
        '{"what":"events","via":"http"}',
    ),
    (
        AuditRead(what="person", via="http", person="a@b|c"),
        "audit.AuditRead.v1",
        "user:a@b|c",
        '{"what":"person","via":"http","person":"a@b|c"}',
    ),
    (
        AuditRead(what="view", via="cli", room="general", person="bob", asked={"at": "7"}),
        "audit.AuditRead.v1",
        "room:general",
        '{"what":"view","via":"cli","room":"general","person":"bob","asked":{"at":"7"}}',
    ),
    (RoomRenamed(name="Raum"), "room.RoomRenamed.v1", "settings", '{"name":"Raum"}'),
    (RoomTopicChanged(topic=None), "room.RoomTopicChanged.v1", "settings", '{"topic":null}'),
    (RoomArchived(), "room.RoomArchived.v1", "settings", "{}"),
    (RoomReopened(), "room.RoomReopened.v1", "settings", "{}"),
    (RoomRetentionChanged(days=90), "room.RoomRetentionChanged.v1", "settings", '{"days":90}'),
    (RoomRetentionChanged(), "room.RoomRetentionChanged.v1", "settings", "{}"),
    (
        ContentExpired(room="general", until=date(2026, 8, 28), days=90),
        "retention.ContentExpired.v1",
        "room:general",
        '{"room":"general","until":"2026-08-28","days":90}',
    ),
    (
        KeyReplaced(user="bob", rooms=("general",)),
        "retention.KeyReplaced.v1",
        "user:bob",
        '{"user":"bob","rooms":["general"]}',
    ),
    (MessagePinned(message=7), "room.MessagePinned.v1", "settings", '{"message":7}'),
    (MessageUnpinned(message=7), "room.MessageUnpinned.v1", "settings", '{"message":7}'),
    (MemberInvited(user="bob"), "room.MemberInvited.v1", "user:bob", '{"user":"bob"}'),
    (MemberRemoved(user="bob"), "room.MemberRemoved.v1", "user:bob", '{"user":"bob"}'),
    (MemberBanned(user="bob"), "room.MemberBanned.v1", "user:bob", '{"user":"bob"}'),
    (
        MemberBanned(user="bob", until=AT),
        "room.MemberBanned.v1",
        "user:bob",
        '{"user":"bob","until":"2026-01-02T03:04:05.678901Z"}',
    ),
    (MemberUnbanned(user="bob"), "room.MemberUnbanned.v1", "user:bob", '{"user":"bob"}'),
    (
        MemberMuted(user="bob", until=AT),
        "room.MemberMuted.v1",
        "user:bob",
        '{"user":"bob","until":"2026-01-02T03:04:05.678901Z"}',
    ),
    (MemberUnmuted(user="bob"), "room.MemberUnmuted.v1", "user:bob", '{"user":"bob"}'),
    (
        MessageEdited(message=7, content=None),
        "room.MessageEdited.v1",
        "message:7",
        '{"message":7,"content":null}',
    ),
    (MessageDeleted(message=7), "room.MessageDeleted.v1", "message:7", '{"message":7}'),
    (
        ReactionAdded(message=7, emoji="👍"),
        "room.ReactionAdded.v1",
        "message:7",
        '{"message":7,"emoji":"👍"}',
    ),
    (
        ReactionRemoved(message=7, emoji="👍"),
        "room.ReactionRemoved.v1",
        "message:7",
        '{"message":7,"emoji":"👍"}',
    ),
    (
        MessageReported(report="r1", message=7, author="bob", reason=None),
        "report.MessageReported.v1",
        "report:r1",
        '{"report":"r1","message":7,"author":"bob","reason":null}',
    ),
    (
        ReportResolved(report="r1", outcome="warned"),
        "report.ReportResolved.v1",
        "report:r1",
        '{"report":"r1","outcome":"warned"}',
    ),
    (
        ReadMarkerMoved(user="alice", message=9007199254740991),
        "reader.ReadMarkerMoved.v1",
        "user:alice",
        '{"user":"alice","message":9007199254740991}',
    ),
    (
        UnreadMarkerMoved(user="alice", message=3, marker=5),
        "reader.UnreadMarkerMoved.v1",
        "user:alice",
        '{"user":"alice","message":3,"marker":5}',
    ),
    (
        PersonNamed(user="alice", name=None),
        "person.PersonNamed.v1",
        "user:alice",
        '{"user":"alice","name":null}',
    ),
    (PersonSuspended(user="alice"), "person.PersonSuspended.v1", "user:alice", '{"user":"alice"}'),
    (PersonRestored(user="alice"), "person.PersonRestored.v1", "user:alice", '{"user":"alice"}'),
    (UserBlocked(user="mallory"), "person.UserBlocked.v1", "user:mallory", '{"user":"mallory"}'),
    (UserUnblocked(user="mallory"), "person.UserUnblocked.v1", "user:mallory", '{"user":"mallory"}'),
    (
        PersonErased(user="alice", ground="GDPR 17(1)(b)"),
        "person.PersonErased.v1",
        "user:alice",
        '{"user":"alice","ground":"GDPR 17(1)(b)"}',
    ),
    (
        HoldPlaced(held="room:general", ground="case 7"),
        "hold.HoldPlaced.v1",
        "room:general",
        '{"held":"room:general","ground":"case 7"}',
    ),
    (
        HoldReleased(held="user:alice", ground="case 7 is over"),
        "hold.HoldReleased.v1",
        "user:alice",
        '{"held":"user:alice","ground":"case 7 is over"}',
    ),
    (
        SessionOpened(session="s-1", node="n-1", incarnation="i-1", address="192.0.2.7", client=None),
        "session.SessionOpened.v1",
        "session:s-1",
        '{"session":"s-1","node":"n-1","incarnation":"i-1","address":"192.0.2.7","client":null}',
    ),
    (
        SessionClosed(
            session="s-1", reason="client", code=1001, ranges={"general": ((1, 7), (9, 9)), "empty": ()}
        ),
        "session.SessionClosed.v1",
        "session:s-1",
        '{"session":"s-1","reason":"client","code":1001,"ranges":{"general":[[1,7],[9,9]],"empty":[]}}',
    ),
    (
        SessionClosed(session="s-1", reason="node_lost", ranges=None),
        "session.SessionClosed.v1",
        "session:s-1",
        '{"session":"s-1","reason":"node_lost","ranges":null}',
    ),
]
"""What is stored, literally. A line here is never changed and never removed; an event that changes is a new topic."""

TOPICS = {
    "audit.AuditRead.v1",
    "room.RoomOpened.v1",
    "room.MemberJoined.v1",
    "room.MemberLeft.v1",
    "room.RoleChanged.v1",
    "room.MessagePosted.v1",
    "room.MemberBanned.v1",
    "room.MemberInvited.v1",
    "room.MemberMuted.v1",
    "room.MemberRemoved.v1",
    "room.MemberUnbanned.v1",
    "room.MemberUnmuted.v1",
    "room.MessageDeleted.v1",
    "room.MessageEdited.v1",
    "room.MessagePinned.v1",
    "room.MessageUnpinned.v1",
    "room.ReactionAdded.v1",
    "room.ReactionRemoved.v1",
    "room.RoomArchived.v1",
    "room.RoomRenamed.v1",
    "room.RoomReopened.v1",
    "room.RoomRetentionChanged.v1",
    "retention.ContentExpired.v1",
    "retention.KeyReplaced.v1",
    "room.RoomTopicChanged.v1",
    "reader.ReadMarkerMoved.v1",
    "reader.UnreadMarkerMoved.v1",
    "report.MessageReported.v1",
    "report.ReportResolved.v1",
    "person.PersonNamed.v1",
    "person.PersonSuspended.v1",
    "person.PersonRestored.v1",
    "person.UserBlocked.v1",
    "person.UserUnblocked.v1",
    "person.PersonErased.v1",
    "hold.HoldPlaced.v1",
    "hold.HoldReleased.v1",
    "session.SessionOpened.v1",
    "session.SessionClosed.v1",
}

SEALED = (
    '{"author":"alice","content":{"k":"44a48f3b-d2b1-4fe3-9d3a-0a7c1d0d8f5e",'
    '"h":"k5lUdydJpBtjmUZD8xKwKsYq4q0ol0/Mg1uXQ0GK5XM=",'
    '"c":"AAECAwQFBgcICQoL"},"ref":"r-1"}'
)


def to_row(stored_event: Stored, stream: str, seq: int = 1, wrapped: bytes | None = None) -> dict[str, Any]:
    return {
        "stream": stream,
        "originator_version": seq,
        "notification_id": seq,
        "topic": stored_event.topic,
        "subject": stored_event.subject,
        "recorded_at": AT,
        "recorded_by": "alice",
        "key_id": stored_event.key_id,
        "wrapped": wrapped,
        "state": stored_event.state,
    }


class Person:
    """A person with a key, and a mapper that can open what is sealed with it."""

    def __init__(self) -> None:
        ring = KeyRing(KEY_ENCRYPTION_KEY)
        self.key_id = uuid4()
        self.wrapped = ring._new_wrapped(self.key_id)
        self.key = ring.unwrap(self.key_id, self.wrapped)
        self.serializer = EventSerializer(ring)

    def to_row(self, event: Event, stream: str) -> dict[str, Any]:
        stored_event = self.serializer.to_stored(event, stream, self.key)
        return to_row(stored_event, stream, wrapped=self.wrapped if stored_event.key_id else None)


# The contract


@pytest.mark.parametrize(("event", "topic", "subject", "state"), GOLDEN)
def test_the_stored_form_is_the_same_byte_for_byte(
    event: Event, topic: str, subject: str, state: str
) -> None:
    stored_event = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)).to_stored(event, "room:general", None)
    assert stored_event == Stored(topic, subject, state.encode(), None)


@pytest.mark.parametrize(("event", "topic", "subject", "state"), GOLDEN)
def test_what_was_stored_reads_back_as_the_event(event: Event, topic: str, subject: str, state: str) -> None:
    row = to_row(Stored(topic, subject, state.encode(), None), "room:general")
    recorded = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)).to_recorded(row)
    assert recorded == Recorded("room:general", 1, 1, subject, AT, "alice", event)


def test_every_event_is_in_the_contract() -> None:
    assert {topic for _, topic, _, _ in GOLDEN} == set(EVENTS) == TOPICS
    assert {type(event) for event, *_ in GOLDEN} == set(EVENTS.values())
    assert all(topic == cls.TOPIC for topic, cls in EVENTS.items())


def test_personal_words_are_the_ones_listed() -> None:
    personal = {topic: cls.PERSONAL for topic, cls in EVENTS.items() if cls.PERSONAL}
    assert personal == {
        "room.RoomTopicChanged.v1": ("topic",),
        "room.MemberRemoved.v1": ("reason",),
        "room.MemberBanned.v1": ("reason",),
        "room.MemberUnbanned.v1": ("reason",),
        "room.MemberMuted.v1": ("reason",),
        "room.MemberUnmuted.v1": ("reason",),
        "room.RoleChanged.v1": ("reason",),
        "room.MessagePosted.v1": ("content",),
        "room.MessageEdited.v1": ("content",),
        "room.MessageDeleted.v1": ("reason",),
        "person.PersonNamed.v1": ("name",),
        "report.MessageReported.v1": ("reason",),
        "report.ReportResolved.v1": ("note",),
        "person.PersonSuspended.v1": ("reason",),
        "person.PersonRestored.v1": ("reason",),
        "session.SessionOpened.v1": ("client",),
    }


def test_stored_content_is_key_commitment_then_ciphertext() -> None:
    person = Person()
    state = person.serializer.to_stored(
        MessagePosted(author="alice", content="hi", ref="r-1"), "room:g", person.key
    ).state
    fields = json.loads(state)
    assert [*fields] == ["author", "content", "ref"]
    assert [*fields["content"]] == ["k", "h", "c"]
    assert msgspec.json.encode(fields) == state, (
        "nothing but the three texts differs from one sealing to the next"
    )


def test_words_whose_key_is_gone_read_as_none_whatever_their_bytes_are() -> None:
    row = to_row(Stored("room.MessagePosted.v1", "message:1", SEALED.encode(), uuid4()), "room:general")
    recorded = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)).to_recorded(row)
    assert recorded.event == MessagePosted(author="alice", content=None, ref="r-1")
    assert recorded.erased


def test_stream_names_and_ids_are_part_of_the_stored_form() -> None:
    assert UUID("6f0a2f0e-6a57-5e0b-9c43-0f6e52c0a7d1") == NAMESPACE
    assert room_stream("general") == "room:general"
    assert reader_stream("general", "alice") == "reader:general:alice"
    assert person_stream("alice") == "person:alice"
    assert stream_id("room:general") == UUID("4c537a66-368e-5880-9e21-ef63be41fe25")
    assert stream_id("reader:general:alice") == UUID("b60b1dce-cca0-5027-8013-4d47290a8930")
    assert stream_id("person:alice") == UUID("4fa3f3fc-37f1-5551-9c1f-d31ae587f206")
    assert room_of("room:general") == room_of("reader:general:alice") == "general"


def test_an_event_of_a_newer_version_is_named_and_not_guessed_at() -> None:
    row = to_row(Stored("room.RoomPainted.v1", "settings", b"{}", None), "room:general")
    with pytest.raises(UnknownTopic, match=r"room\.RoomPainted\.v1"):
        EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)).to_recorded(row)


def test_a_field_that_a_newer_version_added_is_left_aside() -> None:
    row = to_row(
        Stored("room.RoomOpened.v1", "settings", b'{"name":"G","colour":"red"}', None), "room:general"
    )
    assert EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)).to_recorded(row).event == RoomOpened(name="G")


def test_words_are_not_stored_without_a_key() -> None:
    serializer = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY))
    with pytest.raises(ValueError, match="without a key"):
        serializer.to_stored(MessagePosted(author="alice", content="hello", ref="r"), "room:general", None)
    with pytest.raises(ValueError, match="without a key"):
        serializer.to_stored(PersonNamed(user="alice", name="Alice"), "person:alice", None)


def test_no_word_of_the_envelope_is_in_the_stored_bytes() -> None:
    stored_event = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)).to_stored(
        RoomOpened(name="G"), "room:general", None
    )
    assert set(json.loads(stored_event.state)) == {"name"}


# Any event


def test_any_event_means_an_event_of_any_class() -> None:
    assert set(ANY) == set(EVENTS.values())


@given(events)
def test_any_event_reads_back_as_it_was(event: Event) -> None:
    person = Person()
    recorded = person.serializer.to_recorded(person.to_row(event, "room:general"))
    assert recorded.event == event
    assert not recorded.erased


@given(events)
def test_any_event_is_complete_but_for_the_words_once_the_key_is_gone(event: Event) -> None:
    person = Person()
    row = {**person.to_row(event, "room:general"), "wrapped": None}
    recorded = person.serializer.to_recorded(row)
    assert recorded.event == msgspec.structs.replace(event, **dict.fromkeys(event.PERSONAL))
    assert recorded.erased == any(getattr(event, name) is not None for name in event.PERSONAL)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=60))
def test_no_personal_word_is_in_the_stored_bytes(word: str) -> None:
    person = Person()
    for event, stream in (
        (MessagePosted(author="a", content=word, ref="r"), "room:g"),
        (PersonNamed(user="a", name=word), "person:a"),
    ):
        state = person.serializer.to_stored(event, stream, person.key).state
        # What the bytes hold beside the word: a word made of nothing but these is no leak.
        if word not in '{"author":"a","content":{"k":"","h":"","c":""},"ref":"r"}{"user":"a","name":':
            assert word.encode() not in state
            assert json.dumps(word)[1:-1].encode() not in state


@pytest.mark.parametrize("secret", ["Käsekuchen um drei", "🦊🦊 codename", "plain words 4711"])
async def test_no_personal_word_is_anywhere_in_the_database(database: Database, secret: str) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(MessagePosted(author="alice", content=secret, ref="r"), decided_on=2)
        await one.append(PersonNamed(user="alice", name=secret), stream=person_stream("alice"))
        (said,) = await one.log.stream("room:general", 2, 10)
        assert said.event == MessagePosted(author="alice", content=secret, ref="r")
    leaked = await tables_that_hold(database, secret)
    assert leaked == []
    assert await tables_that_hold(database, "General") == ["stored_events"], (
        "the search finds what is in the clear"
    )


async def tables_that_hold(database: Database, word: str) -> list[str]:
    """Return the tables of which any row, as text or inside any bytes, holds a word."""
    names = await stored(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    connection = await asyncpg.connect(database.superuser_url)
    try:
        found = []
        for (name,) in names:
            rows = await connection.fetch(f'SELECT t.*, t::text AS as_text FROM "{name}" t')  # noqa: S608 - a name
            for row in rows:
                values = [
                    value if isinstance(value, bytes) else str(value).encode() for value in row.values()
                ]
                if any(form in value for value in values for form in forms_of(word)):
                    found.append(name)
                    break
        return found
    finally:
        await connection.close()


def forms_of(word: str) -> list[bytes]:
    """Return a word as UTF-8, as JSON's escapes, and as the hexadecimal digits that bytes are shown as."""
    return [word.encode(), json.dumps(word)[1:-1].encode(), word.encode().hex().encode()]


# Tampering


@settings(max_examples=20)
@given(st.sampled_from(["room:other", "person:alice", "reader:general:alice"]))
def test_sealed_words_that_were_moved_to_another_stream_are_not_read(stream: str) -> None:
    person = Person()
    row = person.to_row(MessagePosted(author="alice", content="hello", ref="r"), "room:general")
    with pytest.raises(InvalidTag):
        person.serializer.to_recorded({**row, "stream": stream})


def test_sealed_words_that_were_moved_to_another_event_are_not_read() -> None:
    person = Person()
    row = person.to_row(MessagePosted(author="alice", content="hello", ref="r"), "person:alice")
    sealed = json.loads(row["state"])["content"]
    moved = msgspec.json.encode({"user": "alice", "name": sealed})
    with pytest.raises(InvalidTag):
        person.serializer.to_recorded({**row, "topic": PersonNamed.TOPIC, "state": moved})


@given(st.sampled_from([*EVENTS, "nonsense", "room.RoomPainted.v1"]), st.binary(), st.binary() | st.none())
def test_no_bytes_whatever_stop_reading(topic: str, state: bytes, wrapped: bytes | None) -> None:
    row = to_row(Stored(topic, "user:bob", state, UUID(int=7)), "room:general", wrapped=wrapped)
    read = Person().serializer.read(row)
    assert (read.stream, read.seq, read.position, read.by) == ("room:general", 1, 1, "alice")
    assert read.damage is not None
    assert read.topic == topic


@given(st.sampled_from(["c", "h", "k"]), st.text() | st.integers() | st.none())
def test_words_that_cannot_be_opened_are_none_and_the_rest_is_read(part: str, value: object) -> None:
    person = Person()
    event = MessagePosted(author="alice", content="hello", ref="r", mentions=("bob",))
    row = {**person.to_row(event, "room:general"), "subject": "message:1"}
    state = json.loads(row["state"])
    assume(state["content"][part] != value)
    state["content"][part] = value
    read = person.serializer.read({**row, "state": json.dumps(state).encode()})
    if part == "k":  # which key it was says the column
        assert read.damage is None
        return
    assert read.event == msgspec.structs.replace(event, content=None)
    assert read.damage is not None
    assert (read.damage.part, read.erased) == ("words", False)


@pytest.mark.parametrize(
    "state",
    [
        {"message": 8, "content": None},
        {"message": 10**30, "content": None},
        {"message": 7, "content": None, "extra": []},
    ],
)
def test_a_state_that_is_about_something_else_is_not_believed(state: dict[str, Any]) -> None:
    row = to_row(Stored(MessageEdited.TOPIC, "message:7", json.dumps(state).encode(), None), "room:general")
    read = Person().serializer.read(row)
    assert read.event == MessageEdited(message=7, content=None)
    assert read.undecoded is (state["message"] != 7)


def test_an_unreadable_position_is_logged_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    person = Person()
    for _ in range(3):
        for seq in (1, 2):
            person.serializer.read(
                to_row(Stored("room.RoomArchived.v1", "settings", b"{", None), "room:a", seq)
            )
    assert person.serializer.damaged.count == 2
    lines = [vars(one) for one in caplog.records if one.message == "unreadable_event"]
    assert [(line["position"], line["stream"], line["seq"]) for line in lines] == [
        (1, "room:a", 1),
        (2, "room:a", 2),
    ]


def test_what_another_node_tells_damaged_is_left_to_the_log() -> None:
    serializer = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY))
    for topic, state in (("room.RoomArchived.v1", b"{"), ("room.RoomPainted.v1", b"{}")):
        assert (
            serializer.from_peer_row(
                "room:general", PeerRow(1, 1, AT, "alice", topic, "settings", state, None)
            )
            is None
        )
