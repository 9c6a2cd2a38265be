"""Measures the node's CPU for one connection of each kind, of two source trees in turns.

    .venv/bin/python bench/experiments/handshakes.py --against ../other-worktree

Starts throw-away servers, and for each tree a node with its default settings but for the limits of rate. A client on
one thread opens `AT_ONCE` connections at a time. The result of a kind is the microseconds that the node's threads ran
(`/proc/PID/task/*/schedstat`, in nanoseconds) for one connection, until the node is idle again; with `--against` also
the median of the ratios to the other tree, with a 95 % bootstrap interval. Kinds:

- `silent`: closed without a byte
- `refused`: an upgrade that the limit of handshakes refuses with 429
- `upgrade`: upgraded, then closed by the client
- `bad`: upgraded, and `connect` with a token of another key
- `session`: upgraded, and `connect` with a room at its head until `connected` is read; `end`: its close
- `fresh`: as `session`, with a token that the node has not seen; its close is not counted

`--profile FILE` writes a profile of one node by `bench.experiments.cpu_profile` over one kind instead.
"""

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import random
import re
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from joserfc import jwt
from joserfc.jwk import OctKey

from bench.lifetime import supervised
from bench.report.ratios import compared
from service import embedded
from service.embedded import Servers
from tests.support.environment import ROOT, environment, token
from tests.support.processes.processes import Process, collect, wait_for_address, watched
from tests.support.servers.databases import fresh_database

AT_ONCE, USERS, PER_ROOM = 20, 800, 10
QUIET, LOOK, LONGEST = 0.03, 0.15, 10.0
"""A node is idle if it uses less than this share of a core between two looks, in seconds; wait no longer than this."""

PROGRAM = ("-m", "service.cli")

Figures = dict[str, float]


@dataclass
class Client:
    """The connections to one node; `tokens` and `frames` are those of users who are members of a room each."""

    address: str
    number: Iterator[int] = field(default_factory=itertools.count)
    frames: list[bytes] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)

    def dial(self) -> socket.socket:
        """Open a TCP connection."""
        parts = urlsplit(self.address)
        tcp = socket.create_connection((parts.hostname or "", parts.port or 0))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tcp.settimeout(30)
        return tcp

    def upgraded(self, count: int, *, let_in: bool = True) -> list[socket.socket]:
        """Open connections and read the answers to their upgrades; if not `let_in`, the limit lets one a second in."""
        sockets = [self.dial() for _ in range(count)]
        for tcp in sockets:
            tcp.sendall(UPGRADE)
        for tcp in sockets:
            answer = until(tcp, b"\r\n\r\n")
            assert answer.split()[1] == b"101" or not let_in, answer
        return sockets

    def connected(self, count: int, *, fresh: bool = False) -> list[socket.socket]:
        """Open sessions."""
        sockets = self.upgraded(count)
        for tcp in sockets:
            user = next(self.number) % USERS
            tcp.sendall(
                connect_frame(user, self.heads[user // PER_ROOM], fresh=True) if fresh else self.frames[user]
            )
        for tcp in sockets:
            assert b'"connected"' in until(tcp, b"}}}"), "refused"
        return sockets


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUser-Agent: bench/1.0\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef") + b"\r\n\r\n"
)


def until(tcp: socket.socket, end: bytes) -> bytes:
    """Read until some bytes have arrived."""
    held = b""
    while end not in held:
        part = tcp.recv(65536)
        assert part, held
        held += part
    return held


def masked(text: str) -> bytes:
    """Return a text frame with a mask of zeros."""
    data = text.encode()
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)
    return b"\x81" + size + bytes(4) + data


def connect_frame(user: int, head: int, *, fresh: bool = False) -> bytes:
    """Return `connect` of a user, with a cursor at the head of the user's room."""
    unique = random.randbytes(9).hex() if fresh else ""
    made = token(f"user-{user}", name=f"User {user}", iat=1_700_000_000, jti=unique)
    rooms = {f"room-{user // PER_ROOM}": head}
    return masked(json.dumps({"type": "connect", "protocol": 1, "token": made, "rooms": rooms}))


