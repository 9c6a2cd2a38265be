"""Events that cannot be opened: the owner damages rows, and a node and a projector that start afterwards go on.

Invariant: every check is made by processes that have read nothing before the damage, so no cache hides it.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from projections import PROJECTIONS
from tests.support.audit.proof import all_sealed, offline, tamper
from tests.support.clients.native import Refused, client
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

pytestmark = pytest.mark.logs("unreadable_event")

KEY = "UPDATE person_keys SET wrapped = {} WHERE person = 'alice' AND scope = ''"
KEYS = {
    "a flipped bit": KEY.format("set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)"),
    "too short": KEY.format(r"'\x00'"),
    "empty": KEY.format("''"),
}
STATES = {
    "not JSON": "'not json'",
    "not UTF-8": r"'\x7b2261223a22ff227d'",
    "an array": "'[]'",
    "no fields": "'{}'",
    "another message": """convert_to('{"message":404,"content":null,"emoji":"x"}', 'UTF8')""",
    "too large a number": """convert_to('{"message":9e18,"user":"bob","author":"alice","ref":"r",'
        '"content":null,"reply_to":99999999999999999999}', 'UTF8')""",
    "deeply nested": "convert_to(repeat('[', 100000), 'UTF8')",
}
TOPICS = {
    "no topic": "nonsense",
    "a topic of no version": "room.RoomPainted.v1",
    "a topic of another stream": "person.PersonErased.v1",
}


@dataclass
class House:
    """A database with a record of every kind of event, and where in the room `general` each of them is."""

    database: Database
    seqs: dict[str, int]
    env: dict[str, str]

    async def damage(self, column: str, value: str, *kinds: str) -> None:
        """Change a column of the first event of some kinds in `general`."""
        seqs = ", ".join(str(self.seqs[kind]) for kind in kinds)
        await tamper(
            self.database,
            f"UPDATE stored_events SET {column} = {value}"
            f" WHERE stream = 'room:general' AND originator_version IN ({seqs})",
        )

    async def run(self, *command: str) -> tuple[int, str, str]:
        """Run a command."""
        return await run(self.env, *command)

    async def of_account(self) -> list[int]:
        """Return the positions of what alice's general key encrypts beside rooms: names, and clients of sessions."""
        connection = await asyncpg.connect(self.database.superuser_url)
        query = """SELECT array_agg(notification_id) FROM stored_events
            WHERE stream IN ('person:alice', 'session:alice') AND key_id IS NOT NULL"""
        try:
            return list(await connection.fetchval(query))
        finally:
            await connection.close()

    async def positions(self, *kinds: str) -> list[int]:
        """Return the positions of the first events of some kinds."""
        return [await self._value("notification_id", self.seqs[kind]) for kind in kinds]

    async def _value(self, column: str, seq: int) -> Any:
        connection = await asyncpg.connect(self.database.superuser_url)
        query = (
            f"SELECT {column} FROM stored_events WHERE stream = 'room:general' AND originator_version = $1"
        )
        try:
            return await connection.fetchval(query, seq)
        finally:
            await connection.close()


async def life(node: Process) -> None:
    """Let three people do everything that a room's record can hold."""
    async with (
        client(node.url, "alice", name="Alice") as alice,
        client(node.url, "bob", name="Bob") as bob,
        client(node.url, "carol") as carol,
    ):
        for each in (alice, bob, carol):
            await each.join("general")
        await bob.join("elsewhere")
        await bob.post("elsewhere", "all is well")
        first = (await alice.post("general", "first", mentions=["bob"]))["messageId"]
        second = (await alice.post("general", "second"))["messageId"]
        await bob.post("general", "third")
        about = {"roomId": "general", "messageId": first}
        await alice.say("message:edit", **about, content="first, edited")
        await bob.say("message:react", **about, emoji=":+1:")
        await alice.say("message:pin", **about)
        await alice.say("message:delete", roomId="general", messageId=second)
        await alice.say("room:update", roomId="general", name="The Hall")
        await alice.say("room:update", roomId="general", topic="What we talk of")
        await alice.say("room:role", roomId="general", userId="bob", role="moderator")
        await alice.say("room:mute", roomId="general", userId="carol", reason="noise")
        await alice.say("room:kick", roomId="general", userId="carol")
        await bob.say("message:read", roomId="general", messageId=first)


