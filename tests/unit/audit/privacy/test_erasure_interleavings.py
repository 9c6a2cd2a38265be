"""An erasure beside the pass that carries words over to other keys, in every order of their steps.

Both run on connections of their own. Each statement of the pass is a transaction with a step before it and one before
its commit; the erasure takes a step to run and a step to commit. A schedule says at which step of the pass each is.
Where the pass would wait for the erasure's lock, the erasure commits, since nothing else can happen then.

Rule: once the erasure is committed and the pass is over, no key of that person lives and no word of theirs is read.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from service.audit.privacy import retention_backfill
from service.audit.privacy.retention import expire
from service.audit.proof.verify_content import verify_content
from service.domain.events import MessagePosted, PersonNamed
from service.domain.streams import person_stream
from service.encryption.keyring import KeyRing
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from tests.support.audit.retention import HOW, OTHER, backdate, rule, tell
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, Node, node, stored
from tests.support.servers.databases import Database


class Stepped:
    """Two connections, one of them stepped by the other: `run_at` and `commit_at` are steps of the pass."""

    def __init__(self, here: Any, beside: Any, watch: Any, person: str, run_at: int, commit_at: int) -> None:
        self._here = here
        self._beside = beside
        self._watch = watch
        self._person = person
        self._run_at = run_at
        self._commit_at = commit_at
        self._erasing: asyncio.Task[Any] | None = None
        self._transaction: Any = None
        self.steps = 0
        self.committed_at: int | None = None

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Run a statement of the pass, with a step before it and one before its commit."""
        await self._step()
        async with self._here.transaction():
            rows: list[Any] = await self._unless_locked_out(self._here.fetch(query, *arguments))
            await self._step()
        return rows

    async def fetchrow(self, query: str, *arguments: object) -> Any:
        return (await self.fetch(query, *arguments))[0]

    async def finish(self) -> None:
        """Let the erasure happen after everything else, where it did not yet."""
        if self._erasing is None:
            await self._erase()
        if self.committed_at is None:
            await self._commit()

    async def _step(self) -> None:
        self.steps += 1
        if self.steps == self._run_at:
            await self._erase()
        if self.steps >= self._commit_at and self._erasing is not None and self._erasing.done():
            await self._commit()

    async def _erase(self) -> None:
        self._transaction = self._beside.transaction()
        await self._transaction.start()
        query = "SELECT * FROM erase_person($1, 'os:root', 'a request')"
        self._erasing = asyncio.ensure_future(self._beside.fetchrow(query, self._person))
        await self._settled(self._erasing, self._beside)

    async def _commit(self) -> None:
        assert self._erasing is not None
        if self.committed_at is None:
            assert (await self._erasing)["outcome"] == "erased"
            await self._transaction.commit()
            self.committed_at = self.steps

    async def _unless_locked_out(self, statement: Awaitable[Any]) -> Any:
        running = asyncio.ensure_future(statement)
        if not await self._settled(running, self._here):
            await self._commit()
        return await running

    async def _settled(self, running: "asyncio.Future[Any]", connection: Any) -> bool:
        """Wait until a statement is over or waits for a lock; return whether it is over."""
        query = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)"
        while not (await asyncio.wait([running], timeout=0.005))[0]:
            if await self._watch.fetchval(query, connection.get_server_pid()) and not running.done():
                return False
            await asyncio.sleep(0)
        return True


@asynccontextmanager
async def connections(database: Database, count: int) -> AsyncIterator[list[Any]]:
    made = [await asyncpg.connect(database.app_url) for _ in range(count)]
    try:
        yield made
    finally:
        for connection in made:
            connection.terminate()


async def fill(one: Node, database: Database, person: str) -> None:
    """Let a person say something in a room with a rule and in one without, 50 days ago."""
    await one.append(PersonNamed(user=person, name="secret"), stream=person_stream(person), by=person)
    await tell(one, "secret", by=person)
    await tell(one, "secret", by=person, stream=OTHER)
    await backdate(database, 50)


