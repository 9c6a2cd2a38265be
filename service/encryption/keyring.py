"""Loads, caches and evicts the keys that encrypt the personal fields of events.

Each person has a random 256-bit key in the table `person_keys`, wrapped by the key encryption key of the installation,
and one more for each day in rooms with a retention rule (`service.domain.retention`). Destroying a key erases the texts
under it without changing the log; its row stays, without the key, so that the person gets no new one.

Invariant: `chat_append` refuses an event whose key is destroyed, under a lock that the destruction takes too, so a
cached key cannot write after a recorded erasure. Only `add_keys` creates keys, under that lock, and never for an erased
person.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.encryption.keys_in_use import KeyEncryptionKeyMissing, note_first, opens_newest, require_all
from service.encryption.person_key import PersonKey
from service.encryption.wrapping import Wrapping
from service.errors import AccountErased
from service.runtime.batch_loader import BatchLoader
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

DEADLINE = 5.0
"""Seconds that a key lookup may take, unless the caller passes another limit."""

_Owner = tuple[str, str]  # a person, and the scope of one of their keys
_Lookup = tuple[Any, _Owner]
_K = TypeVar("_K", UUID, _Owner)
CACHED_KEYS = 20_000
"""Keys held in memory per node, about 1 KiB each; the least recently used goes first."""
MAX_BATCH = 500
"""Keys read or created in one statement, for people who connect at the same time."""
MAX_DESTROYED = 100_000
"""Ids of destroyed keys in memory, so that rows read earlier do not restore them; the earliest goes first."""

log = logging.getLogger("onrecord.keys")


_Found = PersonKey | InvalidTag | None  # None: destroyed


class KeyRing:
    """Loads people's keys and caches them."""

    def __init__(self, key_encryption_key: bytes, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._wrapping = Wrapping(key_encryption_key)
        self._by_id: OrderedDict[UUID, PersonKey] = OrderedDict()
        self._by_owner: OrderedDict[_Owner, PersonKey] = OrderedDict()
        self._destroyed: OrderedDict[UUID, None] = OrderedDict()
        self._loader = BatchLoader(self._load_batch, MAX_BATCH)

    async def of_person(self, person: str, database: "asyncpg.Pool[Any]", scope: str = "") -> PersonKey:
        """Return a person's key, created on first use: the general one, or the one for a `scope`.

        Raises:
            AccountErased: it, or the general one, is destroyed.
            Unavailable: the database cannot be reached.
            cryptography.exceptions.InvalidTag: it cannot be unwrapped; or there is none, and this process lacks a key
                encryption key in use.
        """
        owner = (person, scope)
        if (key := self.known(person, scope)) is None:
            key = (await self._loader.load([(database, owner)]))[database, owner]
        if key is None:
            raise AccountErased
        return key

    async def of_people(self, people: Collection[str], database: "asyncpg.Pool[Any]") -> dict[str, PersonKey]:
        """Return the general key of each person, created on first use.

        People who are erased, or whose key cannot be unwrapped, are left out.

        Raises:
            Unavailable: the database cannot be reached.
        """
        keys: dict[_Owner, _Found] = {(person, ""): self.known(person) for person in people}
        if missing := [owner for owner, key in keys.items() if key is None]:
            keys.update(await self._get_or_create(missing, database))
        return {person: key for (person, _), key in keys.items() if isinstance(key, PersonKey)}

    def known(self, person: str, scope: str = "") -> PersonKey | None:
        """Return a person's key if it is cached, None if not."""
        owner = (person, scope)
        if (known := self._by_owner.get(owner)) is not None:
            self._by_owner.move_to_end(owner)
        return known

    async def _load_batch(self, lookups: list[_Lookup]) -> dict[_Lookup, _Found]:
        found: dict[_Lookup, _Found] = {}
        for database in {pool for pool, _ in lookups}:  # a node has one
            owners = [owner for pool, owner in lookups if pool is database]
            keys = await self._get_or_create(owners, database)
            found.update({(database, owner): key for owner, key in keys.items()})
        return found

    async def _get_or_create(
        self, owners: Collection[_Owner], database: "asyncpg.Pool[Any]"
    ) -> dict[_Owner, _Found]:
        """Return a key for each owner, created if there is none; None if it is destroyed."""
        found: dict[_Owner, _Found] = {}
        proposed = [(key_id := uuid4(), *owner, self._new_wrapped(key_id)) for owner in owners]
        identifiers = self._wrapping.identifiers
        # Repeated for owners whose key another node created at the same time.
        while missing := [key for key in proposed if key[1:3] not in found]:
            rows = await retry_read(
                lambda: database.fetch(_GET_OR_CREATE, *zip(*missing, strict=True), identifiers),
                self._deadline,
            )
            for row in rows:
                owner = (row["person"], row["scope"])
                found[owner] = self._unwrap_for(owner, row["key_id"], row["wrapped"])
            if len(rows) < len(missing) and not await self._may_create(database):
                found |= {key[1:3]: InvalidTag() for key in missing if key[1:3] not in found}
        return found

    async def _may_create(self, database: "asyncpg.Pool[Any]") -> bool:
        """Return whether this process may create keys; note its key encryption key if none is noted yet."""
        try:
            await retry_read(lambda: note_first(database, self._wrapping), self._deadline)
        except KeyEncryptionKeyMissing as error:
            log.error("key_not_created", extra={"problem": str(error)})  # noqa: TRY400 - a traceback adds nothing
            return False
        return True

    async def require_all(self, database: Any) -> None:
        """See `service.encryption.keys_in_use.require_all`."""
        await require_all(database, self._wrapping)

    def _new_wrapped(self, key_id: UUID) -> bytes:
        return self._wrapping.wrap(AESGCM.generate_key(bit_length=256), key_id.bytes)

    def _unwrap_for(self, owner: _Owner, key_id: UUID, wrapped: bytes | None) -> _Found:
        if wrapped is None:
            return None
        try:
            key = self.unwrap(key_id, wrapped)
        except InvalidTag as error:
            log.error("key_not_opened", extra={"key": str(key_id)})  # noqa: TRY400 - a traceback adds nothing
            return error
        return key if key_id in self._destroyed else _remember(self._by_owner, owner, key)

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
        except ValueError as problem:  # the wrapped bytes are not a key
            raise InvalidTag from problem
        return key if key_id in self._destroyed else _remember(self._by_id, key_id, key)

    async def prove(self, database: Any, unopened: Mapping[UUID, bytes] = MappingProxyType({})) -> None:
        """Check that keys that do not open are damaged, and not wrapped by a key that this process lacks.

        `unopened` are keys as they were read. A success is about the moment of the call, and is not kept: a rotation
        may begin right after it. Keys of an earlier version, which `key_encryption_keys` may miss, are covered by the
        newest keys: at least half of them must open.

        Raises:
            cryptography.exceptions.InvalidTag: a key encryption key is in use that this process lacks, or one of
                `unopened` has been rewrapped or destroyed since it was read, or too few keys open.
            Unavailable: the database cannot be reached.
        """
        query = (_IN_USE, self._wrapping.identifiers, list(unopened))
        # One statement: a row and the keys in use are of the same moment, whatever a rotation does.
        rows = await retry_read(lambda: database.fetch(*query), self._deadline)
        changed = any(row["wrapped"] != unopened.get(row["key_id"]) for row in rows)
        opened = await retry_read(lambda: opens_newest(database, self._wrapping), self._deadline)
        if changed or rows[0]["lacking"] or not opened:
            raise InvalidTag

    def cached(self, key_id: UUID) -> PersonKey | None:
        """Return a key from the cache, None if it is not there."""
        return self._by_id.get(key_id)

    def forget(self, person: str) -> None:
        """Drop a person's keys from the cache, as far as their owner is known."""
        for owner in [owner for owner in self._by_owner if owner[0] == person]:
            self._by_id.pop(self._by_owner.pop(owner).key_id, None)

    def clear(self) -> None:
        """Empty the cache: in a restored log, keys created since the backup do not exist."""
        self._by_owner.clear()
        self._by_id.clear()
        self._destroyed.clear()

    async def evict_destroyed(self, people: Collection[str], database: Any) -> None:
        """Drop the destroyed keys of `people` from the cache permanently.

        Raises:
            Unavailable: the database cannot be reached.
        """
        rows = await retry_read(lambda: database.fetch(_KEYS_OF, list(people)), self._deadline)
        self._drop({row["key_id"] for row in rows})

    async def evict_expired(self, since: datetime, database: Any) -> None:
        """Drop the keys that were destroyed since a time from the cache permanently.

        Raises:
            Unavailable: the database cannot be reached.
        """
        rows = await retry_read(lambda: database.fetch(_DESTROYED, since), self._deadline)
        self._drop({row["key_id"] for row in rows})

    def _drop(self, destroyed: set[UUID]) -> None:
        for key_id in destroyed:
            self._by_id.pop(key_id, None)
            self._destroyed[key_id] = None
        for owner in [owner for owner, key in self._by_owner.items() if key.key_id in destroyed]:
            del self._by_owner[owner]
        while len(self._destroyed) > MAX_DESTROYED:
            self._destroyed.popitem(last=False)

    def fingerprint(self, command: bytes) -> bytes:
        """See `Wrapping.fingerprint`."""
        return self._wrapping.fingerprint(command)


def _remember(cache: OrderedDict[_K, PersonKey], name: _K, key: PersonKey) -> PersonKey:
    cache[name] = key
    if len(cache) > CACHED_KEYS:
        cache.popitem(last=False)
    return key


_KEYS_OF = "SELECT key_id FROM person_keys WHERE person = ANY ($1::text[]) AND wrapped IS NULL"
_DESTROYED = "SELECT key_id FROM person_keys WHERE destroyed_at >= $1"
_IN_USE = """
    SELECT k.key_id, k.wrapped,
        EXISTS (SELECT FROM key_encryption_keys WHERE identifier <> ALL ($1::bytea[])) AS lacking
    FROM (SELECT) AS once LEFT JOIN open_keys k ON k.key_id = ANY ($2::uuid[])
"""
# A key is created only by a process that has every key encryption key in use, once one is noted. The first one of the
# process is noted in the transaction that creates a key under it, after the lock that `add_keys` takes.
_GET_OR_CREATE = """
    WITH wanted AS (
            SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) AS w (id, person, scope, secret)),
        allowed AS MATERIALIZED (
            SELECT coalesce(bool_and(identifier = ANY ($5::bytea[])), false) AS so FROM key_encryption_keys),
        asked AS MATERIALIZED (
            SELECT coalesce(array_agg(id), '{}') AS ids, coalesce(array_agg(person), '{}') AS people,
                coalesce(array_agg(scope), '{}') AS scopes, coalesce(array_agg(secret), '{}') AS secrets
            FROM wanted w, allowed WHERE so OR EXISTS (
                SELECT FROM open_keys o
                WHERE o.person = w.person AND (o.scope = w.scope OR (o.scope = '' AND o.wrapped IS NULL)))),
        found AS MATERIALIZED (SELECT f.* FROM asked, LATERAL add_keys(ids, people, scopes, secrets) f),
        noted AS (
            INSERT INTO key_encryption_keys (identifier) SELECT ($5::bytea[])[1]
            WHERE EXISTS (SELECT FROM found WHERE key_id = ANY ($1::uuid[]))
            ON CONFLICT DO NOTHING)
    SELECT * FROM found
"""
