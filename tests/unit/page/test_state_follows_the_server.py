"""Any sequence of events, pages, deletions, reads elsewhere, leaves and returns gives what the server answers."""

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.oracles.page_room import ME, Room
from tests.support.oracles.page_server import PageServer
from tests.support.page.page_modules import PageModules

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("node")

ROOMS = ("a", "b")
PEOPLE = ("bob", "carol")
KINDS = (
    "nothing",
    *("post", "post", "mention", "own_post", "delete", "edit", "react", "react", "pin", "other"),
    *(
        "unread_elsewhere",
        "unread_elsewhere",
        "read_elsewhere",
        "read_elsewhere",
        "bob_reads",
        "leave_elsewhere",
        "join_elsewhere",
    ),
    *("expire", "edit_expired", "erase"),
    *("pump", "pump", "deliver", "deliver", "drain"),
    *("join", "join", "leave", "list", "earlier", "answer", "answer_late", "look", "tell", "reconnect"),
)
ABOUT_MESSAGES = {
    "expire",
    "delete",
    "edit",
    "react",
    "pin",
    "read_elsewhere",
    "unread_elsewhere",
    "bob_reads",
}
BY_MEMBERS = {"own_post", "leave_elsewhere", "read_elsewhere", "unread_elsewhere"}
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(ROOMS), st.integers(0, 11)), min_size=40, max_size=120
)


class Page:
    """What the page does around its state: it asks, and it sends what it has read."""

    def __init__(self, modules: PageModules) -> None:
        self.server = PageServer(*ROOMS)
        self.modules = modules
        self.state = modules.begin(ME)
        self.owed: dict[str, int] = {}
        self.unreported: set[str] = set()
        """Rooms that lost content while the page had counts of them, and did not receive them."""

    def step(self, kind: str, name: str, number: int) -> None:
        room = self.server.rooms[name]
        if hasattr(self, f"_{kind}"):
            getattr(self, f"_{kind}")(room, number)
        else:
            self._act_elsewhere(kind, room, number)

    def _act_elsewhere(self, kind: str, room: Room, number: int) -> None:
        """Do something on another connection, if it can be done."""
        alive = [
            seq
            for seq, message in room.messages.items()
            if "deletedAt" not in message and (message["content"] is not None or kind == "delete")
        ]
        over = [seq for seq in room.expired if "deletedAt" not in room.messages[seq]]
        who, chosen = PEOPLE[number % 2], alive[-1 - number % len(alive)] if alive else 0
        actions: dict[str, Callable[[], object]] = {
            "nothing": lambda: None,
            "post": lambda: room.post(who, []),
            "mention": lambda: room.post(who, [ME]),
            "own_post": lambda: room.post(ME, []),
            "other": lambda: room.set_topic(f"topic {room.head}"),
            "leave_elsewhere": lambda: room.leave(ME),
            "join_elsewhere": lambda: room.join(ME),
            "delete": lambda: room.delete(chosen),
            "edit": lambda: room.edit(chosen),
            "expire": lambda: self.server.expire(room.name, chosen),
            "edit_expired": lambda: room.edit(over[-1]),
            "erase": lambda: self.server.erase(who),
            "react": lambda: room.react((*PEOPLE, ME)[number % 3], chosen, "👍🎉"[number % 2]),
            "pin": lambda: room.pin(chosen),
            "read_elsewhere": lambda: self.server.read(room.name, ME, chosen),
            "unread_elsewhere": lambda: self.server.mark_unread(room.name, chosen),
            "bob_reads": lambda: self.server.read(room.name, "bob", chosen),
        }
        if kind == "edit_expired" and not over:
            return
        if (kind in ABOUT_MESSAGES and not alive) or (kind in BY_MEMBERS and ME not in room.members):
            return
        actions[kind]()
        if kind in ("expire", "erase"):
            self._note_unreported()

    def _note_unreported(self) -> None:
        frames = [*self.server.socket, *self.server.queries]
        listed = {row["roomId"] for frame in frames for row in frame.get("rooms", ())}
        self.unreported |= {*self.state["rooms"], *listed} - set(self.server.live)

    def apply(self, *actions: dict[str, Any]) -> None:
        self.state = self.modules.apply(*actions)

    def _pump(self, room: Room, _number: int) -> None:
        self.server.pump(room.name)

    def _deliver(self, _room: Room, _number: int) -> None:
        if (frame := self.server.deliver()) is not None:
            self.apply(frame)

    def _drain(self, _room: Room, _number: int) -> None:
        for name, room in self.server.rooms.items():
            for _ in range(room.head + 1):
                self.server.pump(name)
        while self.server.socket:
            self._deliver(_room, _number)

    def _join(self, room: Room, _number: int) -> None:
        if room.name not in self.server.live and not any(
            f.get("roomId") == room.name for f in self.server.socket
        ):
            self.server.join(room.name)

    def _leave(self, room: Room, _number: int) -> None:
        if room.name in self.state["rooms"]:
            self.server.leave(room.name)

    def _list(self, _room: Room, _number: int) -> None:
        query = {"type": "room:list", "rooms": self.server.rows(), "invitations": []}
        asked = {name: self.state[name] for name in ("joins", "gone")}
        self.server.queries.append(query | asked)

    def _earlier(self, room: Room, _number: int) -> None:
        known = self.state["rooms"].get(room.name)
        if known is None or not known["messages"] or not known["hasMore"]:
            return
        asked = {"asked": known["messages"][0]["messageId"]}
        self.server.queries.append(room.page(asked["asked"]) | asked)

    def _answer(self, _room: Room, number: int) -> None:
        """Answer a query as of the moment in which it was asked."""
        if self.server.queries:
            self.server.socket.append(self.server.queries.pop(number % len(self.server.queries)))

    def _answer_late(self, _room: Room, number: int) -> None:
        """Answer a query as of now."""
        if not self.server.queries:
            return
        query = self.server.queries.pop(number % len(self.server.queries))
        if query["type"] == "room:list":
            query["rooms"] = self.server.rows()
        else:
            query |= self.server.rooms[query["roomId"]].page(query["asked"])
        self.server.socket.append(query)

    def _look(self, room: Room, _number: int) -> None:
        known = self.state["rooms"].get(room.name, {"messages": []})
        others = [message["messageId"] for message in known["messages"] if message["userId"] != ME]
        # A marker that is set after a leave elsewhere is refused, and the page keeps it until it is loaded again.
        if others and others[-1] > known["lastRead"] and ME in room.members:
            self.owed[room.name] = others[-1]
            self.apply({"type": "message:read", "roomId": room.name, "userId": ME, "messageId": others[-1]})

    def _tell(self, _room: Room, _number: int) -> None:
        for name, number in self.owed.items():
            if ME in self.server.rooms[name].members:
                self.server.read(name, ME, number)
        self.owed = {}

    def _reconnect(self, _room: Room, _number: int) -> None:
        attached = [name for name, room in self.state["rooms"].items() if room["to"] >= 0]
        for action in self.server.reconnect(attached):
            self.apply(action)

    def settle(self) -> None:
        """Deliver everything, and answer every query."""
        self._tell(self.server.rooms["a"], 0)
        while self.server.queries:
            self._answer(self.server.rooms["a"], 0)
        self._drain(self.server.rooms["a"], 0)


