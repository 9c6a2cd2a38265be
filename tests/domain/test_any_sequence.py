"""Whatever several users do, at whatever age their nodes' knowledge is, the room in the log keeps its rules.

Each node holds a state of some age. A command is decided on it, guarded, and placed or found stale by the rules of
`chat_append`; then the node catches up and decides again, as the server does.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.domain import room
from service.domain.commands import JoinRoom, LeaveRoom, OpenRoom, PostMessage, RoomCommand
from service.domain.events import MemberJoined, MemberLeft, MessagePosted, RoleChanged, RoomOpened, Visibility
from service.domain.room import RoomState
from service.domain.streams import room_stream
from service.errors import Refusal
from tests.domain.log import Log

USERS = st.sampled_from(["alice", "bob", "carol", "dave"])
NODES = st.integers(0, 2)


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

    @rule(node=NODES, behind=st.integers(0, 5))
    def hear(self, node: int, behind: int) -> None:
        self.nodes[node].catch_up(self.log, self.log.head - behind)

    @rule(user=USERS)
    def promote(self, user: str) -> None:
        """No command makes moderators yet; the log may hold them all the same."""
        state = self.log.fold(room.evolve, RoomState("general"))
        if user in state.members and state.members[user].role == "member":
            self.log.append([RoleChanged(user=user, role="moderator")], "alice", self.log.head, ())

    def submit(self, at: int, by: str, command: RoomCommand) -> None:
        node = self.nodes[at]
        for last in (False, True):
            try:
                facts = room.decide(node.state, command, by)
            except Refusal:
                facts = None
            # A refusal is no answer before the newest state confirms it.
            guard = room.guard(node.state, command, by)
            if facts is not None and self.log.append(facts, by, node.state.head, guard):
                self.as_if_decided_now(command, by, facts)
                return
            assert not last or facts is None, "decided on the newest state, nothing is stale"
            node.catch_up(self.log, self.log.head)

    def as_if_decided_now(self, command: RoomCommand, by: str, facts: object) -> None:
        """What was placed is what would have been decided on all that came before it."""
        placed = len(facts) if isinstance(facts, list) else 0
        before = self.log.fold(room.evolve, RoomState("general"), self.log.head - placed)
        assert room.decide(before, command, by) == facts

    @invariant()
    def what_nodes_hold_is_the_log_folded(self) -> None:
        for node in self.nodes:
            assert node.state == self.log.fold(room.evolve, RoomState("general"), node.state.head)

    @invariant()
    def a_room_opens_once(self) -> None:
        opened = [row.seq for row in self.log.rows if isinstance(row.event, RoomOpened)]
        assert opened in ([], [1])

    @invariant()
    def a_room_with_members_has_one_owner(self) -> None:
        state = RoomState("general")
        for row in self.log.rows:
            state = room.evolve(state, row)
            owners = [user for user, member in state.members.items() if member.role == "owner"]
            if state.members:
                # Between the two events of a handover there are two.
                assert len(owners) == 1 or isinstance(row.event, RoleChanged)

    @invariant()
    def only_members_speak_and_leave_and_nobody_joins_twice(self) -> None:
        inside: set[str] = set()
        for row in self.log.rows:
            match row.event:
                case MemberJoined(user=user):
                    assert user not in inside
                    inside.add(user)
                case MemberLeft(user=user):
                    inside.remove(user)
                case MessagePosted(author=author) | RoleChanged(user=author):
                    assert author in inside


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