@pytest.fixture
async def house(database: Database) -> House:
    """A house whose node and projector have stopped, with everything sealed and projected, and then unprojected."""
    env = environment(database)
    async with running(env, "project", "run"):
        async with running(env, "serve") as node:
            await life(node)
        await all_sealed(database)
    connection = await asyncpg.connect(database.superuser_url)
    rows = await connection.fetch(
        "SELECT topic, min(originator_version) AS seq FROM stored_events WHERE stream = 'room:general' GROUP BY topic"
    )
    await connection.close()
    return House(database, {row["topic"].split(".")[1]: row["seq"] for row in rows}, env)


async def unproject(database: Database) -> None:
    """Empty every read model, so that the next projector reads the whole log."""
    connection = await asyncpg.connect(database.superuser_url)
    for projection in PROJECTIONS:
        await connection.execute(f"TRUNCATE {projection.relation}")
    await connection.execute("UPDATE notification_tracking SET notification_id = 0")
    await connection.close()


async def projected(database: Database) -> None:
    """Wait until every read model is level with the log."""
    for projection in PROJECTIONS:
        await until(partial(_level, database, projection.table))


async def _level(database: Database, table: str) -> bool:
    connection = await asyncpg.connect(database.superuser_url)
    query = """
        SELECT notification_id = (SELECT max(notification_id) FROM stored_events)
        FROM notification_tracking WHERE application_name = $1
    """
    level = await connection.fetchval(query, table)
    await connection.close()
    return bool(level)


@asynccontextmanager
async def afresh(house: House) -> AsyncIterator[tuple[Process, Process]]:
    """Give a node and a projector that read the damaged log from its beginning."""
    await unproject(house.database)
    async with running(house.env, "project", "run") as projector, running(house.env, "serve") as node:
        yield node, projector


async def lives(node: Process, database: Database) -> dict[str, Any]:
    """Check that the room of the damage and another are usable by all; return what was received in `general`."""
    async with (
        client(node.url, "bob", {"general": 0, "elsewhere": 0}) as bob,
        client(node.url, "dave") as dave,
    ):
        head = bob.connected["rooms"]["general"]["head"]
        await bob.until(lambda: head in bob.seqs("general"))
        assert bob.seqs("general") == list(range(1, head + 1))
        assert bob.connected["rooms"]["general"]["recovered"]
        await bob.until(lambda: bob.events("message:new", content="all is well"))
        said = await bob.post("general", "after the damage")
        await bob.until(lambda: bob.events("message:new", content="after the damage"))
        page = await bob.say("message:history", roomId="general")
        assert page["messages"][-1]["messageId"] == said["messageId"]
        await bob.say("message:read", roomId="general", messageId=said["messageId"])
        assert [room["roomId"] for room in (await bob.say("room:list"))["rooms"]] == ["elsewhere", "general"]
        await bob.say("room:members", roomId="general")
        await dave.join("elsewhere")
        await dave.post("elsewhere", "hello")
        await bob.until(lambda: bob.events("message:new", content="hello"))
        await projected(database)
        async with httpx.AsyncClient(base_url=node.address) as http:
            headers = {"Authorization": f"Bearer {token('bob')}"}
            for path in ("me/rooms", "rooms/general", "rooms/general/messages", "rooms/general/members"):
                assert (await http.get(f"/api/{path}", headers=headers)).status_code == 200
        return {
            "events": {
                event["seq"]: event
                for event in bob.heard
                if event.get("roomId") == "general" and "seq" in event
            },
            "history": {one["messageId"]: one for one in page["messages"]},
        }


def named(process: Process) -> list[int]:
    """Return the positions that a process has logged as unreadable."""
    lines = [json.loads(line) for line in process.words if line.startswith("{")]
    return [line["position"] for line in lines if line["event"] == "unreadable_event"]


def clean(process: Process) -> None:
    """Check that nothing failed in a process."""
    for line in process.words:
        for word in ("Traceback", "task_failed", "command_failed", "projection_failed", "repair_failed"):
            assert word not in line, line


async def metric(node: Process, name: str) -> float:
    async with httpx.AsyncClient(base_url=node.address) as http:
        text = (await http.get("/metrics")).text
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


async def verified(house: House, positions: list[int]) -> None:
    """Check that `project verify` names positions, and says that all else is equal."""
    code, out, words = await house.run("project", "verify")
    assert code == 1, words
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == len(PROJECTIONS)
    assert all(line["equal"] for line in lines), out
    found = {one["position"] for line in lines for one in line["unreadable"]}
    assert found == set(positions)
    for position in positions:
        assert f"position {position} is unreadable" in words


