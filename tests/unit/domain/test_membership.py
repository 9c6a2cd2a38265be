"""Permissions: every command about members by every role, on every role."""

from datetime import timedelta, timezone
from typing import Any

import pytest

from service.domain import room
from service.domain.commands import (
    ArchiveRoom,
    BanMember,
    ChangeRole,
    InviteMember,
    JoinRoom,
    LeaveRoom,
    MuteMember,
    RemoveMember,
    ReopenRoom,
    RoomCommand,
    UnbanMember,
    UnmuteMember,
    UpdateRoom,
)
from service.domain.events import (
    Event,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MemberUnbanned,
    MemberUnmuted,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomReopened,
    RoomTopicChanged,
    Visibility,
)
from service.domain.streams import EVERY_USER, SETTINGS
from service.errors import (
    Banned,
    LastOwner,
    NotAllowed,
    NotAMember,
    Refusal,
    RoomIsArchived,
    RoomNotFound,
    UserNotFound,
)
from tests.support.oracles.memory_log import AT, room_of_events
from tests.support.oracles.roles import (
    ARCHIVED,
    FUTURE,
    MEMBERS,
    MODERATORS,
    OUTSIDE,
    OWNERS,
    PAST,
    cast,
    outcome,
    scene,
)


def wish(command: type[RoomCommand], **fields: Any) -> RoomCommand:
    return command(room="general", **fields)


def kick(user: str) -> RoomCommand:
    return wish(RemoveMember, user=user, reason="noise")


def ban(user: str, **more: Any) -> RoomCommand:
    return wish(BanMember, user=user, **more)


def mute(user: str, **more: Any) -> RoomCommand:
    return wish(MuteMember, user=user, **more)


def unban(user: str) -> RoomCommand:
    return wish(UnbanMember, user=user)


def unmute(user: str) -> RoomCommand:
    return wish(UnmuteMember, user=user)


def invite(user: str) -> RoomCommand:
    return wish(InviteMember, user=user)


def role(user: str, role: str) -> RoomCommand:
    return wish(ChangeRole, user=user, role=role)


def kicked(user: str) -> list[Event]:
    return [MemberRemoved(user=user, reason="noise")]


def banned(user: str, **more: Any) -> list[Event]:
    return [MemberBanned(user=user, **more)]


def muted(user: str, **more: Any) -> list[Event]:
    return [MemberMuted(user=user, **more)]


def invited(user: str) -> list[Event]:
    return [MemberInvited(user=user)]


def made(user: str, role: Any) -> list[Event]:
    return [RoleChanged(user=user, role=role)]


JOIN, LEAVE = wish(JoinRoom), wish(LeaveRoom)
RENAME, TOPIC = wish(UpdateRoom, name="Other"), wish(UpdateRoom, topic="Plans")
ARCHIVE, REOPEN = wish(ArchiveRoom), wish(ReopenRoom)
OWNER_ONLY = (
    RENAME,
    wish(UpdateRoom, name="Other", topic="Plans"),
    ARCHIVE,
    REOPEN,
    role("member2", "owner"),
)
MODERATION = (kick("member2"), ban("member2"), mute("member2"), unban("banned"), unmute("muted"), TOPIC)
"""What moderators may, towards members."""
MEMBERS_ONLY = (*OWNER_ONLY, *MODERATION, invite("stranger"))

