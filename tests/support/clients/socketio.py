"""Stock socket.io-clients in Node, which record what they receive, with the names of the native endpoint."""

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.clients.native import PATIENCE, Event, Refused
from tests.support.environment import ROOT, token

VERSIONS = {"3.1": "3.1", "4.0": "4.0", "newest": "4"}
"""The tested releases of socket.io-client, by the range that npm resolves."""

MODULES = ROOT / ".cache" / "socketio-clients"
DRIVER = Path(__file__).parent / "stock.cjs"


async def installed() -> None:
    """Install every release by its name into an ignored folder, once."""
    wanted = [f"client-{name}@npm:socket.io-client@{range_}" for name, range_ in VERSIONS.items()]
    mark = MODULES / "installed.json"
    if mark.exists() and json.loads(mark.read_text()) == wanted:
        return
    shutil.rmtree(MODULES, ignore_errors=True)
    MODULES.mkdir(parents=True)
    npm = await asyncio.create_subprocess_exec(
        "npm", "install", "--prefix", str(MODULES), "--no-save", "--no-audit", "--no-fund", "--silent", *wanted
    )  # fmt: skip
    assert await npm.wait() == 0, "npm could not install the clients"
    mark.write_text(json.dumps(wanted))


class Stock:
    """One stock client. `heard` has every event in the order of arrival, with its name as `type`."""

    def __init__(self, driver: "Driver", number: int) -> None:
        self._driver = driver
        self.number = number
        self.heard: list[Event] = []
        self.arguments: list[list[Any]] = []
        self.states: list[Event] = []
        self.answers: dict[int, list[list[Any]]] = {}

    async def emit(self, name: str, *args: Any, ack: bool = True) -> list[Any]:
        """Emit an event; return the arguments of its acknowledgement."""
        number = next(self._driver.numbers) if ack else None
        await self._driver.tell("emit", client=self.number, name=name, args=args, ack=number)
        if number is None:
            return []
        await self.until(lambda: self.answers.get(number))
        return self.answers[number][0]

    async def say(self, kind: str, **fields: Any) -> Event:
        """Send a command and return its ack.

        Raises:
            Refused: it was answered with an error.
        """
        (answer,) = await self.emit(kind, fields)
        if not answer["ok"]:
            assert answer.keys() == {"ok", "error"}
            raise Refused(answer["error"])
        return dict(answer)

    async def join(self, room: str) -> Event:
        """Join a room, and wait for the history that follows the ack."""
        ack = await self.say("room:join", roomId=room)
        await self.until(lambda: self.events("message:history", roomId=room))
        return ack

    async def transport(self) -> str:
        """Return the transport in use."""
        number = next(self._driver.numbers)
        await self._driver.tell("transport", client=self.number, ack=number)
        await self.until(lambda: self.answers.get(number))
        return str(self.answers[number][0][0])

    async def cut(self) -> None:
        """Cut the transport; the client reconnects by itself."""
        await self._driver.tell("cut", client=self.number)

    async def leave(self) -> None:
        """Say goodbye."""
        await self._driver.tell("leave", client=self.number)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on what was heard holds."""
        async with asyncio.timeout(PATIENCE), self._driver.news:
            await self._driver.news.wait_for(condition)

    async def reached(self, state: str, times: int = 1) -> Event:
        """Wait until the client has reached a state `times` times; return the last one."""
        await self.until(lambda: len(self.was(state)) >= times)
        return self.was(state)[times - 1]

    def was(self, state: str) -> list[Event]:
        return [one for one in self.states if one["state"] == state]

    def events(self, kind: str, **fields: Any) -> list[Event]:
        """Return what was heard of a type with these fields."""
        wanted = {"type": kind, **fields}
        return [event for event in self.heard if wanted.items() <= event.items()]

    def seqs(self, room: str) -> list[int]:
        """Return the numbers of a room's events as they came."""
        return [event["seq"] for event in self.heard if event.get("roomId") == room and "seq" in event]


class Driver:
    """A Node process with stock clients of one release."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.numbers = itertools.count(1)
        self.news = asyncio.Condition()
        self._clients: dict[int, Stock] = {}
        self._reading = asyncio.create_task(self._read())

    async def open(self, address: str, user: str | None, *, wait: bool = True, **options: Any) -> Stock:
        """Open a client of a user, with the options of `io`; by default wait for `connected`."""
        client = Stock(self, next(self.numbers))
        self._clients[client.number] = client
        auth = {**({"token": token(user)} if user else {}), **options.pop("auth", {})}
        await self.tell("open", client=client.number, url=address, options={"auth": auth, **options})
        if wait:
            await client.until(lambda: client.events("connected"))
        return client

    async def tell(self, command: str, **fields: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **fields}).encode() + b"\n")
        await self._process.stdin.drain()

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            client = self._clients[said["client"]]
            if "event" in said:
                payload = said["args"][0]
                client.heard.append({"type": said["event"], **payload})
                client.arguments.append(said["args"])
            elif "state" in said:
                client.states.append(said)
            else:
                client.answers.setdefault(said["ack"], []).append(said["args"])
            async with self.news:
                self.news.notify_all()


@asynccontextmanager
async def driver(version: str) -> AsyncIterator[Driver]:
    """Give a Node process with a release of socket.io-client."""
    await installed()
    process = await asyncio.create_subprocess_exec(
        "node", str(DRIVER), str(MODULES / "node_modules" / f"client-{version}"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    running = Driver(process)
    try:
        yield running
    finally:
        await running.close()
