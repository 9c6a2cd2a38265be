"""Reading the log: whole streams, pages, single messages, and states that skip what they do not need."""

import asyncio
import itertools
import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from rpds import HashTrieSet

from service.domain import room
from service.domain.account import PersonState
from service.domain.commands import (
    AddReaction,
    BanMember,
    ChangeRole,
    DeleteMessage,
    EditMessage,
    InviteMember,
    JoinRoom,
    LeaveRoom,
    MessageCommand,
    MuteMember,
    PinMessage,
    PostMessage,
    RemoveMember,
    RemoveReaction,
    RoomCommand,
    UnbanMember,
    UnmuteMember,
    UnpinMessage,
    UpdateRoom,
)
from service.domain.events import (
    MemberJoined,
    MessageDeleted,
    MessageEdited,
    PersonNamed,
    ReactionAdded,
    ReactionRemoved,
    ReadMarkerMoved,
    Recorded,
    RoleChanged,
    UserBlocked,
    UserUnblocked,
)
from service.domain.read_marker import ReaderState
from service.domain.room import RoomState
from service.domain.streams import (
    message_subject,
    person_stream,
    reader_stream,
    room_stream,
    stream_id,
    user_subject,
)
from service.encryption.keyring import KeyRing
from service.errors import Refusal
from service.eventstore import appender as appending
from service.eventstore import as_of_reader
from service.eventstore import reader as read
from service.eventstore.connections import PLANS, Connector
from service.eventstore.serializer import EventSerializer
from tests.support.eventstore.log_node import GENERAL, Node, message, node, stored
from tests.support.oracles.memory_log import AT
from tests.support.oracles.messages import summarize
from tests.support.servers.databases import Database

USERS = ("alice", "bob", "carol", "dave")
EVERYTHING: tuple[Callable[[str, int], RoomCommand], ...] = (
    lambda _user, _number: JoinRoom(room="general", create=True),
    lambda _user, _number: JoinRoom(room="general", create=True),
    lambda _user, _number: LeaveRoom(room="general"),
    lambda _user, number: PostMessage(room="general", content=f"hello {number}", ref="r"),
    lambda _user, number: PostMessage(room="general", content=f"hello {number}", ref="r"),
    lambda user, _number: UpdateRoom(room="general", name=f"of {user}", topic=f"what {user} says"),
    lambda user, _number: InviteMember(room="general", user=user),
    lambda user, _number: RemoveMember(room="general", user=user, reason="noise"),
    lambda user, _number: BanMember(room="general", user=user, until=AT + timedelta(days=1)),
    lambda user, _number: UnbanMember(room="general", user=user),
    lambda user, _number: MuteMember(room="general", user=user, reason="noise"),
    lambda user, _number: UnmuteMember(room="general", user=user),
    lambda user, _number: ChangeRole(room="general", user=user, role="moderator"),
    lambda user, _number: ChangeRole(room="general", user=user, role="owner"),
    lambda _user, number: EditMessage(room="general", message=number, content="otherwise"),
    lambda _user, number: DeleteMessage(room="general", message=number),
    lambda _user, number: AddReaction(room="general", message=number, emoji="👍"),
    lambda _user, number: RemoveReaction(room="general", message=number, emoji="👍"),
    lambda _user, number: PinMessage(room="general", message=number),
    lambda _user, number: UnpinMessage(room="general", message=number),
)
"""Each command about some user or message."""


async def do(one: Node, state: RoomState, command: RoomCommand, by: str) -> None:
    """Do what a user wants in the room, unless its rules forbid it."""
    number = command.message if isinstance(command, MessageCommand) else 0
    about = await one.log.about("general", number, by, with_content=True)
    try:
        facts = room.decide(state, command, by, AT, about)
    except Refusal:
        return
    await one.append(*facts, by=by, decided_on=state.head, guard=room.guard(state, command, by))


