"""Measures how far the read models lag behind the log at a given rate of posts, with the users and rooms of W3.

    .venv/bin/python bench/experiments/lag.py --rate 2000 --seconds 30

Queries the database fifty times a second for the age of the oldest event that each read model has not applied. Prints
a JSON line per read model, in milliseconds, and the results of the posts.
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
from bench.lifetime import supervised
from bench.server_run import server_run
from bench.workloads import W3
from bench.world import build
from projections import PROJECTIONS
from service import embedded
from service.node.projection_lag import AGES

INTERVAL = 0.02
"""Seconds between two queries."""


@contextmanager
def watching(url: str) -> Iterator[dict[str, list[float]]]:
    """Sample the lag until the block ends; the samples are in seconds, by read model."""
    seen: dict[str, list[float]] = {projection.name: [] for projection in PROJECTIONS}
    over = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_sample(url, seen, over)))
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


async def _sample(url: str, seen: dict[str, list[float]], over: threading.Event) -> None:
    connection = await asyncpg.connect(url)
    tables = [projection.table for projection in PROJECTIONS]
    while not over.is_set():
        for projection, row in zip(PROJECTIONS, await connection.fetch(AGES, tables), strict=True):
            seen[projection.name].append(row["seconds"])
        await asyncio.sleep(INTERVAL)
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
        server_run(ONRECORD, servers, W3.shape, W3.posters) as run,
    ):
        with watching(run.running.database) as seen:
            figures = run.post(options.rate, options.seconds).figures
        for name, seconds in seen.items():
            p50, p99 = (
                statistics.median(seconds),
                statistics.quantiles(seconds, n=100, method="inclusive")[98],
            )
            ms = {"p50": p50, "p99": p99, "max": max(seconds)}
            print(json.dumps({"read model": name, **{which: round(1000 * s, 1) for which, s in ms.items()}}))
        reported = ("posts", "planned", "lost", "seconds", "ack_p50_ms", "ack_p99_ms")
        print(json.dumps({name: figures[name] for name in reported}))


if __name__ == "__main__":
    sys.exit(supervised(main))
