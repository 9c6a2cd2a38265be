"""Measures what the history of one message costs: acks of edits of it, of reactions to it, and of a bystander's posts.

    .venv/bin/python bench/experiments/history.py --edits 545

Starts throw-away servers and one node with a projector. One user edits a message with 40 KB of content again and again,
others react to it, and a bystander posts in another room all the time. Prints a JSON line for the first edits and one
for the last: the milliseconds from each command to its ack, and the CPU seconds of the node for each edit.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.lifetime import supervised
from service import embedded
from tests.support.clients.native import Client, client
from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database, fresh_database

SAMPLE = 25
"""Edits at the beginning, and at the end, that are measured."""
FOX = "\U0001f98a"
WORDS = FOX * 9_990
"""40 KB."""
Times = dict[str, list[float]]


async def timed(times: list[float], user: Client, kind: str, **fields: object) -> None:
    began = time.perf_counter()
    await user.say(kind, **fields)
    times.append((time.perf_counter() - began) * 1000)


def cpu(node: Process) -> float:
    """Return the CPU seconds of a node so far."""
    pid = node.process.pid
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def post(user: Client, times: list[float]) -> None:
    while True:
        await timed(times, user, "message:send", roomId="other", content="on")
        await asyncio.sleep(0.02)


async def sample(node: Process, users: list[Client], first: int, message: int) -> dict[str, object]:
    """Edit, react and post for a while; return the median and the worst of each in milliseconds."""
    alice, bob, carol = users
    times: Times = {"edit": [], "react": [], "bystander": []}
    posting = asyncio.create_task(post(carol, times["bystander"]))
    about = {"roomId": "general", "messageId": message}
    began = cpu(node)
    for number in range(first, first + SAMPLE):
        await timed(times["edit"], alice, "message:edit", content=f"{number} {WORDS}", **about)
        kind = "message:unreact" if number % 2 else "message:react"
        await timed(times["react"], bob, kind, emoji=FOX, **about)
    posting.cancel()
    figures = {
        what: {"p50": round(statistics.median(ms), 1), "max": round(max(ms), 1)} for what, ms in times.items()
    }
    return {"edits before": first, **figures, "node_cpu_ms": round((cpu(node) - began) * 1000 / SAMPLE, 1)}


async def measure(database: Database, edits: int) -> None:
    env = environment(database, ONRECORD_MAX_EDITS=str(min(edits + SAMPLE, 10_000)))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(env, "project", "run"))
        node = await stack.enter_async_context(running(env, "serve"))
        users = [
            await stack.enter_async_context(client(node.url, name)) for name in ("alice", "bob", "carol")
        ]
        for user, room in zip(users, ("general", "general", "other"), strict=True):
            await user.join(room)
        message = (await users[0].post("general", "first"))["messageId"]
        print(json.dumps(await sample(node, users, 0, message)))
        for number in range(SAMPLE, edits):
            await users[0].say(
                "message:edit", roomId="general", messageId=message, content=f"{number} {WORDS}"
            )
        print(json.dumps(await sample(node, users, edits, message)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=545)
    options = parser.parse_args()
    with embedded.throwaway() as servers, fresh_database(servers) as database:
        asyncio.run(measure(database, options.edits))


if __name__ == "__main__":
    sys.exit(supervised(main))