TABLE: list[tuple[str, RoomCommand, Any]] = [
    # By an owner: everything.
    ("owner", kick("owner2"), kicked("owner2")),
    ("owner", kick("moderator"), kicked("moderator")),
    ("owner", ban("owner2"), banned("owner2")),
    ("owner", mute("moderator"), muted("moderator")),
    ("owner", role("owner2", "member"), made("owner2", "member")),
    ("owner", role("owner", "member"), made("owner", "member")),
    ("owner", role("member", "moderator"), made("member", "moderator")),
    ("owner", role("member", "owner"), made("member", "owner")),
    ("owner", role("moderator", "moderator"), []),
    ("owner", RENAME, [RoomRenamed(name="Other")]),
    ("owner", TOPIC, [RoomTopicChanged(topic="Plans")]),
    ("owner", OWNER_ONLY[1], [RoomRenamed(name="Other"), RoomTopicChanged(topic="Plans")]),
    ("owner", wish(UpdateRoom, name="General", topic="Plans"), [RoomTopicChanged(topic="Plans")]),
    ("owner", wish(UpdateRoom, name="General", topic=""), []),
    ("owner", ARCHIVE, [RoomArchived()]),
    ("owner", REOPEN, []),
    # By a moderator: upon members only.
    ("moderator", kick("member"), kicked("member")),
    ("moderator", ban("member"), banned("member")),
    ("moderator", ban("stranger"), banned("stranger")),
    (
        "moderator",
        ban("member", until=FUTURE, reason="noise"),
        banned("member", until=FUTURE, reason="noise"),
    ),
    ("moderator", mute("member", until=FUTURE), muted("member", until=FUTURE)),
    ("moderator", unban("banned"), [MemberUnbanned(user="banned")]),
    ("moderator", unmute("muted"), [MemberUnmuted(user="muted")]),
    ("moderator", TOPIC, [RoomTopicChanged(topic="Plans")]),
    *(("moderator", command, NotAllowed) for command in OWNER_ONLY),
    *(
        ("moderator", act(user), NotAllowed)
        for act in (kick, ban, mute, unmute)
        for user in (*OWNERS, *MODERATORS)
    ),
    # By a member: nothing of that; they may invite into a public room.
    *(
        ("member", command, NotAllowed)
        for command in (*OWNER_ONLY, *MODERATION, kick("owner"), ban("member"))
    ),
    ("member", invite("stranger"), invited("stranger")),
    ("member", invite("left"), invited("left")),
    ("member", invite("kicked"), invited("kicked")),
    ("member", invite("banned-once"), invited("banned-once")),
    ("member", invite("banned"), NotAllowed),
    ("member", invite("member2"), []),
    ("member", invite("invited"), invited("invited")),
    # By those outside: nothing at all.
    *((user, command, NotAMember) for user in OUTSIDE if user != "banned" for command in MEMBERS_ONLY),
    *(("banned", command, Banned) for command in (*MEMBERS_ONLY, JOIN, LEAVE)),
    ("invited", invite("stranger"), NotAMember),
    # The target of the command.
    ("owner", kick("stranger"), UserNotFound),
    ("owner", kick("invited"), kicked("invited")),
    *(("owner", kick(user), []) for user in ("left", "kicked", "banned", "banned-once")),
    ("owner", ban("banned"), []),
    ("owner", ban("banned", until=FUTURE), banned("banned", until=FUTURE)),
    ("owner", ban("banned-once"), banned("banned-once")),
    ("owner", unban("banned-once"), []),
    ("owner", unban("stranger"), []),
    *(("owner", mute(user), UserNotFound) for user in ("stranger", "invited", *OUTSIDE[1:])),
    ("owner", mute("muted"), []),
    ("owner", mute("muted", until=FUTURE), muted("muted", until=FUTURE)),
    ("owner", mute("muted-once"), muted("muted-once")),
    ("owner", unmute("muted-once"), []),
    ("owner", unmute("member"), []),
    *(("owner", role(user, "member"), UserNotFound) for user in ("stranger", "invited", *OUTSIDE[1:])),
    # Until a time that has passed, or is just now.
    *(("owner", act("member", until=at), NotAllowed) for act in (ban, mute) for at in (PAST, AT)),
    # Upon oneself: one leaves.
    *((user, act(user), NotAllowed) for user in ("owner", "moderator") for act in (kick, ban, mute)),
    # Coming and going.
    ("stranger", JOIN, [MemberJoined(user="stranger")]),
    ("left", JOIN, [MemberJoined(user="left")]),
    ("kicked", JOIN, [MemberJoined(user="kicked")]),
    ("banned-once", JOIN, [MemberJoined(user="banned-once")]),
    ("invited", JOIN, [MemberJoined(user="invited")]),
    ("muted", JOIN, []),
    ("invited", LEAVE, [MemberLeft(user="invited")]),
    *((user, LEAVE, []) for user in ("left", "kicked", "banned-once")),
    ("stranger", LEAVE, NotAMember),
    ("owner", LEAVE, [MemberLeft(user="owner")]),
]


@pytest.mark.parametrize(("by", "when", "then"), TABLE)
def test_in_a_public_room(by: str, when: RoomCommand, then: Any) -> None:
    assert outcome(scene(), when, by) == then


PRIVATE: list[tuple[str, RoomCommand, Any]] = [
    *((user, command, RoomNotFound) for user in OUTSIDE for command in (*MEMBERS_ONLY, JOIN)),
    *((user, LEAVE, []) for user in ("left", "kicked", "banned-once")),
    *((user, LEAVE, RoomNotFound) for user in ("stranger", "banned")),
    # An invited user knows of the room.
    *(("invited", command, NotAMember) for command in MEMBERS_ONLY),
    ("invited", JOIN, [MemberJoined(user="invited")]),
    ("invited", LEAVE, [MemberLeft(user="invited")]),
    ("member", invite("stranger"), NotAllowed),
    ("moderator", invite("stranger"), invited("stranger")),
    ("owner", invite("kicked"), invited("kicked")),
    ("owner", invite("banned"), NotAllowed),
    ("owner", kick("invited"), kicked("invited")),
    ("owner", ban("invited"), [MemberRemoved(user="invited"), *banned("invited")]),
    ("moderator", kick("member"), kicked("member")),
]


