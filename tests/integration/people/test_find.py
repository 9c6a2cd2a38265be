"""People are found by name and user id over both endpoints and HTTP, if the operator allows it."""

from typing import Any

import httpx
import pytest

from tests.support.clients.native import Client, Refused, client
from tests.support.environment import environment, token
from tests.support.http.openapi import promised, reader
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database


async def ids(asker: Client, query: str, **fields: Any) -> list[str]:
    return [user["userId"] for user in (await asker.say("user:find", query=query, **fields))["users"]]


async def seen(asker: Client, user: str) -> None:
    """Wait until the session of a user is recorded."""
    while user not in await ids(asker, user):
        pass


@pytest.mark.usefixtures("projector")
async def test_people_are_found_by_id_and_by_each_word_of_the_name(node: Process) -> None:
    async with (
        client(node.url, "org/A1", name="José Núñez"),
        client(node.url, "Bob"),
        client(node.url, "alice", name="Alice") as alice,
    ):
        await seen(alice, "Bob")
        assert (await alice.say("user:find", query="NUN"))["users"] == [
            {"userId": "org/A1", "name": "José Núñez"}
        ]
        assert (await alice.say("user:find", query="bo"))["users"] == [{"userId": "Bob", "name": "Bob"}]
        assert await ids(alice, "org/a") == ["org/A1"]
        await alice.say("room:create", name="Plans", visibility="private", members=["never-here"])
        assert await ids(alice, "never") == [], "who was only added has not been seen"
        async with client(node.url, "org/A1", name="Zoe"):
            assert await ids(alice, "zoe") == ["org/A1"]
            assert await ids(alice, "jose") == []
        page = await alice.say("user:find", query="a", limit=1)
        assert (page["hasMore"], page["among"]) == (False, "anyone")
        async with reader(node, "alice") as http:
            answer = promised(await http.get("/api/users", params={"query": "NUN"}), "/api/users")
            assert answer == {"users": [], "hasMore": False, "among": "anyone"}
            answer = promised(await http.get("/api/users", params={"query": "zo", "limit": 3}), "/api/users")
            assert answer["users"] == [{"userId": "org/A1", "name": "Zoe"}]
            for wrong in ({}, {"query": ""}, {"query": " "}, {"query": "a", "limit": "21"}):
                assert (await http.get("/api/users", params=wrong)).status_code == 400, wrong


@pytest.mark.usefixtures("projector")
async def test_an_erased_person_is_not_found(node: Process, database: Database) -> None:
    env = environment(database)
    async with client(node.url, "alice") as alice:
        async with client(node.url, "mallory", name="Mallory Mark"):
            await seen(alice, "mallory")
        code, _, error = await run(env, "audit", "erase", "--person", "mallory", "--ground", "g")
        assert code == 0, error
        for query in ("mallory", "mark", "m"):
            assert await ids(alice, query) == []
        code, lines, _ = await run(env, "project", "verify")
        assert code == 0, lines


@pytest.mark.usefixtures("projector")
async def test_with_shared_only_people_of_a_common_room_are_found(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_FIND_PEOPLE="shared"), "serve") as node,
        client(node.url, "alice") as alice,
        client(node.url, "bob", name="Bob") as bob,
        client(node.url, "bobby", name="Bobby"),
    ):
        assert await ids(alice, "bob") == []
        await alice.join("general")
        await bob.join("general")
        while await ids(alice, "bob") != ["bob"]:
            pass
        assert (await alice.say("user:find", query="bob"))["among"] == "shared"


async def test_the_operator_may_let_no_one_find_people(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_FIND_PEOPLE="nobody"), "serve") as node,
        client(node.url, "alice") as alice,
    ):
        with pytest.raises(Refused, match="not_allowed"):
            await alice.say("user:find", query="bob")
        headers = {"Authorization": f"Bearer {token('alice')}"}
        async with httpx.AsyncClient(base_url=node.address, headers=headers) as http:
            answer = await http.get("/api/users?query=bob")
            assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
