"""Measures how the cost of common reads and writes grows with the log, and with a room's members.

    .venv/bin/python bench/experiments/growth.py                                        # to a million, some minutes
    .venv/bin/python bench/experiments/growth.py --sizes 10000 100000 1000000 10000000  # the long form, an hour

Starts a throw-away Postgres, grows its log step by step (`fill_log`), and measures at each size once the projections
and the seals have caught up: the median of many tries in ms, or a rate per second. Prints a JSON line per size; the
figures go to `bench/results/growth.json`, the charts to `docs/explanation/scaling/`.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from databases import Database

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.experiments.append import Writer
from bench.lifetime import supervised
from bench.measure import machine
from bench.report import charts
from bench.report.svg import Line
from bench.world.fill_log import Filler
from migrations.run import migrate
from projections import PROJECTIONS, check, messages, rooms
from projections.engine.projector import Projector
from service import embedded
from service.audit.history.replay import replay
from service.audit.proof.sealer import Sealer
from service.audit.proof.verify import verify
from service.domain.streams import room_stream
from service.eventstore.reader import LogReader

DRAWN = {
    "latency": ("milliseconds", ("append_20_ms", "history_ms", "room_list_ms", "catch_up_100_ms")),
    "rates": ("events a second", ("project_per_s", "seal_per_s", "replay_per_s", "verify_per_s")),
}
KEY = bytes(range(32))
CROWDS = (100, 1_000, 10_000)
TRIES = 100


class Measured:
    """The measurements at one size of the log."""

    def __init__(self, url: str, filler: Filler, pool: "asyncpg.Pool[Any]", reads: Database) -> None:
        self.url = url
        self.filler = filler
        self.pool = pool
        self.reads = reads
        self.log = LogReader(pool, filler.serializer, 60.0)
        self.random = random.Random(7)

    def room(self) -> str:
        return f"room{self.random.randrange(self.filler.rooms)}"

    async def everything(self) -> dict[str, float]:
        before = self.filler.size
        found = {"project_per_s": await self.level_projections(), "seal_per_s": await self.level_seals()}
        size, serializer = self.filler.size, self.filler.serializer
        found |= {
            "append_20_ms": await self.append(),
            "room_ms": await self.median(lambda: self.log.room(self.room())),
            "history_ms": await self.median(
                lambda: messages.page(self.reads, serializer, self.room(), limit=50)
            ),
            "middle_ms": await self.median(self.middle),
            "room_list_ms": await self.median(lambda: rooms.summaries(self.reads, serializer, "user7")),
            "catch_up_100_ms": await self.median(self.catch_up),
            "replay_per_s": await self.replay(),
            "verify_per_s": await self.verify(),
        }
        return {"events": max(before, size), **found}

    async def level_projections(self) -> float:
        """Let the projector catch up with the log; return how many events it applied per second."""
        began, left = time.perf_counter(), await self.behind()
        task = asyncio.create_task(Projector(self.connect, self.filler.serializer, PROJECTIONS, 0.2).run())
        while await self.behind():
            await asyncio.sleep(0.05)
        took = time.perf_counter() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return round(left / took)

    async def behind(self) -> int:
        connection = await self.connect()
        behind = max(int(line["behind"]) for line in await check.status(connection))
        await connection.close()
        return behind

    async def level_seals(self) -> float:
        """Let the sealer catch up with the log; return how many events it sealed per second."""
        sealer = Sealer(self.connect, KEY, 0.2)
        began = time.perf_counter()
        task = asyncio.create_task(sealer.run())
        first = None
        while sealer.size < self.filler.size:
            first = sealer.size if first is None and sealer.leading and sealer.size else first
            await asyncio.sleep(0.02)
        took = time.perf_counter() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return round((self.filler.size - (first or 0)) / took)

    async def append(self) -> float:
        connection = await self.connect()
        writer = Writer(connection, self.filler.serializer, self.filler.rooms)
        writer.heads = {
            room_stream(f"room{number}"): self.filler.heads[f"room{number}"]
            for number in range(self.filler.rooms)
        }
        writer.keys = [await self.filler.ring.of_person(f"user{number}", self.pool) for number in range(100)]
        took = [await writer.append(20) for _ in range(TRIES)]
        await connection.close()
        self.filler.size += 20 * TRIES
        self.filler.heads |= {stream.removeprefix("room:"): head for stream, head in writer.heads.items()}
        await self.level_projections()
        return round(statistics.median(took) * 1000, 2)

    async def median(self, work: Callable[[], Awaitable[object]]) -> float:
        took = []
        for _ in range(TRIES):
            began = time.perf_counter()
            await work()
            took.append(time.perf_counter() - began)
        return round(statistics.median(took) * 1000, 2)

    async def middle(self) -> object:
        before = self.filler.heads["room0"] // 2
        return await messages.page(self.reads, self.filler.serializer, "room0", before=before, limit=50)

    async def catch_up(self) -> object:
        room = self.room()
        return await self.log.stream(room_stream(room), max(0, self.filler.heads[room] - 100), 100)

    async def replay(self) -> float:
        began, count = time.perf_counter(), 0
        async for _ in replay(self.log, "room0"):
            count += 1
        return round(count / (time.perf_counter() - began))

    async def verify(self) -> float:
        await self.level_seals()
        connection = await self.connect()
        began = time.perf_counter()
        found = await verify(connection, KEY)
        await connection.close()
        return round(found.size / (time.perf_counter() - began))

    async def crowds(self) -> dict[str, float]:
        for size in CROWDS:
            await self.filler.crowd(f"crowd{size}", size)
        return {
            f"room_of_{size}_ms": await self.median(partial(self.log.room, f"crowd{size}")) for size in CROWDS
        }

    async def connect(self) -> Any:
        return await asyncpg.connect(self.url)


async def measure(options: argparse.Namespace, servers: embedded.Servers, about: dict[str, Any]) -> None:
    owner = await asyncpg.connect(servers.migrate_database_url)
    async with (
        asyncpg.create_pool(servers.database_url, min_size=2, max_size=4) as pool,
        Database(servers.database_url, min_size=1, max_size=2) as reads,
    ):
        filler = Filler(owner, pool, KEY, options.rooms)
        measured = Measured(servers.database_url, filler, pool, reads)
        points = []
        for size in options.sizes:
            began = time.perf_counter()
            await filler.grow(size)
            filled = round(time.perf_counter() - began, 1)
            points.append({**await measured.everything(), "filled_s": filled})
            print(json.dumps(points[-1]), flush=True)
            keep(about, points)
        print(json.dumps(await measured.crowds()), flush=True)
    await owner.close()


def keep(about: dict[str, Any], points: list[dict[str, float]]) -> None:
    """Save and draw the measurements so far."""
    charts.keep("growth", about, points)
    for file, (up, names) in DRAWN.items():
        lines = [Line(name, [(point["events"], point[name]) for point in points]) for name in names]
        charts.draw(f"log-{file}", "events in the log", up, lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rooms", type=int, default=100)
    options = parser.parse_args()
    about = machine.described(f"python {' '.join(sys.argv)}")
    with embedded.throwaway() as servers:
        migrate(servers.migrate_database_url, servers.database_url)  # one login does both jobs
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(options, servers, about))


if __name__ == "__main__":
    sys.exit(supervised(main))
