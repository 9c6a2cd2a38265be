"""Measures what each command costs the node and the database: an ordinary input against the largest one allowed.

    .venv/bin/python bench/experiments/costs.py

Starts throw-away servers, a real node without limits of rate, and a projector. Sends each command over real sockets,
`WINDOW` at a time, and takes the CPU seconds of the node's process and of the Postgres server with its backends,
which include the work of the read models. Prints one row per input: milliseconds of CPU for one command, their ratio
to the ordinary input of the same command and to an ordinary `message:send`, the price of the command
(`service.gateway.auth.prices`), and the second ratio divided by the price: what one unit of a user's rate can
make the server do.

The kernel counts CPU time in hundredths of a second, so a row is repeated until it has used `LEAST` seconds.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import psutil
from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.hostile import servers_and_database
from bench.lifetime import supervised
from bench.measure.process_stats import all_cpu, settle, spent
from service.domain.streams import report_id
from service.errors import OnRecordError
from service.gateway.auth.prices import EXPORT, MISSED, PAGE, bytes_of, price_of_bytes, price_of_command
from service.protocol.commands import COMMANDS
from service.protocol.native import decode, parse
from tests.support.environment import environment, token
from tests.support.processes.processes import running
from tests.support.servers.databases import Database

WINDOW, LEAST, LOOK = 10, 0.3, 0.3
MEMBERS, ROOMS, BLOCKED, MESSAGES, REPORTS = 400, 1_000, 1_000, 200, 101
FOX = "\U0001f98a"
THICK = FOX * 10_000
MARKUP = "<a " + " ".join(f"{number:x}" for number in range(2_500)) + ">"
LISTS = "<ul><li>" * 1_250

Fields = dict[str, Any]


class Client:
    """A connection that sends commands and counts their answers; `largest` is the longest answer in bytes."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._refs = itertools.count()
        self._answers: dict[str, asyncio.Future[Fields]] = {}
        self._reading = asyncio.create_task(self._read())

    async def say(self, kind: str, **fields: Any) -> Fields:
        """Send a command and return its answer, also an error."""
        ref = f"{id(self)}-{next(self._refs)}"
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        await self._socket.send(frame(kind, ref=ref, **fields))
        return await answer

    async def _read(self) -> None:
        async for text in self._socket:
            event = json.loads(text)
            if event["type"] in ("ack", "error") and event.get("ref") in self._answers:
                self._answers.pop(event["ref"]).set_result(event)


def frame(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False)


@contextlib.asynccontextmanager
async def client(url: str, user: str, rooms: Fields | None = None) -> AsyncIterator[Client]:
    async with connect(url, max_size=None, ping_interval=None, compression=None) as socket:
        hello = {"protocol": 1, "token": token(user), "rooms": rooms or {}}
        await socket.send(frame("connect", **hello))
        assert json.loads(await socket.recv())["type"] == "connected"
        yield Client(socket)


class Export:
    """Requests the export of a user's own data, as a command."""

    def __init__(self, http: httpx.AsyncClient, user: str) -> None:
        self._http = http
        self._turn = asyncio.Lock()
        self._headers = {"Authorization": f"Bearer {token(user)}"}

    async def say(self, _kind: str, **_fields: Any) -> Fields:
        """Read an export to its end; a user's exports follow one another."""
        async with self._turn:
            answer = await self._http.get("/api/me/export", headers=self._headers)
        answer.raise_for_status()
        return {"lines": answer.text.count("\n")}


@dataclass
class World:
    """The rooms and accounts that the inputs are about."""

    url: str
    ordinary: Client
    owner: Client
    light: Client
    exports: "dict[str, Export]"
    names: "itertools.count[int]" = field(default_factory=itertools.count)

    def unique(self, length: int = 0) -> str:
        """Return an id that was not used before."""
        return f"n{next(self.names)}".ljust(length, "x")


Make = Callable[[World], tuple[Client | Export, Fields]]
Prepare = Callable[[World, Fields], Awaitable[None]]


class Input(NamedTuple):
    """One kind of input: what it is called, and what makes one command of it."""

    command: str
    label: str
    make: Make
    before: Callable[[World], Awaitable[Fields]] | None = None
    """Prepares one command without being measured, and returns fields for it."""


async def windowed(calls: Sequence[Callable[[], Awaitable[Any]]]) -> None:
    for start in range(0, len(calls), WINDOW):
        await asyncio.gather(*(call() for call in calls[start : start + WINDOW]))


