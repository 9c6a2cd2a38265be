"""A filled log, sealed or not, and ways to tamper with it that only the owner of the machine has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.audit.proof import sealer
from service.audit.proof.sealer import Sealer
from service.audit.proof.verify import Tampered, Verified, verify
from service.domain.events import MemberBanned, MemberLeft, PersonNamed, SessionClosed, SessionOpened
from service.domain.streams import person_stream, session_stream
from service.runtime import supervise
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, message, node
from tests.support.servers.databases import Database
from tests.support.waiting import until

TABLES = ("stored_events", "seals", "seal_nodes", "seal_keys")


async def fill(database: Database, messages: int = 20) -> None:
    """Record events of a room: two members, their messages, a ban, and sessions with each kind of personal text."""
    async with node(database) as one:
        await one.open_room("alice", "bob")
        for number in range(messages):
            await one.append(message(f"no. {number}"), decided_on=3 + number)
        await one.append(PersonNamed(user="bob", name="Bob"), stream=person_stream("bob"), by="bob")
        opened = SessionOpened(session="s", node="n", incarnation="i", address=None, client="a browser")
        closed = SessionClosed(session="s", reason="left", ranges={"general": ((1, 3),)})
        await one.append(opened, closed, stream=session_stream("bob"), by="bob")
        banned = MemberBanned(user="bob", reason="noise")
        await one.append(banned, MemberLeft(user="alice"), decided_on=3 + messages)


async def append(database: Database, *texts: str) -> None:
    """Append a message of a new user."""
    async with node(database) as one:
        head = await one.log.head("room:general")
        for number, text in enumerate(texts):
            await one.append(message(text, author="carol"), by="carol", decided_on=head + number)


MOST_QUERIES = 200
"""More than a sealer makes for any log of these tests."""


class SealerEnded(Exception):
    """A sealer has ended, or works without an end, where it should seal."""


class CountedConnection(asyncpg.Connection):
    """Counts its queries."""

    __slots__ = ("queries",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.queries = 0

    async def fetch(self, *arguments: Any, **options: Any) -> Any:
        self.queries += 1
        return await super().fetch(*arguments, **options)

    async def fetchval(self, *arguments: Any, **options: Any) -> Any:
        self.queries += 1
        return await super().fetchval(*arguments, **options)


class TestedSealer(Sealer):
    """A sealer whose rounds and queries can be counted."""

    __test__ = False

    def __init__(self, database: Database, key: bytes, interval: float) -> None:
        super().__init__(self._counted, key, interval)
        self._database = database
        self._connections: list[CountedConnection] = []
        self.rounds: list[float] = []
        """When the log was fully sealed."""

    @property
    def queries(self) -> int:
        return sum(connection.queries for connection in self._connections)

    @property
    def connections(self) -> int:
        """How many connections it has opened."""
        return len(self._connections)

    @property
    def caught_up_at(self) -> float | None:
        return self.rounds[-1] if self.rounds else None

    @caught_up_at.setter
    def caught_up_at(self, at: float | None) -> None:
        if at is not None:
            self.rounds.append(at)

    async def _counted(self) -> Any:
        connection = await asyncpg.connect(self._database.worker_url, connection_class=CountedConnection)
        self._connections.append(connection)
        return connection

    async def run(self) -> None:
        """Seal, and fail where a sealer ends."""
        await super().run()
        raise SealerEnded("a sealer reported a broken tree")


@asynccontextmanager
async def sealing(
    database: Database, key: bytes = KEY_ENCRYPTION_KEY, *, fails: bool = False, interval: float = 0.05
) -> AsyncIterator[TestedSealer]:
    """Give a running sealer. Unless it `fails`, and is run again as a node does, its end ends the block at once."""
    made = TestedSealer(database, key, interval)
    if fails:
        async with supervise.background(seal=made.run):
            yield made
        return
    pause, sealer.BROKEN_PAUSE = sealer.BROKEN_PAUSE, 0
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.run())
            yield made
            running.cancel()
    finally:
        sealer.BROKEN_PAUSE = pause


async def sealed(running: TestedSealer, size: int) -> None:
    """Wait until a sealer has sealed the log of `size` events.

    Raises:
        SealerEnded: it has looked for more twice since the call and has not sealed these, or does not come to an end.
    """
    rounds, queries = len(running.rounds), running.queries

    def over() -> bool:
        return len(running.rounds) > rounds + 1 or running.queries > queries + MOST_QUERIES

    await until(lambda: running.size == size or over())
    if running.size != size:
        raise SealerEnded(f"{running.size} events are sealed, and not {size}")


async def rested(running: TestedSealer, rounds: int = 1) -> None:
    """Wait until a sealer has found the log fully sealed so many times.

    Raises:
        SealerEnded: it looks for more without an end.
    """
    queries = running.queries
    await until(lambda: len(running.rounds) >= rounds or running.queries > queries + MOST_QUERIES)
    if len(running.rounds) < rounds:
        raise SealerEnded("it does not rest")


async def seal(database: Database, *, at_once: int | None = None) -> int:
    """Seal the whole log, with at most `at_once` events in a seal; return the size."""
    before = sealer.MAX_EVENTS
    sealer.MAX_EVENTS = at_once or before
    try:
        async with owner(database) as connection, sealing(database) as running:
            events = await connection.fetchval("SELECT count(*) FROM stored_events")
            await sealed(running, events)
    finally:
        sealer.MAX_EVENTS = before
    return int(events)


@asynccontextmanager
async def owner(database: Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Give a connection of the database's owner."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def attacker(database: Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Give a connection of a superuser without triggers and foreign keys."""
    async with owner(database) as connection:
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield connection


async def verified(database: Database, against: str | None = None) -> Verified:
    """Check the record as `onrecord audit verify` does."""
    connection = await asyncpg.connect(database.app_url)
    try:
        return await verify(connection, KEY_ENCRYPTION_KEY, against)
    finally:
        connection.terminate()


async def first_bad(database: Database, against: str | None = None) -> int | None:
    """Return the first bad position, None if the record is good."""
    try:
        await verified(database, against)
    except Tampered as found:
        return found.position
    return None


async def checkpoint(database: Database) -> str:
    """Return the newest checkpoint, as it would be kept elsewhere."""
    async with owner(database) as connection:
        note = await connection.fetchval("SELECT checkpoint FROM seals ORDER BY size DESC LIMIT 1")
    return str(note)


async def positions(database: Database) -> list[int]:
    """Return the positions of the log."""
    async with owner(database) as connection:
        rows = await connection.fetch("SELECT notification_id FROM stored_events ORDER BY 1")
    return [row[0] for row in rows]