@pytest.mark.parametrize(("by", "when", "then"), PRIVATE)
def test_in_a_private_room(by: str, when: RoomCommand, then: Any) -> None:
    assert outcome(scene("private"), when, by) == then


def everything() -> list[RoomCommand]:
    return [*MEMBERS_ONLY, JOIN, LEAVE]


@pytest.mark.parametrize("when", everything(), ids=str)
@pytest.mark.parametrize("by", ["stranger", "banned"])
def test_a_private_room_says_to_outsiders_what_a_missing_one_says(by: str, when: RoomCommand) -> None:
    assert outcome(scene("private"), when, by) == outcome(room_of_events(), when, by) == RoomNotFound


@pytest.mark.parametrize("visibility", ["public", "private"])
@pytest.mark.parametrize(
    ("by", "when", "then"),
    [
        *(
            ("owner", command, RoomIsArchived)
            for command in (*OWNER_ONLY[:2], *OWNER_ONLY[4:], *MODERATION, invite("stranger"))
        ),
        *(("member", command, RoomIsArchived) for command in (TOPIC, kick("owner"), invite("stranger"))),
        ("owner", ARCHIVE, []),
        ("owner", REOPEN, [RoomReopened()]),
        ("owner2", REOPEN, [RoomReopened()]),
        ("moderator", REOPEN, NotAllowed),
        ("member", ARCHIVE, NotAllowed),
        ("member", JOIN, []),
        ("member", LEAVE, [MemberLeft(user="member")]),
        ("invited", JOIN, RoomIsArchived),
        ("invited", LEAVE, [MemberLeft(user="invited")]),
    ],
)
def test_an_archived_room_is_for_reading_and_leaving(
    visibility: Visibility, by: str, when: RoomCommand, then: Any
) -> None:
    assert outcome(scene(visibility, ARCHIVED), when, by) == then


def test_outsiders_of_an_archived_room() -> None:
    assert outcome(scene("public", ARCHIVED), JOIN, "stranger") is RoomIsArchived
    assert outcome(scene("public", ARCHIVED), JOIN, "banned") is Banned
    assert outcome(scene("private", ARCHIVED), JOIN, "stranger") is RoomNotFound
    assert outcome(scene("public", ARCHIVED, RoomReopened()), JOIN, "stranger") == [
        MemberJoined(user="stranger")
    ]


@pytest.mark.parametrize("when", [*MEMBERS_ONLY[2:10], kick("bob"), invite("carol"), LEAVE], ids=str)
def test_a_direct_room_keeps_its_members_and_knows_no_roles(when: RoomCommand) -> None:
    together = [MemberJoined(user=user) for user in ("alice", "bob", "member2")]
    state = room_of_events(RoomOpened(name="d", visibility="direct"), *together)
    if when is TOPIC:
        assert outcome(state, when, "alice") == [RoomTopicChanged(topic="Plans")]
        assert outcome(state, RENAME, "bob") == [RoomRenamed(name="Other")]
    else:
        assert outcome(state, when, "alice") is NotAllowed
    assert outcome(state, when, "carol") is RoomNotFound


ALONE = [RoomOpened(name="G"), MemberJoined(user="alice", role="owner"), MemberJoined(user="bob")]


@pytest.mark.parametrize(
    "when",
    [role("alice", "member"), role("alice", "moderator"), kick("alice"), ban("alice"), mute("alice")],
    ids=str,
)
def test_the_last_owner_stays_an_owner(when: RoomCommand) -> None:
    assert outcome(room_of_events(*ALONE), when, "alice") is LastOwner


def test_the_last_owner_may_make_another_and_then_step_down() -> None:
    promoted = RoleChanged(user="bob", role="owner")
    assert outcome(room_of_events(*ALONE), role("bob", "owner"), "alice") == [promoted]
    assert outcome(room_of_events(*ALONE, promoted), role("alice", "member"), "alice") == made(
        "alice", "member"
    )


def test_time_alone_ends_a_ban_and_a_mute() -> None:
    state = scene("public", MemberBanned(user="eve", until=AT), MemberMuted(user="member", until=AT))
    moment = timedelta(microseconds=1)
    with pytest.raises(Banned):
        room.decide(state, JOIN, "eve", AT - moment)
    assert room.decide(state, JOIN, "eve", AT) == [MemberJoined(user="eve")]
    assert state.is_muted("member", AT - moment)
    assert not state.is_muted("member", AT)


