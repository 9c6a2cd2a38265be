"""What an envelope alone says of an event: as much as is certain, and where there is a choice the least."""

from collections.abc import Iterable
from datetime import date

import pytest

from service.domain import room
from service.domain.events import (
    EVENTS,
    ContentExpired,
    Event,
    HoldPlaced,
    KeyReplaced,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    PersonErased,
    PersonNamed,
    PersonRestored,
    PersonSuspended,
    Recorded,
    ReportResolved,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    RoomRetentionChanged,
    RoomTopicChanged,
    SessionClosed,
    SessionOpened,
    Unreadable,
    UserBlocked,
    UserUnblocked,
)
from service.domain.room_state import RoomState
from service.domain.salvage import UNKNOWN, Envelope, salvaged
from service.domain.streams import direct_room
from tests.support.eventstore.strategies import AT

ROOM, BOB, SEVEN = "room:general", "user:bob", "message:7"
SALVAGED: list[tuple[str, str, Event]] = [
    (ROOM, "settings", RoomOpened(name="general", visibility="private")),
    (ROOM, "settings", RoomTopicChanged(topic=None)),
    (ROOM, "settings", RoomArchived()),
    (ROOM, "settings", RoomRetentionChanged(days=None)),
    (ROOM, BOB, MemberInvited(user="bob")),
    (ROOM, BOB, MemberJoined(user="bob", role="member")),
    (ROOM, BOB, MemberLeft(user="bob")),
    (ROOM, BOB, MemberRemoved(user="bob")),
    (ROOM, BOB, MemberBanned(user="bob", until=None)),
    (ROOM, BOB, MemberMuted(user="bob", until=None)),
    (ROOM, BOB, RoleChanged(user="bob", role="member")),
    (ROOM, SEVEN, MessagePosted(author="alice", content=None, ref="")),
    (ROOM, SEVEN, MessageEdited(message=7, content=None)),
    (ROOM, SEVEN, MessageDeleted(message=7)),
    ("report:general", "report:r1", ReportResolved(report="r1", outcome=UNKNOWN)),
    ("person:bob", BOB, PersonNamed(user="bob", name=None)),
    ("person:bob", BOB, PersonSuspended(user="bob")),
    ("person:bob", BOB, PersonRestored(user="bob")),
    ("person:alice", BOB, UserBlocked(user="bob")),
    ("person:alice", BOB, UserUnblocked(user="bob")),
    ("person:bob", BOB, PersonErased(user="bob", ground=UNKNOWN)),
    ("retention", "room:general", ContentExpired(room="general", until=date.min, days=0)),
    ("retention", BOB, KeyReplaced(user="bob", rooms=())),
    ("holds", "room:general", HoldPlaced(held="room:general", ground=UNKNOWN)),
    (
        "session:bob",
        "session:s",
        SessionOpened(session="s", node=UNKNOWN, incarnation="", address=None, client=None),
    ),
    ("session:bob", "session:s", SessionClosed(session="s", reason=UNKNOWN, ranges=None)),
]


def envelope(stream: str, subject: str, topic: str, *, seq: int = 7) -> Envelope:
    return Envelope(stream, seq, topic, subject, "alice")


@pytest.mark.parametrize(("stream", "subject", "event"), SALVAGED, ids=lambda value: type(value).__name__)
def test_an_event_that_its_envelope_determines_is_salvaged(stream: str, subject: str, event: Event) -> None:
    assert salvaged(envelope(stream, subject, event.TOPIC)) == event


@pytest.mark.parametrize("topic", EVENTS)
@pytest.mark.parametrize(
    "subject", ["settings", BOB, SEVEN, "message:x", "message:²", "", "nonsense", "user:"]
)
@pytest.mark.parametrize("stream", [ROOM, "person:bob", "reader:general:bob", "holds", "nonsense", ""])
def test_no_envelope_is_too_strange(topic: str, subject: str, stream: str) -> None:
    assert isinstance(salvaged(envelope(stream, subject, topic)), Event)


@pytest.mark.parametrize("kind", ["RoomRenamed", "MessagePinned", "MessageUnpinned", "ReactionAdded"])
def test_an_event_that_needs_its_state_changes_nothing_but_the_head(kind: str) -> None:
    event = salvaged(envelope(ROOM, SEVEN if "Reaction" in kind else "settings", f"room.{kind}.v1"))
    assert event == Unreadable(topic=f"room.{kind}.v1")
    before = folded([RoomOpened(name="General"), MemberJoined(user="alice", role="owner")])
    after = room.evolve(before, recorded(event, 3))
    assert after.head == 3
    assert (after.name, after.members, after.pinned) == (before.name, before.members, before.pinned)


def test_an_unknown_topic_is_known_by_its_place() -> None:
    assert salvaged(envelope(ROOM, SEVEN, "nonsense")) == MessagePosted(author="alice", content=None, ref="")
    opened = salvaged(envelope(ROOM, "settings", "nonsense", seq=1))
    assert opened == RoomOpened(name="general", visibility="private")
    assert salvaged(envelope(ROOM, "message:6", "nonsense")) == Unreadable(topic="nonsense")
    assert salvaged(envelope("person:bob", SEVEN, "nonsense")) == Unreadable(topic="nonsense")


def test_a_topic_of_another_stream_does_what_no_event_there_does() -> None:
    assert salvaged(envelope(ROOM, BOB, "person.PersonErased.v1")) == Unreadable(
        topic="person.PersonErased.v1"
    )


def test_a_direct_room_stays_one() -> None:
    name = direct_room(("alice", "bob"))
    opened = salvaged(envelope(f"room:{name}", "settings", RoomOpened.TOPIC, seq=1))
    assert opened == RoomOpened(name=name, visibility="direct")


def test_a_role_of_somebody_whose_join_is_unreadable_is_left_aside() -> None:
    state = folded([RoomOpened(name="General"), RoleChanged(user="bob", role="owner")])
    assert state.role("bob") is None
    assert state.head == 2


def recorded(event: Event, seq: int) -> Recorded:
    return Recorded(ROOM, seq, seq, event.subject, AT, "alice", event)


def folded(events: Iterable[Event]) -> RoomState:
    state = RoomState("general")
    for seq, event in enumerate(events, start=1):
        state = room.evolve(state, recorded(event, seq))
    return state
