"""Posts a second through the whole path, on one node or several: in by WebSocket, committed, delivered, acknowledged.

    .venv/bin/python bench/posts.py --rate 2000 --seconds 20

Starts throw-away servers, a node and a projector as real processes, and posts at a fixed rate, evenly over all
connections (an open loop: what is late counts from when it should have been sent). Prints one JSON line: what was
offered and done, ack and delivery latency in ms, lost and doubled deliveries, projection lag in positions, and the CPU
seconds of each process.
The generator is Python and shares the cores with the servers: the figures are a floor.
"""

import argparse
import asyncio
import base64
import gc
import json
import os
import platform
import struct
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from service import embedded
from service.log.schema import migrate
from tests.databases import Database
from tests.whole.processes import environment, run, running, token

MASK = b"\0\0\0\0"  # RFC 6455 asks for a mask; a zero one costs the generator nothing


def frame(payload: bytes) -> bytes:
    length = len(payload)
    head = (
        struct.pack("!BB", 0x81, 0x80 | length) if length < 126 else struct.pack("!BBH", 0x81, 0xFE, length)
    )
    return head + MASK + payload


class Person(asyncio.Protocol):
    """A connection that reads frames by their lengths and looks into as little of them as it can."""

    def __init__(self, user: str, room: str, book: "Book") -> None:
        self.user, self.room, self.book = user, room, book
        self.buffer = b""
        self.upgraded = asyncio.get_running_loop().create_future()
        self.joined = asyncio.get_running_loop().create_future()
        self.last_seq = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, **fields: object) -> None:
        self.transport.write(frame(json.dumps(fields).encode()))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.upgraded.done():
            head, sep, rest = self.buffer.partition(b"\r\n\r\n")
            if not sep:
                return
            assert b" 101 " in head, head
            self.buffer = rest
            self.upgraded.set_result(None)
        buffer, at = self.buffer, 0
        while len(buffer) - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length == 126:
                if len(buffer) - at < 4:
                    break
                length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                if len(buffer) - at < 10:
                    break
                length, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if len(buffer) < start + length:
                break
            if buffer[at] == 0x89:
                self.transport.write(b"\x8a\x80" + MASK)
            else:
                self.take(buffer[start : start + length])
            at = start + length
        self.buffer = buffer[at:]

    def take(self, payload: bytes) -> None:
        if payload.startswith(b'{"type":"message:new"'):
            self.book.delivered(self, payload)
        elif payload.startswith(b'{"type":"ack"'):
            self.book.acked(payload)
        elif payload.startswith(b'{"type":"message:history"') and not self.joined.done():
            self.joined.set_result(None)
        elif payload.startswith(b'{"type":"error"'):
            self.book.errors.append(payload.decode())


class Book:
    """What was sent, acknowledged and delivered."""

    def __init__(self) -> None:
        self.due: dict[bytes, float] = {}
        self.ack_times: list[float] = []
        self.delivery_times: list[float] = []
        self.deliveries = 0
        self.gaps = 0
        self.errors: list[str] = []

    def acked(self, payload: bytes) -> None:
        start = payload.index(b'"ref":"') + 7
        due = self.due.get(payload[start : payload.index(b'"', start)])
        if due is not None:
            self.ack_times.append(time.perf_counter() - due)

    def delivered(self, person: Person, payload: bytes) -> None:
        self.deliveries += 1
        start = payload.index(b'"seq":') + 6
        seq = int(payload[start : payload.index(b",", start)])
        self.gaps += person.last_seq != 0 and seq != person.last_seq + 1
        person.last_seq = seq
        start = payload.index(b"due=") + 4
        self.delivery_times.append(time.perf_counter() - float(payload[start : payload.index(b" ", start)]))


def percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000, 2) if values else -1.0


