"""The stock Python Socket.IO client."""

import asyncio
from typing import Any

import socketio

from tests.support.clients.native import PATIENCE


class Python:
    """A client in separate threads."""

    def __init__(self) -> None:
        self.io = socketio.Client(reconnection=False)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        for name in (
            *("connected", "message:new", "room:user_joined", "message:history", "typing:start"),
            *("message:reported", "report:resolved"),
        ):
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
