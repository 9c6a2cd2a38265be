"""Stores the keys that sign checkpoints in the database, wrapped by the key encryption key as people's keys are.

The newest key signs. Earlier keys stay, so that their signatures can be verified, and each endorses the next: a
verifier who kept the first key can follow the endorsements to the newest.

Invariant: a row is used only if the key encryption key authenticates all of it together with the wrapped secret. A
login that can write to the table but lacks that key cannot add a key of its own.
"""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag

from service.audit.proof.signed_note import NoteInvalid, SigningKey, VerifierKey, open_note
from service.encryption.wrapping import Wrapping, bound_to_seal_key

if TYPE_CHECKING:
    import asyncpg

_SECRET = 32


class SealKeyInvalid(Exception):
    """A key was not wrapped by this installation's key encryption key, or is missing; the message is a sentence."""


class SealKey(NamedTuple):
    """A current or earlier signing key. `endorsement` is the note of the previous key, None for the first."""

    number: int
    signer: SigningKey
    endorsement: str | None

    @property
    def verifier(self) -> VerifierKey:
        """The public key."""
        return self.signer.verifier


async def load(connection: "asyncpg.Connection[Any]", key_encryption_key: bytes) -> list[SealKey]:
    """Return all keys, the newest last; none before the first seal.

    Raises:
        SealKeyInvalid: a key is missing or not authentic.
    """
    rows = await connection.fetch(
        "SELECT number, name, public, wrapped, endorsement FROM seal_keys ORDER BY number"
    )
    keys: list[SealKey] = []
    for number, row in enumerate(rows, start=1):
        if row["number"] != number:
            raise SealKeyInvalid(f"Seal key {number} is missing.")
        keys.append(_unwrapped(row, key_encryption_key, keys[-1] if keys else None))
    return keys


async def create(connection: "asyncpg.Connection[Any]", key_encryption_key: bytes) -> None:
    """Create the first key if there is none. Its name, which names the log, has the epoch of that moment."""
    epoch = await connection.fetchval("SELECT epoch FROM log_epoch")
    await _insert(connection, key_encryption_key, 1, f"onrecord/{epoch}", None)


async def rotate(connection: "asyncpg.Connection[Any]", key_encryption_key: bytes) -> None:
    """Create a new signing key, endorsed by the newest.

    Raises:
        SealKeyInvalid: there is no key yet, or one is missing or not authentic.
    """
    keys = await load(connection, key_encryption_key)
    if not keys:
        raise SealKeyInvalid("There is no seal key yet: `onrecord project run` creates the first one.")
    newest = keys[-1]
    await _insert(connection, key_encryption_key, newest.number + 1, newest.verifier.name, newest)


async def rewrap(connection: "asyncpg.Connection[Any]", key_encryption_key: bytes) -> None:
    """Wrap every secret with the first of the key encryption keys; requires the owner's login.

    Raises:
        SealKeyInvalid: a key is missing or not authentic.
    """
    wrapping = Wrapping(key_encryption_key)
    for key in await load(connection, key_encryption_key):
        name, public = key.verifier.name, key.verifier.public
        bound = bound_to_seal_key(key.number, name, public, key.endorsement)
        secret = wrapping.unwrap(await connection.fetchval(_WRAPPED, key.number), bound)
        await connection.execute(_REWRAP, key.number, wrapping.wrap(secret, bound))


def endorsement_text(key: VerifierKey) -> str:
    """Return the text that the previous key signs to endorse `key`."""
    return f"{key.name}/key\n{key}\n"


async def _insert(
    connection: "asyncpg.Connection[Any]",
    key_encryption_key: bytes,
    number: int,
    name: str,
    previous: SealKey | None,
) -> None:
    secret = os.urandom(_SECRET)
    key = SigningKey(name, secret).verifier
    endorsement = previous.signer.sign(endorsement_text(key)) if previous else None
    bound = bound_to_seal_key(number, name, key.public, endorsement)
    wrapped = Wrapping(key_encryption_key).wrap(secret, bound)
    await connection.execute(_INSERT, number, name, key.public, wrapped, endorsement)


def _unwrapped(row: Any, key_encryption_key: bytes, previous: SealKey | None) -> SealKey:
    bound = bound_to_seal_key(row["number"], row["name"], row["public"], row["endorsement"])
    try:
        secret = Wrapping(key_encryption_key).unwrap(row["wrapped"], bound)
        signer = SigningKey(row["name"], secret)
        text = open_note(row["endorsement"], [previous.verifier]) if previous else None
    except (InvalidTag, ValueError, NoteInvalid) as problem:
        raise _invalid(row) from problem
    if previous and text != endorsement_text(signer.verifier):
        raise _invalid(row)
    return SealKey(row["number"], signer, row["endorsement"])


def _invalid(row: Any) -> SealKeyInvalid:
    problem = "was not made with this installation's ONRECORD_KEY_ENCRYPTION_KEY"
    return SealKeyInvalid(f"Seal key {row['number']} {problem}.")


_WRAPPED = "SELECT wrapped FROM seal_keys WHERE number = $1"
_REWRAP = "UPDATE seal_keys SET wrapped = $2 WHERE number = $1"
# Of two sessions that create the same key at once, the second does nothing.
_INSERT = """
    INSERT INTO seal_keys (number, name, public, wrapped, endorsement) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING
"""
