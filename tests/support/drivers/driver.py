"""A client library in a process of its own, behind the protocol of `clients/conformance/README.md`."""

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.environment import ROOT
from tests.support.needs import NOT_RUN, path_of

FOLDER = ROOT / "clients" / "conformance"
JAVASCRIPT = FOLDER / "driver.mjs"

DRIVERS = [
    "python",
    pytest.param(
        "javascript",
        marks=[
            pytest.mark.needs("node", "npm"),
            pytest.mark.skipif(not JAVASCRIPT.exists(), reason=NOT_RUN + "clients/conformance/driver.mjs"),
        ],
    ),
]
"""The values of a parameter of tests that every client passes."""

PATIENCE = 60.0
"""Seconds after which a waiting test fails."""

Line = dict[str, Any]


class Refused(Exception):
    """A request was answered with an error."""

    def __init__(self, error: Line) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.retryable: bool = error["retryable"]


class Driver:
    """A running driver. `events` has what it reported unasked, in order; `errors` its stderr."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._moved = asyncio.Condition()
        self._ended = False
        self.events: list[Line] = []
        self.errors: list[str] = []
        self._tasks = [asyncio.create_task(part) for part in (self._read(), self._collect())]

    def begin(self, do: str, **fields: Any) -> "asyncio.Future[Any]":
        """Begin a request; return its future result, which may raise `Refused`."""
        number = len(self._answers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": do, **fields}).encode() + b"\n")
        return answer

    async def ask(self, do: str, **fields: Any) -> Any:
        """Return the result of a request.

        Raises:
            Refused: it was answered with an error.
        """
        async with asyncio.timeout(PATIENCE):
            return await self.begin(do, **fields)

    async def messages(self, room: str) -> list[Line]:
        """Return the messages of a room in its order, without those that are pending or failed."""
        shown = await self.ask("messages", room=room)
        return [each for each in shown if not each.get("pending") and not each.get("failed")]

    async def shows(self, room: str, *contents: str) -> None:
        """Wait until the messages of a room are these, each once, and nothing is pending."""
        shown: list[Line] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    shown = await self.ask("messages", room=room)
                    if [each["content"] for each in shown] == [*contents] and not _is_pending(shown):
                        return
                    await asyncio.sleep(0.02)
        assert [each["content"] for each in shown] == [*contents]
        assert not _is_pending(shown), shown

    def of(self, event: str) -> list[Line]:
        """Return the events of one kind."""
        return [each for each in self.events if each["event"] == event]

    @property
    def states(self) -> list[str]:
        """The states that the client reported."""
        return [each["state"] for each in self.of("state")]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on the events holds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE), self._moved:
                await self._moved.wait_for(lambda: condition() or self._ended)
        assert condition(), f"the last events: {self.events[-5:]}; stderr: {''.join(self.errors[-20:])}"

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._tasks)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while text := await self._process.stdout.readline():
            await self._take(json.loads(text))
        self._ended = True
        for answer in self._answers.values():
            if not answer.done():
                answer.cancel()
        async with self._moved:
            self._moved.notify_all()

    async def _take(self, line: Line) -> None:
        if "id" not in line:
            self.events.append(line)
        elif "error" in line:
            answer = self._answers[line["id"]]
            answer.set_exception(Refused(line["error"]))
            answer.exception()  # a test may leave an answer unread
        elif not self._answers[line["id"]].done():
            self._answers[line["id"]].set_result(line.get("result"))
        async with self._moved:
            self._moved.notify_all()

    async def _collect(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.errors.append(line.decode())


def command(name: str) -> list[str]:
    """Return the command that starts a driver; the package of the JavaScript client is made first."""
    if name == "python":
        return [sys.executable, "-W", "default", str(FOLDER / "driver.py")]
    package = importlib.import_module("tests.support.javascript.package").made()
    return [path_of("node") or "node", str(JAVASCRIPT), str(package.module), str(package.websocket)]


@asynccontextmanager
async def driver(name: str, url: str, token: str, storage: Path) -> AsyncIterator[Driver]:
    """Give a driver that has opened a client and not connected it. What it wrote to stderr names no lost exception."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python" / "src"), "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *await asyncio.to_thread(command, name),
        env=env, limit=2**24,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    running = Driver(process)
    try:
        await running.ask("open", url=url, token=token, storage=str(storage))
        yield running
    finally:
        await running.kill()
        print("".join(running.errors[-200:]))  # noqa: T201 - pytest shows it where a test has failed
    lost = [line for line in running.errors if any(word in line for word in LOST)]
    assert (lost, running.of("unhandled")) == ([], [])


LOST = ("never retrieved", "Unhandled", "unhandled", "was never awaited", "ResourceWarning", "Uncaught")
"""What a run-time says of an exception that nothing handled."""


def _is_pending(shown: list[Line]) -> bool:
    return any(each.get("pending") or each.get("failed") for each in shown)
