"""The JavaScript client as a process: requests and answers by `clients/conformance/driver.mjs`."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.environment import ROOT, token
from tests.support.javascript.package import Package

DRIVER = ROOT / "clients" / "conformance" / "driver.mjs"
Line = dict[str, Any]


class Failed(Exception):
    """The client answered a request with an error."""

    def __init__(self, error: Line) -> None:
        super().__init__(error["message"])
        self.code: str = error["code"]
        self.retryable: bool = error["retryable"]


class Client:
    """One client in a process of its own; `lines` has what it wrote unasked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.lines: list[Line] = []
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    def begin(self, do: str, **fields: Any) -> asyncio.Future[Any]:
        """Send a request; return the future of its result."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "do": do, **fields}).encode() + b"\n")
        return self._answers[number]

    async def ask(self, do: str, **fields: Any) -> Any:
        """Return the result of a request.

        Raises:
            Failed: the client answered with an error.
        """
        return await self.begin(do, **fields)

    async def messages(self, room: str = "general") -> list[Line]:
        """Return the messages that the client shows."""
        return list(await self.ask("messages", room=room))

    async def contents(self, room: str = "general") -> list[str]:
        """Return the texts of the messages that are on the record."""
        return [line["content"] for line in await self.messages(room) if not line.get("pending")]

    def events(self, kind: str, **fields: Any) -> list[Line]:
        """Return the unasked lines of a kind with these fields."""
        wanted = {"event": kind, **fields}
        return [line for line in self.lines if wanted.items() <= line.items()]

    @property
    def states(self) -> list[str]:
        """The states that the client went through."""
        return [line["state"] for line in self.events("state")]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on `lines` holds."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def kill(self) -> None:
        """End the process as a power cut would."""
        self._process.kill()
        await self._process.wait()
        await self._reading

    async def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            read = json.loads(line)
            if "id" in read:
                self._answer(read)
            else:
                self.lines.append(read)
            async with self._changed:
                self._changed.notify_all()
        for future in self._answers.values():
            future.cancel()

    def _answer(self, read: Line) -> None:
        future = self._answers.pop(read["id"])
        if future.cancelled():
            return
        if "error" in read:
            future.set_exception(Failed(read["error"]))
            future.exception()  # a request that is not waited for is no error of the test
        else:
            future.set_result(read["result"])


@asynccontextmanager
async def client(
    made: Package, url: str, user: str = "alice", *, storage: Path | None = None, **fields: Any
) -> AsyncIterator[Client]:
    """Give a client that was opened for a user, and does not connect by itself."""
    process = await asyncio.create_subprocess_exec(
        "node", str(DRIVER), str(made.module), str(made.websocket),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    running = Client(process)
    opening = {"url": url, "token": token(user), "storage": None if storage is None else str(storage)}
    try:
        await running.ask("open", **(opening | fields))
        yield running
        assert running.events("unhandled") == []
    finally:
        if process.returncode is None:
            await running.end()


@asynccontextmanager
async def joined(made: Package, url: str, user: str = "alice", **fields: Any) -> AsyncIterator[Client]:
    """Give a client that is connected and in the room `general`."""
    async with client(made, url, user, **fields) as running:
        await running.ask("connect")
        await running.ask("join", room="general")
        yield running
