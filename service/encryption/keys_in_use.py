"""Which key encryption keys are in use, and whether this process has them all.

`key_encryption_keys` notes them. It is empty until a key is created, and in a database that an earlier version has
filled; there the newest keys show whether this process can open what is stored.

Invariant: a process that lacks a key encryption key in use creates no key, so what it acknowledges can be read by every
process that has them all.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from service.encryption.wrapping import Wrapping, bound_to_seal_key

if TYPE_CHECKING:
    import asyncpg


class KeyEncryptionKeyMissing(Exception):
    """The process lacks a key encryption key that is in use; the message is one sentence."""

    def __init__(self) -> None:
        super().__init__(
            "ONRECORD_KEY_ENCRYPTION_KEY lacks a key with which this log is encrypted: set the key of this "
            "installation, and while it is rotated every key that is in use."
        )


async def require_all(database: Any, wrapping: Wrapping) -> None:
    """Check that this process has every key encryption key in use; `database` is a connection or a pool.

    Raises:
        KeyEncryptionKeyMissing: it lacks one; or none is noted, and fewer than half of the newest keys open.
    """
    row = await database.fetchrow(_NOTED, wrapping.identifiers)
    lacks = row["lacking"] if row["noted"] else not await opens_newest(database, wrapping)
    if lacks:
        raise KeyEncryptionKeyMissing


async def note_first(database: Any, wrapping: Wrapping) -> None:
    """Note the first key of this process as in use if none is noted yet: of several processes, one succeeds.

    Raises:
        KeyEncryptionKeyMissing: as in `require_all`.
    """
    async with _connection(database) as connection, connection.transaction():
        await connection.execute(_LOCK)
        await require_all(connection, wrapping)
        await connection.execute(_NOTE_FIRST, wrapping.identifiers[0])


async def opens_newest(database: Any, wrapping: Wrapping) -> bool:
    """Return whether at least half of the newest keys of people and of the sealer open."""
    people = await database.fetch(_NEWEST_KEYS)
    sealing = await database.fetch(_SEAL_KEYS)
    # With a single person, the sealing keys decide.
    wrapped = [(row["wrapped"], row["key_id"].bytes) for row in people]
    wrapped += [
        (row["wrapped"], bound_to_seal_key(row["number"], row["name"], row["public"], row["endorsement"]))
        for row in sealing
    ]
    return 2 * sum(wrapping.opens(*key) for key in wrapped) >= len(wrapped)


@asynccontextmanager
async def _connection(database: Any) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Yield a connection of a pool, or the connection itself."""
    if hasattr(database, "acquire"):
        async with database.acquire() as connection:
            yield connection
    else:
        yield database


_NOTED = """
    SELECT count(*) AS noted, coalesce(bool_or(identifier <> ALL ($1::bytea[])), false) AS lacking
    FROM key_encryption_keys
"""
_LOCK = "SELECT pg_advisory_xact_lock(7236113)"
_NOTE_FIRST = """
    INSERT INTO key_encryption_keys (identifier) SELECT $1::bytea
    WHERE NOT EXISTS (SELECT FROM key_encryption_keys)
"""
_NEWEST_KEYS = (
    "SELECT key_id, wrapped FROM person_keys WHERE wrapped IS NOT NULL ORDER BY created_at DESC LIMIT 100"
)
_SEAL_KEYS = "SELECT number, name, public, wrapped, endorsement FROM seal_keys"
