"""The rules of a room: given events, when a command is decided, then these are the new events, or the refusal."""

import re
from typing import Any

import msgspec
import pytest
from rpds import HashTrieMap

from service.domain import room
from service.domain.commands import (
    JoinRoom,
    LeaveRoom,
    MoveReadMarker,
    OpenRoom,
    PostMessage,
    RoomCommand,
    UpdateRoom,
)
from service.domain.events import (
    Event,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MessagePosted,
    ReadMarkerMoved,
    Recorded,
    RoleChanged,
    RoomOpened,
    Visibility,
)
from service.domain.room import Member, RoomState
from service.domain.streams import EVERY_USER, SETTINGS, direct_room, is_direct_room, room_stream
from service.errors import Malformed, NotAllowed, NotAMember, Refusal, RoomExists, RoomNotFound
from service.protocol.commands import ROOM_ID
from tests.support.oracles.memory_log import AT, START, room_of_events


def opened(visibility: Visibility = "public") -> list[Event]:
    return [RoomOpened(name="General", visibility=visibility), MemberJoined(user="alice", role="owner")]


def joined(*users: str) -> list[Event]:
    return [MemberJoined(user=user) for user in users]


def left(*users: str) -> list[Event]:
    return [MemberLeft(user=user) for user in users]


def promoted(user: str, role: Any = "moderator") -> list[Event]:
    return [RoleChanged(user=user, role=role)]


def posted(author: str = "alice", **more: Any) -> MessagePosted:
    return MessagePosted(author=author, content="hello", ref="r", **more)


NO_NAME = Malformed(problem="A name has at least one visible character - at '$.name'")

JOIN, LEAVE = JoinRoom(room="general"), LeaveRoom(room="general")
CREATE = JoinRoom(room="general", create=True)
POST = PostMessage(room="general", content="hello", ref="r")


def opening(**more: Any) -> OpenRoom:
    return OpenRoom(room="general", name="General", **more)


def direct(*others: str) -> OpenRoom:
    return opening(visibility="direct", members=others)


def together(*users: str) -> list[Event]:
    """A direct room."""
    return [RoomOpened(name="General", visibility="direct"), *joined(*users)]


def two_to_eight(named: int) -> NotAllowed:
    return NotAllowed(problem=f"A direct room has 2 to 8 members, its opener among them, not {named}.")


FIXED = NotAllowed(problem="A direct room has the members it was opened with, all of them equal.")


