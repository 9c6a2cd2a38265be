"""A person is erased from a running system: two nodes, a projector, a sealer; and then the words are looked for.

The rule of this test: what is looked for was found before, so that not finding it means something.
"""

import json
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from service.embedded import Servers
from tests.support.audit.erasures import (
    ERASE,
    MARK,
    _bearer,
    connection,
    dump,
    heard_by_bob,
    holds,
    life,
    long_ago,
)
from tests.support.audit.proof import all_sealed
from tests.support.clients.native import client, raw
from tests.support.environment import environment, token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.waiting import projected, until

"""In everything that alice writes."""

"""A message that Postgres keeps apart from its row."""


async def audited(env: dict[str, str], place: Path) -> str:
    """Return all that the auditor's commands show."""
    shown = ""
    for command in (("audit", "replay", "--room", "general"), ("audit", "room", "general")):
        code, out, words = await run(env, *command)
        assert code == 0, words
        shown += out
    code, _, words = await run(env, "audit", "export", "--out", str(place), "--all")
    assert code == 0, words
    return shown + _texts(place)


def _texts(place: Path) -> str:
    return "".join(file.read_text(errors="replace") for file in sorted(place.iterdir()))


@pytest.mark.parametrize("bus", ["redis", "no redis"])
async def test_erased_person_is_refused_and_no_content_is_left_anywhere(
    database: Database, servers: Servers, tmp_path: Path, bus: str
) -> None:
    env = environment(database)
    redis_url = servers.redis_url if bus == "redis" else "redis://127.0.0.1:1/0"
    async with (
        two_nodes(database, servers, ONRECORD_REDIS_URL=redis_url) as (one, other),
        running(env, "project", "run") as projector,
    ):
        await life(one, other)
        await projected(database)
        await all_sealed(database)
        for found in (dump(database), await heard_by_bob(one), await audited(env, tmp_path / "before")):
            assert holds(found), "it is found before"
        assert in_files(database)
        async with (
            connection(one, "alice", f"Alice {MARK}", general=None) as here,
            connection(other, "alice", f"Alice {MARK}", general=None) as there,
        ):
            code, summary, words = await run(env, *ERASE)
            assert code == 0, words
            assert [await each.closed() for each in (here, there)] == [4504, 4504]
        erased = json.loads(summary)
        assert (erased["person"], erased["keys"], erased["left"], erased["purged"]) == ("alice", 1, 1, True)
        assert erased["already"] is False
        await shut_out(one, other)
        # Nowhere in the database, in what others receive, in what auditors see, in Redis, in the logs.
        assert not holds(dump(database))
        for node in (one, other):
            told = await heard_by_bob(node)
            assert not holds(told)
            assert "bob's own words" in told
        await all_sealed(database)
        shown = await audited(env, tmp_path / "after")
        assert not holds(shown)
        assert "bob's own words" in shown
        code, lines, _ = await run(env, "audit", "replay", "--room", "general")
        marked = [event for event in map(json.loads, lines.splitlines()) if event.get("erased")]
        assert {event["by"] for event in marked} == {"alice"}
        assert len(marked) == 12
        code, _, words = await run(env, "audit", "verify", "--words")
        assert (code, "and the record has the reason for each" in words) == (0, True), words
        await projected(database)
        code, report, _ = await run(env, "project", "verify")
        assert code == 0, report
        # Again: the same erasure, with the ground that is on the record, and nothing to destroy.
        code, summary, _ = await run(env, *ERASE[:-1], "another ground")
        again = json.loads(summary)
        assert (code, again["position"], again["keys"], again["already"]) == (0, erased["position"], 0, True)
        assert again["ground"] == erased["ground"] == ERASE[-1]
        code, text, _ = await run(env, *ERASE, "--as", "text")
        assert (code, text.startswith("alice was already erased ")) == (0, True), text
    assert not holds("".join([*one.words, *other.words, *projector.words]))
    with redis.Redis.from_url(servers.redis_url) as server:
        assert server.dbsize() == 0, "the bus keeps nothing"
    assert not in_files(database)


