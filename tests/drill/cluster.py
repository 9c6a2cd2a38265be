"""The cluster under test: a new database, nodes as real processes, and proxies between every node and its servers.

Invariant: the environment of a node is made in one place (`node_environment`). Every started process is stopped when
the block ends, a stopped or hanging process too, and by the reaper if this process is killed.
"""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from service.config.settings import BY_VARIABLE
from service.embedded import Servers
from service.embedded.daemon import free_port
from tests.drill.reaper import Reaper
from tests.support.environment import environment
from tests.support.processes import processes
from tests.support.processes.poolers import pooler as pooler_in
from tests.support.servers.databases import Database, fresh_database
from tests.support.servers.memory import servers_directory
from tests.support.servers.proxies import Proxy, proxied

if TYPE_CHECKING:
    from tests.support.processes.processes import Process

BUS_KEY = "dGhlIGtleSBvZiB0aGUgZHJpbGwncyBvd24gYnVzLi4="
STARTS = 30.0
"""Seconds within which a node has to listen; otherwise the drill fails."""


def node_environment(database: Database, redis_url: str, port: int, number: int) -> dict[str, str]:
    """Return the environment of a node, with known settings only, since a node refuses others.

    The first node writes to each socket by a call of its own, the others by io_uring where the kernel allows it.
    """
    wanted = {
        "ONRECORD_PORT": str(port),
        "ONRECORD_REDIS_URL": redis_url,
        "ONRECORD_BUS_KEY": BUS_KEY,
        "ONRECORD_DRAIN_SECONDS": "1",
        "ONRECORD_URING": "auto" if number else "off",
    }
    known = {name: value for name, value in wanted.items() if name in BY_VARIABLE}
    return environment(database, **known)


class Node:
    """A `serve` process that can be killed, paused and restarted. It keeps its address."""

    def __init__(
        self, number: int, start: Callable[[], Any], reaper: Reaper, postgres: Proxy, redis: Proxy, url: str
    ) -> None:
        self.number = number
        self.url = url
        self.postgres = postgres
        self.redis = redis
        self.words: list[str] = []
        self._start = start
        self._reaper = reaper
        self._process: Process | None = None
        self._collecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = process = await self._start()
        self._reaper.watch(process.process.pid)
        process.words = self.words
        self._collecting = asyncio.create_task(processes.collect(process))
        async with asyncio.timeout(STARTS):
            await processes.wait_for_address(process)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """Ask it to stop; return its exit code."""
        return await self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Pause it, as a suspended or starved machine does."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.process.send_signal(number)

    async def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process.process, None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        code = await process.wait()
        self._reaper.release(process.pid)
        if self._collecting is not None:
            await self._collecting
        return code


@dataclass
class Cluster:
    """The running cluster."""

    servers: Servers
    database: Database
    nodes: list[Node]
    reaper: Reaper = field(repr=False)
    projector: list[str] = field(default_factory=list)
    """The log of the projector, if there is one."""

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["psycopg.AsyncConnection[Any]"]:
        """Give a connection of the database's owner that does not use the proxies."""
        async with await psycopg.AsyncConnection.connect(
            self.database.superuser_url, autocommit=True
        ) as owner:
            yield owner


@asynccontextmanager
async def cluster(
    servers: Servers,
    *,
    nodes: int = 2,
    program: tuple[str, ...] = ("tests.support.processes.by_io_uring",),
    projector: bool = False,
    pooler: str = "",
) -> AsyncIterator[Cluster]:
    """Give a cluster whose nodes listen; `program` as in `processes.start`, `pooler` as in `Plan`."""
    async with AsyncExitStack() as stack:
        reaper = Reaper()
        stack.callback(reaper.close)
        database = stack.enter_context(fresh_database(servers))
        reached = stack.enter_context(_pooled(database, pooler)) if pooler else database
        made = [await _node(stack, servers, reached, reaper, program, number) for number in range(nodes)]
        running = Cluster(servers, database, made, reaper)
        await asyncio.gather(*(node.start() for node in made))
        if projector:
            running.projector = await _projector(stack, reached, reaper)
        yield running


@contextlib.contextmanager
def _pooled(database: Database, mode: str) -> Iterator[Database]:
    """Give a database behind a PgBouncer."""
    place = Path(tempfile.mkdtemp(prefix="onrecord-drill-", dir=servers_directory()))
    place.chmod(0o711)
    try:
        with pooler_in(database, mode, place) as running:
            yield running.database
    finally:
        shutil.rmtree(place)


async def _node(
    stack: AsyncExitStack,
    servers: Servers,
    database: Database,
    reaper: Reaper,
    program: tuple[str, ...],
    number: int,
) -> Node:
    postgres, database_url = await stack.enter_async_context(proxied(database.app_url, Proxy))
    redis, redis_url = await stack.enter_async_context(proxied(servers.redis_url, Proxy))
    port = free_port()
    env = node_environment(replace(database, app_url=database_url), redis_url, port, number)
    start = partial(processes.start, env, "serve", program=program, afresh=True)
    node = Node(number, start, reaper, postgres, redis, f"ws://127.0.0.1:{port}/ws")
    stack.push_async_callback(node.kill)
    return node


async def _projector(stack: AsyncExitStack, database: Database, reaper: Reaper) -> list[str]:
    """Run a projector, so that reads stay possible however long the drill lasts; return its log, which grows."""
    process = await processes.start(environment(database), "project", "run")
    reaper.watch(process.process.pid)
    collecting = asyncio.create_task(processes.collect(process))
    stack.push_async_callback(asyncio.wait, [collecting])
    stack.push_async_callback(process.kill)
    return process.words
