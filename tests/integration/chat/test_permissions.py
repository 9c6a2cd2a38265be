"""Who may do what in a room, over the wire: docs/reference/protocol.md, cell by cell, in every kind of room.

A row is something that can be done, a column who does it; a cell is "ok" or the code of the refusal. A command cannot
be forgotten: it has no row. What is refused leaves the room's head where it was.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.domain.streams import report_id
from service.protocol.commands import COMMANDS, RoomFrame
from tests.support.clients.native import Client, Refused, client
from tests.support.processes.processes import Process

ACTORS = ("owner", "moderator", "member", "invited", "gone", "outsider", "banned")
"""Gone is who left, banned who was a member."""
PEOPLE = {"owner": "owner", "moderator": "moderator", "member": "member", "another": "member",
          "second_moderator": "moderator", "second_owner": "owner", "gone": "member", "banned": "member"}  # fmt: skip
"""Who comes in as what."""

INSIDE = {"owner": "ok", "moderator": "ok", "member": "ok"}
MODERATORS = INSIDE | {"member": "not_allowed"}
OWNERS = MODERATORS | {"moderator": "not_allowed"}
NOBODY = dict.fromkeys(INSIDE, "not_allowed")
OUTSIDE = {
    "public": {"invited": "not_a_member", "gone": "not_a_member", "outsider": "not_a_member", "banned": "banned"},
    "private": {
        "invited": "not_a_member",
        "gone": "room_not_found",
        "outsider": "room_not_found",
        "banned": "room_not_found",
    },
}  # fmt: skip
"""The error for non-members, unless a row names another."""

ARCHIVED = dict.fromkeys(INSIDE, "room_archived")
NOTHING: dict[str, Any] = {}


class Room:
    """A room with a user of each role, and a message of each; `of` has the numbers of the messages by author."""

    def __init__(self, name: str, people: dict[str, Client]) -> None:
        self.name = name
        self.people = people
        self.of: dict[str, int] = {}

    async def say(self, who: str, kind: str, **fields: Any) -> dict[str, Any]:
        return await self.people[who].say(kind, roomId=self.name, **fields)

    async def furnish(self, visibility: str) -> None:
        """Give every user their role."""
        await self.say("owner", "room:create", name="Room", visibility=visibility, members=[*PEOPLE][1:])
        for who, role in PEOPLE.items():
            if role != "member" and who != "owner":
                await self.say("owner", "room:role", userId=who, role=role)
        await self.say("owner", "room:ban", userId="banned")
        await self.say("gone", "room:leave")
        await self.say("owner", "room:invite", userId="invited")
        await self.write("owner", "moderator", "member", "another")
        await self.say("second_owner", "message:report", messageId=self.of["another"], reason="rude")

    async def furnish_direct(self) -> None:
        """Two members of equal rank, who stand for each role here."""
        ack = await self.people["owner"].say(
            "room:create", name="Two", visibility="direct", members=["member", "another"]
        )
        self.name = ack["roomId"]
        await self.write("owner", "member", "another")

    async def write(self, *authors: str) -> None:
        for who in authors:
            self.of[who] = (await self.say(who, "message:send", content=f"{who} was here"))["messageId"]

    async def head(self) -> int:
        rooms = (await self.people["owner"].say("room:list"))["rooms"]
        return next(int(room["head"]) for room in rooms if room["roomId"] == self.name)


Fields = Callable[[Room, str], dict[str, Any]]


class Row:
    """What is done, and what becomes of it: `inside` for members, and others only if their error is not the usual one.

    `archived` and `private` are for members of such rooms, `public` for others in public rooms only.
    """

    def __init__(
        self,
        kind: str,
        inside: dict[str, str],
        fields: Fields | dict[str, Any] = NOTHING,
        *,
        archived: dict[str, str] = ARCHIVED,
        private: dict[str, str] | None = None,
        public: dict[str, str] | None = None,
        **outside: str,
    ) -> None:
        self.kind, self.archived = kind, archived
        self.fields: Fields = fields if callable(fields) else lambda _room, _who: fields
        self.expected = {
            "public": OUTSIDE["public"] | inside | outside | (public or {}),
            "private": OUTSIDE["private"] | (private or inside) | outside,
        }
        """By visibility, what becomes of it for each actor."""


def about(whom: str, **more: Any) -> dict[str, Any]:
    return {"userId": whom, **more}


def own(**more: Any) -> Fields:
    return lambda room, who: {"messageId": room.of.get(who, room.of["another"]), **more}


def anothers(**more: Any) -> Fields:
    return lambda room, _who: {"messageId": room.of["another"], **more}


def reported(room: Room, _who: str) -> dict[str, Any]:
    report = report_id(room.name, room.of["another"], "second_owner")
    return {"reportId": report, "outcome": "warned"}


ROWS = {
    "join": Row("room:join", INSIDE, archived=INSIDE, invited="ok", public={"gone": "ok", "outsider": "ok"}),
    "leave": Row("room:leave", INSIDE, archived=INSIDE, invited="ok", gone="ok"),
    "see who is in": Row("room:members", INSIDE, archived=INSIDE),
    "read": Row("message:history", INSIDE, archived=INSIDE, gone="ok"),
    "have read": Row("message:read", INSIDE, anothers(), archived=INSIDE),
    "mark as unread": Row("message:unread", INSIDE, anothers(), archived=INSIDE),
    "list pins": Row("message:pins", INSIDE, archived=INSIDE),
    "change the topic": Row("room:update", MODERATORS, {"topic": "Plans"}),
    "change the name": Row("room:update", OWNERS, {"name": "Other"}),
    "change both": Row("room:update", OWNERS, {"name": "Other", "topic": "Plans"}),
    "archive": Row("room:archive", OWNERS, archived=OWNERS),
    "reopen": Row("room:reopen", OWNERS, archived=OWNERS),
    "invite": Row("room:invite", INSIDE, about("somebody"), private=MODERATORS),
    "kick a member": Row("room:kick", MODERATORS, about("another")),
    "kick a moderator": Row("room:kick", OWNERS, about("second_moderator")),
    "kick an owner": Row("room:kick", OWNERS, about("second_owner")),
    "take an invitation back": Row("room:kick", MODERATORS, about("invited")),
    "ban a member": Row("room:ban", MODERATORS, about("another")),
    "ban a moderator": Row("room:ban", OWNERS, about("second_moderator")),
    "ban an owner": Row("room:ban", OWNERS, about("second_owner")),
    "ban somebody outside": Row("room:ban", MODERATORS, about("somebody")),
    "lift a ban": Row("room:unban", MODERATORS, about("banned")),
    "mute a member": Row("room:mute", MODERATORS, about("another")),
    "mute a moderator": Row("room:mute", OWNERS, about("second_moderator")),
    "mute an owner": Row("room:mute", OWNERS, about("second_owner")),
    "unmute": Row("room:unmute", MODERATORS, about("another")),
    "make a moderator": Row("room:role", OWNERS, about("another", role="moderator")),
    "make an owner": Row("room:role", OWNERS, about("another", role="owner")),
    "demote an owner": Row("room:role", OWNERS, about("second_owner", role="member")),
    "post": Row("message:send", INSIDE, {"content": "Hello."}),
    "reply": Row("message:send", INSIDE, lambda room, _: {"content": "Yes.", "replyTo": room.of["another"]}),
    "edit one's own": Row("message:edit", INSIDE, own(content="Mended.")),
    "edit another's": Row("message:edit", NOBODY, anothers(content="Mended.")),
    "delete one's own": Row("message:delete", INSIDE, own()),
    "delete another's": Row("message:delete", MODERATORS, anothers()),
    "react": Row("message:react", INSIDE, anothers(emoji="🎉")),
    "unreact": Row("message:unreact", INSIDE, anothers(emoji="👍")),
    "pin": Row("message:pin", MODERATORS, anothers()),
    "unpin": Row("message:unpin", MODERATORS, anothers()),
    "report": Row("message:report", INSIDE, anothers(reason="rude"), archived=INSIDE),
    "list reports": Row("report:list", MODERATORS, archived=MODERATORS),
    "resolve a report": Row("report:resolve", MODERATORS, reported, archived=MODERATORS),
    "be seen typing": Row("typing:start", INSIDE),
}  # fmt: skip
NO_ROW = {"typing:stop": "to end one's own typing is always granted, and says nothing of the room"}
"""Commands about a room that have no row, and why."""

EQUALS = {"owner": "ok", "member": "ok"}
NO_EQUAL = dict.fromkeys(EQUALS, "not_allowed")
AMONG_EQUALS = {
    "join", "see who is in", "read", "have read", "mark as unread", "list pins", "be seen typing", "post", "reply",
    "react", "unreact", "pin", "unpin", "edit one's own", "delete one's own", "change the topic", "change the name",
    "change both",
}  # fmt: skip
"""What members of a direct room may do; every other command is refused."""


def test_every_command_about_a_room_has_a_row() -> None:
    kinds = {kind for kind, frame in COMMANDS.items() if issubclass(frame, RoomFrame)}
    assert {row.kind for row in ROWS.values()} == kinds - set(NO_ROW)


@pytest.fixture
async def people(node: Process) -> AsyncIterator[dict[str, Client]]:
    """The connection of each user."""
    everybody = {*PEOPLE, *ACTORS}
    async with AsyncExitStack() as stack:
        yield {who: await stack.enter_async_context(client(node.url, who)) for who in everybody}


class Rooms:
    """Rooms to do things in: the same one again as long as nothing has been done."""

    def __init__(self, people: dict[str, Client], furnish: Callable[[Room], Any]) -> None:
        self._people, self._furnish = people, furnish
        self._room: Room | None = None
        self._head = self._made = 0

    async def cell(self, row: Row, who: str, expected: str) -> str:
        """Do what a row says; return what is wrong with what became of it."""
        room = self._room = self._room or await self._new()
        try:
            await self._people[who].say(row.kind, roomId=room.name, **row.fields(room, who))
        except Refused as refused:
            changed = await room.head() != self._head
            return f"{refused.code}" if refused.code != expected else "changed the room" if changed else ""
        self._room = None
        return "ok" if expected != "ok" else ""

    async def _new(self) -> Room:
        self._made += 1
        room = Room(f"room-{self._made}", self._people)
        await self._furnish(room)
        self._head = await room.head()
        return room


@pytest.mark.parametrize("visibility", ["public", "private"])
async def test_everybody_may_what_the_tables_say(people: dict[str, Client], visibility: str) -> None:
    rooms = Rooms(people, lambda room: room.furnish(visibility))
    wrong = {
        (name, who): found
        for name, row in ROWS.items()
        for who, expected in sorted(row.expected[visibility].items(), key=lambda cell: cell[1] == "ok")
        if (found := await rooms.cell(row, who, expected))
    }
    assert wrong == {}


async def test_archived_room_permits_read_list_leave_and_reopen_only(
    people: dict[str, Client],
) -> None:
    async def furnish(room: Room) -> None:
        await room.furnish("public")
        await room.say("owner", "room:archive")

    rooms = Rooms(people, furnish)
    wrong = {
        (name, who): found
        for name, row in ROWS.items()
        for who, expected in sorted(row.archived.items(), key=lambda cell: cell[1] == "ok")
        if (found := await rooms.cell(row, who, expected))
    }
    for who in ("outsider", "gone", "invited"):
        if found := await rooms.cell(ROWS["join"], who, "room_archived"):
            wrong["join", who] = found
    assert wrong == {}


async def test_in_a_direct_room_all_are_equal_and_nobody_else_knows_of_it(people: dict[str, Client]) -> None:
    # The same people have one direct room, so it is new the first time only; then it is written on.
    rooms = Rooms(people, Room.furnish_direct)
    wrong = {}
    for name, row in ROWS.items():
        expected = {"outsider": "room_not_found", **(EQUALS if name in AMONG_EQUALS else NO_EQUAL)}
        for who, outcome in expected.items():
            if found := await rooms.cell(row, who, outcome):
                wrong[name, who] = found
    assert wrong == {}
