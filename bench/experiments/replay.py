"""Measures the time and memory of the audit commands, on a log of up to a million events in one room.

    .venv/bin/python bench/experiments/replay.py --sizes 10000 1000000

Starts throw-away servers and grows the log by COPY through the service's own encoding (`fill_log`). At each size real
processes seal it (`project run`), verify, replay and show it, and a node streams it over HTTP. Prints a JSON line per
size: events per second, and the peak resident memory of each process in MiB, which must not grow with the size for
commands that stream. Intermediate results go to stderr. At the end the room gets a retention rule, and all messages
expire. The reader is Python on the same machine and discards what it reads.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.lifetime import supervised
from bench.world.fill_log import Filler
from migrations.run import migrate
from service import embedded
from tests.support.environment import KEY_ENCRYPTION_KEY, environment, token
from tests.support.processes.processes import running
from tests.support.servers.databases import Database, database_of

ROOM = "room0"


def peak(pid: int) -> float:
    """Return the peak resident memory of a process so far, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise LookupError(line)


class Output:
    """The size and hash of an output: lines, bytes and SHA-256."""

    def __init__(self) -> None:
        self.lines = self.bytes = 0
        self.hash = hashlib.sha256()

    async def take(self, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            self.lines += piece.count(b"\n")
            self.bytes += len(piece)
            self.hash.update(piece)


async def command(env: dict[str, str], *arguments: str) -> tuple[Output, float, float]:
    """Run a command to its end; return its output, its seconds, and its peak memory in MiB."""
    began, output = time.perf_counter(), Output()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", *arguments,
        env=env, cwd=Path(__file__).parent.parent.parent, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    most = 0.0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal most
        assert process.stdout is not None
        while piece := await process.stdout.read(1 << 20):
            most = max(most, peak(process.pid))
            yield piece

    async def watch() -> None:
        nonlocal most
        while True:
            await asyncio.sleep(0.1)
            most = max(most, peak(process.pid))

    watching = asyncio.create_task(watch())
    await output.take(pieces())
    watching.cancel()
    assert await process.wait() == 0
    return output, time.perf_counter() - began, most


async def sealed(env: dict[str, str], owner: "asyncpg.Connection[Any]", size: int) -> dict[str, float]:
    """Seal the unsealed events; the projections run in the same process, as in production."""
    query = "SELECT coalesce(max(size), 0) FROM seals"
    before = await owner.fetchval(query)
    async with running(env, "project", "run", afresh=True) as projector:
        began = time.perf_counter()
        while (now := await owner.fetchval(query)) < size:
            await asyncio.sleep(0.2)
        took = time.perf_counter() - began
        return {"seal_per_s": round((now - before) / took), "projector_mib": peak(projector.process.pid)}


async def streamed(env: dict[str, str], size: int) -> dict[str, float]:
    """Stream the whole log over HTTP."""
    headers = {"Authorization": f"Bearer {token('ann', scope='auditor')}"}
    async with running(env, "serve", afresh=True) as node:
        idle, output, began = peak(node.process.pid), Output(), time.perf_counter()
        async with (
            httpx.AsyncClient(base_url=node.address, headers=headers, timeout=None) as ann,  # noqa: S113 - it may take long
            ann.stream("GET", "/audit/events") as answer,
        ):
            await output.take(answer.aiter_raw())
        took = time.perf_counter() - began
        assert output.lines >= size
        most = peak(node.process.pid)
    return {"http_per_s": round(output.lines / took), "node_idle_mib": idle, "node_mib": most}


async def exported(env: dict[str, str], size: int) -> dict[str, float]:
    """Export the whole log; `export_bytes` is the size of the directory."""
    with tempfile.TemporaryDirectory(prefix="onrecord-export-") as place:
        _, took, most = await command(env, "audit", "export", "--all", "--out", place)
        held = sum(file.stat().st_size for file in os.scandir(place))
    return {"export_per_s": round(size / took), "export_mib": most, "export_bytes": held}


async def replayed(env: dict[str, str]) -> dict[str, float]:
    """Replay the room twice as JSON, which must give the same bytes, and once as text."""
    replay = ("audit", "replay", "--room", ROOM)
    output, took, most = await command(env, *replay)
    again, _, _ = await command(env, *replay)
    assert output.hash.digest() == again.hash.digest(), "the same range gives the same bytes"
    text, text_took, text_most = await command(env, *replay, "--as", "text")
    return {
        "replay_per_s": round(output.lines / took),
        "replay_mib": most,
        "replay_bytes": output.bytes,
        "text_per_s": round(text.lines / text_took),
        "text_mib": text_most,
    }


async def shown(env: dict[str, str], filler: Filler) -> dict[str, float]:
    """Show the room as of the middle of its history."""
    moment = str(filler.heads[ROOM] // 2)
    room, took, most = await command(env, "audit", "room", ROOM, "--at", moment)
    return {"room_at_half_s": round(took, 2), "room_at_half_bytes": room.bytes, "room_mib": most}


async def verified(env: dict[str, str], size: int) -> dict[str, float]:
    """Verify the whole log."""
    _, took, most = await command(env, "audit", "verify")
    return {"verify_per_s": round(size / took), "verify_mib": most}


async def measure(env: dict[str, str], owner: "asyncpg.Connection[Any]", filler: Filler) -> dict[str, Any]:
    size = await owner.fetchval("SELECT count(*) FROM stored_events")
    found: dict[str, Any] = {"events": size}
    for step in (
        sealed(env, owner, size),
        verified(env, size),
        replayed(env),
        streamed(env, size),
        shown(env, filler),
        exported(env, size),
    ):
        found |= await step
        print(json.dumps(found), flush=True)
    return found


async def expired(env: dict[str, str], owner: "asyncpg.Connection[Any]") -> dict[str, Any]:
    """Set a retention by which all messages expire, earlier ones included; this is the last step."""
    await command(env, "audit", "retention", "--room", ROOM, "--days", "1")
    _, took, most = await command(env, "audit", "expire")
    carried = await owner.fetchval("SELECT count(*) FROM carried_words")
    room = await owner.fetchval("SELECT pg_total_relation_size('carried_words')")
    return {"carried": carried, "carry_per_s": round(carried / took), "carry_mib": most, "carry_bytes": room}


async def run(sizes: list[int], database: Database) -> None:
    env = environment(database)
    key = base64.b64decode(KEY_ENCRYPTION_KEY)
    owner = await asyncpg.connect(database.owner_url)
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=4) as pool:
        filler = Filler(owner, pool, key, rooms=1)
        for size in sizes:
            before, began = filler.size, time.perf_counter()
            await filler.grow(size)
            loaded = round((filler.size - before) / (time.perf_counter() - began))
            machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
            with contextlib.redirect_stdout(sys.stderr):  # the output of the processes
                found = {"load_per_s": loaded, **await measure(env, owner, filler), "machine": machine}
            print(json.dumps(found), flush=True)
        with contextlib.redirect_stdout(sys.stderr):
            found = await expired(env, owner)
        print(json.dumps(found), flush=True)
    await owner.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000])
    options = parser.parse_args()
    with embedded.throwaway() as servers:
        database = database_of(servers)
        migrate(database.owner_url, database.app_url, database.worker_url)
        asyncio.run(run(options.sizes, database))


if __name__ == "__main__":
    sys.exit(supervised(main))
