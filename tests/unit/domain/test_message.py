"""What becomes of a message, and who may do what with it: every command by every role, in every state of it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import message, room
from service.domain.commands import (
    AddReaction,
    DeleteMessage,
    EditMessage,
    MessageCommand,
    PinMessage,
    PostMessage,
    RemoveReaction,
    RoomCommand,
    UnpinMessage,
)
from service.domain.events import (
    Event,
    MemberJoined,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    Recorded,
    RoomOpened,
    Visibility,
)
from service.domain.message import MOST_EMOJI, MOST_PINS, MOST_TOGGLES, MessageState, MessageSummary
from service.domain.room import RoomState
from service.domain.streams import SETTINGS
from service.errors import (
    Banned,
    MessageIsDeleted,
    MessageNotFound,
    Muted,
    NotAllowed,
    NotAMember,
    RoomIsArchived,
    RoomNotFound,
)
from tests.support.oracles.memory_log import AT, START, room_of_events
from tests.support.oracles.roles import ARCHIVED, OUTSIDE, SAID, cast, outcome, scene


def wish(command: type[MessageCommand], **fields: Any) -> RoomCommand:
    return command(room="general", message=SAID, **fields)


POST = PostMessage(room="general", content="hi", ref="r")
EDIT, DELETE = wish(EditMessage, content="hi"), wish(DeleteMessage)
REACT, UNREACT = wish(AddReaction, emoji="👍"), wish(RemoveReaction, emoji="👍")
PIN, UNPIN = wish(PinMessage), wish(UnpinMessage)
ABOUT = (EDIT, DELETE, REACT, UNREACT, PIN, UNPIN)
SAYING = (POST, EDIT, REACT)
"""What needs a voice: the muted have none."""

EDITED, DELETED = MessageEdited(message=SAID, content="hi"), MessageDeleted(message=SAID)
ADDED, REMOVED = ReactionAdded(message=SAID, emoji="👍"), ReactionRemoved(message=SAID, emoji="👍")
PINNED, UNPINNED = MessagePinned(message=SAID), MessageUnpinned(message=SAID)


def about(*events: Event | tuple[str, Event], author: str = "member") -> MessageState:
    """Return what became of a message of `author`: each event by `member`, or as (who, event)."""
    state = MessageState()
    posted = MessagePosted(author=author, content="hello", ref="r")
    for seq, each in enumerate([posted, *events], start=SAID):
        by, event = each if isinstance(each, tuple) else ("member", each)
        state = message.evolve(state, Recorded("room:general", seq, seq, f"message:{SAID}", START, by, event))
    return state


def by(user: str, event: Event) -> tuple[str, Event]:
    return user, event


@pytest.mark.parametrize(
    ("user", "when", "state", "then"),
    [
        # One's own.
        ("member", EDIT, about(), [EDITED]),
        ("member", EDIT, about(EDITED), []),
        ("member", EDIT, about(EDITED, MessageEdited(message=SAID, content="no")), [EDITED]),
        ("member", DELETE, about(), [DELETED]),
        ("member", REACT, about(), [ADDED]),
        ("member", PIN, about(), NotAllowed),
        ("member", UNPIN, about(), NotAllowed),
        # Another user's message: no one edits it, moderators delete and pin it, all members react.
        *((user, EDIT, about(), NotAllowed) for user in ("owner", "moderator", "member2")),
        ("member2", DELETE, about(), NotAllowed),
        *((user, DELETE, about(), [DELETED]) for user in ("owner", "moderator")),
        ("moderator", DELETE, about(author="owner"), [DELETED]),
        (
            "moderator",
            wish(DeleteMessage, reason="rude"),
            about(),
            [MessageDeleted(message=SAID, reason="rude")],
        ),
        *((user, PIN, about(), [PINNED]) for user in ("owner", "moderator")),
        *((user, UNPIN, about(), []) for user in ("owner", "moderator")),
        ("member2", REACT, about(), [ADDED]),
        # Each user has their own reactions.
        ("member", REACT, about(ADDED), []),
        ("member2", REACT, about(ADDED), [ADDED]),
        ("member", REACT, about(ADDED, REMOVED), [ADDED]),
        ("member", UNREACT, about(), []),
        ("member", UNREACT, about(ADDED), [REMOVED]),
        ("member2", UNREACT, about(ADDED), []),
        ("member", UNREACT, about(ADDED, REMOVED), []),
        # Deleted, or no message.
        *(("owner", command, about(DELETED, author="owner"), MessageIsDeleted) for command in ABOUT),
        *(("owner", command, MessageState(), MessageNotFound) for command in ABOUT),
        # A muted user cannot post, but can delete their messages.
        *(("muted", command, about(author="muted"), Muted) for command in SAYING),
        ("muted", DELETE, about(author="muted"), [DELETED]),
        ("muted", UNREACT, about(by("muted", ADDED)), [REMOVED]),
        ("muted-once", POST, about(), [MessagePosted(author="muted-once", content="hi", ref="r")]),
        ("muted-once", EDIT, about(author="muted-once"), [EDITED]),
        ("muted-once", REACT, about(), [ADDED]),
        # Outside: nothing, though it be one's own words; the number is not looked at.
        *(
            (user, command, state, Banned if user == "banned" else NotAMember)
            for user in (*OUTSIDE, "invited")
            for command in (POST, *ABOUT)
            for state in (about(author=user), about(DELETED), MessageState())
        ),
    ],
)
def test_in_a_public_room(user: str, when: RoomCommand, state: MessageState, then: Any) -> None:
    assert outcome(scene(), when, user, state) == then


@pytest.mark.parametrize("user", OUTSIDE)
@pytest.mark.parametrize("when", [POST, *ABOUT], ids=str)
@pytest.mark.parametrize("state", [about(author="left"), MessageState()], ids=["there", "not there"])
def test_a_private_room_is_not_there_for_outsiders(user: str, when: RoomCommand, state: MessageState) -> None:
    assert outcome(scene("private"), when, user, state) is RoomNotFound
    assert outcome(room_of_events(), when, user, state) is RoomNotFound


@pytest.mark.parametrize("visibility", ["public", "private"])
@pytest.mark.parametrize("when", [POST, *ABOUT], ids=str)
def test_nothing_is_said_or_changed_in_an_archived_room(visibility: Visibility, when: RoomCommand) -> None:
    assert outcome(scene(visibility, ARCHIVED), when, "owner", about(author="owner")) is RoomIsArchived


@pytest.mark.parametrize(
    ("user", "when", "then"),
    [
        ("alice", EDIT, [EDITED]),
        ("alice", DELETE, [DELETED]),
        ("bob", DELETE, NotAllowed),
        ("bob", EDIT, NotAllowed),
        ("bob", REACT, [ADDED]),
        ("bob", PIN, [PINNED]),
        ("carol", REACT, RoomNotFound),
    ],
)
def test_in_a_direct_room_all_are_equal(user: str, when: RoomCommand, then: Any) -> None:
    together = [MemberJoined(user="alice"), MemberJoined(user="bob")]
    state = room_of_events(RoomOpened(name="d", visibility="direct"), *together)
    assert outcome(state, when, user, about(author="alice")) == then


def test_a_pinned_message_comes_off_the_wall_with_its_deletion() -> None:
    state = scene("public", PINNED)
    assert set(state.pinned) == {SAID}
    assert outcome(state, PIN, "owner", about()) == []
    assert outcome(state, UNPIN, "owner", about()) == [UNPINNED]
    assert outcome(state, DELETE, "member", about()) == [UNPINNED, DELETED]
    assert not scene("public", PINNED, UNPINNED).pinned


def test_a_message_has_a_bounded_number_of_different_reactions() -> None:
    many = [ReactionAdded(message=SAID, emoji=f":{number}:") for number in range(MOST_EMOJI)]
    full = about(*many)
    assert outcome(scene(), REACT, "member2", full) is NotAllowed
    assert outcome(scene(), wish(AddReaction, emoji=":7:"), "member2", full) == [
        ReactionAdded(message=SAID, emoji=":7:")
    ]
    room_again = about(*many, ReactionRemoved(message=SAID, emoji=":7:"))
    assert outcome(scene(), REACT, "member2", room_again) == [ADDED]


def test_a_message_has_a_bounded_number_of_edits() -> None:
    known = MessageSummary(author="member", content="hello", max_edits=3)
    last, full = (msgspec.structs.replace(known, edits=edits) for edits in (2, 3))
    assert outcome(scene(), EDIT, "member", last) == [EDITED]
    assert outcome(scene(), EDIT, "member", full) is NotAllowed
    assert outcome(scene(), wish(EditMessage, content="hello"), "member", full) == []
    assert outcome(scene(), DELETE, "member", full) == [DELETED]
    with pytest.raises(NotAllowed, match="at most 3 times"):
        room.decide(scene(), EDIT, "member", AT, full)


def test_a_user_reacts_to_a_message_and_pins_it_a_bounded_number_of_times() -> None:
    """Each can be taken away again: a removal needs an addition, so it is bounded too."""
    last = MessageSummary(author="member", reactions=MOST_TOGGLES - 1, pins=MOST_TOGGLES - 1)
    full = MessageSummary(author="member", reactions=MOST_TOGGLES, pins=MOST_TOGGLES)
    assert outcome(scene(), REACT, "owner", last) == [ADDED]
    assert outcome(scene(), PIN, "owner", last) == [PINNED]
    assert outcome(scene(), REACT, "owner", full) is NotAllowed
    assert outcome(scene(), PIN, "owner", full) is NotAllowed
    mine = msgspec.structs.replace(full, emoji=frozenset("👍"), own=frozenset("👍"))
    assert outcome(scene(), REACT, "owner", mine) == []
    assert outcome(scene(), UNREACT, "owner", mine) == [REMOVED]
    assert outcome(scene("public", PINNED), UNPIN, "owner", full) == [UNPINNED]
    assert outcome(scene("public", PINNED), PIN, "owner", full) == []


def test_a_room_has_a_bounded_number_of_pins() -> None:
    pins = [MessagePinned(message=1000 + number) for number in range(MOST_PINS)]
    assert outcome(scene("public", *pins), PIN, "owner", about()) is NotAllowed
    assert outcome(scene("public", *pins, MessageUnpinned(message=1000)), PIN, "owner", about()) == [PINNED]


@pytest.mark.parametrize("when", ABOUT, ids=str)
def test_the_guard_names_the_message_and_the_room(when: RoomCommand) -> None:
    assert room.guard(scene(), when, "member") == (SETTINGS, "user:member", f"message:{SAID}")


@pytest.mark.parametrize(
    ("events", "then"),
    [
        ([], MessageState("member", "hello")),
        ([EDITED], MessageState("member", "hi", editions=1)),
        ([EDITED, DELETED], MessageState("member", None, deleted=True, editions=1)),
        ([ADDED, by("bob", ADDED)], MessageState("member", "hello", reactions={"👍": ("member", "bob")})),
        ([ADDED, by("bob", ADDED), REMOVED], MessageState("member", "hello", reactions={"👍": ("bob",)})),
        ([ADDED, REMOVED], MessageState("member", "hello")),
        ([ADDED, DELETED], MessageState("member", None, deleted=True)),
        ([MessageEdited(message=SAID, content=None)], MessageState("member", None, editions=1)),
    ],
)
def test_what_happened_makes_the_message(events: list[Any], then: MessageState) -> None:
    assert about(*events) == then


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from("xyz"), st.booleans()), max_size=40)
)
def test_reactions_are_a_set_of_users_per_emoji(steps: list[tuple[str, str, bool]]) -> None:
    """Any commands in any order, decided and folded, equal operations on sets."""
    together = [MemberJoined(user=user) for user in "abc"]
    state = room_of_events(RoomOpened(name="G"), *together, MessagePosted(author="a", content="x", ref="r"))
    said: list[Event | tuple[str, Event]] = []
    wanted: dict[str, set[str]] = {}
    for user, emoji, add in steps:
        command = wish(AddReaction if add else RemoveReaction, emoji=emoji)
        facts = outcome(state, command, user, about(*said))
        assert bool(facts) != ((user in wanted.get(emoji, set())) == add)
        said += [(user, fact) for fact in facts]
        (wanted.setdefault(emoji, set()).add if add else wanted.setdefault(emoji, set()).discard)(user)
    assert {emoji: set(users) for emoji, users in about(*said).reactions.items()} == {
        emoji: users for emoji, users in wanted.items() if users
    }


def test_whoever_comes_later_is_not_shown_the_words_of_what_was_deleted() -> None:
    def recorded(event: Event) -> Recorded:
        return Recorded("room:general", 9, 9, event.subject, START, "member", event)

    posted = MessagePosted(author="member", content="hello", ref="r", mentions=("bob",))
    silent = message.without_words(recorded(posted)).event
    assert silent == MessagePosted(author="member", content=None, ref="r", mentions=("bob",))
    assert message.without_words(recorded(EDITED)).event == MessageEdited(message=SAID, content=None)
    for other in (ADDED, DELETED, PINNED, MemberJoined(user="bob")):
        assert message.without_words(recorded(other)).event is other
    numbers = [
        message.number_of(recorded(event)) for event in (posted, EDITED, PINNED, MemberJoined(user="x"))
    ]
    assert numbers == [9, SAID, SAID, None]


def test_the_message_of_the_cast_is_where_the_tables_say() -> None:
    assert isinstance(cast()[SAID - 1], MessagePosted)
    assert not RoomState("general").pinned


PLAIN, HEART = "\u2764", "\u2764\ufe0f"


def test_the_forms_of_an_emoji_are_one_reaction() -> None:
    stored = about(ReactionAdded(message=SAID, emoji=PLAIN))
    other = about()
    assert outcome(scene(), wish(AddReaction, emoji=PLAIN), "member", other) == [
        ReactionAdded(message=SAID, emoji=HEART)
    ]
    for form in (PLAIN, HEART):
        assert outcome(scene(), wish(AddReaction, emoji=form), "member", stored) == []
        assert outcome(scene(), wish(RemoveReaction, emoji=form), "member", stored) == [
            ReactionRemoved(message=SAID, emoji=PLAIN)
        ]


def test_both_stored_forms_of_an_emoji_are_removed_together() -> None:
    both = about(*(ReactionAdded(message=SAID, emoji=form) for form in (PLAIN, HEART)))
    assert outcome(scene(), wish(RemoveReaction, emoji=HEART), "member", both) == [
        ReactionRemoved(message=SAID, emoji=form) for form in (PLAIN, HEART)
    ]


def test_the_limit_of_different_emoji_counts_forms_once() -> None:
    most = [ReactionAdded(message=SAID, emoji=f":{number}:") for number in range(MOST_EMOJI - 2)]
    hearts = [ReactionAdded(message=SAID, emoji=form) for form in (PLAIN, HEART)]
    command = wish(AddReaction, emoji=":last:")
    assert outcome(scene(), command, "member2", about(*most, *hearts)) == [
        ReactionAdded(message=SAID, emoji=":last:")
    ]
