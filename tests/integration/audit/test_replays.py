"""The same range of the record gives the same bytes: from every command and endpoint, after later events, in pieces."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest

from service.embedded import Servers
from tests.support.audit.erasures import ERASE
from tests.support.audit.proof import all_sealed
from tests.support.clients.native import Client, Refused, client
from tests.support.environment import KEY_ENCRYPTION_KEY, environment
from tests.support.http.audits import visitor
from tests.support.processes.cluster import two_nodes
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database
from tests.support.waiting import until

pytestmark = pytest.mark.logs(*OUTAGE)

REPLAY = ("audit", "replay", "--room", "general")
NEW = base64.b64encode(bytes(range(32))).decode()


async def replayed(env: dict[str, str], *more: str) -> str:
    code, lines, words = await run(env, *REPLAY, *more)
    assert code == 0, words
    return lines


async def talk(node: Process) -> None:
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob", name="Bob") as bob:
        await alice.join("general")
        await bob.join("general")
        for number in range(4):
            await alice.post("general", f"hers {number}")
            await bob.post("general", f"his {number}")
        last = await alice.post("general", "hurried")
        await alice.say("message:edit", roomId="general", messageId=last["seq"], content="mended")


async def test_replay_bytes_survive_rotation_rebuild_and_later_events(
    node: Process, projector: Process, database: Database
) -> None:
    env = environment(database)
    await talk(node)
    head = str(len((await replayed(env)).splitlines()))
    before = {form: await replayed(env, "--to-seq", head, "--as", form) for form in ("ndjson", "text")}

    async def is_as_before(env: dict[str, str]) -> None:
        for form, lines in before.items():
            assert await replayed(env, "--to-seq", head, "--as", form) == lines

    await is_as_before(env)
    await talk(node)
    await is_as_before(env)
    await all_sealed(database)
    assert (await run(env, "audit", "keys", "--rotate"))[0] == 0
    await is_as_before(env)
    await projector.stop()
    with psycopg.connect(database.superuser_url, autocommit=True) as owner:  # as before they are built again
        owner.execute("TRUNCATE read_models.messages_v2, read_models.rooms_v2")
    await is_as_before(env)
    both = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=f"{NEW},{KEY_ENCRYPTION_KEY}")
    assert (await run(both, "keys", "rotate"))[0] == 0
    alone = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=NEW)
    await is_as_before(alone)


async def test_erasure_changes_only_the_erased_content_in_a_replay(node: Process, database: Database) -> None:
    env = environment(database)
    await talk(node)
    before = [json.loads(line) for line in (await replayed(env)).splitlines()]
    assert (await run(env, *ERASE))[0] == 0
    lines = await replayed(env, "--to-seq", str(len(before)))
    assert await replayed(env, "--to-seq", str(len(before))) == lines
    for was, is_now in zip(before, map(json.loads, lines.splitlines()), strict=True):
        hers = was["by"] == "alice" and "content" in was
        assert is_now == ({**was, "content": None, "erased": True} if hers else was)


async def test_two_nodes_stream_the_same_bytes(database: Database, servers: Servers) -> None:
    async with two_nodes(database, servers) as (one, other):
        await talk(one)
        given = []
        for node in (one, other, one):
            async with visitor(node, "ann", "auditor") as ann:
                given.append((await ann.get("/audit/events", params={"room": "general"})).content)
        # Each reading, and the end of each connection, names the room and so is in the next stream.
        talked = [
            [line for line in text.splitlines() if b'"stream":"room:general"' in line] for text in given
        ]
        assert len(talked[0]) == 13
        assert talked[0] == talked[1] == talked[2]


class Follower:
    """An auditor who follows messages, and goes on after the last line where a connection ends, at any of the nodes."""

    def __init__(self, *nodes: Process) -> None:
        self._nodes = nodes
        self.lines: list[str] = []
        self.visits = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with contextlib.suppress(httpx.TransportError):
                node = self._nodes[self.visits % len(self._nodes)]
                self.visits += 1
                async for line in self._heard(node):
                    self.lines.append(line)
            await asyncio.sleep(0.05)

    async def _heard(self, node: Process) -> AsyncIterator[str]:
        after = json.loads(self.lines[-1])["position"] if self.lines else 0
        asked = {"follow": "true", "type": "MessagePosted", "after": str(after)}
        async with (
            visitor(node, "ann", "auditor") as ann,
            ann.stream("GET", "/audit/events", params=asked, timeout=60) as answer,
        ):
            if answer.status_code == 200:
                async for line in answer.aiter_lines():
                    if line:
                        yield line

    def heard(self) -> list[str]:
        return [json.loads(line)["content"] for line in self.lines]


@contextlib.asynccontextmanager
async def following(*nodes: Process) -> AsyncIterator[Follower]:
    follower = Follower(*nodes)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.timeout(300)
async def test_follower_misses_nothing_when_database_connections_die(
    node: Process, database: Database
) -> None:
    said = [f"no. {number}" for number in range(30)]
    async with client(node.url, "alice") as alice, following(node) as follower:
        await alice.join("general")
        with psycopg.connect(database.superuser_url, autocommit=True) as owner:
            for text in said:
                owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                await posted(alice, text)
        await until(lambda: follower.heard()[-1:] == said[-1:])
    assert follower.heard() == said


async def posted(alice: Client, text: str) -> None:
    """Say something, again under the same ref while the database is away."""
    while True:
        try:
            await alice.post("general", text, ref=text.replace(" ", ""))
        except Refused as refused:
            assert refused.code == "unavailable"
        else:
            return
        await asyncio.sleep(0.05)


@pytest.mark.timeout(300)
async def test_who_follows_goes_on_at_another_node_when_one_is_drained(
    database: Database, servers: Servers
) -> None:
    async with two_nodes(database, servers) as (one, other):
        async with client(other.url, "alice") as alice, following(one, other) as follower:
            await alice.join("general")
            await alice.post("general", "before")
            await until(lambda: follower.heard() == ["before"])
            stopping = asyncio.create_task(one.stop())
            for number in range(10):
                await alice.post("general", f"no. {number}")
            assert await stopping == 0
            await until(lambda: follower.visits > 1 and follower.heard()[-1] == "no. 9")
            await alice.post("general", "after")
            await until(lambda: follower.heard()[-1] == "after")
        assert follower.heard() == ["before", *(f"no. {number}" for number in range(10)), "after"]
