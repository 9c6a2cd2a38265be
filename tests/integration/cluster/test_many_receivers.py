"""A room whose members read, read late, and vanish, over each way to write to many sockets."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection

from tests.support.clients.native import PATIENCE, client, raw
from tests.support.environment import ROOT, environment, token
from tests.support.http.metrics import number, scraped
from tests.support.processes.processes import running
from tests.support.servers.databases import Database

MEMBERS, POSTS, LENGTH = 12, 60, 8_000
"""The posts have more bytes than the small buffers of a member that reads late, and fewer than its outbox."""

PROFILE = str(ROOT / "deploy" / "seccomp" / "io-uring.json")
WAYS = [
    pytest.param("off", ("service.cli",), 0, id="send"),
    pytest.param("auto", ("service.cli",), 1, id="uring", marks=pytest.mark.needs("io_uring")),
    pytest.param(
        "auto",
        ("tests.support.deploy.filtered", PROFILE),
        1,
        id="uring-under-the-profile",
        marks=pytest.mark.needs("io_uring", "system-call-numbers"),
    ),
]


async def member(stack: AsyncExitStack, url: str, user: str) -> ClientConnection:
    """Return a member with small buffers, of which nothing but the ack of its join is read."""
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    end.setblocking(False)
    address = urlsplit(url)
    await asyncio.get_running_loop().sock_connect(end, (address.hostname, address.port))
    found = await stack.enter_async_context(raw(url, sock=end, max_queue=1))
    await found.send(json.dumps({"type": "connect", "protocol": 1, "token": token(user), "rooms": {}}))
    await found.send(json.dumps({"type": "room:join", "roomId": "general", "ref": "join"}))
    while json.loads(await found.recv()).get("ref") != "join":
        pass
    return found


async def posts_of(reader: ClientConnection) -> list[int]:
    """Read until the last post; return their numbers."""
    found: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while not found or found[-1] < POSTS - 1:
            event: dict[str, Any] = json.loads(await reader.recv())
            if event["type"] == "message:new":
                found.append(int(event["content"].split()[0]))
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mode", "program", "ring"), WAYS)
async def test_each_member_receives_each_message_once_in_order(
    database: Database, mode: str, program: tuple[str, ...], ring: int
) -> None:
    env = environment(database, ONRECORD_URING=mode, ONRECORD_RATE_BURST="0")
    async with running(env, "serve", program=program, afresh=True) as node, AsyncExitStack() as stack:
        author = await stack.enter_async_context(client(node.url, "author"))
        await author.say("room:join", roomId="general")
        members = [await member(stack, node.url, f"member-{count}") for count in range(MEMBERS)]
        late, reading = members[:4], members[4:]
        reads = [asyncio.create_task(posts_of(each)) for each in reading]
        for post in range(POSTS):
            await author.post("general", f"{post} " + "x" * LENGTH)
            if post in (POSTS // 3, POSTS // 2):
                (await member(stack, node.url, f"gone-{post}")).transport.abort()
        reads += [asyncio.create_task(posts_of(each)) for each in late]
        assert await asyncio.gather(*reads) == [list(range(POSTS))] * MEMBERS
        assert number(await scraped(node.address), "onrecord_uring") == ring
