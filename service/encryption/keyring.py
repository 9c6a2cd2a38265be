"""The keys under which people's words are encrypted, and the sealing itself.

Each person has a random 256-bit key in the table `person_keys`, wrapped by the key encryption key of the installation,
and in rooms that keep words for so many days one more for each day (`service.domain.retention`).
Words are sealed with AES-256-GCM (NIST SP 800-38D) together with a 32-byte salt; beside the ciphertext stands the
commitment SHA-256(salt || text), so that one message can be proved to an outsider without a key. Destroying the key
erases the words without touching a byte of the log; its row stays, empty, so that nobody gets another in its place.

Invariant: a key is used to write only if `chat_append` finds it alive under its lock, so a cached key cannot outlive an
erasure on the record. Keys are made by `add_keys` alone, under the same lock, and never for a person who is erased.
"""

import hashlib
import logging
import os
import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.encryption.wrapping import Wrapping, bound_to_seal_key
from service.errors import AccountErased
from service.runtime.batch_loader import BatchLoader
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

DEADLINE = 5.0
"""Seconds that looking a key up may take where nothing else is said."""

_SALT = 32
_NONCE = 12
_Owner = tuple[str, str]
"""A person, and the scope of one of their keys."""
_Asked = tuple[Any, _Owner]
"""A database, and whose key is looked for in it."""
_K = TypeVar("_K", UUID, _Owner)
CACHED_KEYS = 20_000
"""Keys held in memory per node, about 1 KiB each; the least recently used goes first."""
MOST_READ = 500
"""Keys of people who come one by one, at once, that are read or made in one statement."""
REMEMBERED_DEAD = 100_000
"""Destroyed keys that are remembered, so that what was read before cannot bring them back; the earliest goes first."""

PROOF_HOLDS = 1.0
"""Seconds for which a proof of the key encryption key is not repeated."""

log = logging.getLogger("onrecord.keys")


class PersonKey:
    """A person's key, ready for use."""

    def __init__(self, key_id: UUID, secret: bytes) -> None:
        self.key_id = key_id
        self._aead = AESGCM(secret)

    def seal(self, text: str, context: str) -> dict[str, str]:
        """Return the stored form of `text`: key id `k`, commitment `h`, and nonce with ciphertext `c` (base64).

        `context` (stream, topic and field) is authenticated, so that a ciphertext cannot be moved elsewhere.
        """
        salt = os.urandom(_SALT)
        return {"k": str(self.key_id), "h": commitment(salt, text), "c": self.encrypt(salt, text, context)}

    def encrypt(self, salt: bytes, text: str, context: str) -> str:
        """Return nonce and ciphertext alone, the `c` of `seal`, under a salt that is given."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._aead.encrypt(nonce, salt + text.encode(), self._bind(context))
        return b64encode(sealed).decode()

    def open(self, stored: dict[str, str], context: str) -> str:
        """Return the words in a stored form.

        Raises:
            cryptography.exceptions.InvalidTag: the bytes are not what this key sealed in that context.
        """
        return self.reveal(stored, context)[1]

    def reveal(self, stored: dict[str, str], context: str) -> tuple[bytes, str]:
        """Return the salt and the words in a stored form: who is given both can check the commitment without a key.

        Raises:
            cryptography.exceptions.InvalidTag: the bytes are not what this key sealed in that context, or not what
                the commitment is to.
        """
        try:
            sealed = b64decode(stored["c"])
            salted = self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bind(context))
            salt, text = salted[:_SALT], salted[_SALT:].decode()
        except (ValueError, TypeError, LookupError) as problem:  # no form that `seal` gives
            raise InvalidTag from problem
        if commitment(salt, text) != stored.get("h"):  # words of the same person, from another event
            raise InvalidTag
        return salt, text

    def _bind(self, context: str) -> bytes:
        return f"{self.key_id}|{context}".encode()


def commitment(salt: bytes, text: str) -> str:
    """Return what is stored beside words, to prove them by later (base64)."""
    return b64encode(hashlib.sha256(salt + text.encode()).digest()).decode()


def is_sealed(value: object) -> bool:
    """Return whether a field of a stored event holds sealed words; no other field looks like this."""
    if not isinstance(value, dict) or value.keys() != {"k", "h", "c"}:
        return False
    return all(isinstance(part, str) for part in value.values())


_Read = PersonKey | InvalidTag | None
"""What was read of somebody's key: it, that it cannot be opened, or that it is destroyed."""


