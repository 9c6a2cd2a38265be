"""The keys that sign checkpoints, kept in the database under the installation's key encryption key, as people's are.

The newest signs. The ones before stay known, so that what they signed can be checked for ever, and each has endorsed
the one after it: who once kept the first can follow to the newest without asking anybody.

The rule: nothing in the table is believed unless the key encryption key says so. The whole row is authenticated with
the wrapped secret, so whoever can write to the database but lacks that key cannot put a key of their own there.
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
    """A key in the table was not put there with this installation's key encryption key; the message is a sentence."""


class SealKey(NamedTuple):
    """A key that signs or once signed. `endorsement` is the note of the key before it, None for the first."""

    number: int
    signer: SigningKey
    endorsement: str | None

    @property
    def verifier(self) -> VerifierKey:
        """Its public half."""
        return self.signer.verifier


async def load(connection: "asyncpg.Connection[Any]", key_encryption_key: bytes) -> list[SealKey]:
    """Return all keys, the newest last; none before anything was sealed.

    Raises:
        SealKeyInvalid: see there.
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
    """Make the first key, if there is none. The log is called after its epoch, under which it began to be sealed."""
    epoch = await connection.fetchval("SELECT epoch FROM log_epoch")
    await _insert(connection, key_encryption_key, 1, f"onrecord/{epoch}", None)


async def rotate(connection: "asyncpg.Connection[Any]", key_encryption_key: bytes) -> None:
    """Make a new key, endorsed by the newest, which signs from now on.

    Raises:
        SealKeyInvalid: see there; or there is no key yet.
    """
    keys = await load(connection, key_encryption_key)
    if not keys:
        raise SealKeyInvalid("There is no seal key yet: the sealer makes the first one.")
    newest = keys[-1]
    await _insert(connection, key_encryption_key, newest.number + 1, newest.verifier.name, newest)


async def rewrap(connection: "asyncpg.Connection[Any]", key_encryption_key: bytes) -> None:
    """Wrap every secret by the first of the key encryption keys; needs the owner's login.

    Raises:
        SealKeyInvalid: see there.
    """
    wrapping = Wrapping(key_encryption_key)
    for key in await load(connection, key_encryption_key):
        name, public = key.verifier.name, key.verifier.public
        bound = bound_to_seal_key(key.number, name, public, key.endorsement)
        secret = wrapping.unwrap(await connection.fetchval(_WRAPPED, key.number), bound)
        await connection.execute(_REWRAP, key.number, wrapping.wrap(secret, bound))


def endorsed(key: VerifierKey) -> str:
    """Return the text in which the key before says that `key` follows it."""
    return f"{key.name}/key\n{key}\n"


async def _insert(
    connection: "asyncpg.Connection[Any]", wrapping: bytes, number: int, name: str, before: SealKey | None
) -> None:
    secret = os.urandom(_SECRET)
    key = SigningKey(name, secret).verifier
    endorsement = before.signer.sign(endorsed(key)) if before else None
    bound = bound_to_seal_key(number, name, key.public, endorsement)
    wrapped = Wrapping(wrapping).wrap(secret, bound)
    await connection.execute(_INSERT, number, name, key.public, wrapped, endorsement)


def _unwrapped(row: Any, wrapping: bytes, before: SealKey | None) -> SealKey:
    bound = bound_to_seal_key(row["number"], row["name"], row["public"], row["endorsement"])
    try:
        secret = Wrapping(wrapping).unwrap(row["wrapped"], bound)
        signer = SigningKey(row["name"], secret)
        text = open_note(row["endorsement"], [before.verifier]) if before else None
    except (InvalidTag, ValueError, NoteInvalid) as problem:
        raise _invalid(row) from problem
    if before and text != endorsed(signer.verifier):
        raise _invalid(row)
    return SealKey(row["number"], signer, row["endorsement"])


def _invalid(row: Any) -> SealKeyInvalid:
    words = "was not made with this installation's ONRECORD_KEY_ENCRYPTION_KEY"
    return SealKeyInvalid(f"Seal key {row['number']} {words}.")


_WRAPPED = "SELECT wrapped FROM seal_keys WHERE number = $1"
_REWRAP = "UPDATE seal_keys SET wrapped = $2 WHERE number = $1"
# Two that make the same key at once: the second finds it made.
_INSERT = """
    INSERT INTO seal_keys (number, name, public, wrapped, endorsement) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING
"""