async def shut_out(*nodes: Process) -> None:
    """Check that alice comes in by no door."""
    for node in nodes:
        async with raw(node.url) as socket:
            hello = {"type": "connect", "protocol": 1, "token": token("alice", name=f"Alice {MARK}")}
            await socket.send(json.dumps(hello))
            await socket.wait_closed()
            assert socket.close_code == 4504
        async with httpx.AsyncClient(base_url=node.address, headers=_bearer("alice")) as http:
            answer = await http.get("/api/me/rooms")
            assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
            assert answer.json()["detail"] == "This account was erased."


def in_files(database: Database) -> bool:
    """Rewrite the tables (docs/guides/erase-a-person.md), and return whether a database file holds a mark."""
    with psycopg.connect(database.superuser_url, autocommit=True) as owner:
        for statement in (
            "VACUUM FULL read_models.messages_v2",
            "VACUUM FULL read_models.rooms_v2",
            "VACUUM FULL read_models.people_v1",
            "VACUUM FULL read_models.profiles_v1",
            "VACUUM FULL person_keys",
            "CHECKPOINT",
        ):
            owner.execute(statement)
        row = owner.execute(
            "SELECT current_setting('data_directory'), oid::text FROM pg_database WHERE datname = %s",
            [database.name],
        ).fetchone()
    assert row is not None
    place, oid = Path(row[0]), row[1]
    files = [
        file for file in place.rglob("*") if file.is_file() and _is_searched(file.relative_to(place), oid)
    ]
    assert {file.relative_to(place).parts[0] for file in files} >= {"base", "global", "pg_xact"}
    return any(_contains_mark(file) for file in files)


def _is_searched(file: Path, oid: str) -> bool:
    """Return whether a file of the server may hold data of this database, without the write-ahead log."""
    return file.parts[0] != "pg_wal" and (file.parts[0] != "base" or file.parts[1] in (oid, "pgsql_tmp"))


def _contains_mark(file: Path) -> bool:
    try:
        return MARK.encode() in file.read_bytes()
    except FileNotFoundError:  # the server has removed it
        return False


async def test_an_administrator_erases_over_http_and_nobody_else_does(
    node: Process, projector: Process
) -> None:
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        await alice.post("general", MARK)
        path, ground = "/admin/people/alice/erase", {"ground": "case 2026-31"}
        async with httpx.AsyncClient(base_url=node.address) as http:
            assert (await http.post(path, json=ground)).status_code == 401
            for scope in ("chat", "auditor"):
                refused = await http.post(path, json=ground, headers=_bearer("bob", scope))
                assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
            admin = _bearer("root", "chat admin")
            for bad in (
                {},
                {"ground": ""},
                {"ground": "x" * 501},
                {"ground": "two\nlines"},
                {"ground": "x", "y": 1},
            ):
                assert (await http.post(path, json=bad, headers=admin)).json()["code"] == "malformed"
            unknown = await http.post("/admin/people/nobody/erase", json=ground, headers=admin)
            assert (unknown.status_code, unknown.json()["code"]) == (404, "user_not_found")
            done = await http.post(path, json=ground, headers=admin)
            assert done.status_code == 200
            again = await http.post(path, json=ground, headers=admin)
            assert again.json() == done.json()
        assert done.json().keys() == {"userId", "position", "at"}
        assert await alice.closed() == 4504
        async with client(node.url, "bob", {"general": 0}) as later:
            await later.until(lambda: later.events("message:new"))
            (said,) = later.events("message:new")
            assert (said["content"], said["name"]) == (None, "alice")
            await later.until(lambda: later.events("room:user_left", userId="alice", reason="left"))
            members = (await later.say("room:members", roomId="general"))["members"]
            assert [(member["userId"], member["role"]) for member in members] == [("bob", "owner")]
    assert projector.process.returncode is None


