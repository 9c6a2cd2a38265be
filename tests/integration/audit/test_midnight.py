"""Words near midnight: the key that they are under is of the day on which they are recorded.

The clock of a server cannot be set. So the owner lets the functions of a database of this test read the time from a
table, and nothing else of them changes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any

import asyncpg

from service.domain.retention import scope
from service.embedded import Servers
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.eventstore import sealed_logs
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

APPEND_LOCK = 7236109
TODAY = datetime.now(UTC).date()
MIDNIGHT = datetime.combine(TODAY + timedelta(days=1), time(), UTC)
BLINK = timedelta(milliseconds=10)


class Clock:
    """The clock that the functions of a database read, and the append lock."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection

    async def install(self, at: datetime) -> None:
        await self._connection.execute("CREATE TABLE public.test_clock (at timestamptz NOT NULL)")
        await self._connection.execute("GRANT SELECT ON public.test_clock TO onrecord_definer")
        await self._connection.execute("INSERT INTO public.test_clock VALUES ($1)", at)
        for name in ("chat_append", "record_event", "expire_content"):
            source = await self._connection.fetchval("SELECT pg_get_functiondef($1::text::regproc)", name)
            assert "clock_timestamp()" in source
            asked = "(SELECT c.at FROM public.test_clock c)"
            await self._connection.execute(source.replace("clock_timestamp()", asked))

    async def set(self, at: datetime) -> None:
        await self._connection.execute("UPDATE public.test_clock SET at = $1", at)

    @asynccontextmanager
    async def lock_held(self) -> AsyncIterator[None]:
        await self._connection.execute("SELECT pg_advisory_lock($1)", APPEND_LOCK)
        try:
            yield
        finally:
            await self._connection.execute("SELECT pg_advisory_unlock($1)", APPEND_LOCK)

    async def waiting(self) -> bool:
        query = """
            SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted)"""
        return bool(await self._connection.fetchval(query))

    async def words(self) -> list[tuple[str, str]]:
        """Return for each event with words in the room the day on the record, and the scope of its key."""
        rows = await self._connection.fetch("""
            SELECT to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, k.scope
            FROM stored_events e JOIN person_keys k USING (key_id) WHERE e.stream = 'room:general'
            ORDER BY e.originator_version""")
        return [(row["day"], row["scope"]) for row in rows]


@asynccontextmanager
async def clock(database: Database, at: datetime) -> AsyncIterator[Clock]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        made = Clock(connection)
        await made.install(at)
        yield made
    finally:
        connection.terminate()


async def keep_for_a_day(env: dict[str, str]) -> None:
    code, _, err = await run(env, "audit", "retention", "--room", "general", "--days", "1")
    assert code == 0, err


async def verified(env: dict[str, str]) -> None:
    code, out, err = await run(env, "audit", "verify", "--words")
    assert code == 0, out + err


async def test_words_that_wait_for_the_lock_over_midnight_are_of_the_next_day(
    database: Database, servers: Servers
) -> None:
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url)
    async with clock(database, MIDNIGHT - BLINK) as log, running(env, "serve") as one:
        async with client(one.url, "alice") as alice:
            await alice.join("general")
            await keep_for_a_day(env)
            first = await alice.post("general", "before")
            async with log.lock_held():
                late = asyncio.create_task(alice.post("general", "late"))
                await until(log.waiting)
                await log.set(MIDNIGHT + BLINK)
            assert (await late)["at"].startswith(MIDNIGHT.date().isoformat())
            # The node's own clock is many hours behind by now: each command is decided twice, and none fails.
            await alice.say("message:edit", roomId="general", messageId=first["messageId"], content="edited")
            today, tomorrow = TODAY.isoformat(), MIDNIGHT.date().isoformat()
            assert await log.words() == [
                (today, scope("general", TODAY)),
                *2 * [(tomorrow, scope("general", MIDNIGHT.date()))],
            ]


async def test_words_of_a_node_whose_clock_is_ahead_are_of_the_day_of_the_log(
    database: Database, servers: Servers
) -> None:
    yesterday = MIDNIGHT - timedelta(days=1) - BLINK
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url)
    async with clock(database, yesterday) as log, running(env, "serve") as one:
        async with client(one.url, "alice") as alice:
            await alice.join("general")
            await keep_for_a_day(env)
            assert (await alice.post("general", "early"))["at"].startswith(yesterday.date().isoformat())
            day = yesterday.date()
            assert await log.words() == [(day.isoformat(), scope("general", day))]


async def test_messages_around_midnight_verify_on_every_day_until_expiry(
    database: Database, servers: Servers
) -> None:
    midnight = MIDNIGHT - timedelta(days=4)  # `audit verify` refuses what is dated in the future
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url)
    async with clock(database, midnight - BLINK) as log, sealed_logs.owner(database) as owner:
        async with running(env, "serve") as one, client(one.url, "alice") as alice:
            await alice.join("general")
            await keep_for_a_day(env)
            await alice.post("general", "before")  # the node knows the rule afterwards
            async with log.lock_held():
                late = asyncio.create_task(alice.post("general", "late"))
                await until(log.waiting)
                await log.set(midnight + BLINK)
            await late
        async with running(env, "project", "run"):
            await until(lambda: sealed(database))
        for days in (1, 2):
            now = midnight + timedelta(days=days) + BLINK
            await log.set(now)
            over = now.date() - timedelta(days=2)
            query = "SELECT outcome FROM expire_content('general', $1, 'os:root')"
            assert await owner.fetchval(query, over) == "expired"
            query = "SELECT wrapped IS NULL FROM person_keys WHERE scope = $1"
            assert await owner.fetchval(query, scope("general", midnight.date())) == (days == 2)
            await verified(env)


async def test_a_node_expires_content_by_itself(database: Database) -> None:
    env = environment(database)
    async with (
        clock(database, MIDNIGHT - timedelta(days=4)) as log,
        sealed_logs.owner(database) as owner,
    ):
        async with running(env, "serve") as one, client(one.url, "alice") as alice:
            await alice.join("general")
            await keep_for_a_day(env)
            await alice.until(lambda: alice.events("room:updated"))
            # The node knows the rule, and makes a key for the day of its own clock before the log corrects it.
            await alice.post("general", "old")
        await log.set(datetime.now(UTC))
        async with running(env, "serve"):
            query = """
                SELECT bool_and(k.wrapped IS NULL) FROM stored_events e JOIN person_keys k USING (key_id)
                WHERE k.scope LIKE 'general/%'"""
            await until(lambda: owner.fetchval(query))
        recorded = await owner.fetchval(
            "SELECT recorded_by FROM stored_events WHERE topic LIKE '%.ContentExpired.%'"
        )
        assert recorded.startswith("node:")


async def sealed(database: Database) -> bool:
    connection = await asyncpg.connect(database.owner_url)
    try:
        query = "SELECT (SELECT max(size) FROM seals) = (SELECT count(*) FROM stored_events)"
        return bool(await connection.fetchval(query))
    finally:
        await connection.close()
