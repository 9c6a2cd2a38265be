"""The faults: each breaks part of a running drill for a while and repairs it; recovery is measured from its end.

A fault returns numbers of what it did, so that a fault without effect does not count as survived.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.drill.drill import Drill, Fault, Run
from tests.support.processes.failures import OUTAGE

if TYPE_CHECKING:
    from typing import LiteralString

    import psycopg

APPEND_LOCK = 7236109
"""The advisory lock under which `chat_append` works."""


async def nothing(_drill: Drill) -> dict[str, Any]:
    """Break nothing: run the load alone."""
    return {}


async def kill(drill: Drill) -> dict[str, Any]:
    """`kill -9` a node under load and start it again, each node in turn."""
    for node in drill.shuffled_nodes():
        await node.kill()
        await drill.load_goes_on(20)
        await node.start()
        await drill.load_goes_on(20)
    return {"killed": len(drill.cluster.nodes)}


async def term(drill: Drill) -> dict[str, Any]:
    """SIGTERM a node under load and start it again, each node in turn."""
    codes = []
    for node in drill.shuffled_nodes():
        codes.append(await node.terminate())
        await drill.load_goes_on(20)
        await node.start()
    return {"terminated": len(codes), "exit codes": codes}


def pause(seconds: float) -> Run:
    """Stop a node with SIGSTOP for some seconds."""

    async def run(drill: Drill) -> dict[str, Any]:
        node = drill.shuffled_nodes()[0]
        node.pause()
        await asyncio.sleep(seconds)
        node.resume()
        return {"node": node.number}

    return run


async def redis_down(drill: Drill) -> dict[str, Any]:
    """Kill Redis, leave it down for three seconds under load, and start it again, empty."""
    async with _redis_down(drill):
        await asyncio.sleep(3.0)
    return {}


async def redis_restart(drill: Drill) -> dict[str, Any]:
    """Kill Redis and start it again at once, empty, three times."""
    for _ in range(3):
        await asyncio.to_thread(drill.cluster.servers.valkey.restart, abruptly=True)
        await drill.load_goes_on(10)
    return {"restarts": 3}


async def redis_hole(drill: Drill) -> dict[str, Any]:
    """Hold all data on every connection to Redis for five seconds; connections stay open."""
    for node in drill.cluster.nodes:
        node.redis.hold()
    await asyncio.sleep(5.0)
    for node in drill.cluster.nodes:
        await node.redis.restore()
    return {}


async def redis_silence(drill: Drill) -> dict[str, Any]:
    """Stop Redis while the last messages before a silence are sent: clients receive them without it."""
    await drill.quiet()
    async with _redis_down(drill):
        await drill.last_words()
    drill.load.resume()
    return {"received after": drill.facts["silence"]}


async def postgres_restart(drill: Drill) -> dict[str, Any]:
    """Restart Postgres as after a power cut, twice."""
    for _ in range(2):
        await asyncio.to_thread(drill.cluster.servers.postgres.restart, abruptly=True)
        await drill.load_goes_on(10)
    return {"restarts": 2}


async def postgres_hole(drill: Drill) -> dict[str, Any]:
    """Hold all data between one node and Postgres for seven seconds, then reset the connections."""
    node = drill.shuffled_nodes()[0]
    node.postgres.hold()
    await asyncio.sleep(7.0)
    node.postgres.cut()
    await node.postgres.restore()
    return {"node": node.number}


async def postgres_slow(drill: Drill) -> dict[str, Any]:
    """Delay every byte between one node and Postgres by 100 ms each way, for five seconds."""
    node = drill.shuffled_nodes()[0]
    node.postgres.delay(0.1)
    await asyncio.sleep(5.0)
    await node.postgres.restore()
    return {"node": node.number}


async def backends(drill: Drill) -> dict[str, Any]:
    """Terminate every backend of the nodes in the middle of its transaction, ten times a second for three seconds."""
    terminated = 0
    async with drill.cluster.owner() as owner:
        for _ in range(30):
            terminated += await terminate_backends(owner)
            await asyncio.sleep(0.1)
    assert terminated > 0
    return {"terminated": terminated}


async def commits(drill: Drill) -> dict[str, Any]:
    """Make one commit in three fail, by a deferred constraint trigger, until twenty have failed."""
    async with drill.cluster.owner() as owner:
        await owner.execute(_REFUSE_COMMITS)
        try:
            # A rollback does not undo `nextval`, so the sequence counts the failed commits.
            while (failed := await _value(owner, "SELECT last_value FROM drill_refused")) < 20:
                await asyncio.sleep(0.05)
        finally:
            await owner.execute(_ALLOW_COMMITS)
    return {"failed commits": failed}


async def cuts(drill: Drill) -> dict[str, Any]:
    """Cut a client off right after it sent a frame, one action in three; it repeats the action on any node."""
    before, drill.load.cutting = drill.load.cutting, 0.33
    await drill.load_goes_on(150)
    drill.load.cutting = before
    return {}


LOGS = {
    "pause-long": frozenset({"fenced", *OUTAGE}),
    **dict.fromkeys(
        ("commits", "postgres-restart", "postgres-hole", "postgres-slow", "backends"), frozenset(OUTAGE)
    ),
    **dict.fromkeys(
        ("redis-down", "redis-restart", "redis-hole", "redis-silence"), frozenset({"bus_failed"})
    ),
}
"""The failure lines that a fault may make nodes log."""

FAULTS: dict[str, Fault] = {
    name: Fault(name, meaning or (run.__doc__ or "").strip(), run, LOGS.get(name, frozenset()))
    for name, run, meaning in (
        ("none", nothing, ""),
        ("kill", kill, ""),
        ("term", term, ""),
        ("pause-short", pause(2.5), "Stop a node with SIGSTOP for 2.5 seconds."),
        ("pause-long", pause(30.0), "Stop a node with SIGSTOP for 30 seconds."),
        ("redis-down", redis_down, ""),
        ("redis-restart", redis_restart, ""),
        ("redis-hole", redis_hole, ""),
        ("redis-silence", redis_silence, ""),
        ("postgres-restart", postgres_restart, ""),
        ("postgres-hole", postgres_hole, ""),
        ("postgres-slow", postgres_slow, ""),
        ("backends", backends, ""),
        ("commits", commits, ""),
        ("cuts", cuts, ""),
    )
}
"""Every fault by its name on the command line."""


async def terminate_backends(owner: "psycopg.AsyncConnection[Any]") -> int:
    """Terminate every backend of the application, also those that wait for the append lock, held briefly here."""
    await owner.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])
    await asyncio.sleep(0.01)
    count = await _value(
        owner,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE usename <> current_user AND datname = current_database()",
    )
    await owner.execute("SELECT pg_advisory_unlock(%s)", [APPEND_LOCK])
    return count


async def _value(owner: "psycopg.AsyncConnection[Any]", query: "LiteralString") -> int:
    row = await (await owner.execute(query)).fetchone()
    return int(row[0]) if row else 0


@asynccontextmanager
async def _redis_down(drill: Drill) -> AsyncIterator[None]:
    valkey = drill.cluster.servers.valkey
    await asyncio.to_thread(valkey.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(valkey.start)


# By the transaction's number, so that all rows of a batch fail or none does; half with a code that means
# "try again", half with another.
_REFUSE_COMMITS = """
    CREATE SEQUENCE drill_refused;
    CREATE FUNCTION drill_refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        chance CONSTANT integer := abs(hashint8(txid_current()) % 6);
    BEGIN
        IF chance < 2 THEN
            PERFORM nextval('drill_refused');
            RAISE EXCEPTION USING
                MESSAGE = 'the drill refuses this commit',
                ERRCODE = CASE chance WHEN 0 THEN 'serialization_failure' ELSE 'raise_exception' END;
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER drill_refuse AFTER INSERT ON stored_events
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION drill_refuse();
"""
_ALLOW_COMMITS = """
    DROP TRIGGER drill_refuse ON stored_events;
    DROP FUNCTION drill_refuse();
    DROP SEQUENCE drill_refused;
"""