@pytest.mark.usefixtures("projector")
async def test_messages_of_an_erased_user_count_for_nobody(node: Process, database: Database) -> None:
    env = environment(database)
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        for each in (alice, bob):
            await each.join("general")
        for content in ("one", "two", "@bob three"):
            await alice.post("general", content, mentions=["bob"] if "@" in content else [])

        async def counts() -> set[tuple[int, int]]:
            async with httpx.AsyncClient(base_url=node.address) as http:
                over_http = (await http.get("/api/me/rooms", headers=_bearer("bob", "chat"))).json()
            answers = (await bob.say("room:list"), over_http)
            return {(room["unread"], room["mentions"]) for answer in answers for room in answer["rooms"]}

        assert await counts() == {(3, 1)}
        code, _, words = await run(env, *ERASE)
        assert code == 0, words
        assert await counts() == {(0, 0)}
        await projected(database)
        assert await counts() == {(0, 0)}
    code, lines, _ = await run(env, "project", "verify")
    assert code == 0, lines


async def test_erasing_somebody_who_was_never_here_is_refused_in_one_sentence(database: Database) -> None:
    env = environment(database)
    code, out, words = await run(env, "audit", "erase", "--person", "nobody", "--ground", "x")
    assert (code, out) == (1, "")
    assert words == "There is no person nobody on the record.\n"
    code, _, words = await run(env, "audit", "erase", "--person", "nobody", "--ground", " ")
    assert code == 2
    assert "is not a ground: one line" in words


async def test_without_a_projector_the_summary_says_what_is_left(node: Process, database: Database) -> None:
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
    code, summary, words = await run(environment(database), *ERASE)
    assert (code, json.loads(summary)["purged"]) == (0, False)
    assert "onrecord project run" in words


async def test_what_is_held_is_not_erased_and_the_commands_say_why(node: Process, database: Database) -> None:
    env = environment(database)
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
        await alice.post("general", MARK)
    assert await run(env, "audit", "holds") == (0, "", "")
    code, placed, words = await run(env, "audit", "hold", "--room", "general", "--ground", "case 7")
    assert code == 0, words
    assert json.loads(placed).items() >= {("room", "general"), ("ground", "case 7")}
    assert await run(env, "audit", "holds") == (0, placed, "")
    code, out, words = await run(env, *ERASE)
    assert (code, out) == (1, "")
    assert words == "alice cannot be erased: a legal hold is on the room general.\n"
    async with httpx.AsyncClient(base_url=node.address, headers=_bearer("root", "admin")) as http:
        refused = await http.post("/admin/people/alice/erase", json={"ground": "x"})
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
        assert refused.json()["detail"] == words.strip()
    code, _, words = await run(env, "audit", "hold", "--room", "general", "--ground", "case 8")
    assert (code, words) == (1, "There is a legal hold on the room general already.\n")
    code, released, _ = await run(env, "audit", "release", "--room", "general", "--ground", "closed")
    assert json.loads(released)["ground"] == "closed"
    assert await run(env, "audit", "holds") == (0, "", "")
    assert (await run(env, "audit", "release", "--room", "general", "--ground", "x"))[0] == 1
    assert (await run(env, *ERASE))[0] == 0


@pytest.mark.usefixtures("projector")
async def test_a_room_with_a_rule_forgets_what_is_over(node: Process, database: Database) -> None:
    env = environment(database)
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
        for each in (alice, bob):
            await each.join("general")
        await alice.post("general", "before the rule")
        code, said, words = await run(env, "audit", "retention", "--room", "general", "--days", "30")
        assert (code, json.loads(said)) == (0, {"room": "general", "days": 30, "before": None}), words
        await bob.until(lambda: bob.events("room:updated", retentionDays=30))
        await alice.post("general", f"over soon {MARK}")
        await bob.post("general", "new")
        await bob.until(lambda: bob.events("message:new", content="new"))
        await projected(database)
        assert await run(env, "audit", "expire") == (0, "", "")
        age(database, "alice")
        code, said, words = await run(env, "audit", "expire")
        assert (code, json.loads(said)["room"], json.loads(said)["keys"]) == (0, "general", 1), words
        await projected(database)
        contents = ["before the rule", None, "new"]

        async def forgotten() -> bool:
            async with client(node.url, "bob", {"general": 0}) as later:
                await later.until(lambda: later.events("message:new", content="new"))
                return [said["content"] for said in later.events("message:new")] == contents

        await until(forgotten)
        page = await bob.say("message:history", roomId="general")
        assert [said["content"] for said in page["messages"]] == contents
        assert not holds(dump(database))
        # Who writes on goes on under today's key.
        await alice.post("general", "and on")
        code, lines, _ = await run(env, "audit", "replay", "--room", "general")
        said_then = [json.loads(line) for line in lines.splitlines() if "MessagePosted" in line]
        assert [event["content"] for event in said_then] == [*contents, "and on"]
    await projected(database)
    assert (await run(env, "project", "verify"))[0] == 0


