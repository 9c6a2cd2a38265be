"""What others may do to a person by adding, inviting and mentioning them, and how a block ends it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.abuse.test_limits import DOORS, Ended, at
from tests.support.clients.native import Client, Refused, client
from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database


async def add(attacker: Client, victim: str, times: int) -> list[str]:
    """Open rooms with a person in them; return their ids."""
    return [
        (await attacker.say("room:create", name=f"Trap {number}", visibility="private", members=[victim]))[
            "roomId"
        ]
        for number in range(times)
    ]


async def test_who_is_added_to_100_rooms_can_still_join(node: Process) -> None:
    async with client(node.url, "mallory") as mallory, client(node.url, "victim") as victim:
        traps = await add(mallory, "victim", 100)
        await victim.until(lambda: len(victim.events("room:created")) == 100)
        for number in range(100):
            await victim.join(f"mine-{number}")
        with pytest.raises(Refused, match="too_many_rooms"):
            await victim.join("one-more")
        await mallory.post(traps[-1], "boo")
        await victim.until(lambda: victim.events("message:new", roomId=traps[-1]))
    cursors = {room: 0 for room in [*traps, *(f"mine-{number}" for number in range(100))]}
    async with client(node.url, "victim", rooms=cursors) as victim:
        await victim.say("room:list")
