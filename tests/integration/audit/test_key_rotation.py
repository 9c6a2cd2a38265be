"""The key encryption key is rotated under a running system, by the operator's commands."""

import base64
import json

import pytest

from tests.support.audit.proof import all_sealed
from tests.support.clients.native import client
from tests.support.environment import KEY_ENCRYPTION_KEY, environment
from tests.support.eventstore.log_node import stored
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

CONTENT = ["before", "under the new key", "between"]
NEW = base64.b64encode(bytes(range(32))).decode()


async def projected(database: Database) -> bool:
    """Return whether the read model has the content that was posted under the new key."""
    query = "SELECT content FROM read_models.messages_v2 ORDER BY id"
    found = [row["content"] for row in await stored(database, query)]
    assert None not in found
    return found == CONTENT[:2]


@pytest.mark.logs("seals_broken", "unreadable_event", "projection_failed")
async def test_after_a_rotation_the_new_key_alone_opens_everything(node: Process, database: Database) -> None:
    async with (
        running(environment(database), "project", "run"),
        client(node.url, "alice", name="Alice") as alice,
    ):
        await alice.join("general")
        await alice.post("general", "before")
        await all_sealed(database)
    both = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=f"{NEW},{KEY_ENCRYPTION_KEY}")
    alone = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=NEW)
    code, status, words = await run(alone, "keys", "status")
    assert (code, json.loads(status)) == (1, {"current": 0, "older": 0, "unknown": 1})
    assert "ONRECORD_KEY_ENCRYPTION_KEY" in words
    assert json.loads((await run(both, "keys", "status"))[1]) == {"current": 0, "older": 1, "unknown": 0}
    async with running(both, "serve") as later, running(environment(database), "project", "run") as outdated:
        await until(lambda: any('"projection_leads"' in line for line in outdated.words))
        async with client(later.url, "bob", name="Bob") as bob:
            await bob.join("general")
            await bob.post("general", "under the new key")
            await until(lambda: any("projection_failed" in line for line in outdated.words))
    async with (
        running(both, "serve") as later,
        running(both, "project", "run"),
        client(later.url, "bob", name="Bob") as bob,
    ):
        await bob.join("general")
        await until(lambda: projected(database))
        assert [said["content"] for said in bob.events("message:history")[0]["messages"]] == CONTENT[:2]
        for _ in range(2):
            code, status, _ = await run(both, "keys", "rotate")
            assert (code, json.loads(status)) == (0, {"current": 2, "older": 0, "unknown": 0})
        await bob.post("general", "between")
    async with running(alone, "serve") as last, client(last.url, "bob") as bob:
        history = await bob.say("message:history", roomId="general")
        assert [said["content"] for said in history["messages"]] == CONTENT
        assert {said["name"] for said in history["messages"]} == {"Alice", "Bob"}
    code, lines, _ = await run(alone, "audit", "replay", "--room", "general")
    assert code == 0
    assert "between" in lines
    assert (await run(alone, "audit", "verify"))[0] == 0