COUNTS = ("unread", "mentions", "lastRead")
ROW = (*COUNTS, "name", "topic", "role", "visibility", "archived")


def check_row(page: Page, name: str, fields: tuple[str, ...]) -> None:
    row, known = page.server.rooms[name].row(), page.state["rooms"][name]
    assert {field: known[field] for field in fields} == {field: row[field] for field in fields}


def check_content(page: Page, name: str) -> None:
    """Compare what is loaded of a room that is received, with the same part of its history and its receipts."""
    known, room = page.state["rooms"][name], page.server.rooms[name]
    if known["to"] < 0:  # the page joins it before it shows it
        return
    start = known["from"] if known["hasMore"] else 0
    expected = [shown(message, room) for seq, message in room.messages.items() if seq >= start]
    assert [shown(message, room) for message in known["messages"]] == expected
    assert known["receipts"] == room.markers


def shown(message: dict[str, Any], room: Room) -> dict[str, Any]:
    """Return what is compared of a message: lost content may be shown until the message is loaded again."""
    reactions = [
        {
            "emoji": each["emoji"],
            "count": each["count"],
            "userIds": each["userIds"],
            "mine": ME in each["userIds"],
        }
        for each in message.get("reactions", ())
    ]
    kept = {
        name: message.get(name) for name in ("seq", "userId", "content", "editedAt", "deletedAt", "mentions")
    }
    if message["seq"] in {*room.expired, *room.erased}:
        kept["content"] = None
    return {**kept, "reactions": reactions, "pinned": message.get("pinned", False)}


@settings(max_examples=400)
@given(STEPS)
def test_the_state_is_what_the_server_answers(page: PageModules, steps: list[tuple[str, str, int]]) -> None:
    folded = Page(page)
    for kind, name, number in steps:
        folded.step(kind, name, number)
    folded.settle()
    for name in set(folded.state["rooms"]) & set(folded.server.live):
        if not folded.state["rooms"][name]["stale"] and name not in folded.unreported:
            check_row(folded, name, COUNTS)
        check_content(folded, name)
    folded.step("list", "a", 0)
    folded.settle()
    assert set(folded.state["rooms"]) == {row["roomId"] for row in folded.server.rows()}
    for name, known in folded.state["rooms"].items():
        assert not known["stale"]
        check_row(folded, name, ROW)


def test_a_message_deleted_while_the_connection_was_cut_is_subtracted(page: PageModules) -> None:
    """The resumed edit, which the counts include, comes without the content that the deletion after it removes."""
    folded = Page(page)
    for step in ("join_elsewhere", "post", "edit", "join", "list", "answer", "drain", "delete", "reconnect"):
        folded.step(step, "b", 0)
    folded.settle()
    if not folded.state["rooms"]["b"]["stale"]:
        check_row(folded, "b", COUNTS)


def test_most_counts_are_exact_without_the_server(page: PageModules) -> None:
    """A state that asks the server about everything would pass the test above."""
    folded = Page(page)
    for step in (
        "join",
        "drain",
        "list",
        "answer",
        "post",
        "drain",
        "look",
        "post",
        "mention",
        "read_elsewhere",
    ):
        folded.step(step, "a", 1)
        folded.step("drain", "a", 0)
    known = folded.state["rooms"]["a"]
    assert (known["unread"], known["mentions"], known["stale"]) == (1, 1, False)


def test_an_event_of_an_unknown_room_makes_an_older_list_stale(page: PageModules) -> None:
    """The resumed leave removes the room; a list that was asked before the message after it names the room again."""
    folded = Page(page)
    for step in ("join", "drain", "leave_elsewhere", "join_elsewhere", "reconnect", "list", "post", "drain"):
        folded.step(step, "b", 0)
    folded.settle()
    assert folded.state["rooms"]["b"]["stale"]
    folded.step("list", "b", 0)
    folded.settle()
    assert (folded.state["rooms"]["b"]["unread"], folded.state["rooms"]["b"]["stale"]) == (1, False)
