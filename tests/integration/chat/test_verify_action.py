"""verify_action, after Zulip: what was known before a command and the events since are what is fetched after it.

For those who heard it live, and for those who come back with a cursor. And what a command does is what its row says:
on the log, and in each read model. A new command cannot be forgotten, nor a new event of a room, nor a new read model:
they have no row.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from projections import PROJECTIONS
from service.domain.events import EVENTS
from service.domain.streams import report_id
from service.protocol.commands import COMMANDS
from tests.support.clients.model import Model, fetched
from tests.support.clients.native import PATIENCE, Client, Event, client
from tests.support.environment import environment, token
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database

PEOPLE = ("owner", "moderator", "member", "outsider")


@dataclass
class World:
    """A room with messages in it, as each row finds it; users are `owner-3` and so on in the third row's."""

    number: int
    url: str
    record: "Record"
    people: dict[str, Client] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)

    @property
    def room(self) -> str:
        return f"room-{self.number}"

    def user(self, who: str) -> str:
        return f"{who}-{self.number}"

    async def say(self, who: str, kind: str, **fields: Any) -> Event:
        return await self.people[who].say(kind, roomId=self.room, **fields)

    async def furnish(self) -> None:
        """An owner, a moderator and a member, a message of each, a reaction, a pin, an edit, a deletion."""
        others = [self.user("moderator"), self.user("member")]
        await self.people["owner"].say(
            "room:create", roomId=self.room, name="Room", visibility="private", members=others
        )
        await self.say("owner", "room:role", userId=others[0], role="moderator")
        for who in ("owner", "moderator", "member"):
            mentions = [self.user("member"), self.user("owner")]
            ack = await self.say(who, "message:send", content=f"I am the {who}.", mentions=mentions)
            self.said[who] = ack["messageId"]
        await self.say("member", "message:edit", messageId=self.said["member"], content="I am a member.")
        await self.say("member", "message:react", messageId=self.said["owner"], emoji="👍")
        await self.say("owner", "message:pin", messageId=self.said["moderator"])


@dataclass(frozen=True)
class Row:
    """A command, its sender, the commands before it, and the names of the events that the log has then.

    `heard` is the unnumbered event that the room receives.
    """

    fields: Callable[[World], dict[str, Any]] = lambda w: {"roomId": w.room}
    by: str = "owner"
    before: Callable[[World], Awaitable[object]] | None = None
    heard: str | None = None
    log: tuple[str, ...] = ()


def about(who: str, **more: Any) -> Callable[[World], dict[str, Any]]:
    return lambda w: {"roomId": w.room, "userId": w.user(who), **more}


def message(whose: str, **more: Any) -> Callable[[World], dict[str, Any]]:
    return lambda w: {"roomId": w.room, "messageId": w.said[whose], **more}


FAR = "2099-01-01T00:00:00.000000Z"
CHANGED_BY: dict[str, set[str]] = {
    "memberships": {
        *("MemberInvited", "MemberJoined", "MemberLeft", "MemberRemoved", "MemberBanned", "MemberUnbanned"),
        *("MemberMuted", "MemberUnmuted", "RoleChanged"),
    },
    "messages": {
        *("MessagePosted", "MessageEdited", "MessageDeleted", "MessagePinned", "MessageUnpinned"),
        *("ReactionAdded", "ReactionRemoved"),
    },
    "activity": {"MessagePosted"},
    "directory": {
        *("RoomOpened", "RoomRenamed", "RoomArchived", "RoomReopened"),
        *("MemberJoined", "MemberLeft", "MemberRemoved", "MemberBanned"),
    },
    "tallies": {"MessagePosted", "MessageDeleted", "PersonErased", "ContentExpired"},
    "read_receipts": {"ReadMarkerMoved"},
    "unread_markers": {"UnreadMarkerMoved"},
    "people": {"PersonNamed", "SessionOpened", "PersonErased"},
    "profiles": {"PersonNamed", "MemberJoined", "PersonErased"},
}
CHANGED_BY["rooms"] = {
    *("RoomOpened", "RoomRenamed", "RoomTopicChanged", "RoomArchived", "RoomReopened"),
    *CHANGED_BY["memberships"],
    *CHANGED_BY["messages"],
}  # it has the head of each
"""The events that change a read model."""
BLOCKS = {"UserBlocked", "UserUnblocked"}
"""Events of people, which change no read model."""
REPORTS = {"MessageReported", "ReportResolved"}
"""Events about a room that are in none of its read models, and that no member sees."""
LOSSES = {"PersonErased", "ContentExpired"}
"""Events outside rooms that change a read model, and that no command of a client leads to."""
ARRIVALS = {"PersonNamed", "SessionOpened"}
"""Events of connections, which are recorded at any time."""
OF_PEOPLE = {"people", "profiles"}
"""Read models of which a row says nothing: they have people once, whatever follows."""
BY_OPERATORS = {"RoomRetentionChanged"}
"""Events of rooms that no command of a client leads to."""

