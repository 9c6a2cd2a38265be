"""For any commands of several users, on nodes with stale state, the room in the log keeps its rules.

Each node holds a state of some age. A command is decided on it, guarded, and placed or found stale by the rules of
`chat_append`; then the node catches up and decides again, as the server does. What a command says of a message is read
from that message's facts.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.domain import room
from service.domain.commands import (
    AddReaction,
    ArchiveRoom,
    BanMember,
    ChangeRole,
    DeleteMessage,
    EditMessage,
    InviteMember,
    JoinRoom,
    LeaveRoom,
    MessageCommand,
    MuteMember,
    OpenRoom,
    PinMessage,
    PostMessage,
    RemoveMember,
    RemoveReaction,
    ReopenRoom,
    RoomCommand,
    UnbanMember,
    UnmuteMember,
    UnpinMessage,
    UpdateRoom,
)
from service.domain.events import (
    ENDINGS,
    Event,
    MemberBanned,
    MemberJoined,
    MemberMuted,
    MemberUnbanned,
    MemberUnmuted,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageUnpinned,
    ReactionAdded,
    Role,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    RoomReopened,
    Visibility,
)
from service.domain.message import MessageSummary
from service.domain.room import RoomState
from service.domain.streams import room_stream
from service.errors import Refusal
from tests.support.oracles.memory_log import AT, Log
from tests.support.oracles.messages import summarize
from tests.support.quick import examples

USERS = st.sampled_from(["alice", "bob", "carol", "*"])
NODES = st.integers(0, 2)
NUMBERS = st.integers(1, 25)


@dataclass
class Node:
    """What a node knows of the room: the first `state.head` events."""

    state: RoomState = field(default_factory=lambda: RoomState("general"))

    def catch_up(self, log: Log, until: int) -> None:
        for row in log.rows[self.state.head : until]:
            self.state = room.evolve(self.state, row)


class Room(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log = Log(room_stream("general"))
        self.nodes = [Node() for _ in range(3)]

    @initialize(visibility=st.sampled_from(["public", "public", "private"]), by=USERS)
    def open(self, visibility: Visibility, by: str) -> None:
        self.submit(
            0, by, OpenRoom(room="general", name="G", visibility=visibility, members=("alice", "bob"))
        )

    @rule(node=NODES, by=USERS)
    def open_again(self, node: int, by: str) -> None:
        self.submit(node, by, OpenRoom(room="general", name="Again"))

    @rule(node=NODES, by=USERS, create=st.booleans())
    def join(self, node: int, by: str, create: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name
        self.submit(node, by, JoinRoom(room="general", create=create))

    @rule(node=NODES, by=USERS)
    def leave(self, node: int, by: str) -> None:
        self.submit(node, by, LeaveRoom(room="general"))

    @rule(node=NODES, by=USERS)
    def post(self, node: int, by: str) -> None:
        self.submit(node, by, PostMessage(room="general", content="hello", ref="r"))

    @rule(
        node=NODES,
        by=USERS,
        kind=st.sampled_from([InviteMember, RemoveMember, BanMember, UnbanMember, MuteMember, UnmuteMember]),
        user=USERS,
    )
    def moderate(self, node: int, by: str, kind: type[RoomCommand], user: str) -> None:
        self.submit(node, by, kind(room="general", user=user))  # type: ignore[call-arg] # all have one

    @rule(node=NODES, by=USERS, user=USERS, role=st.sampled_from(["owner", "moderator", "member"]))
    def change_role(self, node: int, by: str, user: str, role: Role) -> None:
        self.submit(node, by, ChangeRole(room="general", user=user, role=role))

    @rule(node=NODES, by=USERS, kind=st.sampled_from([ArchiveRoom, ReopenRoom, ReopenRoom, UpdateRoom]))
    def furnish(self, node: int, by: str, kind: type[RoomCommand]) -> None:
        self.submit(node, by, kind(room="general", **({"topic": by} if kind is UpdateRoom else {})))

    @rule(
        node=NODES,
        by=USERS,
        number=NUMBERS,
        kind=st.sampled_from(
            [EditMessage, DeleteMessage, AddReaction, RemoveReaction, PinMessage, UnpinMessage]
        ),
        word=st.sampled_from("xy"),
    )
    def about_a_message(self, node: int, by: str, number: int, kind: type[MessageCommand], word: str) -> None:
        more: dict[type[MessageCommand], dict[str, str]] = {
            EditMessage: {"content": word},
            AddReaction: {"emoji": word},
            RemoveReaction: {"emoji": word},
        }
        self.submit(node, by, kind(room="general", message=number, **more.get(kind, {})))

    @rule(node=NODES, behind=st.integers(0, 5))
    def hear(self, node: int, behind: int) -> None:
        self.nodes[node].catch_up(self.log, self.log.head - behind)

    def submit(self, at: int, by: str, command: RoomCommand) -> None:
        node = self.nodes[at]
        for last in (False, True):
            try:
                facts = room.decide(node.state, command, by, AT, self.about(command, by, node.state.head))
            except Refusal:
                facts = None
            # A refusal is no answer before the newest state confirms it.
            guard = room.guard(node.state, command, by)
            if facts is not None and self.log.append(facts, by, node.state.head, guard):
                self.as_if_decided_now(command, by, facts)
                return
            assert not last or facts is None, "decided on the newest state, nothing is stale"
            node.catch_up(self.log, self.log.head)

    def about(self, command: RoomCommand, by: str, until: int) -> MessageSummary:
        """Return what became of the message that a command names, as of some moment."""
        if not isinstance(command, MessageCommand):
            return MessageSummary()
        return summarize(self.log.rows[:until], command.message, by)

    def as_if_decided_now(self, command: RoomCommand, by: str, facts: list[Event]) -> None:
        """What was placed is what would have been decided on all that came before it."""
        until = self.log.head - len(facts)
        before = self.log.fold(room.evolve, RoomState("general"), until)
        assert room.decide(before, command, by, AT, self.about(command, by, until)) == facts

    @invariant()
    def what_nodes_hold_is_the_log_folded(self) -> None:
        for node in self.nodes:
            assert node.state == self.log.fold(room.evolve, RoomState("general"), node.state.head)

    @invariant()
    def a_room_opens_once(self) -> None:
        opened = [row.seq for row in self.log.rows if isinstance(row.event, RoomOpened)]
        assert opened in ([], [1])

    @invariant()
    def a_node_that_loads_the_room_without_its_messages_knows_the_same(self) -> None:
        """As `LogReader.room` does: what is about the room and its people, and the last event for the head."""
        state = RoomState("general")
        for row in self.log.rows:
            if row.subject == "settings" or row.subject.startswith("user:") or row.seq == self.log.head:
                state = room.evolve(state, row)
        assert state == self.log.fold(room.evolve, RoomState("general"))

    @invariant()
    def a_room_with_members_has_an_owner(self) -> None:
        state = RoomState("general")
        for row in self.log.rows:
            state = room.evolve(state, row)
            assert state.owners() or not state.members

    @invariant()
    def people_come_once_leave_once_and_stay_away_while_banned(self) -> None:
        inside: set[str] = set()
        out: set[str] = set()
        for row in self.log.rows:
            match row.event:
                case MemberJoined(user=user):
                    assert user not in inside | out
                    inside.add(user)
                case MemberBanned(user=user):
                    inside.discard(user)
                    out.add(user)
                case event if isinstance(event, ENDINGS):
                    inside.discard(event.user)
                case MemberUnbanned(user=user):
                    out.remove(user)
                case RoleChanged(user=user):
                    assert user in inside
                case MessagePosted() | MessageEdited() | ReactionAdded():
                    assert row.by in inside

    @invariant()
    def the_muted_are_silent_and_nothing_happens_in_an_archived_room(self) -> None:
        muted: set[str] = set()
        archived = False
        for row in self.log.rows:
            match row.event:
                case MemberMuted(user=user):
                    muted.add(user)
                case MemberUnmuted(user=user):
                    muted.remove(user)
                case MessagePosted() | MessageEdited() | ReactionAdded():
                    assert row.by not in muted
                case RoomReopened():
                    archived = False
            assert not archived or isinstance(row.event, (*ENDINGS, RoleChanged))
            archived = archived or isinstance(row.event, RoomArchived)

    @invariant()
    def only_messages_that_are_there_are_changed_and_pinned(self) -> None:
        there: set[int] = set()
        pinned: set[int] = set()
        for row in self.log.rows:
            match row.event:
                case MessagePosted():
                    there.add(row.seq)
                case MessageDeleted(message=number):
                    assert number not in pinned
                    there.remove(number)
                case MessagePinned(message=number):
                    assert number in there - pinned
                    pinned.add(number)
                case MessageUnpinned(message=number):
                    pinned.remove(number)
                case MessageEdited(message=number) | ReactionAdded(message=number):
                    assert number in there


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=examples(80), stateful_step_count=40, deadline=None)
