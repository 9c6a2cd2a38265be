"""The chat with python-socketio's client, whose handlers take exactly as many arguments as they name."""

import asyncio
from typing import Any

import pytest
import socketio

from tests.support.clients.native import PATIENCE, client
from tests.support.processes.processes import Process, token


class Python:
    """A client in threads of its own."""

    def __init__(self) -> None:
        self.io = socketio.Client(reconnection=False)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        for name in ("connected", "message:new", "room:user_joined", "message:history", "typing:start"):
            self.io.on(name, self._handler(name))

    def _handler(self, name: str) -> Any:
        def handle(payload: dict[str, Any]) -> None:
            self.heard.append((name, payload))

        return handle

    def call(self, name: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.io.call(name, payload, timeout=PATIENCE)
        return answer

    async def until(self, name: str, **fields: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(one == name and fields.items() <= payload.items() for one, payload in self.heard):
                await asyncio.sleep(0.01)


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