async def connect(options: argparse.Namespace, addresses: list[str], book: Book) -> list[Person]:
    people = []
    for number in range(options.connections):
        # Turn about, and the rooms' numbers run on: every room has members on every node.
        address = addresses[number // options.rooms % len(addresses)]
        host, port = address.removeprefix("http://").split(":")
        user = f"user{number}"
        person = Person(user, f"room{number % options.rooms}", book)
        await asyncio.get_running_loop().create_connection(lambda person=person: person, host, int(port))
        await person.upgraded
        person.send(type="connect", protocol=1, token=token(user))
        person.send(type="room:join", ref=f"join-{user}", roomId=person.room)
        await person.joined
        people.append(person)
    return people


async def warm_up(people: list[Person], book: Book) -> None:
    """Everybody posts once: a person's first message makes their key, one commit more than all later ones."""
    for number, person in enumerate(people):
        ref = f"first-{number}"
        book.due[ref.encode()] = now = time.perf_counter()
        person.send(type="message:send", ref=ref, roomId=person.room, content=f"due={now} first")
    while len(book.ack_times) < len(people):
        await asyncio.sleep(0.05)


async def post(options: argparse.Namespace, people: list[Person], book: Book) -> float:
    filler = "x" * options.size
    began = time.perf_counter()
    total = options.rate * options.seconds
    for number in range(total):
        due = began + number / options.rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        elif number % 50 == 0:
            await asyncio.sleep(0)
        person = people[number % len(people)]
        ref = f"post-{number}"
        book.due[ref.encode()] = due
        person.send(type="message:send", ref=ref, roomId=person.room, content=f"due={due} {filler}")
    while (
        len(book.ack_times) < total and not book.errors and time.perf_counter() < began + options.seconds * 3
    ):
        await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def measure(options: argparse.Namespace, database: Database, redis_url: str) -> dict[str, object]:
    env = environment(database) | ({"ONRECORD_REDIS_URL": redis_url} if options.nodes > 1 else {})
    book = Book()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(env, "serve")) for _ in range(options.nodes)]
        projector = await stack.enter_async_context(running(env, "project", "run"))
        people = await connect(options, [node.address for node in nodes], book)
        processes = {f"node {number}": node.process.pid for number, node in enumerate(nodes, 1)}
        processes["projector"] = projector.process.pid
        await warm_up(people, book)
        watched = {name: psutil.Process(pid) for name, pid in processes.items()}
        before = {name: sum(process.cpu_times()[:2]) for name, process in watched.items()}
        book.ack_times.clear()
        book.delivery_times.clear()
        book.deliveries = 0
        took = await post(options, people, book)
        cpu = {
            name: round(sum(process.cpu_times()[:2]) - before[name], 2) for name, process in watched.items()
        }
        status = [json.loads(line) for line in (await run(env, "project", "status"))[1].splitlines()]
        await asyncio.sleep(1)
        for person in people:
            person.transport.close()
    members = options.connections // options.rooms
    return {
        "offered_per_s": options.rate,
        "acked": len(book.ack_times),
        "acked_per_s": round(len(book.ack_times) / took),
        "ack_p50_ms": percentile(book.ack_times, 0.5),
        "ack_p99_ms": percentile(book.ack_times, 0.99),
        "deliveries": book.deliveries,
        "expected_deliveries": len(book.ack_times) * members,
        "delivery_p50_ms": percentile(book.delivery_times, 0.5),
        "delivery_p99_ms": percentile(book.delivery_times, 0.99),
        "gaps": book.gaps,
        "errors": book.errors[:3],
        "projection_behind": max(line["behind"] for line in status),
        "cpu_seconds": cpu,
        "connections": options.connections,
        "rooms": options.rooms,
        "nodes": options.nodes,
        "seconds": options.seconds,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=1000, help="posts a second")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--rooms", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=1, help="over one bus, if more than one")
    parser.add_argument("--size", type=int, default=100, help="characters a message")
    options = parser.parse_args()
    gc.disable()  # the generator's own pauses are nobody's latency
    with embedded.throwaway() as servers:
        migrate(servers.migrate_database_url, servers.database_url)
        database = Database("onrecord", servers.migrate_database_url, servers.database_url)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(measure(options, database, servers.redis_url))))


if __name__ == "__main__":
    main()