TABLE: dict[str, list[Row]] = {
    "room:create": [
        Row(
            lambda w: {"roomId": f"other-{w.number}", "name": "Other", "members": [w.user("member")]},
            log=("RoomOpened", "MemberJoined", "MemberJoined"),
        ),
        Row(
            lambda w: {"name": "Two", "visibility": "direct", "members": [w.user("member")]},
            log=("RoomOpened", "MemberJoined", "MemberJoined"),
        ),
    ],
    "room:join": [
        Row(by="member"),
        Row(
            by="outsider",
            before=lambda w: w.say("owner", "room:invite", userId=w.user("outsider")),
            log=("MemberJoined",),
        ),
    ],
    "room:leave": [Row(by="member", log=("MemberLeft",)), Row(by="owner", log=("RoleChanged", "MemberLeft"))],
    "room:update": [
        Row(
            lambda w: {"roomId": w.room, "name": "New", "topic": "Plans"},
            log=("RoomRenamed", "RoomTopicChanged"),
        ),
        Row(
            lambda w: {"roomId": w.room, "topic": ""},
            before=lambda w: w.say("owner", "room:update", topic="Plans"),
            log=("RoomTopicChanged",),
        ),
    ],
    "room:archive": [Row(log=("RoomArchived",))],
    "room:reopen": [Row(before=lambda w: w.say("owner", "room:archive"), log=("RoomReopened",))],
    "room:invite": [Row(about("outsider"), log=("MemberInvited",))],
    "room:kick": [
        Row(about("member", reason="noise"), log=("MemberRemoved",)),
        Row(
            about("outsider"),
            before=lambda w: w.say("owner", "room:invite", userId=w.user("outsider")),
            log=("MemberRemoved",),
        ),
    ],
    "room:ban": [
        Row(about("member", until=FAR), log=("MemberBanned",)),
        Row(about("outsider"), log=("MemberBanned",)),
    ],
    "room:unban": [
        Row(
            about("member"),
            before=lambda w: w.say("owner", "room:ban", userId=w.user("member")),
            log=("MemberUnbanned",),
        ),
    ],
    "room:mute": [
        Row(about("member", until=FAR), log=("MemberMuted",)),
        Row(about("moderator"), log=("MemberMuted",)),
    ],
    "room:unmute": [
        Row(
            about("member"),
            before=lambda w: w.say("owner", "room:mute", userId=w.user("member")),
            log=("MemberUnmuted",),
        ),
    ],
    "room:role": [
        Row(about("member", role="owner"), log=("RoleChanged",)),
        Row(about("moderator", role="member", reason="rest"), log=("RoleChanged",)),
    ],
    "room:list": [Row(lambda _w: {})],
    "room:directory": [Row(lambda _w: {"query": "room"})],
    "room:members": [Row()],
    "message:send": [
        Row(
            lambda w: {"roomId": w.room, "content": "Hello.", "mentions": [w.user("member")]},
            log=("MessagePosted",),
        ),
        Row(
            lambda w: {"roomId": w.room, "content": "Yes.", "replyTo": w.said["owner"]},
            by="member",
            log=("MessagePosted",),
        ),
    ],
    "message:edit": [Row(message("member", content="I was a member."), by="member", log=("MessageEdited",))],
    "message:delete": [
        Row(message("owner"), log=("MessageDeleted",)),
        Row(message("moderator"), log=("MessageUnpinned", "MessageDeleted")),  # it is pinned
        Row(message("member", reason="rude"), by="moderator", log=("MessageDeleted",)),
    ],
    "message:react": [
        Row(message("owner", emoji="👍"), log=("ReactionAdded",)),
        Row(message("member", emoji="🎉"), by="moderator", log=("ReactionAdded",)),
    ],
    "message:unreact": [Row(message("owner", emoji="👍"), by="member", log=("ReactionRemoved",))],
    "message:pin": [Row(message("member"), log=("MessagePinned",))],
    "message:unpin": [Row(message("moderator"), log=("MessageUnpinned",))],
    "message:history": [Row()],
    "message:read": [Row(message("moderator"), by="member", heard="message:read", log=("ReadMarkerMoved",))],
    "message:unread": [
        Row(
            message("owner"),
            by="member",
            before=lambda w: w.say("member", "message:read", messageId=w.said["moderator"]),
            heard="message:unread",
            log=("UnreadMarkerMoved",),
        ),
        Row(message("owner"), by="member"),  # it was never read
    ],
    "message:pins": [Row()],
    "message:report": [Row(message("owner", reason="rude"), by="member", log=("MessageReported",))],
    "report:list": [Row()],
    "report:resolve": [
        Row(
            lambda w: {
                "roomId": w.room,
                "reportId": report_id(w.room, w.said["member"], w.user("moderator")),
                "outcome": "warned",
            },
            before=lambda w: w.say("moderator", "message:report", messageId=w.said["member"], reason="rude"),
            log=("ReportResolved",),
        )
    ],
    "typing:start": [Row(heard="typing:start")],
    "typing:stop": [Row(before=lambda w: w.say("owner", "typing:start"), heard="typing:stop")],
    "presence:set": [Row(lambda _w: {"status": "away"}, heard="presence:changed")],
    "user:block": [Row(lambda w: {"userId": w.user("member")}, log=("UserBlocked",))],
    "user:unblock": [
        Row(
            lambda w: {"userId": w.user("member")},
            before=lambda w: w.people["owner"].say("user:block", userId=w.user("member")),
            log=("UserUnblocked",),
        )
    ],
    "user:blocks": [Row(lambda _w: {})],
    "user:find": [Row(lambda w: {"query": w.user("member")})],
    "ping": [Row(lambda _w: {})],
    "auth:refresh": [Row(lambda w: {"token": token(w.user("owner"))})],
}


