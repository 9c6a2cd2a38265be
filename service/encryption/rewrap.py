"""Rewraps every key after a change of the key encryption key, one batch per transaction.

A row is changed only if it still equals what was read, so a key that is destroyed at the same time stays destroyed. An
interrupted run starts again and skips finished rows. It needs the owner's login: a node may not change these rows.
"""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from service.encryption.wrapping import Wrapping

if TYPE_CHECKING:
    import asyncpg

BATCH = 1_000
_FIRST = UUID(int=0)


class Wrapped(msgspec.Struct):
    """How many of people's keys the first key encryption key wraps, how many an older one, and how many neither."""

    current: int = 0
    older: int = 0
    unknown: int = 0


async def count(connection: "asyncpg.Connection[Any]", wrapping: Wrapping) -> Wrapped:
    """Count the keys."""
    return await _through(connection, wrapping, change=False)


async def rewrap(connection: "asyncpg.Connection[Any]", wrapping: Wrapping) -> Wrapped:
    """Wrap with the first key all keys that an older one wraps; return the counts before."""
    return await _through(connection, wrapping, change=True)


async def _through(connection: "asyncpg.Connection[Any]", wrapping: Wrapping, *, change: bool) -> Wrapped:
    found, after = Wrapped(), _FIRST
    while rows := await connection.fetch(_SOME, after, BATCH):
        outdated = [(row["key_id"], row["wrapped"]) for row in rows if _counted(row, wrapping, found)]
        if change and outdated:
            rewrapped = [
                wrapping.wrap(wrapping.unwrap(old, key_id.bytes), key_id.bytes) for key_id, old in outdated
            ]
            await connection.execute(_REPLACE, *map(list, zip(*outdated, strict=True)), rewrapped)
        after = rows[-1]["key_id"]
    return found


def _counted(row: Any, wrapping: Wrapping, found: Wrapped) -> bool:
    """Count a key; return whether an older key wraps it."""
    try:
        current = wrapping.is_current(row["wrapped"], row["key_id"].bytes)
    except InvalidTag:
        found.unknown += 1
        return False
    if current:
        found.current += 1
    else:
        found.older += 1
    return not current


_SOME = """
    SELECT key_id, wrapped FROM person_keys WHERE key_id > $1 AND wrapped IS NOT NULL ORDER BY key_id LIMIT $2
"""
_REPLACE = """
    UPDATE person_keys k SET wrapped = n.after
    FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS n (key_id, before, after)
    WHERE k.key_id = n.key_id AND k.wrapped = n.before
"""