class KeyRing:
    """All people's keys, as this node has met them."""

    def __init__(self, key_encryption_key: bytes, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._wrapping = Wrapping(key_encryption_key)
        self._by_id: OrderedDict[UUID, PersonKey] = OrderedDict()
        self._by_owner: OrderedDict[_Owner, PersonKey] = OrderedDict()
        self._dead: OrderedDict[UUID, None] = OrderedDict()
        self._proven_until = float("-inf")
        self._reading = BatchLoader(self._read_from, MOST_READ)

    async def of_person(self, person: str, database: "asyncpg.Pool[Any]", scope: str = "") -> PersonKey:
        """Return a key of a person, made on first use: the one for everything, or the one for a `scope`.

        Raises:
            AccountErased: it, or the one for everything, is destroyed.
            Unavailable: the database cannot be reached.
            cryptography.exceptions.InvalidTag: it cannot be opened.
        """
        owner = (person, scope)
        if (key := self._known(owner)) is None:
            key = (await self._reading.load([(database, owner)]))[database, owner]
        if key is None:
            raise AccountErased
        return key

    async def of_people(self, people: Collection[str], database: "asyncpg.Pool[Any]") -> dict[str, PersonKey]:
        """Return the key for everything of each of some people, made on first use.

        Who is erased has none, nor has somebody whose key cannot be opened: the others have theirs.

        Raises:
            Unavailable: the database cannot be reached.
        """
        keys: dict[_Owner, _Read] = {(person, ""): self._known((person, "")) for person in people}
        if missing := [owner for owner, key in keys.items() if key is None]:
            keys.update(await self._read(missing, database))
        return {person: key for (person, _), key in keys.items() if isinstance(key, PersonKey)}

    def _known(self, owner: _Owner) -> PersonKey | None:
        if (known := self._by_owner.get(owner)) is not None:
            self._by_owner.move_to_end(owner)
        return known

    async def _read_from(self, asked: list[_Asked]) -> dict[_Asked, _Read]:
        found: dict[_Asked, _Read] = {}
        for database in {one for one, _ in asked}:  # a node has one
            owners = [owner for one, owner in asked if one is database]
            read = await self._read(owners, database)
            found.update({(database, owner): key for owner, key in read.items()})
        return found

    async def _read(self, owners: Collection[_Owner], database: "asyncpg.Pool[Any]") -> dict[_Owner, _Read]:
        """Return a key for each owner, made where there is none; None where it is destroyed."""
        found: dict[_Owner, _Read] = {}
        made = [(key_id := uuid4(), *owner, self._wrap(key_id)) for owner in owners]
        while missing := [one for one in made if one[1:3] not in found]:  # made by another node meanwhile
            rows = await retry_read(
                lambda: database.fetch(_GET_OR_CREATE, *zip(*missing, strict=True)),
                self._deadline,
            )
            for row in rows:
                owner = (row["person"], row["scope"])
                found[owner] = self._taken(owner, row["key_id"], row["wrapped"])
        return found

    def _taken(self, owner: _Owner, key_id: UUID, wrapped: bytes | None) -> _Read:
        if wrapped is None:
            return None
        try:
            key = self.unwrap(key_id, wrapped)
        except InvalidTag as error:
            log.error("key_not_opened", extra={"key": str(key_id)})  # noqa: TRY400 - that it is wrong is all there is
            return error
        return key if key_id in self._dead else _remember(self._by_owner, owner, key)

    def unwrap(self, key_id: UUID, wrapped: bytes) -> PersonKey:
        """Return the key in a row of `person_keys`.

        Raises:
            cryptography.exceptions.InvalidTag: it was damaged, or wrapped by another key encryption key.
        """
        if (known := self._by_id.get(key_id)) is not None:
            self._by_id.move_to_end(key_id)
            return known
        try:
            key = PersonKey(key_id, self._wrapping.unwrap(wrapped, key_id.bytes))
        except ValueError as problem:  # what was wrapped is no key
            raise InvalidTag from problem
        return key if key_id in self._dead else _remember(self._by_id, key_id, key)

    async def prove(self, database: Any) -> None:
        """Check that the key encryption key opens at least half of the newest keys, people's and sealing ones.

        A key encryption key that opens fewer is another one, or is being rotated: what it cannot read is not
        damaged. An answer holds for `PROOF_HOLDS` seconds.

        Raises:
            cryptography.exceptions.InvalidTag: it opens fewer than half of them.
            Unavailable: the database cannot be reached.
        """
        if time.monotonic() < self._proven_until:
            return
        people = await retry_read(lambda: database.fetch(_NEWEST_KEYS), self._deadline)
        sealing = await retry_read(lambda: database.fetch(_SEAL_KEYS), self._deadline)
        # Where there is a single person, sealing keys tell.
        wrapped = [(one["wrapped"], one["key_id"].bytes) for one in people]
        wrapped += [
            (one["wrapped"], bound_to_seal_key(one["number"], one["name"], one["public"], one["endorsement"]))
            for one in sealing
        ]
        if 2 * sum(self._wrapping.opens(*one) for one in wrapped) < len(wrapped):
            raise InvalidTag
        self._proven_until = time.monotonic() + PROOF_HOLDS

    def cached(self, key_id: UUID) -> PersonKey | None:
        """Return a key that was unwrapped here before, if it is still in memory."""
        return self._by_id.get(key_id)

    def forget(self, person: str) -> None:
        """Drop a person's keys from memory, as far as it is known that they are theirs."""
        for owner in [owner for owner in self._by_owner if owner[0] == person]:
            self._by_id.pop(self._by_owner.pop(owner).key_id, None)

    def clear(self) -> None:
        """Drop every key from memory: in a log that was restored, those made since the backup do not exist."""
        self._by_owner.clear()
        self._by_id.clear()
        self._dead.clear()

    async def evict_destroyed(self, people: Collection[str], database: Any) -> None:
        """Drop all keys of people who are erased from memory, for good; `database` is asked which they were.

        Raises:
            Unavailable: the database cannot be reached.
        """
        rows = await retry_read(lambda: database.fetch(_KEYS_OF, list(people)), self._deadline)
        self._drop({row["key_id"] for row in rows})

    async def evict_expired(self, since: datetime, database: Any) -> None:
        """Drop all keys that were destroyed since a time from memory, for good.

        Raises:
            Unavailable: the database cannot be reached.
        """
        rows = await retry_read(lambda: database.fetch(_DESTROYED, since), self._deadline)
        self._drop({row["key_id"] for row in rows})

    def _drop(self, dead: set[UUID]) -> None:
        for key_id in dead:
            self._by_id.pop(key_id, None)
            self._dead[key_id] = None
        for owner in [owner for owner, key in self._by_owner.items() if key.key_id in dead]:
            del self._by_owner[owner]
        while len(self._dead) > REMEMBERED_DEAD:
            self._dead.popitem(last=False)

    def fingerprint(self, command: bytes) -> bytes:
        """See `Wrapping.fingerprint`."""
        return self._wrapping.fingerprint(command)

    def _wrap(self, key_id: UUID) -> bytes:
        return self._wrapping.wrap(AESGCM.generate_key(bit_length=256), key_id.bytes)


def _remember(cache: OrderedDict[_K, PersonKey], name: _K, key: PersonKey) -> PersonKey:
    cache[name] = key
    if len(cache) > CACHED_KEYS:
        cache.popitem(last=False)
    return key


_NEWEST_KEYS = (
    "SELECT key_id, wrapped FROM person_keys WHERE wrapped IS NOT NULL ORDER BY created_at DESC LIMIT 100"
)
_SEAL_KEYS = "SELECT number, name, public, wrapped, endorsement FROM seal_keys"
_KEYS_OF = "SELECT key_id FROM person_keys WHERE person = ANY ($1::text[]) AND wrapped IS NULL"
_DESTROYED = "SELECT key_id FROM person_keys WHERE destroyed_at >= $1"
_GET_OR_CREATE = "SELECT * FROM add_keys($1::uuid[], $2::text[], $3::text[], $4::bytea[])"
