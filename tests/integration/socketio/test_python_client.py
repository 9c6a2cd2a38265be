"""The chat with python-socketio's client, whose handlers take exactly as many arguments as they name."""

import asyncio
from typing import Any

import pytest
import socketio

from tests.support.clients.native import client
from tests.support.clients.python_socketio import Python
from tests.support.environment import token
from tests.support.processes.processes import Process


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="+".join)
async def test_a_python_client_with_handlers_of_fixed_arity_chats(
    node: Process, transports: list[str]
) -> None:
    python = Python()
    await asyncio.to_thread(
        python.io.connect, node.address, auth={"token": token("py")}, transports=transports, wait_timeout=30
    )
    try:
        await python.until("connected", userId="py")
        assert (await asyncio.to_thread(python.call, "room:join", {"roomId": "general"}))["ok"] is True
        async with client(node.url, "bob") as bob:
            await bob.join("general")
            await bob.post("general", "Hello, Python")
            await python.until("message:new", content="Hello, Python", userId="bob")
            said = {"roomId": "general", "content": "Hello, Bob"}
            answer = await asyncio.to_thread(python.call, "message:send", said)
            assert answer["ok"] is True
            await bob.until(lambda: bob.events("message:new", seq=answer["seq"], content="Hello, Bob"))
            await bob.say("typing:start", roomId="general")
            await python.until("typing:start", userId="bob")
        refused = await asyncio.to_thread(python.call, "message:send", {"roomId": "nowhere", "content": "x"})
        assert refused["error"]["code"] == "room_not_found"
        assert (await asyncio.to_thread(python.call, "room:list"))["ok"] is True
    finally:
        await asyncio.to_thread(python.io.disconnect)


async def test_a_python_client_is_told_why_it_is_not_let_in(node: Process) -> None:
    python = Python()
    why: list[dict[str, Any]] = []
    python.io.on("connect_error", why.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await asyncio.to_thread(python.io.connect, node.address, auth={"token": "nonsense"}, wait_timeout=30)
    assert why[0]["data"]["code"] == "token_invalid"
    await asyncio.to_thread(python.io.disconnect)