async def read(connection: Any, person: str) -> list[Any]:
    """Return what a node that starts now reads of a person's words."""
    log = LogReader(connection, EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)))
    said = [*await log.stream(GENERAL, 0, 10_000), *await log.stream(OTHER, 0, 10_000)]
    names = await log.stream(person_stream(person), 0, 10)
    found = [one.event.content for one in said if one.by == person and isinstance(one.event, MessagePosted)]
    return found + [one.event.name for one in names if isinstance(one.event, PersonNamed)]


async def one_schedule(
    database: Database, connected: list[Any], person: str, run_at: int, commit_at: int
) -> Stepped:
    """Run a pass and an erasure by a schedule, and look at what is left."""
    here, beside, watch = connected
    stepped = Stepped(here, beside, watch, person, run_at, commit_at)
    await expire(stepped, EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)), **HOW)
    await stepped.finish()
    left = await stored(
        database, "SELECT scope FROM person_keys WHERE person = $1 AND wrapped IS NOT NULL", person
    )
    schedule = (run_at, commit_at)
    assert [row["scope"] for row in left] == [], schedule
    assert await read(connected[0], person) == [None, None, None], schedule
    return stepped


async def test_no_word_outlives_an_erasure_beside_the_pass_that_carries_words(database: Database) -> None:
    async with node(database) as one, connections(database, 3) as connected:
        await one.open_room("owner")
        await one.open_room("owner", stream=OTHER)
        await rule(one, 30)
        seen, run_at, commit_at, last = 0, 1, 1, 1
        while run_at <= last:
            person = f"p{seen}"
            await fill(one, database, person)
            done = await one_schedule(database, connected, person, run_at, commit_at)
            seen, last = seen + 1, max(last, done.steps)
            assert done.committed_at is not None
            # A commit that was forced earlier than asked for: any later one is the same schedule.
            if commit_at > done.committed_at or commit_at >= done.steps:
                run_at, commit_at = run_at + 1, run_at + 1
            else:
                commit_at = max(commit_at, done.committed_at) + 1
        assert last > 20
        assert seen > 2 * last, "there are schedules in which the pass goes on beside an erasure"
        await verify_content(connected[0], EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)))


@pytest.mark.parametrize("asked", ["", "~next", "general/2026-01-01", "general/2026-01-01+"])
async def test_a_key_is_not_made_beside_an_erasure(database: Database, asked: str) -> None:
    async with node(database) as one, connections(database, 3) as (here, beside, watch):
        for run_at, commit_at in ((1, 1), (1, 2), (1, 9), (2, 2), (2, 9), (9, 9)):
            person = f"p{run_at}{commit_at}{bool(asked)}"
            await one.keys.of_person(person, one.pool, "" if asked else "other/2026-01-01")
            stepped = Stepped(here, beside, watch, person, run_at, commit_at)
            query = "SELECT * FROM add_keys(ARRAY[gen_random_uuid()], ARRAY[$1], ARRAY[$2], ARRAY[$3::bytea])"
            await stepped.fetch(query, person, asked, bytes(60))
            await stepped.finish()
            left = "SELECT FROM person_keys WHERE person = $1 AND wrapped IS NOT NULL"
            assert await stored(database, left, person) == [], (run_at, commit_at)


async def test_a_living_key_of_an_erased_person_opens_nothing(database: Database) -> None:
    """As an earlier version could leave one behind: reading asks for the person, and not for the one key alone."""
    async with node(database) as one:
        await one.open_room("owner")
        await one.open_room("owner", stream=OTHER)
        await fill(one, database, "alice")
        await one.keys.of_person("alice", one.pool, retention_backfill.NEXT)
        kept = await stored(database, "SELECT key_id, wrapped FROM person_keys WHERE person = 'alice'")
        await one.pool.fetch("SELECT * FROM erase_person('alice', 'os:root', 'a request')")
        for row in kept:  # and the erasure has another key
            again = "UPDATE person_keys SET wrapped = $2, destroyed_at = NULL, scope = $3 WHERE key_id = $1"
            await stored(database, again, row["key_id"], row["wrapped"], f"general/{row['key_id']}")
        await stored(
            database,
            "INSERT INTO person_keys (key_id, person, destroyed_at) VALUES (gen_random_uuid(), 'alice', now())",
        )
        assert await read(one.pool, "alice") == [None, None, None]
