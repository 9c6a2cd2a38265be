"""One connection's messages leave other connections their turn."""

import asyncio
import time
from types import SimpleNamespace
from typing import cast

from uvicorn.server import ServerState

from service.gateway.websocket.receive_queue import TURN, ReceiveQueue, Receiver


class Talker:
    """A connection that has sent messages, each of which takes longer than a turn."""

    def __init__(self, messages: int) -> None:
        self.log: list[str] = []
        connection = SimpleNamespace(
            server=ServerState(), ending=None, reader=SimpleNamespace(read=self._read)
        )
        self._left = messages
        self.queue = ReceiveQueue(cast("Receiver", connection), self)
        self._read()

    def _read(self) -> None:
        while self._left and not self.queue.full:
            self._left -= 1
            self.queue.add("message")

    def take_now(self, _message: str | bytes) -> bool:
        """Leave every message to `take`."""
        return False

    async def take(self, message: str | bytes) -> None:
        self.log.append(str(message))
        until = time.perf_counter() + TURN
        while time.perf_counter() < until:
            pass

    async def ended(self) -> None: ...


async def test_other_connections_have_their_turn_between_the_messages_of_one() -> None:
    talker = Talker(messages=20)

    def other(left: int = 20) -> None:
        talker.log.append("other")
        if left:
            asyncio.get_running_loop().call_soon(other, left - 1)

    asyncio.get_running_loop().call_soon(other)
    while not talker.queue.idle:
        await asyncio.sleep(0)
    assert talker.log.count("message") == 20
    between = "".join(entry[0] for entry in talker.log[: talker.log.index("message") + 40])
    assert "mm" not in between
