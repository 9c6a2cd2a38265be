"""Fills a log with events as a node writes them, by COPY: encrypted, numbered, with times in order.

    async with asyncpg.connect(owner_url) as owner, asyncpg.create_pool(app_url) as pool:
        await Filler(owner, pool, key_encryption_key, rooms=100).grow(1_000_000)

A quarter of the events is in the first room, `room0`; the others are spread evenly. Of a hundred, ninety are posts,
five reactions, three edits and two deletions. `crowd` opens a room with many members.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from service.domain.events import (
    Event,
    MemberJoined,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    ReactionAdded,
    Role,
    RoomOpened,
)
from service.domain.streams import NEW_MESSAGE, room_stream, stream_id
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg

    from service.encryption.person_key import PersonKey

USERS = 200
CHUNK = 20_000
STEP = timedelta(milliseconds=5)

COLUMNS = (
    *("originator_id", "originator_version", "topic", "state", "stream"),
    *("subject", "recorded_at", "recorded_by", "key_id"),
)
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "nobody",
    "in",
    "this",
    "room",
    "is",
    "looking",
    "at",
    "the",
    "clock",
]


class Filler:
    """Writes as the owner of the schema; `pool` connects as the application and makes the users' keys."""

    def __init__(
        self,
        owner: "asyncpg.Connection[Any]",
        pool: "asyncpg.Pool[Any]",
        key_encryption_key: bytes,
        rooms: int,
        seed: int = 1,
    ) -> None:
        self.owner = owner
        self.pool = pool
        self.ring = KeyRing(key_encryption_key)
        self.serializer = EventSerializer(self.ring)
        self.rooms = rooms
        self.size = 0
        self.heads: dict[str, int] = {}
        self._random = random.Random(seed)
        self._at = datetime(2020, 1, 1, tzinfo=UTC)
        self._step = STEP
        self._posts: dict[str, list[int]] = {}
        self._keys: list[PersonKey] = []

    async def grow(self, size: int) -> None:
        """Add events until the log has at least `size`."""
        if not self._keys:
            self._keys = [await self.ring.of_person(f"user{number}", self.pool) for number in range(USERS)]
            await self._write(self._opening())
        await self._continue_times(max(1, size - self.size))
        while self.size < size:
            await self._write(islice(self._messages(), min(CHUNK, size - self.size)))
        await self.owner.execute("VACUUM ANALYZE stored_events")

    async def _continue_times(self, events: int) -> None:
        """Place new events between the log's last time and now, so that times never go back in a stream."""
        last, now = (await self.owner.fetch("SELECT max(recorded_at), clock_timestamp() FROM stored_events"))[
            0
        ]
        if last > self._at:
            self._at, self._step = last, max((now - last) / events, timedelta(microseconds=1))

    async def crowd(self, room: str, members: int) -> None:
        """Open a room with so many members and no messages."""
        joins = (MemberJoined(user=f"member{number}") for number in range(members - 1))
        events = [
            RoomOpened(name=room, visibility="public"),
            MemberJoined(user="user0", role="owner"),
            *joins,
        ]
        await self._write(self._row(room, "user0", event) for event in events)

    async def _write(self, rows: Iterator[tuple[object, ...]]) -> None:
        records = list(rows)
        await self.owner.copy_records_to_table("stored_events", records=records, columns=COLUMNS)
        self.size += len(records)

    def _opening(self) -> Iterator[tuple[object, ...]]:
        for number in range(self.rooms):
            room = f"room{number}"
            yield self._row(room, "user0", RoomOpened(name=room, visibility="public"))
            for user in range(USERS // 4):
                role: Role = "owner" if user == 0 else "member"
                yield self._row(room, f"user{user}", MemberJoined(user=f"user{user}", role=role))

    def _messages(self) -> Iterator[tuple[object, ...]]:
        while True:
            number = 0 if self._random.random() < 0.25 else self._random.randrange(self.rooms)
            user = self._random.randrange(USERS // 4)
            yield self._row(f"room{number}", f"user{user}", self._event(f"room{number}", user), user)

    def _event(self, room: str, user: int) -> Event:
        posts, kind = self._posts.setdefault(room, []), self._random.random()
        if kind < 0.9 or not posts:
            words = " ".join(self._random.choices(WORDS, k=self._random.randint(3, 30)))
            posts.append(self.heads[room] + 1)
            return MessagePosted(author=f"user{user}", content=words, ref=f"fill-{self.size}-{posts[-1]}")
        message = self._random.choice(posts[-50:])
        if kind < 0.95:
            return ReactionAdded(message=message, emoji="👍")
        if kind < 0.98:
            return MessageEdited(message=message, content="I meant something else")
        return MessageDeleted(message=message)

    def _row(self, room: str, by: str, event: Event, key: int | None = None) -> tuple[object, ...]:
        stream = room_stream(room)
        stored = self.serializer.to_stored(event, stream, None if key is None else self._keys[key])
        head = self.heads[room] = self.heads.get(room, 0) + 1
        subject = f"{NEW_MESSAGE}{head}" if stored.subject == NEW_MESSAGE else stored.subject
        self._at += self._step
        return (
            stream_id(stream),
            head,
            stored.topic,
            stored.state,
            stream,
            subject,
            self._at,
            by,
            stored.key_id,
        )
