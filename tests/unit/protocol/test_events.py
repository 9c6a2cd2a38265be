"""What clients receive: every fact of a room has a wire name, and times have one form."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.events import (
    EVENTS,
    Event,
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
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    Recorded,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomReopened,
    RoomRetentionChanged,
    RoomTopicChanged,
)
from service.protocol.close_codes import Close, reason_of
from service.protocol.events import (
    Connected,
    MessageReadBy,
    Outgoing,
    PresenceChanged,
    Receipt,
    Receipts,
    RoomHead,
    TypingStarted,
    TypingStopped,
    UserJoined,
    UserLeft,
    timestamp,
)
from service.protocol.native import encode, encode_ack
from service.protocol.translate import TO_WIRE, to_wire

AT = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
SHOWN = "2026-01-02T03:04:05.000600Z"


def name_of(user: str) -> str:
    return user.title()


def heard(event: Event, *, seq: int = 7, by: str = "alice") -> dict[str, Any]:
    recorded = Recorded("room:general", seq, 99, event.subject, AT, by, event)
    value = json.loads(encode(to_wire(recorded, name_of)))
    assert isinstance(value, dict)
    return value


def test_every_event_that_a_room_can_hold_has_a_wire_name() -> None:
    of_a_room = {cls for topic, cls in EVENTS.items() if topic.startswith("room.")}
    assert set(TO_WIRE) == of_a_room


COMMON = {"roomId": "general", "seq": 7, "at": SHOWN}


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (
            RoomOpened(name="General", visibility="private"),
            {"type": "room:created", "name": "General", "visibility": "private", "userId": "alice"},
        ),
        (
            MemberJoined(user="bob", role="owner"),
            {"type": "room:user_joined", "userId": "bob", "name": "Bob", "role": "owner"},
        ),
        (MemberLeft(user="bob"), {"type": "room:user_left", "userId": "bob", "reason": "left"}),
        (
            RoleChanged(user="bob", role="moderator"),
            {"type": "room:member_updated", "userId": "bob", "by": "alice", "role": "moderator"},
        ),
        (RoomRenamed(name="New"), {"type": "room:updated", "userId": "alice", "name": "New"}),
        (RoomTopicChanged(topic="Plans"), {"type": "room:updated", "userId": "alice", "topic": "Plans"}),
        (RoomTopicChanged(topic=""), {"type": "room:updated", "userId": "alice", "topic": None}),
        (RoomTopicChanged(topic=None), {"type": "room:updated", "userId": "alice", "topic": None}),
        (RoomArchived(), {"type": "room:updated", "userId": "alice", "archived": True}),
        (RoomReopened(), {"type": "room:updated", "userId": "alice", "archived": False}),
        (RoomRetentionChanged(days=90), {"type": "room:updated", "userId": "alice", "retentionDays": 90}),
        (RoomRetentionChanged(), {"type": "room:updated", "userId": "alice", "retentionDays": None}),
        (MemberInvited(user="bob"), {"type": "room:invited", "userId": "bob", "by": "alice"}),
        (
            MemberRemoved(user="bob", reason="noise"),
            {
                "type": "room:user_left",
                "userId": "bob",
                "reason": "kicked",
                "by": "alice",
                "explanation": "noise",
            },
        ),
        (
            MemberBanned(user="bob", until=AT),
            {"type": "room:user_left", "userId": "bob", "reason": "banned", "by": "alice", "until": SHOWN},
        ),
        (
            MemberUnbanned(user="bob"),
            {"type": "room:member_updated", "userId": "bob", "by": "alice", "banned": False},
        ),
        (
            MemberMuted(user="bob", until=AT, reason="noise"),
            {
                "type": "room:member_updated",
                "userId": "bob",
                "by": "alice",
                "muted": True,
                "until": SHOWN,
                "explanation": "noise",
            },
        ),
        (
            MemberUnmuted(user="bob"),
            {"type": "room:member_updated", "userId": "bob", "by": "alice", "muted": False},
        ),
        (
            MessageEdited(message=3, content="hi"),
            {"type": "message:edited", "messageId": 3, "userId": "alice", "content": "hi"},
        ),
        (
            MessageEdited(message=3, content=None),
            {"type": "message:edited", "messageId": 3, "userId": "alice", "content": None},
        ),
        (MessageDeleted(message=3), {"type": "message:deleted", "messageId": 3, "userId": "alice"}),
        (
            MessageDeleted(message=3, reason="rude"),
            {"type": "message:deleted", "messageId": 3, "userId": "alice", "explanation": "rude"},
        ),
        (
            ReactionAdded(message=3, emoji="👍"),
            {"type": "message:reaction", "messageId": 3, "userId": "alice", "emoji": "👍", "added": True},
        ),
        (
            ReactionRemoved(message=3, emoji="👍"),
            {"type": "message:reaction", "messageId": 3, "userId": "alice", "emoji": "👍", "added": False},
        ),
        (
            MessagePinned(message=3),
            {"type": "message:pinned", "messageId": 3, "userId": "alice", "pinned": True},
        ),
        (
            MessageUnpinned(message=3),
            {"type": "message:pinned", "messageId": 3, "userId": "alice", "pinned": False},
        ),
        (
            MessagePosted(author="bob", content="hello", ref="r-1"),
            {
                "type": "message:new",
                "messageId": 7,
                "userId": "bob",
                "name": "Bob",
                "content": "hello",
                "ref": "r-1",
            },
        ),
        (
            MessagePosted(author="bob", content="hi", ref="r-1", reply_to=3, mentions=("alice",)),
            {
                "type": "message:new",
                "messageId": 7,
                "userId": "bob",
                "name": "Bob",
                "content": "hi",
                "ref": "r-1",
                "replyTo": 3,
                "mentions": ["alice"],
            },
        ),
        (
            MessagePosted(author="bob", content=None, ref="r-1"),
            {
                "type": "message:new",
                "messageId": 7,
                "userId": "bob",
                "name": "Bob",
                "content": None,
                "ref": "r-1",
            },
        ),
    ],
)
def test_a_room_hears_of_an_event_in_these_words(event: Event, wire: dict[str, Any]) -> None:
    assert heard(event) == COMMON | wire


def test_what_belongs_to_a_rooms_order_carries_its_number() -> None:
    for event in (
        RoomOpened(name="G"),
        MemberLeft(user="bob"),
        MessagePosted(author="bob", content="x", ref="r"),
    ):
        assert heard(event, seq=41)["seq"] == 41


def test_receipts_are_no_part_of_the_order_and_carry_no_number() -> None:
    moved = json.loads(encode(MessageReadBy(room_id="general", user_id="bob", message_id=3, at=SHOWN)))
    assert moved == {
        "type": "message:read",
        "roomId": "general",
        "userId": "bob",
        "messageId": 3,
        "at": SHOWN,
    }
    everybody = Receipts(room_id="general", receipts=[Receipt(user_id="bob", message_id=3, at=SHOWN)])
    assert json.loads(encode(everybody)) == {
        "type": "room:receipts",
        "roomId": "general",
        "receipts": [{"userId": "bob", "messageId": 3, "at": SHOWN}],
    }


def test_connected_says_where_each_room_stands() -> None:
    connected = Connected(
        protocol=1,
        user_id="alice",
        session="s",
        epoch="e",
        expires_at=SHOWN,
        ping_interval=25,
        ping_timeout=20,
        rooms={
            "general": RoomHead(recovered=True, head=57),
            "gone": RoomHead(recovered=False, reason="room_not_found"),
        },
    )
    assert json.loads(encode(connected)) == {
        "type": "connected",
        "protocol": 1,
        "userId": "alice",
        "session": "s",
        "epoch": "e",
        "expiresAt": SHOWN,
        "pingInterval": 25,
        "pingTimeout": 20,
        "rooms": {
            "general": {"head": 57, "recovered": True},
            "gone": {"recovered": False, "reason": "room_not_found"},
        },
    }


def test_an_ack_carries_the_ref_and_what_was_answered() -> None:
    assert json.loads(encode_ack("r", {"seq": 58, "at": SHOWN})) == {
        "type": "ack",
        "ref": "r",
        "seq": 58,
        "at": SHOWN,
    }
    assert json.loads(encode_ack(None, {"rooms": []})) == {"type": "ack", "rooms": []}


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 1, tzinfo=UTC), "2026-01-02T03:04:05.000001Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 120_000, tzinfo=UTC), "2026-01-02T03:04:05.120000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        (
            datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2025-12-31T20:00:00.000000Z",
        ),
    ],
)
def test_a_time_is_utc_with_six_digits_and_a_z(at: datetime, shown: str) -> None:
    assert timestamp(at) == shown


@given(
    st.datetimes(
        min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - the time zone is drawn beside it
        timezones=st.sampled_from(
            [UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14))]
        ),
    ).filter(lambda at: at.year < 9999)
)
def test_any_time_has_the_same_form_and_reads_back(at: datetime) -> None:
    shown = timestamp(at)
    assert len(shown) == len(SHOWN)
    assert shown.endswith("Z")
    assert datetime.fromisoformat(shown) == at


def test_times_sort_as_text() -> None:
    times = [AT + timedelta(microseconds=n * 333_333) for n in range(20)]
    assert sorted(map(timestamp, times)) == [*map(timestamp, times)]


def every_outgoing(base: type[Outgoing] = Outgoing) -> list[type[Outgoing]]:
    return [found for cls in base.__subclasses__() for found in (cls, *every_outgoing(cls))]


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (
            PresenceChanged(user_id="bob", status="away", last_seen=None),
            {"type": "presence:changed", "userId": "bob", "status": "away", "lastSeen": None},
        ),
        (
            UserLeft(room_id="general", user_id="bob", reason="disconnect"),
            {"type": "room:user_left", "roomId": "general", "userId": "bob", "reason": "disconnect"},
        ),
        (
            UserJoined(room_id="general", user_id="bob", name="Bob", role="member", reason="reconnect"),
            {
                "type": "room:user_joined",
                "roomId": "general",
                "userId": "bob",
                "name": "Bob",
                "role": "member",
                "reason": "reconnect",
            },
        ),
        (
            TypingStarted(room_id="general", user_id="bob"),
            {"type": "typing:start", "roomId": "general", "userId": "bob"},
        ),
        (
            TypingStopped(room_id="general", user_id="bob"),
            {"type": "typing:stop", "roomId": "general", "userId": "bob"},
        ),
    ],
)
def test_what_is_no_part_of_the_order_has_no_seq(event: Outgoing, wire: dict[str, Any]) -> None:
    assert json.loads(encode(event)) == wire


def test_no_two_events_have_one_wire_name() -> None:
    names = [cls.__struct_config__.tag for cls in every_outgoing()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("code", "come_back"),
    [
        (4000, True),
        (4001, True),
        (4002, True),
        (4008, True),
        (4009, True),
        (4010, True),
        (4011, True),
        (4500, False),
        (4501, False),
        (4502, False),
        (4503, False),
        (4504, False),
        (1009, False),
    ],
)
def test_a_close_code_says_whether_to_come_back(code: int, come_back: bool) -> None:  # noqa: FBT001 - a table
    assert Close(code).come_back is come_back


def test_every_close_code_is_in_the_table() -> None:
    assert {int(code) for code in Close} == {
        4000,
        4001,
        4002,
        4008,
        4009,
        4010,
        4011,
        *range(4500, 4505),
        1009,
    }


@pytest.mark.parametrize(
    ("code", "by_client", "reason"),
    [
        (1000, True, "client"),
        (1001, True, "client"),
        (1005, True, "client"),
        (4011, True, "client"),
        (1006, False, "connection_lost"),
        (4000, False, "shutting_down"),
        (4001, False, "token_expired"),
        (4002, False, "token_not_yet_valid"),
        (4008, False, "too_slow"),
        (4009, False, "too_many_requests"),
        (4010, False, "no_pong"),
        (4011, False, "fenced"),
        (4501, False, "malformed"),
        (1002, False, "malformed"),
        (1007, False, "malformed"),
        (1009, False, "too_large"),
        (4503, False, "suspended"),
        (4504, False, "erased"),
        (1000, False, "server_error"),
        (1011, False, "server_error"),
        (None, False, "server_error"),
    ],
)
def test_a_close_code_says_why_a_session_ended(code: int | None, by_client: bool, reason: str) -> None:  # noqa: FBT001 - a table
    assert reason_of(code, by_client=by_client) == reason
