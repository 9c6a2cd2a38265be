"""Checks PostgreSQL: that it answers, that its commits are durable, and that it can serve one more node."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from service.config.settings import Settings
from service.doctor import log
from service.doctor.finding import UNREACHED, WRONG, Finding, Level, described, fail, ok, warn
from service.eventstore.connections import NoSession, Pooling, connector, detect, is_shared
from service.runtime.database_retry import TROUBLE, is_rejected

OLDEST = 15
"""The oldest major version of PostgreSQL that is tested."""

SKEW = 1.0
"""Seconds by which this machine's clock may differ from the database's without a warning."""

LITTLE, VERY_LITTLE = 0.10, 0.02
"""Free shares of a disk: below the first the operator should act, below the second PostgreSQL will soon stop."""

Check = Callable[[Any, Settings], AsyncIterator[Finding]]


async def examine(settings: Settings) -> list[Finding]:
    """Return the findings about the database; none if no database is set."""
    if not settings.database_url:
        return []
    try:
        connection = await connector(settings).connect(command_timeout=settings.database_timeout)
    except TROUBLE as error:
        words = f"{_where(settings.database_url)} is not reached: {described(error)}."
        return [fail("database", words, UNREACHED)]
    try:
        findings = await _run([*CHECKS, log.schema], connection, settings)
        if findings[-1].level is Level.OK:
            findings += await _run(log.CHECKS, connection, settings)
        return findings
    finally:
        connection.terminate()


async def _run(checks: Iterable[Check], connection: Any, settings: Settings) -> list[Finding]:
    """Run checks; the failure of one is a finding too, and does not stop the others."""
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += [finding async for finding in check(connection, settings)]
        except TROUBLE as error:
            words = f"This check could not be run: {described(error)}"
            if is_rejected(error) and settings.projector_database_url:
                words += "; see the login and the password in ONRECORD_PROJECTOR_DATABASE_URL"
            is_away = is_rejected(error) or isinstance(error, OSError)
            findings.append(fail(check.__name__, f"{words}.", UNREACHED if is_away else 1))
    return findings


async def database(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that the server answers: as which user, how fast, which version, and whether it is writable."""
    began = time.perf_counter()
    for _ in range(10):
        await connection.fetchval("SELECT 1")
    took = (time.perf_counter() - began) * 100
    version = await connection.fetchval("SELECT current_setting('server_version')")
    user = await connection.fetchval("SELECT current_user")
    where = f"PostgreSQL {version} at {_where(settings.database_url)} answers {user} in {took:.1f} ms"
    if connection.get_server_version().major < OLDEST:
        yield warn("database", f"{where}, and is older than {OLDEST}, which is not tested.")
    else:
        yield ok("database", f"{where}.")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        yield fail("primary", "This is a standby, where nothing can be recorded: name the primary.")
    elif await connection.fetchval("SELECT current_setting('transaction_read_only')") == "on":
        words = "Transactions are read-only (default_transaction_read_only): nothing can be recorded."
        yield fail("primary", words)