async def build(world: World) -> None:
    """Make the rooms, messages, members and blocks."""
    say, ordinary = world.owner.say, world.ordinary.say
    for room in ("big", "thick", "mentions"):
        await say("room:create", roomId=room, name=room)
    await ordinary("room:create", roomId="small", name="Small")
    await ordinary("message:send", roomId="small", content="hello")
    for text in range(60):
        await ordinary("message:send", roomId="small", content=f"{text} is an ordinary message of some words")
    await world.light.say("room:join", roomId="small")
    for _ in range(MESSAGES):
        await say("message:send", roomId="thick", content=THICK)
    await say("message:send", roomId="big", content="about this")

    async def enter(number: int) -> None:
        async with client(world.url, f"member-{number}".ljust(100, "m")) as member:
            await member.say("room:join", roomId="big")
            if number < 100:
                await member.say("room:join", roomId="mentions")

    await windowed([partial(enter, number) for number in range(MEMBERS)])
    for sender in (world.light, world.ordinary):
        await sender.say("room:join", roomId="big")
    for _ in range(REPORTS):
        await a_report(world, "big", FOX * 500)

    async def own(number: int) -> None:
        room = f"own-{number}".ljust(60, "r")
        await say("room:create", roomId=room, name="N" * 200)
        await say("room:update", roomId=room, topic="t" * 1_000)
        await say("message:send", roomId=room, content="the last one")

    await windowed([partial(own, number) for number in range(ROOMS)])
    await windowed([partial(say, "user:block", userId=f"blocked-{number}") for number in range(BLOCKED)])


async def a_post(world: World, room: str = "small") -> Fields:
    """Post a message that others may report, the longest one in the large room."""
    content = THICK if room == "big" else "a message of some ordinary words"
    ack = await world.light.say("message:send", roomId=room, content=content)
    return {"roomId": room, "messageId": ack["messageId"]}


async def a_report(world: World, room: str = "small", reason: str = "rude") -> Fields:
    message = await a_post(world, room)
    await world.ordinary.say("message:report", reason=reason, **message)
    return {"roomId": room, "reportId": report_id(room, message["messageId"], "ordinary")}


def by(owner: bool, **fields: Any) -> Make:  # noqa: FBT001 - whether the owner of the large rooms sends it
    return lambda world: (world.owner if owner else world.ordinary, dict(fields))


async def a_room(world: World) -> Fields:
    room = world.unique()
    await world.ordinary.say("room:create", roomId=room, name="A room")
    return {"roomId": room}


async def a_message(world: World, room: str = "small") -> Fields:
    sender = world.ordinary if room == "small" else world.owner
    ack = await sender.say("message:send", roomId=room, content="a message of some ordinary words")
    return {"roomId": room, "messageId": ack["messageId"]}


async def a_reaction(world: World) -> Fields:
    message = await a_message(world)
    await world.ordinary.say("message:react", emoji=FOX, **message)
    return {**message, "emoji": FOX}


async def a_pin(world: World) -> Fields:
    message = await a_message(world)
    await world.ordinary.say("message:pin", **message)
    return message


async def a_block(world: World) -> Fields:
    user = world.unique()
    await world.ordinary.say("user:block", userId=user)
    return {"userId": user}


async def archived(world: World) -> Fields:
    room = await a_room(world)
    await world.ordinary.say("room:archive", **room)
    return room


def new_user(owner: bool, **fields: Any) -> Make:  # noqa: FBT001 - as in `by`
    return lambda world: (
        world.owner if owner else world.ordinary,
        {"userId": world.unique(100 if owner else 0), **fields},
    )


def many(world: World, **fields: Any) -> tuple[Client, Fields]:
    return world.owner, {"members": [world.unique(100) for _ in range(100)], **fields}


def member_names(count: int) -> list[str]:
    return [f"member-{number}".ljust(100, "m") for number in range(count)]


WHY = "w" * 500

