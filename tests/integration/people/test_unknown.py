"""Acks that name users who have never signed in, whose ids may be mistyped."""

from typing import Any

import pytest

from tests.support.clients.native import client
from tests.support.processes.processes import Process

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("room:create", {"name": "Plans", "visibility": "private", "members": ["bob", "nobody-such", "alice"]}),
    ("room:create", {"name": "Two", "visibility": "direct", "members": ["nobody-such"]}),
    ("room:create", {"name": "Group", "visibility": "direct", "members": ["bob", "nobody-such"]}),
    ("room:invite", {"roomId": "general", "userId": "nobody-such"}),
    ("room:ban", {"roomId": "general", "userId": "nobody-such"}),
    ("user:block", {"userId": "nobody-such"}),
]


@pytest.mark.parametrize(("kind", "fields"), COMMANDS)
async def test_the_ack_names_users_who_have_never_signed_in(
    node: Process, kind: str, fields: dict[str, Any]
) -> None:
    async with client(node.url, "bob"), client(node.url, "alice") as alice:
        await alice.join("general")
        ack = await alice.say(kind, ref="typo", **fields)
        assert ack["unknown"] == ["nobody-such"]
        assert await alice.say(kind, ref="typo", **fields) == ack, "a retry"


async def test_the_ack_names_no_user_who_has_signed_in(node: Process) -> None:
    async with client(node.url, "carol", name="Carol"), client(node.url, "alice") as alice:
        await alice.join("general")
        async with client(node.url, "bob"):
            assert "unknown" not in await alice.say("room:create", name="P", members=["bob", "carol"])
        for kind, fields in COMMANDS:
            known = {name: "bob" if value == "nobody-such" else value for name, value in fields.items()}
            known |= {"members": ["bob", "alice", "carol"]} if "members" in fields else {}
            assert "unknown" not in await alice.say(kind, **known), kind


async def test_a_ban_of_a_member_names_no_one(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        assert "unknown" not in await alice.say("room:ban", roomId="general", userId="bob")


async def test_a_command_that_changes_nothing_names_no_one(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for kind, fields in COMMANDS:
            if kind in ("room:ban", "user:block"):
                assert (await alice.say(kind, **fields))["unknown"] == ["nobody-such"], kind
                assert "unknown" not in await alice.say(kind, **fields), kind
