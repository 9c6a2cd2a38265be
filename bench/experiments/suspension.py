"""Measures how long a suspended user stays connected, on the node that got the request and on the other.

    .venv/bin/python bench/experiments/suspension.py --people 50 --bystanders 500

Starts throw-away servers and two real nodes. Each user has ten connections, five on each node. An administrator
suspends one user after the other through the first node, while two bystanders post. Prints a JSON line with a bus and
one without: the milliseconds from the request to the close frame (4503), over all connections of each node. Each must
close within 2 s; the exit code is 1 if one takes longer, or if a bystander is closed. The client is Python on the same
machine, so its own delays are in the figures.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.lifetime import supervised
from service import embedded
from service.embedded import Servers
from tests.support.environment import token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database, fresh_database

EACH = 5
"""Connections of a user on each node."""

PROMISED_MS = 2_000
SUSPENDED = 4503
BETWEEN = 0.2
NO_BUS = "redis://127.0.0.1:1"


async def enter(node: Process, user: str) -> ClientConnection:
    socket = await connect(node.url, max_size=None, ping_interval=None, compression=None)
    await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": token(user)}))
    assert json.loads(await socket.recv())["type"] == "connected"
    return socket


async def closed_at(socket: ClientConnection) -> float:
    """Return when the server closed a connection because its user is suspended."""
    with contextlib.suppress(Exception):
        while True:
            await socket.recv()
    assert socket.close_code == SUSPENDED, socket.close_code
    return time.perf_counter()


async def suspend(
    nodes: tuple[Process, Process], root: httpx.AsyncClient, user: str
) -> tuple[list[float], list[float]]:
    """Suspend a user; return the milliseconds until each of the user's connections closed, by node."""
    sockets = [[await enter(node, user) for _ in range(EACH)] for node in nodes]
    waiting = [asyncio.gather(*map(closed_at, of_node)) for of_node in sockets]
    began = time.perf_counter()
    answer = await root.post(f"/admin/people/{user}/suspend", json={"reason": "measured"})
    assert answer.status_code == httpx.codes.OK, answer.text
    async with asyncio.timeout(60):
        first, second = await asyncio.gather(*waiting)
    return [(at - began) * 1000 for at in first], [(at - began) * 1000 for at in second]


@contextlib.asynccontextmanager
async def bystanders(nodes: tuple[Process, Process], count: int) -> AsyncIterator[list[ClientConnection]]:
    """Yield `count` connections of different users that read what they receive; two of them post all the time."""
    sockets = [await enter(nodes[number % 2], f"bystander-{number}") for number in range(count)]
    for socket in sockets[:2]:
        await socket.send(json.dumps({"type": "room:join", "ref": f"join-{id(socket)}", "roomId": "general"}))

    async def read(socket: ClientConnection) -> None:
        async for _ in socket:
            pass

    async def post(socket: ClientConnection) -> None:
        number = 0
        while True:
            number += 1
            frame = {
                "type": "message:send",
                "ref": f"{id(socket)}-{number}",
                "roomId": "general",
                "content": "on",
            }
            await socket.send(json.dumps(frame))
            await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(read(socket)) for socket in sockets]
    tasks += [asyncio.create_task(post(socket)) for socket in sockets[:2]]
    try:
        yield sockets
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(socket.close() for socket in sockets))


def summary(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    at = {"p50": 0.5, "p99": 0.99}
    shown = {name: round(ordered[int(len(ordered) * share)], 1) for name, share in at.items()}
    return {"connections": len(ordered), **shown, "max": round(ordered[-1], 1)}


async def measure(database: Database, servers: Servers, redis_url: str, people: int, others: int) -> bool:
    """Print the result; return whether all connections closed in time, and no bystander's did."""
    headers = {"Authorization": f"Bearer {token('root', scope='admin')}"}
    settings = {"ONRECORD_REDIS_URL": redis_url, "ONRECORD_HANDSHAKE_BURST": "0"}
    async with (
        two_nodes(database, servers, **settings) as nodes,
        httpx.AsyncClient(base_url=nodes[0].address, headers=headers) as root,
        bystanders(nodes, others) as unharmed,
    ):
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(people):
            first, second = await suspend(nodes, root, f"person-{number}")
            took[0].extend(first)
            took[1].extend(second)
            await asyncio.sleep(BETWEEN)
        still = sum(socket.close_code is None for socket in unharmed)
    kept = max(map(max, took)) <= PROMISED_MS and still == others
    found = {"asked": summary(took[0]), "other": summary(took[1]), "bystanders_open": still, "kept": kept}
    print(
        json.dumps({"bus": redis_url != NO_BUS, "people": people, **found}), file=sys.__stdout__, flush=True
    )
    return kept


async def run(servers: Servers, people: int, others: int) -> int:
    kept = True
    for redis_url in (servers.redis_url, NO_BUS):
        with (
            contextlib.redirect_stdout(sys.stderr),
            fresh_database(servers) as database,
        ):  # the output of the processes
            kept &= await measure(database, servers, redis_url, people, others)
    return 0 if kept else 1


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--bystanders", type=int, default=500)
    given = parser.parse_args()
    print(f"# {platform.platform()}, Python {platform.python_version()}", file=sys.stderr)
    with embedded.throwaway() as running_servers:
        return asyncio.run(run(running_servers, given.people, given.bystanders))


if __name__ == "__main__":
    sys.exit(supervised(main))