def foreign_frame(user: int) -> bytes:
    """Return `connect` with a token that another key has signed."""
    made = jwt.encode(
        {"alg": "HS256"}, {"sub": f"user-{user}", "exp": 4_000_000_000}, OctKey.import_key("x" * 32)
    )
    return masked(json.dumps({"type": "connect", "protocol": 1, "token": made, "rooms": {}}))


def ran(pid: int) -> float:
    """Return the seconds that the threads of a process ran."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def settled(pid: int) -> float:
    """Return the seconds that a process ran, once it is idle."""
    ends, before = time.monotonic() + LONGEST, ran(pid)
    while True:
        time.sleep(LOOK)
        now = ran(pid)
        if now - before < QUIET * LOOK or time.monotonic() > ends:
            return now
        before = now


def close(sockets: list[socket.socket]) -> None:
    """Close connections."""
    for tcp in sockets:
        tcp.close()


def rounds(count: int) -> Iterator[int]:
    """Yield `AT_ONCE` until `count` is reached."""
    return itertools.repeat(AT_ONCE, max(1, count // AT_ONCE))


def silent(client: Client, count: int) -> list[socket.socket]:
    """Open and close connections."""
    for some in rounds(count):
        close([client.dial() for _ in range(some)])
    return []


def refused(client: Client, count: int) -> list[socket.socket]:
    """Be refused."""
    for some in rounds(count):
        close(client.upgraded(some, let_in=False))
    return []


def upgrade(client: Client, count: int) -> list[socket.socket]:
    """Upgrade and leave."""
    for some in rounds(count):
        close(client.upgraded(some))
    return []


def bad(client: Client, count: int) -> list[socket.socket]:
    """Connect with bad tokens."""
    for some in rounds(count):
        sockets = client.upgraded(some)
        for tcp in sockets:
            tcp.sendall(FOREIGN)
        for tcp in sockets:
            assert until(tcp, b"\x88")[0] == 0x88
        close(sockets)
    return []


def session(client: Client, count: int) -> list[socket.socket]:
    """Open sessions of users whose tokens the node knows."""
    return [tcp for some in rounds(count) for tcp in client.connected(some)]


def fresh(client: Client, count: int) -> list[socket.socket]:
    """Open sessions with new tokens."""
    return [tcp for some in rounds(count) for tcp in client.connected(some, fresh=True)]


FOREIGN = foreign_frame(1)
KINDS: dict[str, Callable[[Client, int], list[socket.socket]]] = {
    each.__name__: each for each in (silent, refused, upgrade, bad, session, fresh)
}


def measure(kind: str, client: Client, pid: int, count: int) -> Figures:
    """Return the microseconds of one connection."""
    before = settled(pid)
    sockets = KINDS[kind](client, count)
    done = settled(pid)
    figures = {kind: (done - before) / count * 1e6}
    close(sockets)
    if sockets:
        ended = settled(pid)
        if kind == "session":
            figures["end"] = (ended - done) / count * 1e6
    return figures


def head_of(frames: bytes) -> int:
    """Return the head of a room in the ack of `room:join`."""
    found = re.search(rb'"ack".*"head":(\d+)', frames, re.DOTALL)
    assert found is not None, frames
    return int(found[1])


def prepare(client: Client) -> None:
    """Make the users members of their rooms, and make the node know their tokens."""
    heads: list[int] = []
    for first in range(0, USERS, 100):
        users = range(first, first + 100)
        sockets = client.upgraded(100)
        for user, tcp in zip(users, sockets, strict=True):
            made = token(f"user-{user}", name=f"User {user}", iat=1_700_000_000)
            tcp.sendall(masked(json.dumps({"type": "connect", "protocol": 1, "token": made, "rooms": {}})))
            join = {"type": "room:join", "ref": f"j{user}", "roomId": f"room-{user // PER_ROOM}"}
            tcp.sendall(masked(json.dumps(join)))
        heads += [head_of(until(tcp, b'"head":')) for tcp in sockets]
        close(sockets)
    time.sleep(1)
    client.heads = [max(heads[first : first + PER_ROOM]) for first in range(0, USERS, PER_ROOM)]
    client.frames = [connect_frame(user, client.heads[user // PER_ROOM]) for user in range(USERS)]


@contextlib.asynccontextmanager
async def node(tree: Path, env: dict[str, str], program: tuple[str, ...] = PROGRAM) -> AsyncIterator[Process]:
    """Run a node of a tree, and a projector."""
    started, projector = [
        watched(
            Process(
                await asyncio.create_subprocess_exec(
                    sys.executable, *program, *command, cwd=tree, env=env,
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                )
            )
        )
        for program, command in ((program, ("serve",)), (PROGRAM, ("project", "run")))
    ]  # fmt: skip
    collecting = [asyncio.create_task(collect(each)) for each in (started, projector)]
    try:
        await wait_for_address(started)
        yield started
    finally:
        for each in (started, projector):
            await each.stop()
        await asyncio.gather(*collecting)


@contextlib.contextmanager
def settings(servers: Servers, kind: str) -> Iterator[dict[str, str]]:
    """Give the settings of the node of a kind, with a database."""
    with fresh_database(servers) as database:
        yield environment(
            database,
            ONRECORD_REDIS_URL=servers.redis_url,
            ONRECORD_HANDSHAKE_RATE="1",
            ONRECORD_HANDSHAKE_BURST="1" if kind == "refused" else "0",
        )


async def pairs(trees: list[Path], servers: Servers, kinds: list[str], given: argparse.Namespace) -> None:
    """Print the figures of all kinds."""
    for limited in (True, False):
        some = [kind for kind in kinds if (kind == "refused") is limited]
        if not some:
            continue
        async with contextlib.AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(node(tree, stack.enter_context(settings(servers, some[0]))))
                for tree in trees
            ]
            await asyncio.to_thread(turns, nodes, some, given)


def turns(nodes: list[Process], kinds: list[str], given: argparse.Namespace) -> None:
    """Measure nodes in turns, and print a line for each figure."""
    clients = [Client(node.address) for node in nodes]
    for client in clients:
        if kinds == ["refused"]:
            close(client.upgraded(1))
        else:
            prepare(client)
    for kind in kinds:
        found: list[list[Figures]] = [[] for _ in nodes]
        for number in range(given.rounds + 1):
            for index in random.sample(range(len(nodes)), len(nodes)):
                pid = nodes[index].process.pid
                assert pid is not None
                figures = measure(kind, clients[index], pid, given.count)
                if number:  # the first fills caches
                    found[index].append(figures)
        for name in found[0][0]:
            medians = [statistics.median(each[name] for each in side) for side in found]
            line = f"{name:8} " + " / ".join(f"{median:7.1f}" for median in medians) + " us"
            if len(nodes) > 1:
                ratio = compared(
                    "", "", "", [({name: a[name]}, {name: b[name]}) for a, b in zip(*found, strict=True)]
                )[0]
                line += f"   ratio {ratio.ratio:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
            print(line, file=sys.__stdout__, flush=True)


async def profile(servers: Servers, kind: str, given: argparse.Namespace) -> None:
    """Write a profile of one node, which has been restarted since the rooms were made."""
    program = ("-m", "bench.experiments.cpu_profile", str(given.profile), PROGRAM[1])

    def run(address: str) -> None:
        client = Client(address, frames=frames, heads=heads)
        for _ in range(given.rounds):
            close(KINDS[kind](client, given.count))
            time.sleep(1)

    with settings(servers, kind) as env:
        frames: list[bytes] = []
        heads: list[int] = []
        if kind != "refused":
            async with node(ROOT, env) as started:
                client = Client(started.address)
                await asyncio.to_thread(prepare, client)
                frames, heads = client.frames, client.heads
        async with node(ROOT, env, program) as started:
            await asyncio.to_thread(run, started.address)


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="another source tree")
    parser.add_argument("--only", nargs="*", default=[*KINDS], choices=[*KINDS], metavar="KIND")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--count", type=int, default=400, help="connections of one round")
    parser.add_argument("--profile", type=lambda name: Path(name).absolute(), metavar="FILE")
    given = parser.parse_args()
    with embedded.throwaway() as servers:
        if given.profile:
            asyncio.run(profile(servers, given.only[0], given))
        else:
            trees = [ROOT] + ([given.against.absolute()] if given.against else [])
            asyncio.run(pairs(trees, servers, given.only, given))
    return 0


if __name__ == "__main__":
    sys.exit(supervised(main))