def test_a_time_is_kept_in_utc() -> None:
    elsewhere = FUTURE.astimezone(timezone(timedelta(hours=5)))
    (event,) = outcome(scene(), ban("member", until=elsewhere), "owner")
    assert event.until.utcoffset() == timedelta(0)
    assert event.until == FUTURE


@pytest.mark.parametrize(
    ("user", "public", "private"),
    [
        *((user, None, None) for user in (*OWNERS, *MODERATORS, *MEMBERS, "muted")),
        ("left", 20, 20),
        ("kicked", 21, 21),
        ("banned-once", 23, 23),
        ("banned", Banned, RoomNotFound),
        ("stranger", NotAMember, RoomNotFound),
        ("invited", NotAMember, NotAMember),
    ],
)
def test_members_read_all_leavers_until_leaving_banned_people_nothing(
    user: str, public: Any, private: Any
) -> None:
    def reads(visibility: Visibility) -> Any:
        try:
            return room.visible_until(scene(visibility), user, AT)
        except Refusal as refusal:
            return type(refusal)

    assert (reads("public"), reads("private")) == (public, private)


def test_declining_an_invitation_opens_nothing_to_read() -> None:
    for ending in (MemberLeft(user="invited"), MemberRemoved(user="invited"), MemberBanned(user="invited")):
        state = scene("private", ending)
        assert room.readable_until(state, "invited", AT) == 0
        assert outcome(state, JOIN, "invited") is RoomNotFound


def test_a_mute_survives_leaving_and_a_ban_takes_the_invitation_along() -> None:
    state = scene("public", MemberLeft(user="muted"), MemberJoined(user="muted"))
    assert state.is_muted("muted", AT)
    state = scene("private", MemberBanned(user="invited"), MemberUnbanned(user="invited"))
    assert outcome(state, JOIN, "invited") is RoomNotFound


def test_lifting_a_ban_leaves_what_was_readable_before() -> None:
    state = scene("public", MemberUnbanned(user="banned"))
    assert room.readable_until(state, "banned", AT) == 22
    assert outcome(state, JOIN, "banned") == [MemberJoined(user="banned")]


@pytest.mark.parametrize(
    ("by", "when", "guard"),
    [
        ("owner", kick("member"), (SETTINGS, "user:owner", "user:member")),
        ("owner", ban("stranger"), (SETTINGS, "user:owner", "user:stranger")),
        ("owner", mute("owner"), (SETTINGS, EVERY_USER)),
        ("owner", kick("owner2"), (SETTINGS, EVERY_USER)),
        ("owner", role("owner", "member"), (SETTINGS, EVERY_USER)),
        ("owner", role("member", "owner"), (SETTINGS, "user:owner", "user:member")),
        ("moderator", invite("stranger"), (SETTINGS, "user:moderator", "user:stranger")),
        ("owner", ARCHIVE, (SETTINGS, "user:owner")),
        ("stranger", JOIN, (SETTINGS, "user:stranger", "user:owner", "user:owner2")),
    ],
)
def test_the_guard_names_whom_it_is_about_and_every_owner_where_they_count(
    by: str, when: RoomCommand, guard: tuple[str, ...]
) -> None:
    assert room.guard(scene(), when, by) == guard


def test_the_cast_is_what_the_tables_say() -> None:
    state = scene()
    assert [state.role(user) for user in (*OWNERS, *MODERATORS, *MEMBERS)] == [
        *["owner"] * 2, *["moderator"] * 2, *["member"] * 2,
    ]  # fmt: skip
    assert not state.members.keys() & set(OUTSIDE)
    assert len(cast()) == state.head


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (invite("stranger"), "Only a moderator or an owner may invite people into a private room."),
        (kick("member2"), "Only a moderator or an owner may remove people."),
        (ban("stranger"), "Only a moderator or an owner may ban people."),
        (TOPIC, "Only a moderator or an owner may change a room's topic."),
        (RENAME, "Only an owner may rename a room."),
        (ARCHIVE, "Only an owner may archive a room."),
        (role("member2", "owner"), "Only an owner may change roles."),
    ],
)
def test_a_refusal_for_the_role_names_what_was_asked(command: RoomCommand, sentence: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        room.decide(scene("private"), command, "member", AT)
    assert str(refused.value) == sentence


def test_the_last_owner_who_removes_themselves_is_sent_to_leave() -> None:
    with pytest.raises(LastOwner, match=r"or leave with room:leave\."):
        room.decide(scene("public", RoleChanged(user="owner2", role="member")), kick("owner"), "owner", AT)