@pytest.mark.parametrize(
    ("given", "by", "when", "then"),
    [
        # Opening
        ([], "alice", opening(), opened()),
        ([], "alice", opening(visibility="private"), opened("private")),
        ([], "alice", opening(members=("bob", "carol")), [*opened(), *joined("bob", "carol")]),
        ([], "alice", opening(members=("bob", "alice", "bob")), [*opened(), *joined("bob")]),
        ([], "alice", direct("bob"), together("alice", "bob")),
        ([], "alice", direct("alice", "bob"), together("alice", "bob")),
        ([], "alice", direct(*"bcdefgh"), together("alice", *"bcdefgh")),
        # The same users have one direct room, also if the other one opens it again.
        (together("alice", "bob"), "bob", direct("alice"), []),
        (together("alice", "bob"), "alice", direct("bob"), []),
        # Joining
        (opened(), "bob", JOIN, joined("bob")),
        (opened(), "bob", CREATE, joined("bob")),
        (opened(), "alice", JOIN, []),
        ([*opened("private"), *joined("bob")], "bob", JOIN, []),
        ([*opened(), *joined("bob"), *left("bob")], "bob", JOIN, joined("bob")),
        ([*opened(), *left("alice")], "bob", JOIN, [MemberJoined(user="bob", role="owner")]),
        ([], "bob", CREATE, [RoomOpened(name="general"), MemberJoined(user="bob", role="owner")]),
        # Leaving
        ([*opened(), *joined("bob")], "bob", LEAVE, left("bob")),
        ([*opened(), *joined("bob"), *left("bob")], "bob", LEAVE, []),
        (opened(), "alice", LEAVE, left("alice")),
        ([*opened("private"), *joined("bob"), *left("bob")], "bob", LEAVE, []),
        # The last owner leaves: the longest-serving moderator becomes the owner, else the longest-serving member.
        ([*opened(), *joined("bob", "carol")], "alice", LEAVE, [*promoted("bob", "owner"), *left("alice")]),
        (
            [*opened(), *joined("bob", "carol", "dave"), *promoted("dave"), *promoted("carol")],
            "alice",
            LEAVE,
            [*promoted("carol", "owner"), *left("alice")],
        ),
        (
            [*opened(), *joined("bob", "carol"), *left("bob"), *joined("bob")],
            "alice",
            LEAVE,
            [*promoted("carol", "owner"), *left("alice")],
        ),
        (
            [*opened(), *joined("bob", "carol"), *promoted("bob"), *left("bob")],
            "alice",
            LEAVE,
            [*promoted("carol", "owner"), *left("alice")],
        ),
        (
            [*opened(), *joined("bob", "carol"), *promoted("carol", "owner")],
            "alice",
            LEAVE,
            left("alice"),
        ),
        ([*opened(), *joined("bob"), *promoted("bob")], "bob", LEAVE, left("bob")),
        # Posting
        (opened(), "alice", POST, [posted()]),
        ([*opened("private"), *joined("bob")], "bob", POST, [posted("bob")]),
        (
            [*opened(), *joined("bob")],
            "alice",
            PostMessage(
                room="general",
                content="hello",
                ref="r",
                reply_to=2,
                mentions=("bob", "carol", "bob", "alice"),
            ),
            [posted(reply_to=2, mentions=("bob", "alice"))],
        ),
        (
            [*opened(), *joined("bob", "carol")],
            "alice",
            PostMessage(
                room="general",
                content="hello",
                ref="r",
                mentions=("bob", "carol"),
                silenced=("carol", "dave"),
            ),
            [posted(mentions=("bob", "carol"), silenced=("carol",))],
        ),
    ],
)
def test_a_command_that_the_rules_allow_leads_to_these_facts(
    given: list[Event], by: str, when: RoomCommand, then: list[Event]
) -> None:
    assert room.decide(room_of_events(*given), when, by, AT) == then


@pytest.mark.parametrize(
    ("given", "by", "when", "refusal"),
    [
        (opened(), "bob", opening(), RoomExists(room="general")),
        (opened(), "alice", opening(), RoomExists(room="general")),
        ([*opened(), *left("alice")], "alice", opening(), RoomExists(room="general")),
        ([], "alice", direct(), two_to_eight(1)),
        ([], "alice", direct("alice"), two_to_eight(1)),
        ([], "alice", direct(*"bcdefghi"), two_to_eight(9)),
        (together("alice", "bob"), "alice", direct("carol"), RoomExists(room="general")),
        (together("alice", "bob"), "carol", direct("alice"), RoomExists(room="general")),
        (opened(), "alice", direct("bob"), RoomExists(room="general")),
        ([], "alice", OpenRoom(room="general", name="\u200b\u2060"), NO_NAME),
        ([], "alice", msgspec.structs.replace(direct("bob"), name="\u3164"), NO_NAME),
        (opened(), "alice", UpdateRoom(room="general", name="\u00ad\u2800"), NO_NAME),
        ([], "bob", JOIN, RoomNotFound(room="general")),
        (opened("private"), "bob", JOIN, RoomNotFound(room="general")),
        (opened("private"), "bob", CREATE, RoomNotFound(room="general")),
        (together("alice", "carol"), "bob", JOIN, RoomNotFound(room="general")),
        (together("alice", "carol"), "carol", LEAVE, FIXED),
        ([*opened("private"), *joined("bob"), *left("bob")], "bob", JOIN, RoomNotFound(room="general")),
        ([], "bob", LEAVE, RoomNotFound(room="general")),
        (opened(), "bob", LEAVE, NotAMember(room="general")),
        (opened("private"), "bob", LEAVE, RoomNotFound(room="general")),
        ([], "bob", POST, RoomNotFound(room="general")),
        (opened(), "bob", POST, NotAMember(room="general")),
        (opened("private"), "bob", POST, RoomNotFound(room="general")),
        ([*opened(), *joined("bob"), *left("bob")], "bob", POST, NotAMember(room="general")),
    ],
)
def test_a_command_that_the_rules_forbid_is_refused(
    given: list[Event], by: str, when: RoomCommand, refusal: Refusal
) -> None:
    with pytest.raises(type(refusal)) as refused:
        room.decide(room_of_events(*given), when, by, AT)
    assert (type(refused.value), refused.value.data) == (type(refusal), refusal.data)