async def audited(house: House, place: Path) -> dict[int, dict[str, Any]]:
    """Check that every command of an auditor works; return the replay by seq."""
    code, out, words = await house.run("audit", "replay", "--room", "general")
    assert code == 0, words
    lines = {line["seq"]: line for line in map(json.loads, out.splitlines())}
    assert list(lines) == list(range(1, len(lines) + 1))
    assert (await house.run("audit", "replay", "--room", "general", "--as", "text"))[0] == 0
    for command in (
        ("room", "general"),
        ("room", "general", "--at", "6"),
        ("person", "bob", "--room", "general"),
        ("expire",),
        ("holds",),
    ):
        code, _, words = await house.run("audit", *command)
        assert code == 0, (command, words)
    await all_sealed(house.database)
    code, _, words = await house.run("audit", "export", "--room", "general", "--out", str(place))
    assert code == 0, words
    return lines


@pytest.mark.parametrize("form", KEYS)
async def test_a_damaged_key_hides_one_persons_words_and_stops_nothing(
    house: House, form: str, tmp_path: Path
) -> None:
    await tamper(house.database, KEYS[form])
    async with afresh(house) as (node, projector):
        heard = await lives(node, house.database)
        first = heard["events"][house.seqs["MessagePosted"]]
        assert (first["type"], first["userId"], first["content"]) == ("message:new", "alice", None)
        assert first["mentions"] == ["bob"]
        assert heard["history"][first["messageId"]]["content"] is None
        assert [one["content"] for one in heard["history"].values()][2:] == ["third", "after the damage"]
        lines = await audited(house, tmp_path)
        words = [line for line in lines.values() if "unreadable" in line]
        assert {line["type"] for line in words} == {
            "MessagePosted", "MessageEdited", "RoomTopicChanged", "MemberMuted"
        }  # fmt: skip
        assert all("erased" not in line for line in words)
        assert (await offline(str(tmp_path)))[0] == 0
        await verified(house, [*await house.of_account(), *(line["position"] for line in words)])
        assert await metric(node, "onrecord_unreadable_events_total") >= len(words)
    for process in (node, projector):
        assert len(named(process)) == len(set(named(process)))
        assert {line["position"] for line in words} <= set(named(process))
        clean(process)
    code, _, said = await house.run("audit", "verify", "--words")
    assert code == 1
    assert "its key was changed" in said


@pytest.mark.parametrize("form", STATES)
async def test_damaged_states_of_every_kind_stop_nothing(house: House, form: str, tmp_path: Path) -> None:
    # A pin names its message in the state alone, so that one of another message is a pin like any other.
    sound = {"MemberJoined", "RoomOpened"} | ({"MessagePinned"} if form == "another message" else set())
    kinds = sorted(house.seqs.keys() - sound)
    await house.damage("state", STATES[form], *kinds)
    positions = await house.positions(*kinds)
    async with afresh(house) as (node, projector):
        heard = await lives(node, house.database)
        first = heard["events"][house.seqs["MessagePosted"]]
        assert (first["type"], first["userId"], first["content"]) == ("message:new", "alice", None)
        assert heard["events"][house.seqs["RoomRenamed"]]["type"] == "room:updated"
        assert "carol" not in {
            one["userId"] for one in heard["events"].values() if one["type"] == "message:new"
        }
        lines = await audited(house, tmp_path)
        shown = {line["position"]: line for line in lines.values() if line["type"] == "Unreadable"}
        assert sorted(shown) == sorted(positions)
        for kind, position in zip(kinds, positions, strict=True):
            assert shown[position]["topic"] == f"room.{kind}.v1"
            assert shown[position]["reason"]
        code, words = await offline(str(tmp_path))
        assert (code, f"position {min(positions)}" in words) == (1, True), words
        await verified(house, positions)
    for process in (node, projector):
        assert set(positions) <= set(named(process))
        assert len(named(process)) == len(set(named(process)))
        clean(process)
    code, out, _ = await house.run("audit", "verify")
    assert (code, out.split()) == (1, ["bad", str(min(positions))])


@pytest.mark.parametrize("kind", ["RoomOpened", "MemberJoined"])
async def test_a_room_whose_beginning_is_damaged_goes_on(house: House, kind: str, tmp_path: Path) -> None:
    await house.damage("state", STATES["no fields"] if kind == "MemberJoined" else "'{'", kind)
    positions = await house.positions(kind)
    async with afresh(house) as (node, projector):
        await lives(node, house.database)
        await audited(house, tmp_path)
        await verified(house, positions)
    for process in (node, projector):
        assert set(positions) <= set(named(process))
        clean(process)


