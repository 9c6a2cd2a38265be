"""Logs whose messages were sealed on earlier days, and the rules that expire them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from service.audit.privacy.retention import Expiry, expire, keep_for
from service.domain.events import MessageEdited, MessagePosted, PersonNamed, RoomTopicChanged
from service.domain.retention import scope
from service.domain.streams import person_stream, room_stream
from service.encryption.keyring import KeyRing
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from tests.support.eventstore import sealed_logs
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, Node, message
from tests.support.servers.databases import Database

HOW: dict[str, Any] = {"by": "os:root", "deadline": 20.0}


TODAY = datetime.now(UTC).date()


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


async def say(one: Node, content: str, day: date | None, by: str = "alice", room: str = "general") -> None:
    """Post a message that is encrypted with the key of a day; None: with the general key.

    The log accepts content only under the key of the present day, so the owner renames the key of another day to it
    while it is used.
    """
    key = await one.keys.of_person(by, one.pool, scope(room, day) if day else "")
    event = message(content, author=by)
    entry = await one.entry(event, by=by, stream=room_stream(room), guard=())
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    kept = one.serializer.to_stored(event, room_stream(room), key)
    await _swap(one, by, scope(room, day or TODAY), scope(room, TODAY))
    assert (await one.appender.offer(type(entry)(**fields | {"stored": (kept,)}))).outcome == "appended"
    await _swap(one, by, scope(room, day or TODAY), scope(room, TODAY))


async def _swap(one: Node, person: str, *scopes: str) -> None:
    owner = await asyncpg.connect(one.superuser_url)
    rename = "UPDATE person_keys SET scope = $3 WHERE person = $1 AND scope = $2"
    for before, after in ((scopes[0], "aside"), (scopes[1], scopes[0]), ("aside", scopes[1])):
        await owner.execute(rename, person, before, after)
    await owner.close()


async def readable(one: Node, room: str = "general") -> list[str | None]:
    """Return the messages of a room that a newly started node can read."""
    log = LogReader(one.pool, EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)))
    found = await log.stream(room_stream(room), 0, 100)
    return [one.event.content for one in found if isinstance(one.event, MessagePosted)]


async def rule(one: Node, days: int | None, room: str = "general") -> int | None:
    async with one.pool.acquire() as connection:
        return await keep_for(connection, one.serializer, room, days, **HOW)


async def run(one: Node) -> list[Expiry]:
    return await expire(one.pool, one.serializer, **HOW)


OTHER = room_stream("other")


async def backdate(database: Database, days: int) -> None:
    """Move all events so far `days` into the past."""
    async with sealed_logs.owner(database) as owner, owner.transaction():
        await owner.execute("ALTER TABLE stored_events DISABLE TRIGGER append_only")
        await owner.execute(
            "UPDATE stored_events SET recorded_at = recorded_at - make_interval(days => $1)", days
        )
        await owner.execute("ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only")


async def tell(one: Node, *texts: str, by: str = "alice", stream: str = room_stream("general")) -> None:
    """Post a message under the general key, as in a room without a rule."""
    for text in texts:
        placed = await one.append(message(text, author=by), by=by, stream=stream, guard=())
        assert placed.outcome == "appended"


async def fill(one: Node, database: Database) -> None:
    """Let two people post in two rooms, 50 and 5 days ago, and give one room a rule afterwards."""
    await one.open_room("alice", "bob")
    await one.open_room("alice", "bob", stream=OTHER)
    await one.append(PersonNamed(user="alice", name="Alice"), stream=person_stream("alice"))
    await one.append(RoomTopicChanged(topic="about"), guard=())
    await tell(one, "old", "mended")
    await one.append(MessageEdited(message=5, content="mended old"), guard=())
    await tell(one, "elsewhere", stream=OTHER)
    await tell(one, "his old", by="bob")
    await backdate(database, 45)
    await tell(one, "recent")
    await backdate(database, 5)
    assert await rule(one, 30) is None
