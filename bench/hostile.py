"""Measures what hostile accounts and addresses cost ordinary people on the same node.

    .venv/bin/python bench/hostile.py --seconds 60

Starts throw-away servers and a real node with its default settings. `PEOPLE` ordinary people in `ROOMS` rooms post and
read, first alone, then beside `HOSTILE` accounts and two addresses that use every recipe of `bench.hostile_recipes` at
once. Prints one JSON line: the delays of acks and deliveries, how many ordinary commands were refused and connections
closed, and the memory of the node, quiet and under attack. The exit code is 1 if the p99 of the ordinary deliveries is
above `MOST_SLOWER` times the quiet one, if the memory is above `MOST_LARGER` times the quiet one, or if an ordinary
command was refused.

The ordinary people, the hostile ones and the node are separate processes on the same cores. The hostile ones have the
lowest priority, since on their own machines they would take no CPU from the node; what they make the node compute, and
the kernel do for it, is not reduced by that as long as a core is idle at times.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.hostile_recipes import RECIPES, Target, attack
from bench.lifetime import supervised
from bench.measure.process_stats import KIB, rss_kib
from service import embedded
from service.embedded import Servers
from tests.support.environment import environment, token
from tests.support.processes.processes import running
from tests.support.servers.databases import Database, fresh_database

PEOPLE, ROOMS, HOSTILE = 200, 20, 5
ADDRESSES = ("127.0.0.2", "127.0.0.3")
PAUSE = 2.0
"""Seconds between two posts of one ordinary person."""

MOST_SLOWER, MOST_LARGER = 3.0, 1.5


class Ordinary:
    """One ordinary person: posts, and notes the delays of acks and of others' messages."""

    def __init__(self, number: int) -> None:
        self.user = f"person-{number}"
        self.room = f"room-{number % ROOMS}"
        self.acks: list[float] = []
        self.deliveries: list[float] = []
        self.faults: Counter[str] = Counter()
        self._sent: dict[str, float] = {}
        self._refs = itertools.count()

    async def live(self, url: str, until: float) -> None:
        """Chat until a time of the loop; a closed connection is counted, and opened again."""
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    try:
                        await self._chat(url)
                    except (ConnectionClosed, OSError) as error:
                        self.faults[f"closed: {error}"[:80]] += 1

    async def _chat(self, url: str) -> None:
        async with connect(url, max_size=None, ping_interval=None, compression=None) as socket:
            await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": token(self.user)}))
            await self._send(socket, type="room:join", roomId=self.room)
            posting = asyncio.create_task(self._post(socket))
            try:
                async for text in socket:
                    self._note(json.loads(text))
            finally:
                posting.cancel()

    async def _post(self, socket: ClientConnection) -> None:
        await asyncio.sleep(random.uniform(0.5, 0.5 + PAUSE))
        while True:
            await self._send(socket, type="message:send", roomId=self.room, content=f"at {time.monotonic()}")
            await asyncio.sleep(PAUSE)

    async def _send(self, socket: ClientConnection, **fields: object) -> None:
        ref = f"{self.user}-{time.monotonic_ns()}-{next(self._refs)}"
        self._sent[ref] = time.monotonic()
        await socket.send(json.dumps({"ref": ref, **fields}))

    def _note(self, frame: dict[str, Any]) -> None:
        now = time.monotonic()
        match frame:
            case {"type": "ack", "ref": str(ref), "messageId": _}:
                self.acks.append(now - self._sent.pop(ref, now))
            case {"type": "error", "code": str(code)}:
                self.faults[code] += 1
            case {"type": "message:new", "userId": str(user), "content": str(content)} if user != self.user:
                with contextlib.suppress(ValueError):
                    self.deliveries.append(now - float(content.removeprefix("at ")))


