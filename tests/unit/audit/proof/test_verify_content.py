"""Detects texts that were removed or replaced in the tables that no seal covers: keys and carried texts."""

from datetime import UTC, datetime, time, timedelta

import asyncpg
import pytest

from service.audit.privacy.erasure import erase
from service.audit.proof.verify import Tampered
from service.audit.proof.verify_content import ContentCounts, verify_content
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer
from tests.support.audit.retention import ago, fill, rule, run, say
from tests.support.eventstore import sealed_logs
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, Node, node
from tests.support.servers.databases import Database


async def check(database: Database, key: bytes = KEY_ENCRYPTION_KEY) -> ContentCounts:
    """Check as `onrecord audit verify --words` does."""
    connection = await asyncpg.connect(database.app_url)
    try:
        return await verify_content(connection, EventSerializer(KeyRing(key)))
    finally:
        connection.terminate()


async def first_bad(database: Database) -> int | None:
    try:
        await check(database)
    except Tampered as found:
        return found.position
    return None


async def position_of(database: Database, where: str) -> int:
    async with sealed_logs.owner(database) as owner:
        return int(await owner.fetchval(f"SELECT min(notification_id) FROM stored_events WHERE {where}"))


async def erase_alice(one: Node) -> None:
    await erase(one.pool, "alice", ground="a request", by="root", deadline=20)


async def test_every_word_is_opened_and_what_was_erased_has_its_ground(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        assert await check(database) == ContentCounts(readable=8, gone=0)
        await erase(one.pool, "bob", ground="a request", by="root", deadline=20)
        assert await check(database) == ContentCounts(readable=7, gone=1)


async def test_what_has_expired_or_was_carried_over_has_its_ground_too(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        assert await run(one), "something expires, and keys are replaced"
        assert await check(database) == ContentCounts(readable=4, gone=4)
        await erase_alice(one)
        assert await check(database) == ContentCounts(readable=0, gone=8)


HERS = "recorded_by = 'alice' AND key_id IS NOT NULL"
HIS = "recorded_by = 'bob' AND key_id IS NOT NULL"
TAKEN = {
    "a key that is deleted": ("DELETE FROM person_keys WHERE person = 'alice'", HERS),
    "a key that is emptied": (
        "UPDATE person_keys SET wrapped = NULL, destroyed_at = now() WHERE person = 'bob'", HIS,
    ),
    "a key that is said to be of somebody erased": (
        """UPDATE person_keys SET wrapped = NULL, destroyed_at = now(), person = 'carol', scope = 'x'
            WHERE person = 'bob'""", HIS,
    ),
    "a key that is changed": (
        "UPDATE person_keys SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20)) WHERE person = 'bob'",
        HIS,
    ),
    "the key of another": (
        """UPDATE person_keys SET wrapped = (SELECT wrapped FROM person_keys WHERE person = 'alice')
            WHERE person = 'bob'""", HIS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAKEN)
async def test_what_is_taken_away_in_silence_is_named_by_its_first_position(
    database: Database, what: str
) -> None:
    async with node(database) as one:
        await fill(one, database)
        await sealed_logs.append(database, "hers")
        await erase(one.pool, "carol", ground="a request", by="root", deadline=20)
        assert await first_bad(database) is None
        statement, where = TAKEN[what]
        async with sealed_logs.attacker(database) as evil:
            await evil.execute(statement)
        assert await first_bad(database) == await position_of(database, where)


CARRIED = {
    "deleted": "DELETE FROM carried_words WHERE position = $1",
    "under a key that is not there": "UPDATE carried_words SET key_id = gen_random_uuid() WHERE position = $1",
    "without its words": "UPDATE carried_words SET sealed = '{}' WHERE position = $1",
    "with other bytes": """UPDATE carried_words SET sealed = '{"content": "AAAAAAAAAAAAAAAAAAAA"}'
        WHERE position = $1""",
    "in the place of others": """UPDATE carried_words SET key_id = o.key_id, sealed = o.sealed
        FROM (SELECT key_id, sealed FROM carried_words WHERE position <> $1 LIMIT 1) o WHERE position = $1""",
}


@pytest.mark.parametrize("what", CARRIED)
async def test_changed_or_missing_carried_content_is_detected(database: Database, what: str) -> None:
    async with node(database) as one:
        await fill(one, database)
        await run(one)
        position = await position_of(database, "stream = 'room:other' AND topic = 'room.MessagePosted.v1'")
        async with sealed_logs.attacker(database) as evil:
            assert await evil.execute(CARRIED[what], position) in ("UPDATE 1", "DELETE 1")
        assert await first_bad(database) == position


async def test_without_the_key_that_wraps_all_nothing_is_said_to_be_well(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
    await sealed_logs.append(database, "hello")
    with pytest.raises(Tampered, match="its key was changed"):
        await check(database, bytes(32))


@pytest.mark.parametrize(("after", "known"), [(0.01, True), (59, True), (61, False), (0.01, False)])
async def test_words_of_midnight_from_an_earlier_version_expire_with_their_key(
    database: Database, after: float, *, known: bool
) -> None:
    """Decided before midnight and recorded after it: the key is of the one day, and the record of the next."""
    async with node(database) as one:
        await one.open_room("alice")
        await rule(one, 1)
        await say(one, "late", ago(3))
        position = await position_of(database, "topic = 'room.MessagePosted.v1'")
        midnight = datetime.combine(ago(2), time(), UTC) + timedelta(seconds=after)
        await _be_of_an_earlier_version(
            database, position, midnight, since=position if known else position - 1
        )
        assert await first_bad(database) is None, "it can be read"
        query = "SELECT outcome FROM expire_content('general', $1, 'os:root')"
        assert await one.pool.fetchval(query, ago(3)) == "expired"
        assert await first_bad(database) == (None if after < 60 and known else position)


async def _be_of_an_earlier_version(database: Database, position: int, at: datetime, *, since: int) -> None:
    async with sealed_logs.owner(database) as owner, owner.transaction():
        for table, change in (
            ("stored_events", "UPDATE stored_events SET recorded_at = $2 WHERE notification_id = $1"),
            ("key_days_since", "UPDATE key_days_since SET position = $1 WHERE $2::timestamptz IS NOT NULL"),
        ):
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
            await owner.execute(change, position if table == "stored_events" else since, at)
            await owner.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")
