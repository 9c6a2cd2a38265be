"""A log, and read models at positions that a test chooses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import databases

from projections import PROJECTIONS
from projections.engine.log_window import LogWindow, events, tracked
from projections.engine.projection import Projection
from projections.engine.runner import Runner
from service.domain.events import EVENTS, Event, Recorded
from service.eventstore.entries import AppendResult
from tests.support.eventstore.log_node import Node, node
from tests.support.servers.databases import Database

Act = tuple[str, str, tuple[Event, ...]]
"""The author, the stream and the event."""


@dataclass
class World:
    """`connection` is the application's, `reads` is the database for queries."""

    database: Database
    node: Node
    reads: databases.Database
    connection: "asyncpg.Connection[Any]"

    async def happen(self, *acts: Act) -> list[AppendResult]:
        """Append acts in order."""
        entries = [
            await self.node.entry(*events, stream=stream, by=by, guard=()) for by, stream, events in acts
        ]
        return await asyncio.gather(*map(self.node.appender.offer, entries))

    async def log(self, after: int = 0, until: int = 2**62) -> list[Recorded]:
        """Return every event of the log, by position."""
        return await events(
            self.connection, self.node.serializer, list(EVENTS), LogWindow(after, until, until)
        )

    async def head(self) -> int:
        return await self.node.log.position()

    def runner(self, projection: Projection, *, interval: float = 0.05) -> Runner:
        return Runner(self.connect, self.node.serializer, projection, interval)

    async def connect(self) -> "asyncpg.Connection[Any]":
        return await asyncpg.connect(self.database.worker_url)

    async def advance(self, projection: Projection, upto: int) -> None:
        """Move a live table to a position, in one batch."""
        after = await tracked(self.connection, projection.table)
        if upto > after:
            async with self.connection.transaction():
                await self.runner(projection)._apply(
                    self.connection, LogWindow(after, upto, upto), lambda _more: None
                )

    async def project(self, *projections: Projection) -> None:
        """Move live tables to the log's head; all of them if none is named."""
        for projection in projections or PROJECTIONS:
            await self.advance(projection, await self.head())

    async def rows(self, projection: Projection) -> Sequence[asyncpg.Record]:
        """Return a live table, by key."""
        return await self.connection.fetch(
            f"SELECT * FROM {projection.relation} ORDER BY {', '.join(projection.key)}"
        )

    async def as_owner(self, statement: str, *arguments: object) -> str:
        owner = await asyncpg.connect(self.database.superuser_url)
        try:
            return await owner.execute(statement, *arguments)
        finally:
            await owner.close()


@asynccontextmanager
async def world(database: Database) -> AsyncIterator[World]:
    async with (
        node(database) as running,
        databases.Database(database.app_url, min_size=1, max_size=2) as reads,
    ):
        connection = await asyncpg.connect(database.worker_url)
        try:
            yield World(database, running, reads, connection)
        finally:
            await connection.close()