async def durability(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that an acknowledged commit survives a power cut."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    off = [name for name in names if await connection.fetchval("SELECT current_setting($1)", name) == "off"]
    if not off:
        yield ok("durability", f"{', '.join(names)} are on: acknowledged messages survive a power cut.")
        return
    words = f"{' and '.join(off)} off: a crash of the database's machine may lose acknowledged messages"
    if settings.allow_unsafe_durability:
        yield warn("durability", f"{words}, which ONRECORD_ALLOW_UNSAFE_DURABILITY accepts.")
    else:
        yield fail("durability", f"{words}: switch on what is off.")


async def privacy(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check that the server's log holds no message content, which no erasure would reach."""
    row = await connection.fetchrow(_LOGGED)
    if row["values"] and row["statements"]:
        words = "The server logs statements with their values, which may be message content"
        yield warn("privacy", f"{words}; erasure does not reach its log: set log_parameter_max_length = 0.")
    else:
        yield ok("privacy", "The server's log holds no message content.")


async def collation(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check that texts are UTF-8, and sorted as when the indexes were built."""
    row = await connection.fetchrow(_COLLATION)
    if row["encoding"] != "UTF8":
        yield fail("collation", f"The database is encoded in {row['encoding']}; OnRecord needs UTF8.")
    elif row["made"] != row["actual"]:
        yield warn(
            "collation",
            f"The collation {row['collate']} was version {row['made']} and is {row['actual']} now: REINDEX, "
            "then ALTER DATABASE ... REFRESH COLLATION VERSION.",
        )
    else:
        yield ok("collation", f"UTF8, sorted by {row['collate']}.")


async def clock(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check that the clocks of this machine (expiry of tokens) and of the database (times of messages) agree."""
    before = now()
    database_time = await connection.fetchval("SELECT clock_timestamp()")
    after = now()
    ahead = (before + (after - before) / 2 - database_time).total_seconds()
    unsure = (after - before).total_seconds() / 2
    if abs(ahead) - unsure > SKEW:
        words = f"This machine's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
        advice = "tokens expire by the first, messages are dated by the second; run NTP on both"
        yield warn("clock", f"{words}: {advice}.")
    else:
        yield ok("clock", f"This machine and the database agree within {abs(ahead) + unsure:.3f} s.")


def _needed(settings: Settings) -> int:
    """Return how many connections a node may open."""
    # The log's pool, the read models' pool, the appender, the listener and the probe of `/readyz`.
    return 2 * settings.pool_size + 3


async def connections(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that one more node finds enough free connections."""
    needed = _needed(settings)
    row = await connection.fetchrow(_CONNECTIONS)
    words = f"{row['used']} of {row['most']} connections are in use, and a node may open {needed}"
    level = ok if row["most"] - row["used"] >= needed else warn
    yield level("connections", f"{words} (ONRECORD_POOL_SIZE).")


async def pooler(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Report the pooler to which the address leads, and whether there is an address for what needs a session."""
    found = await detect(settings.database_url, settings.database_timeout)
    if is_shared(connection) != (found is Pooling.TRANSACTION):
        advice = f"set ONRECORD_DATABASE_POOLING={found} or leave it unset"
        yield fail(
            "pooler",
            f"{_BETWEEN[found]}, and ONRECORD_DATABASE_POOLING={settings.database_pooling}: {advice}.",
        )
    elif found is Pooling.SESSION:
        needed = _needed(settings)
        yield ok(
            "pooler", f"{_BETWEEN[found]}: its pool needs {needed} connections for each node, and 20 more."
        )
    elif found is Pooling.NONE:
        yield ok("pooler", f"{_BETWEEN[found]}: there is nothing to set.")
    elif not settings.database_session_url:
        late = f"nodes and projectors read the log every {settings.catchup_interval:g} s"
        advice = "set ONRECORD_DATABASE_SESSION_URL to the address of PostgreSQL itself, or of a pooler in session mode"
        yield warn("pooler", f"{_BETWEEN[found]}: {late}; {advice}.")
    else:
        yield await _session(connection, settings)


async def _session(connection: Any, settings: Settings) -> Finding:
    """Return the finding about the address for what needs a session."""
    try:
        other = await connector(settings, settings.database_session_url).session()
    except NoSession as problem:
        return fail("pooler", str(problem), WRONG)
    except TROUBLE as error:
        words = f"{_where(settings.database_session_url)} (ONRECORD_DATABASE_SESSION_URL) is not reached"
        return fail("pooler", f"{words}: {described(error)}.", UNREACHED)
    try:
        same = await other.fetchval(_EPOCH) == await connection.fetchval(_EPOCH)
    finally:
        other.terminate()
    if not same:
        words = "ONRECORD_DATABASE_SESSION_URL leads to another log than ONRECORD_DATABASE_URL: name the same database"
        return fail("pooler", f"{words}.", WRONG)
    words = f"{_BETWEEN[Pooling.TRANSACTION]}, and what needs a session connects to "
    return ok("pooler", f"{words}{_where(settings.database_session_url)}: there is nothing to set.")


async def notices(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that a NOTIFY arrives, where there is a session to receive it."""
    if is_shared(connection) and not settings.database_session_url:
        return  # `pooler` reports it
    notified: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    channel = f"onrecord_doctor_{uuid4().hex}"
    listener = await connector(settings, settings.session_url).connect()
    try:
        await listener.add_listener(channel, lambda *_notification: notified.set_result(None))
        await connection.execute(f"NOTIFY {channel}")
        async with asyncio.timeout(settings.database_timeout):
            await notified
        yield ok("notices", "NOTIFY arrives.")
    except TimeoutError:
        advice = "set ONRECORD_DATABASE_SESSION_URL to the address of PostgreSQL itself"
        yield fail("notices", f"NOTIFY does not arrive, as behind a pooler that shares sessions: {advice}.")
    finally:
        listener.terminate()


async def disk(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Report the size of the database, and the free disk space if it can be determined."""
    size = await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    directory = await _data_directory(settings)
    if directory is None:
        yield ok("disk", f"The database takes {size}; its free disk space is known on its own machine only.")
    else:
        usage = shutil.disk_usage(directory)
        yield judge_disk(size, usage.free, usage.total)


def judge_disk(size: str, free: int, total: int) -> Finding:
    """Return the finding about a disk of `total` bytes with `free` bytes left."""
    words = f"The database takes {size}, and {free / 2**30:.1f} GiB ({free / total:.0%}) of its disk are free"
    if free < VERY_LITTLE * total:
        return fail("disk", f"{words}: PostgreSQL stops when it is full.")
    if free < LITTLE * total:
        return warn("disk", f"{words}: free some space before PostgreSQL stops.")
    return ok("disk", f"{words}.")


async def _data_directory(settings: Settings) -> Path | None:
    """Return the database's directory, which only its owner can see, and only on its own machine; otherwise None."""
    host = urlsplit(settings.migrate_database_url).hostname or ""
    if host not in ("localhost", "127.0.0.1", "::1"):
        return None
    try:
        owner = await connector(settings, settings.migrate_database_url).connect()
    except TROUBLE:
        return None
    try:
        directory = Path(await owner.fetchval("SELECT current_setting('data_directory')"))
    except asyncpg.InsufficientPrivilegeError:
        return None
    finally:
        owner.terminate()
    # The same path may be another directory if the port is a container's; PG_VERSION identifies a cluster.
    is_cluster = os.access(directory, os.X_OK) and (directory / "PG_VERSION").exists()
    return directory if is_cluster else None


_LOGGED = """
    SELECT current_setting('log_parameter_max_length') <> '0' AS values,
        current_setting('log_statement') IN ('mod', 'all') OR current_setting('log_min_duration_statement') <> '-1'
            OR current_setting('log_min_duration_sample') <> '-1' AS statements
"""
_EPOCH = "SELECT epoch FROM log_epoch"
_BETWEEN = {
    Pooling.NONE: "There is no pooler between this machine and PostgreSQL",
    Pooling.SESSION: "A pooler in session mode is between",
    Pooling.TRANSACTION: "A pooler in transaction mode is between",
}
CHECKS: tuple[Check, ...] = (
    *(database, pooler, durability, privacy, collation),
    *(clock, connections, notices, disk),
)


def now() -> datetime:
    """Return this machine's time."""
    return datetime.now(UTC)


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or ''}:{parts.port or 5432}{parts.path}"


_COLLATION = """
    SELECT pg_encoding_to_char(encoding) AS encoding, datcollversion AS made,
           pg_database_collation_actual_version(oid) AS actual,
           coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', datcollate) AS collate
    FROM pg_database d WHERE datname = current_database()
"""
_CONNECTIONS = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most
"""
