"""A node as the log sees it: an appender, cached keys, and feeds of the streams that it follows."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec

from service.domain.events import Event, MemberJoined, MessagePosted, Recorded, RoomOpened
from service.domain.streams import SETTINGS, room_stream, user_subject
from service.encryption.keyring import KeyRing
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult, CommitResult
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from tests.support.servers.databases import Database

KEY_ENCRYPTION_KEY = bytes(range(32))
GENERAL = room_stream("general")
Connect = Callable[[], Any]


class Node:
    """An appender with a feed per followed stream; `news` has the result of each batch."""

    def __init__(
        self, database: Database, pool: "asyncpg.Pool[Any]", connect: Connect, deadline: float
    ) -> None:
        self.pool = pool
        self.keys = KeyRing(KEY_ENCRYPTION_KEY)
        self.serializer = EventSerializer(self.keys)
        self.log = LogReader(pool, self.serializer)
        self.feeds: dict[str, list[Recorded]] = {}
        self.news: list[dict[str, list[Recorded]]] = []
        self.appender = Appender(
            connect, self.serializer, known_head=self.known_head, on_commit=self.placed, deadline=deadline
        )
        self.superuser_url = database.superuser_url
        self.running = asyncio.create_task(self.appender.run())

    def follow(self, *streams: str) -> None:
        for stream in streams:
            self.feeds.setdefault(stream, [])

    def known_head(self, stream: str) -> int | None:
        return len(self.feeds[stream]) if stream in self.feeds else None

    def placed(self, batch: CommitResult) -> None:
        self.news.append(batch.new_events)
        for stream, rows in batch.new_events.items():
            if stream in self.feeds:
                self.feeds[stream].extend(rows)

    async def entry(
        self,
        *events: Event,
        stream: str = GENERAL,
        by: str = "alice",
        ref: str | None = None,
        decided_on: int = 0,
        guard: tuple[str, ...] | None = None,
        record: bool = True,
    ) -> AppendRequest:
        """Return the request to append `events`, decided by `by` on the stream as of `decided_on`."""
        words = any(event.PERSONAL for event in events)
        key = await self.keys.of_person(by, self.pool) if words else None
        return AppendRequest.of(
            self.serializer,
            stream,
            events,
            user=by,
            ref=ref or str(uuid4()),
            fingerprint=hashlib.sha256(msgspec.json.encode(events)).digest()[:16],
            decided_on=decided_on,
            guard=(SETTINGS, user_subject(by)) if guard is None else guard,
            key=key,
            record=record,
        )

    async def append(self, *events: Event, **how: Any) -> AppendResult:
        return await self.appender.offer(await self.entry(*events, **how))

    async def open_room(self, *members: str, stream: str = GENERAL) -> AppendResult:
        """Open a room with `members`, the first of them its owner."""
        others = [MemberJoined(user=user) for user in members[1:]]
        opened = [RoomOpened(name="General"), MemberJoined(user=members[0], role="owner"), *others]
        return await self.append(*opened, stream=stream, by=members[0])

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])


@asynccontextmanager
async def node(database: Database, *, url: str | None = None, deadline: float = 20) -> AsyncIterator[Node]:
    """Give a running node; `url` is the database of its appender."""
    address = url or database.app_url
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=4) as pool:
        made = Node(database, pool, lambda: asyncpg.connect(address), deadline)
        try:
            yield made
        finally:
            await made.stop()


def message(content: str = "hello", *, author: str = "alice") -> MessagePosted:
    return MessagePosted(author=author, content=content, ref="ref")


async def stored(database: Database, query: str, *arguments: object) -> list[asyncpg.Record]:
    """Return the rows of a query, as a superuser."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def seqs(database: Database, stream: str = GENERAL) -> list[int]:
    """Return the numbers of a stream's rows, in the order of the whole log."""
    rows = await stored(
        database,
        "SELECT originator_version FROM stored_events WHERE stream = $1 ORDER BY notification_id",
        stream,
    )
    return [row[0] for row in rows]