def test_the_id_of_some_peoples_direct_room_is_theirs() -> None:
    room_id = direct_room(("bob", "alice"))
    assert room_id == direct_room(["alice", "bob", "alice"])
    assert is_direct_room(room_id)
    assert re.fullmatch(ROOM_ID, room_id)
    empty = RoomState(room_id)
    theirs = OpenRoom(room=room_id, name="x", visibility="direct", members=("bob",))
    assert room.decide(empty, theirs, "alice", AT) == together_as("x", "alice", "bob")
    for by, wish in (
        ("mallory", OpenRoom(room=room_id, name="x")),
        ("alice", OpenRoom(room=room_id, name="x", visibility="private", members=("bob",))),
        ("mallory", OpenRoom(room=room_id, name="x", visibility="direct", members=("alice", "bob"))),
        ("mallory", OpenRoom(room=room_id, name="x", visibility="direct", members=("alice",))),
    ):
        with pytest.raises(NotAllowed):
            room.decide(empty, wish, by, AT)
    with pytest.raises(RoomNotFound):
        room.decide(empty, JoinRoom(room=room_id, create=True), "mallory", AT)


def asked(user: str) -> list[Event]:
    return [MemberInvited(user=user)]


def test_members_in_invited_are_invited_and_the_others_added() -> None:
    command = OpenRoom(
        room="r", name="R", visibility="private", members=("bob", "carol"), invited=frozenset({"bob"})
    )
    assert room.decide(RoomState("r"), command, "alice", AT) == [
        RoomOpened(name="R", visibility="private"),
        MemberJoined(user="alice", role="owner"),
        MemberInvited(user="bob"),
        MemberJoined(user="carol"),
    ]


@pytest.mark.parametrize("room_id", [direct_room(("alice", "bob")), "chosen"])
def test_a_direct_room_is_a_request_until_it_is_answered(room_id: str) -> None:
    def opened_by(user: str, other: str, *since: Event) -> list[Event]:
        state = RoomState(room_id)
        request = [RoomOpened(name="x", visibility="direct"), MemberJoined(user="alice"), *asked("bob")]
        for seq, event in enumerate([*request, *since], 1):
            state = room.evolve(
                state, Recorded(room_stream(room_id), seq, seq, event.subject, AT, "alice", event)
            )
        wish = OpenRoom(
            room=room_id, name="y", visibility="direct", members=(other,), invited=frozenset({other})
        )
        return room.decide(state, wish, user, AT)

    first = OpenRoom(
        room=room_id, name="x", visibility="direct", members=("bob",), invited=frozenset({"bob"})
    )
    assert room.decide(RoomState(room_id), first, "alice", AT) == [
        RoomOpened(name="x", visibility="direct"),
        MemberJoined(user="alice"),
        MemberInvited(user="bob"),
    ]
    assert opened_by("alice", "bob") == [], "it is not asked twice"
    assert opened_by("bob", "alice") == [MemberJoined(user="bob")], "to open it is to accept"
    assert opened_by("alice", "bob", MemberJoined(user="bob")) == []
    if is_direct_room(room_id):
        assert opened_by("alice", "bob", MemberLeft(user="bob")) == [], "a declined request is not repeated"
        assert opened_by("bob", "alice", MemberLeft(user="bob")) == [MemberJoined(user="bob")]


def together_as(name: str, *users: str) -> list[Event]:
    return [RoomOpened(name=name, visibility="direct"), *joined(*users)]


def test_a_room_does_not_decide_what_is_no_matter_of_rooms() -> None:
    with pytest.raises(TypeError, match="MoveReadMarker"):
        room.decide(room_of_events(*opened()), MoveReadMarker(room="general", message=1), "alice", AT)


