"""The operator's commands: what they print, and what they end with."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from projections import PROJECTIONS
from service.cli import main
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database


async def test_replay_prints_a_room_event_by_event(node: Process, database: Database) -> None:
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
        acks = [await alice.post("general", text, ref=text) for text in ("one", "two", "three")]
    env = environment(database)
    code, lines, _ = await run(env, "audit", "replay", "--room", "general")
    events = [json.loads(line) for line in lines.splitlines()]
    assert code == 0
    assert [(event["seq"], event["type"], event["by"]) for event in events] == [
        (1, "RoomOpened", "alice"),
        (2, "MemberJoined", "alice"),
        (3, "MessagePosted", "alice"),
        (4, "MessagePosted", "alice"),
        (5, "MessagePosted", "alice"),
    ]
    assert [event["content"] for event in events[2:]] == ["one", "two", "three"]
    assert [event["at"] for event in events[2:]] == [ack["at"] for ack in acks]
    assert [event["position"] for event in events] == sorted(event["position"] for event in events)
    again = await run(env, "audit", "replay", "--room", "general")
    assert again[1] == lines
    _, some, _ = await run(env, "audit", "replay", "--room", "general", "--from-seq", "3", "--to-seq", "4")
    assert some.splitlines() == lines.splitlines()[2:4]
    _, timed, _ = await run(
        env, "audit", "replay", "--room", "general", "--from", acks[1]["at"], "--to", acks[1]["at"]
    )
    assert [json.loads(line)["seq"] for line in timed.splitlines()] == [4]
    code, text, _ = await run(env, "audit", "replay", "--room", "general", "--as", "text", "--from-seq", "4")
    assert (code, text.splitlines()[0]) == (
        0,
        f'     4  {acks[1]["at"]}  Alice (alice)  message posted: author="alice" content="two"',
    )


async def test_a_room_is_shown_as_it_stood_and_what_changed_since(node: Process, database: Database) -> None:
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
        first = await alice.post("general", "one")
        await alice.say("message:edit", roomId="general", messageId=3, content="two")
    env = environment(database)
    documents = {}
    for moment in ("3", first["at"]):
        code, out, _ = await run(env, "audit", "room", "general", "--at", moment)
        assert code == 0
        documents[moment] = json.loads(out)
    assert documents["3"] == documents[first["at"]]
    assert [one["content"] for one in documents["3"]["messages"]] == ["one"]
    assert [(one["userId"], one["name"], one["role"]) for one in documents["3"]["members"]] == [
        ("alice", "Alice", "owner")
    ]
    _, out, _ = await run(env, "audit", "room", "general")
    assert [one["content"] for one in json.loads(out)["messages"]] == ["two"]
    code, out, _ = await run(env, "audit", "room", "general", "--diff", "3")
    (change,) = json.loads(out)["messages"]
    assert (code, change["before"]["content"], change["after"]["content"]) == (0, "one", "two")
    code, out, words = await run(env, "audit", "room", "nowhere")
    assert (code, out, words) == (1, "", "There is no room nowhere.\n")


async def test_a_room_that_is_not_there_is_said_so(database: Database) -> None:
    code, lines, words = await run(environment(database), "audit", "replay", "--room", "nowhere")
    assert (code, lines) == (1, "")
    assert "nowhere" in words


async def test_status_and_verify_print_a_line_per_projection(node: Process, database: Database) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        await alice.post("general", "hello")
    env = environment(database)
    code, lines, _ = await run(env, "project", "status")
    status = {line["name"]: line for line in map(json.loads, lines.splitlines())}
    assert code == 0
    assert set(status) == {projection.name for projection in PROJECTIONS}
    assert all(line["behind"] > 0 for line in status.values())
    assert (await run(env, "project", "verify", "messages"))[0] == 0


async def test_a_database_that_was_not_migrated_is_refused_in_one_sentence(database: Database) -> None:
    empty = database.superuser_url.rsplit("/", 1)[0] + "/postgres"
    env = environment(database, ONRECORD_DATABASE_URL=empty)
    code, _, words = await run(env, "serve")
    assert code == 2
    assert "onrecord migrate" in words
    assert "Traceback" not in words


async def test_a_database_that_cannot_be_reached_is_exit_code_3(database: Database) -> None:
    env = environment(database, ONRECORD_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    for command in (("project", "status"), ("audit", "replay", "--room", "general")):
        code, _, words = await run(env, *command)
        assert code == 3
        assert "Traceback" not in words


async def test_redis_without_a_key_that_signs_is_refused_in_one_sentence(database: Database) -> None:
    env = environment(database, ONRECORD_REDIS_URL="redis://127.0.0.1:1/0", ONRECORD_BUS_KEY="")
    code, _, words = await run(env, "serve")
    assert code == 2
    assert words.startswith("ONRECORD_BUS_KEY is needed")


async def test_a_projection_that_does_not_exist_is_wrong_usage(database: Database) -> None:
    env = environment(database)
    for command in (
        ("project", "run", "--only", "x"),
        ("project", "status", "x"),
        ("project", "verify", "x"),
        ("project", "rebuild", "x"),
    ):
        code, _, words = await run(env, *command)
        assert (code, words) == (
            2,
            f"There is no projection x; choose from {', '.join(one.name for one in PROJECTIONS)}.\n",
        )


async def test_migrating_twice_applies_nothing_the_second_time(database: Database) -> None:
    assert await run(environment(database), "migrate") == (0, "", "")


async def test_a_node_that_is_asked_to_stop_ends_with_0(database: Database) -> None:
    async with running(environment(database), "serve") as node:
        assert await node.stop() == 0
        assert "Traceback" not in "".join(node.words)


async def test_a_moment_is_inclusive_and_may_be_written_in_any_time_zone(
    node: Process, database: Database
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        posted = await alice.post("general", "one")
        await alice.post("general", "two")
    env = environment(database)
    at = datetime.fromisoformat(posted["at"])
    before = await run(env, "audit", "room", "general", "--at", (at - timedelta(microseconds=1)).isoformat())
    assert (before[0], json.loads(before[1])["seq"]) == (0, 2)
    exactly = await run(env, "audit", "room", "general", "--at", posted["at"])
    assert (exactly[0], json.loads(exactly[1])["seq"]) == (0, 3)
    for hours in (-11, 2, 14):
        elsewhere = at.astimezone(timezone(timedelta(hours=hours))).isoformat()
        assert await run(env, "audit", "room", "general", "--at", elsewhere) == exactly
    now = await run(env, "audit", "room", "general")
    future = await run(env, "audit", "room", "general", "--at", "9999-12-31T23:59:59Z")
    assert future == (2, "", "9999-12-31 23:59:59 UTC is in the future.\n")
    assert await run(env, "audit", "room", "general", "--at", "4") == now
    beyond = await run(env, "audit", "room", "general", "--at", "400")
    assert beyond == (*now[:2], "There is no event 400 in general yet: its last is 4.\n")
    unchanged = await run(env, "audit", "room", "general", "--diff", posted["at"], "--at", "3")
    assert (unchanged[0], json.loads(unchanged[1])["messages"]) == (0, [])
    forth = await run(env, "audit", "room", "general", "--diff", "1970-01-01T00:00:00Z", "--at", "3")
    assert (forth[0], json.loads(forth[1])["from"], len(json.loads(forth[1])["messages"])) == (
        0,
        {"seq": 0},
        1,
    )


@pytest.mark.parametrize(
    "moment",
    [
        "0",
        "-1",
        "yesterday",
        "2026-11-27T08:00:00",
        "2026-02-30T00:00:00Z",
        "9" * 20,
        "",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_what_is_no_moment_is_wrong_usage(moment: str, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--at", "--diff"):
        with pytest.raises(SystemExit) as ended:
            main(["audit", "room", "general", f"{word}={moment}"])
        assert ended.value.code == 2
        assert "or the seq of an event" in capsys.readouterr().err
