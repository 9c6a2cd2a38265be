"""Legal holds: on the record, in the way of every erasure that they should be, and of no other."""

import asyncio

import pytest

from service.audit.privacy.erasure import erase as erase_by
from service.audit.privacy.legal_holds import Hold, in_force
from service.audit.privacy.legal_holds import place as place_by
from service.audit.privacy.legal_holds import release as release_by
from service.domain.events import HoldPlaced, HoldReleased, MemberInvited, MemberLeft
from service.domain.streams import HOLDS, room_stream
from service.errors import HoldStands, NoHold, PersonUnknown, RoomNotFound, UnderLegalHold
from tests.support.eventstore.log_node import Node, message, node, stored
from tests.support.servers.databases import Database


async def place(one: Node, held: str, by: str = "os:counsel") -> Hold:
    return await place_by(one.pool, held, ground="case 7", by=by, deadline=20)


async def release(one: Node, held: str) -> Hold:
    return await release_by(one.pool, held, ground="over", by="os:counsel", deadline=20)


async def erase(one: Node, person: str) -> int:
    return (await erase_by(one.pool, person, ground="g", by="root", deadline=20)).position


async def world(one: Node) -> None:
    await one.open_room("alice", "bob")
    await one.append(message(), decided_on=3)
    await one.append(message(author="bob"), by="bob", decided_on=3)
    await one.open_room("carol", stream=room_stream("other"))
    await one.append(message(author="carol"), by="carol", decided_on=2, stream=room_stream("other"))


async def test_a_person_who_is_held_is_not_erased_before_the_hold_is_released(database: Database) -> None:
    async with node(database) as one:
        await world(one)
        held = await place(one, "user:alice")
        with pytest.raises(
            UnderLegalHold, match="alice cannot be erased: a legal hold is on the person alice"
        ):
            await erase(one, "alice")
        assert not (await one.log.person("alice")).erased
        (said,) = await one.log.stream("room:general", 3, 1)
        assert said.event == message()
        await erase(one, "bob")
        released = await release(one, "user:alice")
        assert released.position > held.position
        await erase(one, "alice")


async def test_hold_on_a_room_protects_all_past_members_and_only_them(
    database: Database,
) -> None:
    async with node(database) as one:
        await world(one)
        await one.append(MemberLeft(user="bob"), by="bob", decided_on=5)
        await one.append(MemberInvited(user="carol"), decided_on=6)
        await place(one, "room:general")
        for person in ("alice", "bob"):
            with pytest.raises(UnderLegalHold, match="the room general"):
                await erase(one, person)
        await erase(one, "carol")


async def test_holds_are_on_the_record_and_listed_while_they_are_in_force(database: Database) -> None:
    async with node(database) as one:
        await world(one)
        room, person = await place(one, "room:general"), await place(one, "user:alice")
        assert await in_force(one.pool, one.serializer, 20) == [room, person]
        assert (room.held, room.by, room.ground) == ("room:general", "os:counsel", "case 7")
        await release(one, "room:general")
        assert await in_force(one.pool, one.serializer, 20) == [person]
        log = await one.log.stream(HOLDS, 0, 10)
        assert [(recorded.event, recorded.position) for recorded in log][:2] == [
            (HoldPlaced(held="room:general", ground="case 7"), room.position),
            (HoldPlaced(held="user:alice", ground="case 7"), person.position),
        ]
        assert log[2].event == HoldReleased(held="room:general", ground="over")
        again = await place(one, "room:general")
        assert await in_force(one.pool, one.serializer, 20) == [again, person]
        subjects = {row["subject"] for row in await stored(database, "SELECT subject FROM holds")}
        assert subjects == {"room:general", "user:alice"}, "the table says what the record says"


async def test_duplicate_hold_and_release_without_hold_are_refused(
    database: Database,
) -> None:
    async with node(database) as one:
        await world(one)
        answers = await asyncio.gather(*(place(one, "user:alice") for _ in range(4)), return_exceptions=True)
        assert sum(isinstance(answer, Hold) for answer in answers) == 1
        assert sum(isinstance(answer, HoldStands) for answer in answers) == 3
        with pytest.raises(NoHold, match="the room general"):
            await release(one, "room:general")
        with pytest.raises(RoomNotFound):
            await place(one, "room:nowhere")
        with pytest.raises(PersonUnknown):
            await place(one, "user:nobody")
        assert len(await one.log.stream(HOLDS, 0, 10)) == 1


async def test_an_erasure_and_a_hold_at_the_same_moment_have_one_order(database: Database) -> None:
    """Either the hold was first, and nothing is erased; or the erasure was, and the hold comes after it."""
    async with node(database) as one:
        for number in range(12):
            person = f"p{number}"
            await one.append(message(author=person), by=person, stream=room_stream(person), guard=())
            holding, erasing = await asyncio.gather(
                place(one, f"user:{person}"), erase(one, person), return_exceptions=True
            )
            assert isinstance(holding, Hold)
            if isinstance(erasing, int):
                assert erasing < holding.position
            else:
                assert isinstance(erasing, UnderLegalHold)
            assert (await one.log.person(person)).erased == isinstance(erasing, int)