@pytest.mark.usefixtures("projector")
async def test_a_rule_reaches_back_under_connected_people_who_write_on(
    node: Process, database: Database
) -> None:
    env = environment(database)
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
        for each in (alice, bob):
            for room in ("general", "other"):
                await each.join(room)
        await alice.post("general", f"before the rule {MARK}")
        await alice.post("other", "elsewhere")
        long_ago(database)
        await bob.post("general", "lately")
        code, _, words = await run(env, "audit", "retention", "--room", "general", "--days", "30")
        assert (code, "also covers older content" in words) == (0, True)
        await projected(database)
        code, said, words = await run(env, "audit", "expire")
        assert (code, json.loads(said)["room"]) == (0, "general"), words
        # The node still has the old key in memory: what is sealed with it is sealed again.
        await alice.post("other", "and on")
        await bob.post("general", "too")
        await projected(database)
        assert not holds(dump(database))
        for room, contents in (("general", [None, "lately", "too"]), ("other", ["elsewhere", "and on"])):
            page = await bob.say("message:history", roomId=room)
            assert [said["content"] for said in page["messages"]] == contents
            code, lines, _ = await run(env, "audit", "replay", "--room", room)
            events = [json.loads(line) for line in lines.splitlines() if "MessagePosted" in line]
            assert [event["content"] for event in events] == contents


@pytest.mark.usefixtures("projector")
@pytest.mark.parametrize("how", ["expired", "erased"])
async def test_members_learn_of_lost_content_and_count_it_no_more(
    database: Database, servers: Servers, how: str
) -> None:
    env = environment(database)
    async with (
        two_nodes(database, servers) as (one, other),
        client(one.url, "alice") as alice,
        client(one.url, "bob") as bob,
        client(other.url, "bob") as elsewhere,
        client(other.url, "carol") as stranger,
    ):
        for each in (alice, bob, elsewhere):
            await each.join("general")
        await stranger.join("other")
        assert (await run(env, "audit", "retention", "--room", "general", "--days", "30"))[0] == 0
        await elsewhere.until(lambda: elsewhere.events("room:updated", retentionDays=30))
        for content in ("one", "two", "@bob three"):
            await alice.post("general", content, mentions=["bob"] if "@" in content else [])

        async def counts() -> set[tuple[int, int]]:
            answers = [await each.say("room:list") for each in (bob, elsewhere)]
            return {(room["unread"], room["mentions"]) for answer in answers for room in answer["rooms"]}

        assert await counts() == {(3, 1)}
        if how == "expired":
            age(database, "alice")
        code, _, words = await run(env, *(("audit", "expire") if how == "expired" else ERASE))
        assert code == 0, words
        about = {"roomId": "general", "reason": how} | ({"userId": "alice"} if how == "erased" else {})
        for each in (bob, elsewhere):
            await each.until(lambda: each.events("room:content_removed", **about))  # noqa: B023 - waited for at once
            assert await counts() == {(0, 0)}
        await projected(database)
        assert await counts() == {(0, 0)}
        assert not stranger.events("room:content_removed")
    assert (await run(env, "project", "verify"))[0] == 0


def age(database: Database, person: str) -> None:
    """Move the keys of a person's messages in rooms with a rule into the past."""
    with psycopg.connect(database.superuser_url, autocommit=True) as owner:
        owner.execute(
            "UPDATE person_keys SET scope = 'general/2020-02-29' WHERE person = %s AND scope <> ''", [person]
        )
