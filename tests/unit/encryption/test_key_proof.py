"""A key that does not open is damaged and skipped, or wrapped by a key encryption key that the process lacks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
from cryptography.exceptions import InvalidTag

from projections import messages
from projections.engine import log_window
from projections.engine.log_window import LogWindow
from projections.engine.runner import Runner
from service.cli.keys import rotated
from service.domain.events import MemberJoined, RoomOpened
from service.encryption.keyring import KeyRing
from service.encryption.keys_in_use import KeyEncryptionKeyMissing
from service.encryption.person_key import PersonKey
from service.encryption.wrapping import Wrapping
from service.eventstore.serializer import EventSerializer
from tests.support.eventstore import sealed_logs
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, message
from tests.support.oracles.projected_log import World, world
from tests.support.servers.databases import Database

OLD, NEW = KEY_ENCRYPTION_KEY, bytes(range(100, 132))
USERS = ("alice", "bob", "carol", "dave")
DAMAGE = (
    "UPDATE person_keys SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE person = 'bob'"
)


@pytest.fixture
async def here(database: Database) -> AsyncIterator[World]:
    """A room in which four people wrote, under keys that the old key encryption key wraps."""
    async with world(database) as made:
        joined = (MemberJoined(user=user) for user in USERS)
        await made.happen(("alice", GENERAL, (RoomOpened(name="General"), *joined)))
        for user in USERS:
            await made.happen((user, GENERAL, (message(user, author=user),)))
        yield made


async def said_with(here: World, keys: bytes, user: str) -> None:
    """Let a user without a key post through a node with these key encryption keys."""
    before, here.node.keys, here.node.serializer = (
        (here.node.keys, here.node.serializer),
        (ring := KeyRing(keys)),
        EventSerializer(ring),
    )
    await here.happen((user, GENERAL, (message(user, author=user),)))
    here.node.keys, here.node.serializer = before


async def project(here: World, keys: bytes) -> list[str | None]:
    """Bring the messages up to date with a projector that has these keys, and return their content."""
    after = await log_window.tracked(here.connection, messages.PROJECTION.table)
    upto = await here.head()
    runner = Runner(here.connect, EventSerializer(KeyRing(keys)), messages.PROJECTION, 0.05)
    async with here.connection.transaction():
        await runner._apply(here.connection, LogWindow(after, upto, upto), lambda _more: None)
    rows = await here.connection.fetch("SELECT content FROM read_models.messages_v2 ORDER BY id")
    return [row["content"] for row in rows]


async def rotate(database: Database) -> None:
    async with sealed_logs.owner(database) as owner:
        await rotated(owner, Wrapping(NEW + OLD))


async def test_a_damaged_key_is_skipped(here: World) -> None:
    await here.as_owner(DAMAGE)
    assert await project(here, OLD) == ["alice", None, "carol", "dave"]


async def test_a_key_that_a_foreign_key_wrapped_is_not_skipped(here: World) -> None:
    await said_with(here, NEW + OLD, "erin")
    with pytest.raises(InvalidTag):
        await project(here, OLD)
    assert await project(here, NEW + OLD) == [*USERS, "erin"]


async def test_a_success_does_not_outlive_the_begin_of_a_rotation(here: World) -> None:
    ring = KeyRing(OLD)
    await ring.prove(here.connection)
    await said_with(here, NEW + OLD, "erin")
    with pytest.raises(InvalidTag):
        await ring.prove(here.connection)


async def test_after_a_rotation_the_new_key_alone_skips_damage(here: World, database: Database) -> None:
    await said_with(here, NEW + OLD, "erin")
    await rotate(database)
    await here.as_owner(DAMAGE)
    assert await project(here, NEW) == ["alice", None, "carol", "dave", "erin"]
    with pytest.raises(InvalidTag):
        await KeyRing(OLD).prove(here.connection)


async def test_keys_rewrapped_after_they_were_read_are_read_again(
    here: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The projector has the new key alone, and reads before the rotation what it checks after it."""
    prove = KeyRing.prove

    async def late(ring: KeyRing, *given: object) -> None:
        await rotate(database)
        await prove(ring, *given)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(KeyRing, "prove", late)
    with pytest.raises(InvalidTag):
        await project(here, NEW)
    monkeypatch.undo()
    assert await project(here, NEW) == [*USERS]


async def test_an_unfinished_rotation_keeps_the_older_key_in_use(here: World, database: Database) -> None:
    await here.as_owner(DAMAGE)
    await rotate(database)
    with pytest.raises(InvalidTag):
        await KeyRing(NEW).prove(here.connection)


async def test_a_node_that_loads_keys_of_others_notes_no_key(here: World) -> None:
    with pytest.raises(InvalidTag):
        await KeyRing(NEW).of_person("alice", here.node.pool)
    await KeyRing(OLD).prove(here.connection)


async def test_a_projector_with_the_old_key_stores_no_null_during_a_rotation(
    here: World, database: Database
) -> None:
    """Nodes change to the new key one by one, and keys are created and rewrapped, while a projector has the old key."""
    stop = asyncio.Event()

    async def follow() -> None:
        while not stop.is_set():
            with contextlib.suppress(InvalidTag):
                assert None not in await project(here, OLD)
            await asyncio.sleep(0)

    following = asyncio.create_task(follow())
    for number in range(6):
        await said_with(here, NEW + OLD if number % 2 else OLD + NEW, f"late{number}")
    await rotate(database)
    await said_with(here, NEW, "last")
    stop.set()
    await following
    assert None not in await project(here, NEW)


async def test_of_rings_that_create_first_keys_at_once_one_wins(
    database: Database,
) -> None:
    async with asyncpg.create_pool(database.app_url, min_size=0, max_size=8) as pool:
        rings = [KeyRing(bytes([number]) * 32) for number in range(1, 9)]
        asked = [ring.of_person(f"p{number}", pool) for number, ring in enumerate(rings)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        winners = [ring for ring, answer in zip(rings, answers, strict=True) if isinstance(answer, PersonKey)]
        assert len(winners) == 1
        assert [type(answer) for answer in answers].count(InvalidTag) == len(rings) - 1
        assert await pool.fetchval("SELECT count(*) FROM key_encryption_keys") == 1
        await winners[0].require_all(pool)
        for ring in rings:
            if ring is not winners[0]:
                with pytest.raises(KeyEncryptionKeyMissing):
                    await ring.require_all(pool)


async def test_a_process_that_lacks_a_key_gets_the_keys_that_it_opens(here: World) -> None:
    await said_with(here, NEW + OLD, "erin")
    outdated = KeyRing(OLD)
    assert (await outdated.of_people([*USERS, "frank"], here.node.pool)).keys() == set(USERS)
    with pytest.raises(InvalidTag):
        await outdated.of_person("frank", here.node.pool)
    assert await here.connection.fetchval("SELECT count(*) FROM person_keys WHERE person = 'frank'") == 0


async def test_of_a_log_of_an_earlier_version_the_newest_keys_decide(here: World) -> None:
    await here.as_owner("DELETE FROM key_encryption_keys")
    with pytest.raises(KeyEncryptionKeyMissing):
        await KeyRing(NEW).require_all(here.connection)
    with pytest.raises(InvalidTag):
        await KeyRing(NEW).of_person("frank", here.node.pool)
    await KeyRing(NEW + OLD).require_all(here.connection)
    await KeyRing(OLD).of_person("frank", here.node.pool)
    assert await here.connection.fetchval("SELECT count(*) FROM key_encryption_keys") == 1
