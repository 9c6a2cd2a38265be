"""Checks the log with the application's login: its schema, its keys, its nodes and projectors."""

from collections.abc import AsyncIterator
from typing import Any

from projections import PROJECTIONS, check
from service.audit.proof.order import first_ahead
from service.config.settings import Settings
from service.doctor import rights
from service.doctor.finding import WRONG, Finding, described, fail, ok, warn
from service.encryption.keys_in_use import KeyEncryptionKeyMissing, require_all
from service.encryption.wrapping import Wrapping
from service.eventstore.connections import Pooling, connector
from service.eventstore.readiness import SchemaOutdated, check_database
from service.runtime.database_retry import TROUBLE

MAX_KEYS = 1_000
"""The most keys of users that are unwrapped as a sample."""

FAR_BEHIND = 10_000
"""Events behind the log above which reads of new messages are refused."""


async def schema(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check the version of the schema, which all other checks of the log depend on."""
    try:
        await check_database(connection, allow_unsafe=True)
    except SchemaOutdated as problem:
        yield fail("schema", str(problem))
    except TROUBLE as error:
        yield fail("schema", f"The schema cannot be read: {described(error)}; run `onrecord migrate`.")
    else:
        yield ok("schema", "The schema is the one that this version needs.")


async def append_only(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check that the triggers that refuse every change exist and are enabled."""
    enabled = {row["name"]: row["enabled"] for row in await connection.fetch(_GUARDED, list(rights.RECORD))}
    advice = "find out who changed the trigger append_only, and run `onrecord audit verify`"
    missing = [table for table in rights.RECORD if enabled.get(table, "D") in ("D", "R")]
    weak = [table for table in rights.RECORD if enabled.get(table) == "O"]
    if missing:
        words = f"Nothing refuses UPDATE, DELETE and TRUNCATE on {', '.join(missing)}"
        yield fail("append-only", f"{words}: {advice}.")
    if weak:
        words = f"The trigger append_only is enabled on {', '.join(weak)}, but not ALWAYS"
        reason = "a session with session_replication_role = replica may change the record"
        how = "; ".join(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only" for table in weak)
        yield fail("append-only", f"{words}, so {reason}: {advice}; then, as the owner: {how}.")
    if not missing and not weak:
        yield ok("append-only", "Triggers refuse every change of the record, also by its owner.")


async def epoch(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Report the log's epoch and head."""
    row = await connection.fetchrow("SELECT epoch, since FROM log_epoch")
    head = await connection.fetchval("SELECT coalesce(max(notification_id), 0) FROM stored_events")
    since = f"{row['since']:%Y-%m-%d %H:%M} UTC"
    yield ok("log", f"The log is at position {head}, in epoch {row['epoch']} since {since}.")


async def order(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check that no row is ahead of the sequence of positions or of the clock, and no seal ahead of the log."""
    advice = "the owner's login inserted it, not `chat_append`: run `onrecord audit verify`"
    position = await first_ahead(connection)
    if position is not None:
        words = f"The event at position {position} is ahead of the log's sequence or of the clock"
        yield fail("order", f"{words}; {advice}.")
    sealed = await connection.fetchval(_SEALED_AHEAD)
    if sealed is not None:
        yield fail("order", f"The last seal names position {sealed}, which the log does not reach; {advice}.")
    if position is None and sealed is None:
        yield ok("order", "No event is ahead of the log's sequence or of the clock, and no seal of the log.")


async def keys(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that the key encryption key is the one that wraps the keys of users."""
    if not settings.key_encryption_key:
        return
    rows = await connection.fetch(_SOME_KEYS, MAX_KEYS)
    wrapping = Wrapping(settings.key_encryption_key)
    shut = [str(row["key_id"]) for row in rows if not wrapping.opens(row["wrapped"], row["key_id"].bytes)]
    try:
        await require_all(connection, wrapping)
    except KeyEncryptionKeyMissing as problem:
        yield fail("keys", str(problem), WRONG)
        return
    if not rows:
        yield ok("keys", "No user has a key yet.")
    elif len(shut) == len(rows):
        words = "ONRECORD_KEY_ENCRYPTION_KEY does not open people's keys: this log was written with another"
        yield fail("keys", f"{words}, and its content cannot be read without that.")
    elif shut:
        words = f"ONRECORD_KEY_ENCRYPTION_KEY opens people's keys, but not {len(shut)} of {len(rows)}"
        advice = "restore these rows of person_keys, or add the older key to the setting"
        yield fail("keys", f"{words}, such as {', '.join(shut[:3])}: {advice}.")
    else:
        yield ok("keys", "ONRECORD_KEY_ENCRYPTION_KEY opens people's keys.")


async def nodes(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Report the nodes that hold a lease."""
    names = [row["node"] for row in await connection.fetch(_NODES)]
    listed = f" ({', '.join(names)})" if names else ""
    yield ok("nodes", f"Nodes with a lease: {len(names)}{listed}.")


async def projector(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that a projector follows the log for each read model, and how far it is."""
    led = {row["name"] for row in await connection.fetch(_LED, [each.table for each in PROJECTIONS])}
    is_seen = await _leaders_are_seen(settings)
    for projection, line in zip(PROJECTIONS, await check.status(connection), strict=True):
        name, behind = f"{line['name']} read model", line["behind"]
        is_led = projection.table in led or not is_seen
        if behind is None:
            words = f"The {name} of this version is not built yet: start `onrecord project run`."
            yield fail("projector", words)
        elif not is_led:
            words = f"No projector runs for the {name}, {behind} events behind: start `onrecord project run`."
            yield (fail if behind else warn)("projector", words)
        else:
            yield (warn if behind > FAR_BEHIND else ok)("projector", f"The {name} is {behind} events behind.")


async def _leaders_are_seen(settings: Settings) -> bool:
    """Return whether leaders hold their locks between two steps: not behind a pooler in transaction mode."""
    return await connector(settings, settings.projecting_url).pooling() is not Pooling.TRANSACTION


async def sealer(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that a sealer is running, and how much of the log is not sealed."""
    row = await connection.fetchrow(_UNSEALED)
    if not row["led"] and await _leaders_are_seen(settings):
        words = f"No sealer runs, and {row['behind']} events are not sealed: start `onrecord project run`."
        yield (fail if row["behind"] else warn)("sealer", words)
    else:
        level = warn if row["behind"] > FAR_BEHIND else ok
        yield level("sealer", f"{row['behind']} events are not sealed.")


async def locks(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check that only workers hold the locks of the projectors and the sealer; every login can take any lock."""
    for row in await connection.fetch(_FOREIGN_LOCKS):
        words = f"{row['login']} (process {row['pid']}) holds a lock of the projectors or the sealer and is no worker"
        yield warn(
            "locks",
            f"{words}: a worker that starts waits for it; end it with pg_terminate_backend({row['pid']}).",
        )


CHECKS = (
    *(rights.grants, rights.powers, rights.functions),
    *(append_only, epoch, order, keys, nodes, projector, sealer, locks),
)
"""The checks of a log whose schema is current."""

_SOME_KEYS = "SELECT key_id, wrapped FROM person_keys WHERE wrapped IS NOT NULL LIMIT $1"
_GUARDED = """
    SELECT tgrelid::regclass::text AS name, tgenabled::text AS enabled FROM pg_trigger
    WHERE tgname = 'append_only' AND tgrelid = ANY ($1::text[]::regclass[])
"""
_SEALED_AHEAD = """
    SELECT sealed FROM (
        SELECT positions[array_upper(positions, 1)] AS sealed FROM seals ORDER BY size DESC LIMIT 1) newest
    WHERE sealed > (SELECT coalesce(max(notification_id), 0) FROM stored_events)
"""
_NODES = """
    SELECT node FROM incarnations
    WHERE ended_at IS NULL AND fenced_at IS NULL AND expires_at > clock_timestamp() ORDER BY node
"""
# A leader holds the lock of projections/engine/runner.py or service/audit/proof/sealer.py while it is connected.
_LED = """
    SELECT name FROM unnest($1::text[]) name
    WHERE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 7236111 AND objsubid = 2
        AND objid::bigint = hashtext(name)::bigint & 4294967295
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_FOREIGN_LOCKS = """
    SELECT DISTINCT pid, usename AS login FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE locktype = 'advisory' AND granted AND NOT has_table_privilege(usesysid, 'seals', 'INSERT')
        AND (classid = 7236111 AND objsubid = 2 OR classid = 0 AND objid = 7236112 AND objsubid = 1)
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY pid
"""
_UNSEALED = """
    SELECT (SELECT count(*) FROM stored_events
            WHERE notification_id > coalesce((SELECT positions[array_upper(positions, 1)]
                                              FROM seals ORDER BY size DESC LIMIT 1), 0)) AS behind,
           EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = 7236112
               AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS led
"""
