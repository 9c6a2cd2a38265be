"""A node in the test's own process that counts its statements: the cost of clients for the database."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.config.settings import Settings
from service.eventstore import connections
from service.node import storage
from service.node.node import Node, node
from service.node.server import Server


@dataclass
class Statements:
    """The statements through the pools, by text, and the largest number of callers that waited for a connection."""

    counts: Counter[str] = field(default_factory=Counter)
    most_waiting: int = 0

    def of(self, *queries: str) -> int:
        """Return how often these statements were executed."""
        return sum(self.counts[query] for query in queries)

    def clear(self) -> None:
        """Reset the counts."""
        self.counts.clear()
        self.most_waiting = 0


@dataclass(frozen=True)
class Counted:
    """A node that serves at `address`."""

    address: str
    node: Node
    statements: Statements

    @property
    def url(self) -> str:
        """The native door."""
        return self.address.replace("http", "ws", 1) + "/ws"


@asynccontextmanager
async def counted_node(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Counted]:
    """Give a node as `onrecord serve` makes it."""
    statements = Statements()

    class Connection(connections.Connection):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.add_query_logger(lambda logged: statements.counts.update([logged.query]))

    class Pool(connections.Pool):
        async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - the library's
            statements.most_waiting = max(statements.most_waiting, self.waiting + 1)
            return await super()._acquire(timeout)

    monkeypatch.setattr(connections, "Connection", Connection)
    monkeypatch.setattr(storage, "Pool", Pool)
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = Settings.from_env(environment)
    async with node(settings) as running:
        server = Server(settings, running.gateway, listening.set_result)
        serving = asyncio.create_task(server.serve())
        try:
            yield Counted(await listening, running, statements)
        finally:
            server.should_exit = True
            await serving