def test_every_command_has_a_row() -> None:
    assert set(TABLE) == set(COMMANDS)


def test_every_event_of_a_room_or_a_reader_and_every_read_model_has_a_row() -> None:
    shown = {name for rows in TABLE.values() for row in rows for name in row.log}
    known = {cls.__name__ for topic, cls in EVENTS.items() if topic.startswith(("room.", "reader."))}
    changing = set().union(*CHANGED_BY.values()) - LOSSES - ARRIVALS
    assert shown - BLOCKS - REPORTS == changing == known - BY_OPERATORS
    assert set(CHANGED_BY) == {projection.name for projection in PROJECTIONS}


@pytest.mark.timeout(300)  # fifty commands, each with fourteen connections, one after the other
async def test_what_was_known_and_the_events_since_are_what_is_known_now(database: Database) -> None:
    env = environment(database)
    rows = [(kind, row) for kind in TABLE for row in TABLE[kind]]
    wrong = {}
    async with running(env, "serve") as node, running(env, "project", "run"), reading(database) as record:
        for number, (kind, row) in enumerate(rows):
            world = World(number, node.url, record)
            if found := await differences(world, kind, row):
                wrong[kind, number] = found
        assert not wrong, "\n".join(f"{row}: {found}" for row, found in wrong.items())
    code, out, _ = await run(env, "project", "verify")
    assert code == 0, out


async def differences(world: World, kind: str, row: Row) -> dict[str, Any]:
    """Run the command of a row; return every difference between a client's view and the fetched one."""
    async with connections(world) as people:
        world.people = people
        await world.furnish()
        if row.before is not None:
            await row.before(world)
        knew = {who: await fetched(world.url, world.user(who)) for who in PEOPLE}
        await settled(world, knew)
        marks = {who: len(people[who].heard) for who in PEOPLE}
        before, models = await world.record.head(), await world.record.models()
        await people[row.by].say(kind, **row.fields(world))
        now = {who: await fetched(world.url, world.user(who)) for who in PEOPLE}
        wrong: dict[str, Any] = await done(world.record, row, before, models)
        for who in PEOPLE:
            await heard_all(people[who], now[who], row, knew[who])
            if kind == "room:join" and who == row.by:
                knew[who].rooms, knew[who].invitations = now[who].rooms, now[who].invitations
                continue  # a room that is new to a client is listed again; its snapshots are tested elsewhere
            live = knew[who].copy().take(news(people[who].heard[marks[who] :], knew[who]))
            wrong |= {f"{who} live": found for found in [live.differences(now[who])] if found}
            late = await came_back(world, who, knew[who], now[who])
            wrong |= {f"{who} back": found for found in [late.differences(now[who])] if found}
        return wrong


@asynccontextmanager
async def connections(world: World) -> AsyncIterator[dict[str, Client]]:
    """Give the connection of each user."""
    async with AsyncExitStack() as stack:
        yield {who: await stack.enter_async_context(client(world.url, world.user(who))) for who in PEOPLE}


def news(events: list[Event], knew: Model) -> list[Event]:
    """Leave out what a client knew already: a room may be shown after an event that is delivered as well."""
    return [
        event
        for event in events
        if event.get("roomId") not in knew.rooms
        or event.get("seq", 2**53) > knew.rooms[event["roomId"]]["head"]
    ]


async def settled(world: World, knew: dict[str, Model]) -> None:
    """Wait until every client has received what it has to know."""
    for who, model in knew.items():
        for name, room in model.rooms.items():
            listener, head = world.people[who], room["head"]
            await listener.until(lambda: head in listener.seqs(name))  # noqa: B023 - waited for at once