@pytest.mark.parametrize("seed", range(4))
async def test_a_room_read_without_its_messages_equals_the_full_fold(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    async with node(database) as one:
        full = RoomState("general")
        rows: list[Recorded] = []
        for _ in range(120):
            command = chance.choice(EVERYTHING)(chance.choice(USERS), chance.randint(1, 1 + full.head))
            await do(one, full, command, chance.choice(USERS))
            full = RoomState("general")
            rows = await one.log.stream(GENERAL, 0, 1000)
            for recorded in rows:
                full = room.evolve(full, recorded)
            assert await one.log.room("general") == full
        assert full.head > 10, "something happened"
        for number, user in itertools.product(range(1, full.head + 2), USERS):
            about = await one.log.about("general", number, user, with_content=True)
            assert about == summarize(rows, number, user)
        deleted = {row.event.message for row in rows if isinstance(row.event, MessageDeleted)}
        assert await one.log.deleted("general", range(full.head + 2)) == deleted
        assert await one.log.deleted("general", []) == set()


async def test_a_room_reads_the_same_after_its_peoples_words_are_gone(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await one.append(message(), decided_on=3)
        before = await one.log.room("general")
        await stored(database, "DELETE FROM person_keys")
        assert await one.log.room("general") == before


async def test_a_room_that_never_was_has_no_head(database: Database) -> None:
    async with node(database) as one:
        assert await one.log.room("nowhere") == RoomState("nowhere")
        assert await one.log.head(room_stream("nowhere")) == 0
        assert await one.log.stream(room_stream("nowhere"), 0, 10) == []


async def test_a_page_of_a_stream_is_bounded_on_both_sides(database: Database) -> None:
    async with node(database) as one:
        await one.open_room(*USERS)

        async def page(after: int, limit: int, until: int | None = None) -> list[int]:
            return [recorded.seq for recorded in await one.log.stream(GENERAL, after, limit, until)]

        assert await page(0, 100) == [1, 2, 3, 4, 5]
        assert await page(2, 2) == [3, 4]
        assert await page(2, 100, until=4) == [3, 4]
        assert await page(0, 100, until=0) == []
        assert await page(5, 100) == []
        assert await page(99, 100) == []


async def test_only_message_numbers_find_messages(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        placed = await one.append(message("hello"), decided_on=2)
        found = await one.log.message("general", placed.seq)
        assert isinstance(found, Recorded)
        assert (found.seq, found.event) == (3, message("hello"))
        for seq in (0, 1, 2, 4, -1, 2**53):
            assert await one.log.message("general", seq) is None
        assert await one.log.message("other", placed.seq) is None


async def test_a_marker_and_a_name_are_read_from_the_end_of_their_streams(database: Database) -> None:
    async with node(database) as one:
        assert await one.log.reader("general", "alice") == ReaderState()
        assert await one.log.person("alice") == PersonState()
        for n in (3, 7):
            seen = await one.log.reader("general", "alice")
            stream = reader_stream("general", "alice")
            await one.append(ReadMarkerMoved(user="alice", message=n), stream=stream, decided_on=seen.head)
        for n, name in enumerate(("Alice", "Al")):
            await one.append(
                PersonNamed(user="alice", name=name), stream=person_stream("alice"), decided_on=n
            )
        assert await one.log.reader("general", "alice") == ReaderState(head=2, marker=7)
        assert await one.log.reader("other", "alice") == ReaderState()
        assert await one.log.person("alice") == PersonState(head=2, name="Al")


async def test_people_are_read_many_at_once(database: Database) -> None:
    async with node(database) as one:
        for user in ("alice", "bob"):
            await one.append(PersonNamed(user=user, name=user.title()), stream=person_stream(user), by=user)
        assert await one.log.persons(["alice", "bob", "carol"]) == {
            "alice": PersonState(1, "Alice"),
            "bob": PersonState(1, "Bob"),
            "carol": PersonState(),
        }
        assert await one.log.persons([]) == {}
        assert await one.log.persons(["alice", "alice"]) == {"alice": PersonState(1, "Alice")}


async def test_a_person_is_read_with_the_users_whom_they_block(database: Database) -> None:
    async with node(database) as one:
        changes = [
            *(UserBlocked(user=user) for user in ("mallory", "zed", "bob")),
            PersonNamed(user="alice", name="Alice"),
            *(cls(user="mallory") for _ in range(20) for cls in (UserUnblocked, UserBlocked)),
            UserUnblocked(user="zed"),
        ]
        for seq, event in enumerate(changes):
            await one.append(event, stream=person_stream("alice"), decided_on=seq, by="alice")
        await one.append(UserBlocked(user="alice"), stream=person_stream("bob"), by="bob")
        found = await one.log.persons(["alice", "bob", "carol"])
        blocked: HashTrieSet[str] = HashTrieSet({"mallory", "bob"})
        assert found["alice"] == PersonState(
            len(changes), "Alice", blocked=blocked, unblocked=HashTrieSet({"zed"})
        )
        assert found["bob"] == PersonState(1, blocked=HashTrieSet({"alice"}))
        assert found["carol"] == PersonState()


async def test_the_log_has_an_epoch_and_a_last_position(database: Database) -> None:
    async with node(database) as one:
        UUID(await one.log.epoch())
        assert await one.log.position() == 0
        await one.open_room("alice")
        (last,) = await one.log.stream(GENERAL, 1, 1)
        assert await one.log.position() == last.position


async def test_a_room_is_read_by_its_index_and_its_messages_are_not(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        for _ in range(20):
            entries = [await one.entry(message(), guard=(), decided_on=2) for _ in range(100)]
            await asyncio.gather(*map(one.appender.offer, entries))
        await one.append(RoleChanged(user="alice", role="owner"), guard=(), decided_on=2)
        await stored(database, "ANALYZE stored_events")
        plan = await stored(
            database,
            f"EXPLAIN (ANALYZE, FORMAT TEXT) {read._ROOM}".replace("$1", f"'{stream_id(GENERAL)}'::uuid"),
        )
        text = "\n".join(row[0] for row in plan)
        assert "stored_events_subject_idx" in text
        small = ("Seq Scan on person_keys", "Seq Scan on carried_words")  # which is empty
        assert "Seq Scan" not in text.replace(small[0], "").replace(small[1], "")
        assert len(await one.log.stream(GENERAL, 0, 5000)) == 2003


async def test_people_are_read_by_their_own_streams_in_a_log_of_one_large_room(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        for _ in range(20):
            entries = [await one.entry(message(), guard=(), decided_on=2) for _ in range(100)]
            await asyncio.gather(*map(one.appender.offer, entries))
        await stored(database, "ANALYZE stored_events")
        people = [stream_id(person_stream(f"user{number}")) for number in range(100)]
        reader = await Connector(database.app_url, 20).connect(PLANS)
        plan = await reader.fetch(
            f"EXPLAIN (ANALYZE, FORMAT TEXT) {read._ACCOUNTS}", people, read.PERSON_TOPICS
        )
        await reader.close()
        text = "\n".join(row[0] for row in plan)
        assert "stored_events_people_idx" in text
        assert "notification_id_idx" not in text


async def test_the_rooms_of_a_person_are_found_by_an_index(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        for number in range(10):
            entries = [await one.entry(message(), guard=(), decided_on=2) for _ in range(100)]
            await asyncio.gather(*map(one.appender.offer, entries))
            await one.append(MemberJoined(user=f"user{number}"), guard=(), decided_on=2)
        await stored(database, "ANALYZE stored_events")
        connection = await Connector(database.app_url, 20).connect(PLANS)
        for query, arguments in (
            (as_of_reader._ROOMS_ABOUT, ("user:user3", 10_000)),
            (as_of_reader._KNOWN, ("user3", [], "user:user3")),
        ):
            plan = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT TEXT) {query}", *arguments)
            text = "\n".join(row[0] for row in plan)
            assert "stored_events_members_idx" in text, text
            assert "Seq Scan on stored_events" not in text, text
        await connection.close()
        reader = as_of_reader.AsOfReader(one.pool, one.serializer)
        assert await reader.rooms_about("user3", await reader.position()) == ["general"]
        assert await reader.rooms_about("user3", 0) == []


async def test_a_person_of_many_names_is_read_by_the_last(database: Database) -> None:
    """Each topic is one look-up: two hundred names add next to no page to what is read."""
    async with node(database) as one:
        stream, people = person_stream("alice"), [stream_id(person_stream("alice"))]

        async def pages() -> int:
            reader = await Connector(database.app_url, 20).connect(PLANS)
            plan = await reader.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {read._ACCOUNTS}", people, read.PERSON_TOPICS
            )
            await reader.close()
            top = json.loads(plan)[0]["Plan"]
            return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])

        await one.append(PersonNamed(user="alice", name="Al"), stream=stream)
        first = await pages()
        for n in range(200):
            await one.append(PersonNamed(user="alice", name=f"Al {n} {'x' * 200}"), stream=stream, guard=())
        await stored(database, "ANALYZE stored_events")
        assert await pages() <= first + 20
        assert await one.log.person("alice") == PersonState(head=201, name=f"Al 199 {'x' * 200}")


async def test_refs_are_forgotten_after_seven_days_and_no_sooner(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "EXPIRY_BATCH", 2)
    async with node(database) as one:
        for n in range(7):
            await one.append(ref=f"r{n}", decided_on=0)
        await stored(
            database,
            "UPDATE refs SET recorded_at = recorded_at - $1::interval WHERE ref <> 'r0'",
            timedelta(days=7, minutes=1),
        )
        await stored(
            database,
            "UPDATE refs SET recorded_at = recorded_at - $1::interval WHERE ref = 'r0'",
            timedelta(days=6, hours=23),
        )
        assert await appending.delete_old_refs(one.pool, 20) == 6
        assert [row[0] for row in await stored(database, "SELECT ref FROM refs")] == ["r0"]
        assert (await one.append(ref="r0", decided_on=0)).outcome == "known"
        assert (await one.append(ref="r1", decided_on=0, guard=(user_subject("x"),))).outcome == "nothing"


async def test_an_epoch_without_a_row_is_an_error() -> None:
    class Empty:
        async def fetch(self, _query: str, *_arguments: object) -> list[Any]:
            return []

    database: Any = Empty()
    with pytest.raises(IndexError):
        await read.LogReader(database, EventSerializer(KeyRing(bytes(32)))).epoch()


async def test_a_command_about_a_message_reads_the_same_at_any_length(database: Database) -> None:
    """Two hundred edits of 20 KB and as many reactions add next to no page to what a command reads."""
    async with node(database) as one:
        await one.open_room("alice", "bob")
        number = (await one.append(message("hello"), decided_on=3)).seq
        first = await _pages_read(database, number)
        for turn in range(200):
            words = MessageEdited(message=number, content=f"{turn} " + "word " * 4000)
            toggle = (ReactionRemoved if turn % 2 else ReactionAdded)(message=number, emoji=f":{turn // 2}:")
            await one.append(words, guard=(), decided_on=3)
            await one.append(toggle, by="bob", guard=(), decided_on=3)
        await stored(database, "ANALYZE stored_events")
        assert await _pages_read(database, number) <= first + 10
        known = await one.log.about("general", number, "bob")
        assert (known.edits, known.reactions, known.own, known.emoji) == (200, 100, frozenset(), frozenset())


async def _pages_read(database: Database, number: int) -> int:
    """Return the pages that the statements about a message read, each of which returns one row at most."""
    reader = await Connector(database.app_url, 20).connect(PLANS)
    try:
        pages = 0
        for query, arguments in (
            (read._ABOUT, (number, message_subject(number), "alice", True, True)),
            (read._DELETED, ([number],)),
        ):
            plan = await reader.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", stream_id(GENERAL), *arguments
            )
            top = json.loads(plan)[0]["Plan"]
            pages += top["Shared Hit Blocks"] + top["Shared Read Blocks"]
            assert top["Actual Rows"] <= 1
        return pages
    finally:
        await reader.close()