@pytest.mark.parametrize(
    ("given", "by", "when", "guard"),
    [
        ([], "alice", opening(), (SETTINGS,)),
        ([], "alice", CREATE, (SETTINGS, "user:alice")),
        (opened(), "bob", JOIN, (SETTINGS, "user:bob", "user:alice")),
        ([*opened(), *left("alice")], "bob", JOIN, (SETTINGS, EVERY_USER)),
        ([*opened(), *joined("bob")], "bob", LEAVE, (SETTINGS, "user:bob")),
        ([*opened(), *joined("bob")], "alice", LEAVE, (SETTINGS, EVERY_USER)),
        ([*opened(), *joined("bob"), *promoted("bob")], "bob", LEAVE, (SETTINGS, "user:bob")),
        (opened(), "alice", POST, (SETTINGS, "user:alice")),
        (opened(), "bob", POST, (SETTINGS, "user:bob")),
    ],
)
def test_the_guard_names_what_the_decision_relied_on(
    given: list[Event], by: str, when: RoomCommand, guard: tuple[str, ...]
) -> None:
    assert room.guard(room_of_events(*given), when, by) == guard


OWNER = Member("owner", 2)


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ([], RoomState("general")),
        (
            [RoomOpened(name="G", visibility="direct")],
            RoomState("general", head=1, name="G", visibility="direct"),
        ),
        (opened(), RoomState("general", head=2, name="General", members=HashTrieMap({"alice": OWNER}))),
        (
            [*opened(), *joined("bob"), posted()],
            RoomState(
                "general",
                4,
                "General",
                members=HashTrieMap({"alice": OWNER, "bob": Member("member", 3, added=True)}),
            ),
        ),
        (
            [*opened(), *joined("bob"), *promoted("bob")],
            RoomState(
                "general",
                4,
                "General",
                members=HashTrieMap({"alice": OWNER, "bob": Member("moderator", 3, added=True)}),
            ),
        ),
        (
            [*opened(), *joined("bob"), *left("bob")],
            RoomState(
                "general", 4, "General", members=HashTrieMap({"alice": OWNER}), left=HashTrieMap({"bob": 4})
            ),
        ),
        (
            [*opened(), *joined("bob"), *left("bob"), *joined("bob")],
            RoomState(
                "general",
                5,
                "General",
                members=HashTrieMap({"alice": OWNER, "bob": Member("member", 5, added=True)}),
            ),
        ),
    ],
)
def test_what_happened_makes_the_room(given: list[Event], then: RoomState) -> None:
    assert room_of_events(*given) == then


def test_an_event_of_another_kind_moves_the_head_alone() -> None:
    before = room_of_events(*opened())
    event = ReadMarkerMoved(user="alice", message=1)
    after = room.evolve(before, Recorded("room:general", 3, 9, "user:alice", START, "alice", event))
    assert after == msgspec.structs.replace(before, head=3)


def test_a_state_is_never_changed_in_place() -> None:
    states = [room_of_events(*opened())]
    for seq, event in enumerate([*joined("bob"), *promoted("bob"), *left("bob"), *joined("bob")], start=3):
        before = _contents(states[-1])
        states.append(
            room.evolve(states[-1], Recorded("room:general", seq, seq, event.subject, START, "alice", event))
        )
        assert _contents(states[-2]) == before


def _contents(state: RoomState) -> dict[str, object]:
    fields = msgspec.structs.asdict(state)
    return {name: dict(value) if isinstance(value, HashTrieMap) else value for name, value in fields.items()}


@pytest.mark.parametrize(
    ("given", "user", "until"),
    [
        (opened(), "alice", None),
        (opened("private"), "alice", None),
        ([*opened(), *joined("bob"), posted(), *left("bob"), posted()], "bob", 5),
        ([*opened("private"), *joined("bob"), *left("bob"), posted()], "bob", 4),
        ([*opened(), *joined("bob"), *left("bob"), *joined("bob")], "bob", None),
        ([*opened(), *joined("bob"), *left("bob"), *joined("bob"), *left("bob")], "bob", 6),
    ],
)
def test_members_read_everything_and_who_left_reads_up_to_the_last_leave(
    given: list[Event], user: str, until: int | None
) -> None:
    assert room.visible_until(room_of_events(*given), user, AT) == until


@pytest.mark.parametrize(
    ("given", "refusal"), [([], RoomNotFound), (opened("private"), RoomNotFound), (opened(), NotAMember)]
)
def test_a_private_room_looks_to_outsiders_like_one_that_is_not_there(
    given: list[Event], refusal: type[Refusal]
) -> None:
    state = room_of_events(*given)
    for ask in (room.visible_until, room.require_member):
        with pytest.raises(refusal) as refused:
            ask(state, "mallory", AT)
        assert refused.value.data == {"room": "general"}


def test_members_are_members() -> None:
    room.require_member(room_of_events(*opened("private")), "alice", AT)
