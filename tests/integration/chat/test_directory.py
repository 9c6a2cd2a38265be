"""The room directory on the server's doors: what it lists, to whom, and how large its pages get."""

import json
from typing import Any

import pytest

from tests.support.clients.native import Client, client
from tests.support.environment import environment
from tests.support.http.openapi import promised, reader
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.waiting import projected

ROOMS = [
    {"roomId": "plans", "name": "Plans", "topic": None, "members": 1},
    {"roomId": "tea", "name": "Tea", "topic": "Green and black", "members": 2},
]


@pytest.fixture
async def rooms(node: Process) -> Process:
    """Two rooms in the directory, and three that are not: a private, a direct and an archived one."""
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.say("room:create", roomId="tea", name="Tea")
        await alice.say("room:update", roomId="tea", topic="Green and black")
        await alice.say("room:create", roomId="plans", name="Plans", members=["bob"])
        await alice.say("room:create", roomId="secret", name="Secret tea", visibility="private")
        await alice.say("room:create", name="Two", visibility="direct", members=["bob"])
        await alice.say("room:create", roomId="old", name="Old tea")
        await alice.say("room:archive", roomId="old")
        await bob.join("tea")
        await alice.say("room:kick", roomId="plans", userId="bob")
    return node


async def listed(asking: Client, **fields: object) -> tuple[list[dict[str, Any]], bool, str | None]:
    ack = await asking.say("room:directory", **fields)
    return ack["rooms"], ack["hasMore"], ack["next"]


async def test_the_directory_is_the_same_on_every_door(rooms: Process) -> None:
    async with client(rooms.url, "eve") as eve:
        assert await listed(eve) == (ROOMS, False, None)
        assert await listed(eve, query="te a") == ([], False, None)
    async with reader(rooms, "eve") as http:
        path = "/api/directory"
        assert promised(await http.get(path), path) == {"rooms": ROOMS, "hasMore": False, "next": None}
        page = promised(await http.get(path, params={"query": "TE", "limit": 1}), path)
        assert page == {"rooms": ROOMS[1:], "hasMore": False, "next": None}
        page = promised(await http.get(path, params={"limit": 1}), path)
        assert page == {"rooms": ROOMS[:1], "hasMore": True, "next": "plans"}
        page = promised(await http.get(path, params={"after": "plans"}), path)
        assert page["rooms"] == ROOMS[1:]


async def test_the_directory_is_the_same_from_the_read_model(rooms: Process, database: Database) -> None:
    async with running(environment(database), "project", "run"):
        await projected(database)
        async with client(rooms.url, "eve") as eve:
            assert await listed(eve, query="ea") == (ROOMS[1:], False, None)


async def test_a_page_of_the_longest_rooms_fits_into_a_frame(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        for number in range(100):
            room = {"roomId": f"r{number:03}", "name": f"{number:03}" + "\U0001f98a" * 190}
            await alice.say("room:create", **room)
            await alice.say("room:update", roomId=room["roomId"], topic="\U0001f98a" * 1_000)
        found, after = [], dict[str, Any]()
        while True:
            page = await alice.say("room:directory", limit=100, **after)
            assert len(json.dumps(page, ensure_ascii=False).encode()) < 512 * 1024
            found += [room["roomId"] for room in page["rooms"]]
            if not page["hasMore"]:
                break
            after = {"after": page["next"]}
        assert found == [f"r{number:03}" for number in range(100)]