def shown(seconds: list[float]) -> dict[str, float]:
    """Return the count and percentiles of delays, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {"count": len(seconds)} | {
        name: round(ordered[int(len(ordered) * share)] * 1000, 1) for name, share in at.items()
    }


async def ordinary(url: str, seconds: float) -> None:
    """Let all ordinary people chat, and print what they found."""
    people = [Ordinary(number) for number in range(PEOPLE)]
    until = time.monotonic() + seconds
    await asyncio.gather(*(person.live(url, until) for person in people))
    found = {
        "acks": shown([delay for person in people for delay in person.acks]),
        "deliveries": shown([delay for person in people for delay in person.deliveries]),
        "faults": dict(sum((person.faults for person in people), Counter())),
    }
    print(json.dumps(found))


def lowest_priority() -> None:
    """Give this process the lowest priority; Linux weighs a session as one where `sched(7)` has autogroups."""
    os.nice(19)
    autogroup = Path("/proc/self/autogroup")
    if autogroup.exists():
        autogroup.write_text("19")


async def hostile(address: str, seconds: float, only: list[str]) -> None:
    """Attack with all recipes, or some, and print what each did."""
    accounts = itertools.cycle(ADDRESSES)
    victims = [f"person-{number}" for number in range(PEOPLE)]
    targets = [
        Target(address, local, f"hostile-{number}", victims)
        for number, local in zip(range(HOSTILE), accounts, strict=False)
    ]
    print(json.dumps(await attack(targets, seconds, only)))


async def role(name: str, address: str, seconds: float, *more: str) -> dict[str, Any]:
    """Run a part of this program as a process of its own; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--role", name, "--address", address, "--seconds", str(seconds), *more,
        stdout=asyncio.subprocess.PIPE, start_new_session=name == "hostile",
    )  # fmt: skip
    out, _ = await process.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


async def largest(node: psutil.Process) -> float:
    """Return the largest memory of a process, in MB, until cancelled."""
    most = 0.0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            most = max(most, rss_kib(node) / KIB)
            await asyncio.sleep(0.1)
    return round(most, 1)


async def phase(
    address: str, node: psutil.Process, seconds: float, attacks: list[str] | None = None
) -> dict[str, Any]:
    """Return what the ordinary people found, beside `attacks` if given, and the largest memory of the node."""
    watching = asyncio.create_task(largest(node))
    await asyncio.sleep(0)
    parts = [role("ordinary", address, seconds)]
    parts += [] if attacks is None else [role("hostile", address, seconds, "--only", *attacks)]
    found, *done = await asyncio.gather(*parts)
    watching.cancel()
    return {**found, "node_mb": await watching, **({"attacks": done[0]} if done else {})}


def verdict(quiet: dict[str, Any], attacked: dict[str, Any]) -> dict[str, Any]:
    """Return the ratios of the two phases, and whether they keep the promise."""
    slower = attacked["deliveries"]["p99"] / max(quiet["deliveries"]["p99"], 0.1)
    larger = attacked["node_mb"] / quiet["node_mb"]
    harmed = attacked["faults"]
    kept = slower <= MOST_SLOWER and larger <= MOST_LARGER and not harmed
    return {"slower": round(slower, 2), "larger": round(larger, 2), "harmed": harmed, "kept": kept}


async def measure(database: Database, servers: Servers, seconds: float, only: list[str]) -> bool:
    """Print the result of both phases; return whether the promise is kept."""
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url)
    for name in ("ONRECORD_RATE_BURST", "ONRECORD_MAX_CONNECTIONS"):
        del env[name]  # the defaults are what is attacked
    async with running(env, "serve", afresh=True) as node, running(env, "project", "run", afresh=True):
        process = psutil.Process(node.process.pid)
        await role("ordinary", node.address, min(seconds, 10))  # rooms, keys and caches exist from here on
        quiet = await phase(node.address, process, seconds)
        attacked = await phase(node.address, process, seconds, only)
    result = {"quiet": quiet, "attacked": attacked, **verdict(quiet, attacked)}
    print(json.dumps(result), file=sys.__stdout__, flush=True)
    return bool(result["kept"])


@contextlib.contextmanager
def servers_and_database() -> Iterator[tuple[Servers, Database]]:
    """Yield throw-away servers and a migrated database; the output of processes goes to stderr."""
    with (
        embedded.throwaway() as servers,
        contextlib.redirect_stdout(sys.stderr),
        fresh_database(servers) as database,
    ):
        yield servers, database


def main() -> int:
    """Run one part, or all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="RECIPE", help="these recipes instead of all"
    )
    parser.add_argument("--role", choices=["ordinary", "hostile"], help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "ordinary":
        asyncio.run(ordinary(given.address.replace("http", "ws", 1) + "/ws", given.seconds))
        return 0
    if given.role == "hostile":
        lowest_priority()
        asyncio.run(hostile(given.address, given.seconds, given.only))
        return 0
    print(f"# {HOSTILE} accounts, {len(RECIPES)} recipes, {PEOPLE} ordinary people", file=sys.stderr)
    with servers_and_database() as (servers, database):
        return 0 if asyncio.run(measure(database, servers, given.seconds, given.only)) else 1


if __name__ == "__main__":
    sys.exit(supervised(main))