async def heard_all(listener: Client, now: Model, row: Row, knew: Model) -> None:
    for name, room in now.rooms.items():
        head = room["head"]
        if name not in knew.rooms or head > knew.rooms[name]["head"]:
            await listener.until(lambda: head in listener.seqs(name))  # noqa: B023 - waited for at once
    for name in knew.rooms.keys() - now.rooms.keys():
        await listener.until(lambda: listener.events("room:user_left", roomId=name, userId=now.user))  # noqa: B023 - likewise
    if knew.invitations.keys() - now.invitations.keys() - now.rooms.keys():
        await listener.until(lambda: listener.events("room:user_left", userId=now.user))
    if now.invitations.keys() - knew.invitations.keys():
        await listener.until(lambda: listener.events("room:invited"))
    is_sender = now.user.startswith(f"{row.by}-")
    heard_by_sender = row.heard in ("message:read", "message:unread")
    if row.heard and now.rooms and (heard_by_sender if is_sender else row.heard != "message:unread"):
        await listener.until(lambda: listener.events(row.heard or ""))


async def came_back(world: World, who: str, knew: Model, now: Model) -> Model:
    """Return the view of a client that was disconnected: it resumes from its cursors and lists its rooms."""
    if not knew.rooms.keys() >= now.rooms.keys() or now.invitations != knew.invitations:
        return now  # rooms that are new to it, and invitations, are in the list
    cursors = {name: room["head"] for name, room in knew.rooms.items()}
    async with client(world.url, world.user(who), cursors) as back:
        if any(head["recovered"] is False for head in back.connected["rooms"].values()):
            left = [name for name in cursors if name not in now.rooms]
            banned = [name for name in left if "head" not in back.connected["rooms"][name]]
            assert all(back.connected["rooms"][name]["reason"] == "room_not_found" for name in banned)
            if banned:
                return now
        for name in now.rooms:
            await back.until(lambda: back.events("room:receipts", roomId=name))  # noqa: B023 - waited for at once
        await back.say("ping")  # a `message:unread` follows the receipts, and is sent together with them
        await heard_all(back, now, Row(), knew)
        return knew.copy().take(news(back.heard, knew))


@dataclass
class Record:
    """The log and the read models, as the database has them."""

    connection: "asyncpg.Connection[Any]"

    async def head(self) -> int:
        return int(await self.connection.fetchval("SELECT max(notification_id) FROM stored_events"))

    async def since(self, position: int) -> list[str]:
        """Return the names of the events after a position that are not about sessions."""
        rows = await self.connection.fetch(
            "SELECT topic FROM stored_events WHERE notification_id > $1 AND stream NOT LIKE 'session:%' "
            "ORDER BY notification_id",
            position,
        )
        return [row["topic"].split(".")[1] for row in rows]

    async def about_public_rooms(self, position: int) -> bool:
        """Return whether some event after a position is about a public room; the read models are level."""
        query = """
            SELECT EXISTS (SELECT FROM stored_events e JOIN read_models.rooms_v2 r ON e.stream = 'room:' || r.room_id
            WHERE e.notification_id > $1 AND r.visibility = 'public')"""
        return bool(await self.connection.fetchval(query, position))

    async def models(self) -> dict[str, str]:
        """Return a digest of each read model, once all have the whole log."""
        head, tables = await self.head(), [projection.table for projection in PROJECTIONS]
        async with asyncio.timeout(PATIENCE):
            while await self.connection.fetchval(_BEHIND, head, tables):
                await asyncio.sleep(0.01)
        digest = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t"
        return {one.name: await self.connection.fetchval(digest.format(one.relation)) for one in PROJECTIONS}


_BEHIND = """
    SELECT count(*) FROM unnest($2::text[]) AS wanted (name)
        LEFT JOIN notification_tracking t ON t.application_name = wanted.name
    WHERE coalesce(t.notification_id, 0) < $1
"""


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[Record]:
    """Give a look at the record."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        yield Record(connection)
    finally:
        await connection.close()


async def done(record: Record, row: Row, before: int, models: dict[str, str]) -> dict[str, Any]:
    """Return where the log and the read models have not what a row says, since they were as they were."""
    events, now = await record.since(before), await record.models()
    changed = {name for name, digest in now.items() if digest != models[name]} - OF_PEOPLE
    meant = {name for name, by in CHANGED_BY.items() if by & set(row.log)} - OF_PEOPLE
    if not await record.about_public_rooms(before):
        meant -= {"directory"}  # where no other room may be
    wrong = {"log": (events, row.log)} if events != list(row.log) else {}
    return wrong | ({"models": (changed, meant)} if changed != meant else {})
