"""An erased person leaves their rooms, and every room keeps an owner who can sign in."""

import asyncio

from service.audit.privacy.erasure import erase
from service.audit.privacy.leave_rooms import leave_rooms
from service.domain.events import MemberJoined, MemberLeft, RoleChanged, RoomOpened
from service.domain.streams import direct_room, room_stream
from tests.support.eventstore.log_node import GENERAL, Node, message, node
from tests.support.servers.databases import Database

DIRECT = direct_room(["alice", "bob"])


async def leave(one: Node, *rooms: str, by: str = "os:root") -> list[str]:
    return await leave_rooms(one.pool, one.serializer, "alice", rooms, by=by, deadline=20)


async def world(one: Node) -> None:
    await one.open_room("alice", "bob", "carol")
    await one.append(message(), decided_on=4)
    opened = [
        RoomOpened(name="", visibility="direct"),
        *(MemberJoined(user=user) for user in ("alice", "bob")),
    ]
    await one.append(*opened, stream=room_stream(DIRECT))
    await erase(one.pool, "alice", ground="g", by="os:root", deadline=20)


async def test_the_last_owner_hands_the_room_on(database: Database) -> None:
    async with node(database) as one:
        await world(one)
        assert await leave(one, "general", DIRECT, "nowhere") == ["general"]
        log = await one.log.stream(GENERAL, 5, 10)
        assert [(recorded.event, recorded.by) for recorded in log] == [
            (RoleChanged(user="bob", role="owner"), "os:root"),
            (MemberLeft(user="alice"), "os:root"),
        ]
        state = await one.log.room("general")
        assert state.owners() == ["bob"]
        assert "alice" not in state.members
        assert "alice" in (await one.log.room(DIRECT)).members, "nobody leaves a direct room"
        assert await leave(one, "general", DIRECT) == [], "again there is nothing to do"


async def test_a_room_that_changes_at_the_same_moment_is_decided_again(database: Database) -> None:
    async with node(database) as one:
        await world(one)

        async def others() -> None:
            for user in ("dave", "erin", "frank"):
                await one.append(MemberJoined(user=user), by=user, guard=())

        leaving, _ = await asyncio.gather(leave(one, "general"), others())
        assert leaving == ["general"]
        state = await one.log.room("general")
        assert state.owners() == ["bob"]
        assert {*state.members} == {"bob", "carol", "dave", "erin", "frank"}


async def test_administrators_who_erased_themselves_stay_where_they_are(database: Database) -> None:
    async with node(database) as one:
        await world(one)
        assert await leave(one, "general", by="alice") == []
