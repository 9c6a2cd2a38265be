"""How far the read models lag behind the log while so many posts a second are taken (W3's people and rooms).

    .venv/bin/python bench/experiments/lag.py --rate 2000 --seconds 30

Asks the database fifty times a second how old the oldest event is that each read model lacks. Prints a JSON line per
read model, in milliseconds, and what became of the posts.
"""

import argparse
import asyncio
import json
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.candidates import ONRECORD
from bench.server_run import server_run
from bench.workloads import W3
from bench.world import build
from projections import PROJECTIONS
from service import embedded
from service.node.projection_lag import AGES

EVERY = 0.02
"""Seconds between two looks."""


@contextmanager
def watching(url: str) -> Iterator[dict[str, list[float]]]:
    """Look until the block ends; what was seen is in seconds, by read model."""
    seen: dict[str, list[float]] = {projection.name: [] for projection in PROJECTIONS}
    over = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_look(url, seen, over)))
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


async def _look(url: str, seen: dict[str, list[float]], over: threading.Event) -> None:
    connection = await asyncpg.connect(url)
    tables = [projection.table for projection in PROJECTIONS]
    while not over.is_set():
        for projection, row in zip(PROJECTIONS, await connection.fetch(AGES, tables), strict=True):
            seen[projection.name].append(row["seconds"])
        await asyncio.sleep(EVERY)
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=2_000.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    build.generator()
    with (
        embedded.throwaway() as servers,
        server_run(ONRECORD, servers, W3.shape, W3.posters) as visit,
    ):
        with watching(visit.running.database) as seen:
            figures = visit.post(options.rate, options.seconds).figures
        for name, seconds in seen.items():
            p50, p99 = (
                statistics.median(seconds),
                statistics.quantiles(seconds, n=100, method="inclusive")[98],
            )
            ms = {"p50": p50, "p99": p99, "max": max(seconds)}
            print(json.dumps({"read model": name, **{which: round(1000 * s, 1) for which, s in ms.items()}}))
        told = ("posts", "planned", "lost", "seconds", "ack_p50_ms", "ack_p99_ms")
        print(json.dumps({name: figures[name] for name in told}))


if __name__ == "__main__":
    main()