INPUTS: list[Input] = [
    Input("message:send", "40 characters", by(False, roomId="small", content="x" * 40)),
    Input("message:send", "10,000 code points of 4 bytes", by(True, roomId="thick", content=THICK)),
    Input("message:send", "10,000 of markup, one tag", by(True, roomId="thick", content=MARKUP)),
    Input("message:send", "10,000 of markup, nested", by(True, roomId="thick", content=LISTS)),
    Input("message:send", "100 mentions", by(True, roomId="mentions", content="x", mentions=member_names(100))),
    Input("message:edit", "40 characters", by(False, content="y" * 40), a_message),
    Input("message:edit", "10,000 of markup, one tag", by(True, content=MARKUP), lambda w: a_message(w, "thick")),
    Input("message:delete", "no reason", by(False), a_message),
    Input("message:delete", "longest reason", by(True, reason=WHY), lambda w: a_message(w, "thick")),
    Input("message:react", "one", by(False, emoji=FOX), a_message),
    Input("message:react", "longest, large room", by(True, emoji=f":{'x' * 32}:"), lambda w: a_message(w, "big")),
    Input("message:unreact", "one", by(False), a_reaction),
    Input("message:pin", "one", by(False), a_message),
    Input("message:unpin", "one", by(False), a_pin),
    Input("message:read", "next message", by(False), a_message),
    Input("message:history", "10 messages", by(False, roomId="small", limit=10)),
    Input("message:history", "50 messages (default)", by(False, roomId="small")),
    Input("message:history", "200 of 40 kB", by(True, roomId="thick", limit=200, after=0)),
    Input("room:create", "no members", lambda w: (w.ordinary, {"roomId": w.unique(), "name": "Room"})),
    Input("room:create", "100 members", lambda w: many(w, roomId=w.unique(), name="N" * 200)),
    Input("room:join", "again, 60 messages", by(False, roomId="small")),
    Input("room:join", "again, 200 of 40 kB, after 0", by(True, roomId="thick", after=0)),
    Input("room:join", "again, 400 members", by(True, roomId="big", after=0)),
    Input("room:leave", "own room", by(False), a_room),
    Input("room:update", "name", lambda w: (w.ordinary, {"roomId": "small", "name": w.unique()})),
    Input("room:update", "longest, large room", lambda w: (
        w.owner, {"roomId": "big", "name": w.unique(200), "topic": w.unique(1_000)}
    )),
    Input("room:archive", "own room", by(False), a_room),
    Input("room:reopen", "own room", by(False), archived),
    Input("room:invite", "small room", new_user(False, roomId="small")),
    Input("room:invite", "large room", new_user(True, roomId="big")),
    Input("room:ban", "small room", new_user(False, roomId="small")),
    Input("room:ban", "large room, longest reason", new_user(True, roomId="big", reason=WHY)),
    Input("room:list", "one room", lambda w: (w.light, {})),
    Input("room:list", "1,000 rooms, longest names", by(True)),
    Input("room:directory", "a page", by(False)),
    Input("room:directory", "search, 100", by(False, query="no", limit=100)),
    Input("room:members", "one", by(False, roomId="small")),
    Input("room:members", "200 of 400", by(True, roomId="big", limit=200)),
    Input("user:block", "one", new_user(False)),
    Input("user:block", "1,000 blocked", new_user(True)),
    Input("user:unblock", "one", by(False), a_block),
    Input("user:blocks", "none and more", by(False)),
    Input("user:blocks", "200 of 1,000", by(True)),
    Input("report:list", "none", by(False, roomId="small")),
    Input("report:list", "100, longest reasons", by(True, roomId="big", limit=100)),
    Input("message:report", "one word", by(False, reason="rude"), a_post),
    Input("message:report", "longest reason and message, large room", by(False, reason=FOX * 500), lambda w: (
        a_post(w, "big")
    )),
    Input("report:resolve", "no note", by(False, outcome="dismissed"), a_report),
    Input("report:resolve", "longest note, large room", by(True, outcome="dismissed", note=FOX * 500), lambda w: (
        a_report(w, "big")
    )),
    Input("/api/me/export", "new user", lambda w: (w.exports["new"], {})),
    Input("/api/me/export", "1,000 rooms, 200 of 40 kB", lambda w: (w.exports["owner"], {})),
    Input("typing:start", "small room", by(False, roomId="small")),
    Input("typing:start", "large room", by(True, roomId="big")),
    Input("typing:stop", "small room", by(False, roomId="small")),
    Input("presence:set", "few rooms", by(False, status="online")),
    Input("presence:set", "1,000 rooms", lambda w: (
        w.owner, {"status": "away" if next(w.names) % 2 else "online"}
    )),
    Input("ping", "a beat", by(False)),
    Input("auth:refresh", "a token", by(False, token=token("ordinary"))),
    Input("auth:refresh", "100 kB of a token", by(True, token="x" * 100_000)),
    Input("(malformed)", "small", by(False, surprise=1)),
    Input("(malformed)", "120 kB of JSON", by(False, surprise=[0] * 40_000)),
]  # fmt: skip
"""The first input of each command is the ordinary one."""