@pytest.mark.parametrize("form", TOPICS)
async def test_a_damaged_topic_is_passed_by_since_its_seal_says_so(
    house: House, form: str, tmp_path: Path
) -> None:
    kinds = ["MessagePosted", "RoomTopicChanged", "MemberMuted"]
    await house.damage("topic", f"'{TOPICS[form]}'", *kinds)
    positions = await house.positions(*kinds)
    async with afresh(house) as (node, projector):
        heard = await lives(node, house.database)
        first = heard["events"][house.seqs["MessagePosted"]]
        assert (first["type"], first["userId"], first["content"]) == ("message:new", "alice", None)
        lines = await audited(house, tmp_path)
        assert sorted(one["position"] for one in lines.values() if one["type"] == "Unreadable") == sorted(
            positions
        )
        await verified(house, positions)
    for process in (node, projector):
        assert set(positions) <= set(named(process))
        clean(process)


@pytest.mark.logs("message_missing")
async def test_a_pin_of_a_message_that_never_was_stops_nothing(house: House, tmp_path: Path) -> None:
    await house.damage("state", STATES["another message"], "MessagePinned")
    async with afresh(house) as (node, projector):
        await lives(node, house.database)
        await audited(house, tmp_path)
        assert (await house.run("project", "verify"))[0] == 0
    assert any("message_missing" in line for line in projector.words)
    clean(node)
    clean(projector)


async def test_a_person_who_was_removed_is_not_let_in_again_by_damage(house: House) -> None:
    await house.damage("state", "'damaged'", "MemberRemoved", "MessageDeleted")
    async with afresh(house) as (node, _), client(node.url, "carol", {"general": 0}) as carol:
        assert carol.connected["rooms"]["general"]["reason"] == "not_a_member"
        assert (await carol.say("room:list"))["rooms"] == []
        async with client(node.url, "bob") as bob:
            page = (await bob.say("message:history", roomId="general"))["messages"]
    deleted = [one for one in page if "deletedAt" in one]
    assert [(one["content"], one["userId"]) for one in deleted] == [(None, "alice")]


async def test_another_key_encryption_key_is_not_taken_for_damage(house: House) -> None:
    """A read model without words would stay so when the right key is given."""
    env = house.env | {"ONRECORD_KEY_ENCRYPTION_KEY": "YW5vdGhlciBrZXkgZm9yIGFsbCBvZiB0aGUgdGVzdHM="}
    code, _, words = await run(env, "project", "verify")
    assert code == 1
    assert "ONRECORD_KEY_ENCRYPTION_KEY" in words
    await unproject(house.database)
    code, _, words = await run(env, "project", "run", "--only", "messages")
    assert code == 2
    assert "ONRECORD_KEY_ENCRYPTION_KEY" in words
    connection = await asyncpg.connect(house.database.superuser_url)
    assert await connection.fetchval("SELECT count(*) FROM messages_v2") == 0
    await connection.close()
    async with running(house.env, "project", "run", "--only", "messages"):
        await until(lambda: _level(house.database, "messages_v2"))
    assert (await house.run("project", "verify", "messages"))[0] == 0


@pytest.mark.logs("key_not_opened")
async def test_a_person_whose_key_is_damaged_still_reads(house: House) -> None:
    await tamper(house.database, KEYS["a flipped bit"])
    async with (
        afresh(house) as (node, _),
        client(node.url, "alice", {"general": 0}, name="Alice") as alice,
    ):
        await alice.until(lambda: alice.events("message:new", content="third"))
        for kind, fields in (("message:send", {"content": "x"}), ("room:update", {"topic": "t"})):
            with pytest.raises(Refused) as refused:
                await alice.say(kind, roomId="general", **fields)
            assert refused.value.code == "unavailable"
            assert "your key on this server is damaged" in refused.value.error["message"]
        await alice.say("room:leave", roomId="general")
        await alice.say("room:join", roomId="general")
    clean(node)
    code, out, _ = await house.run("doctor")
    assert code == 1
    assert "opens people's keys, but not 1 of " in out


async def test_a_node_passes_by_what_another_recorded_under_a_damaged_key(house: House) -> None:
    """The author's node has the key in memory and writes on; the other cannot open it."""
    async with running(house.env, "serve") as author, client(author.url, "alice") as alice:
        await alice.post("general", "before the damage")
        await tamper(house.database, KEYS["a flipped bit"])
        async with running(house.env, "serve") as other, client(other.url, "bob", {"general": None}) as bob:
            seq = (await alice.post("general", "after the damage"))["seq"]
            await bob.until(lambda: bob.events("message:new", seq=seq))
            assert bob.events("message:new", seq=seq)[0]["content"] is None
            await alice.say("room:kick", roomId="general", userId="bob", reason="a reason")
            await bob.until(lambda: bob.events("room:user_left", userId="bob"))
        clean(other)