async def one_round(
    world: World, given: Input, count: int, processes: dict[str, psutil.Process]
) -> dict[str, float]:
    """Return the CPU seconds of `count` commands."""
    kind = "room:list" if given.command.startswith("(") else given.command
    prepared = [await given.before(world) if given.before else {} for _ in range(count)]
    calls = []
    for extra in prepared:
        sender, fields = given.make(world)
        calls.append(partial(sender.say, kind, **fields, **extra))
    settle(processes, 60, LOOK)
    before = all_cpu(processes)
    await windowed(calls)
    settle(processes, 60, LOOK)
    return spent(before, all_cpu(processes))


async def measure(world: World, given: Input, processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU milliseconds of one command, in the node and in the database."""
    total, done, count = dict.fromkeys(processes, 0.0), 0, WINDOW
    while total["node"] + total["database"] < LEAST and done < 1_000:
        used = await one_round(world, given, count, processes)
        total = {name: total[name] + used[name] for name in total}
        done, count = done + count, min(count * 3, 200)
    return {name: seconds / done * 1000 for name, seconds in total.items()}


async def price_of(world: World, given: Input) -> int:
    """Return the price of an input as the node counts it, with what is owed for the answer."""
    fields = {"roomId": "small", "messageId": 1, "emoji": FOX, "userId": "bob", **given.make(world)[1]}
    if given.command.startswith("/"):
        return 1 + EXPORT
    kind = "room:list" if given.command.startswith("(") else given.command
    known = (*COMMANDS[kind].__struct_encode_fields__, "surprise")
    text = frame(kind, ref="ref", **{name: fields[name] for name in known if name in fields})
    price = price_of_bytes(bytes_of(text))
    with contextlib.suppress(OnRecordError):
        price += price_of_command(decode(text, parse(text)))
    if kind == "room:list" and not given.command.startswith("("):
        answer = await given.make(world)[0].say(kind)
        price += (len(answer["rooms"]) + len(answer["invitations"])) // PAGE
    elif kind == "report:list":
        price += len((await given.make(world)[0].say(kind, **given.make(world)[1]))["reports"]) // PAGE
    elif kind == "room:join" and "after" in fields:
        answer = await given.make(world)[0].say(kind, roomId=fields["roomId"])
        price += answer["head"] // MISSED
    return price


async def run(database: Database, only: str) -> None:
    """Print the table."""
    env = environment(
        database, ONRECORD_HANDSHAKE_BURST="0", ONRECORD_MAX_ADDED_ROOMS="5", ONRECORD_MAX_ROOMS="2000"
    )
    env |= {
        "ONRECORD_MAX_BLOCKS": "10000",
        "ONRECORD_MAX_REPORTS": "100000",
        "ONRECORD_EXPORT_INTERVAL": "0",
        "ONRECORD_LOG_BYTES_PER_DAY": "0",
        "ONRECORD_ADDRESS_BURST": "0",
    }
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(running(env, "serve", afresh=True))
        await stack.enter_async_context(running(env, "project", "run", afresh=True))
        asking = await asyncpg.connect(database.app_url)
        backend = psutil.Process(await asking.fetchval("SELECT pg_backend_pid()"))
        server = backend.parent()
        assert server is not None
        processes = {"node": psutil.Process(node.process.pid), "database": server}
        ordinary = await stack.enter_async_context(client(node.url, "ordinary"))
        owner = await stack.enter_async_context(client(node.url, "owner"))
        light = await stack.enter_async_context(client(node.url, "light"))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=node.address, timeout=600))
        exports = {name: Export(http, name) for name in ("new", "owner")}
        world = World(node.url, ordinary, owner, light, exports)
        await build(world)
        settle(processes, 120, LOOK)
        print(
            "| command | input | node ms | database ms | ratio | of a post | price | per unit |",
            file=sys.__stdout__,
        )
        print("|---|---|---|---|---|---|---|---|", file=sys.__stdout__, flush=True)
        first: dict[str, float] = {}
        for given in INPUTS:
            if only and given.command not in (*only.split(","), "message:send"):
                continue
            cost = await measure(world, given, processes)
            total = cost["node"] + cost["database"]
            ratio = total / first.setdefault(given.command, total)
            post = total / first["message:send"]
            price = await price_of(world, given)
            print(
                f"| `{given.command}` | {given.label} | {cost['node']:.2f} | {cost['database']:.2f} | {ratio:.1f} "
                f"| {post:.1f} | {price} | {post / price:.1f} |",
                file=sys.__stdout__, flush=True,
            )  # fmt: skip
        await asking.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", help="measure only these commands, separated by commas, and message:send"
    )
    given = parser.parse_args()
    with servers_and_database() as (_servers, database):
        asyncio.run(run(database, given.only))


if __name__ == "__main__":
    sys.exit(supervised(main))
