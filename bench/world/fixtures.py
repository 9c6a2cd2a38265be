"""A database with rooms and members in it, made of events as the service itself writes them, and tokens to enter with.

A world is loaded once, through the node's own appender, and copied for each server that is measured on it.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
from psycopg import sql

from migrations.run import migrate
from service.domain.events import Event, MemberJoined, RoomOpened
from service.domain.streams import room_stream
from service.embedded import Servers
from service.embedded.postgres import OWNER
from service.encryption.keyring import KeyRing
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, CommitResult
from service.eventstore.serializer import EventSerializer

KEY = b"a key for the benchmark's people"
SECRET = "a secret of the benchmark, thirty-two bytes and more"  # noqa: S105 - it guards nothing
AT_ONCE = 10
"""Database connections that make people's keys."""


@dataclass(frozen=True)
class Shape:
    """So many people, called `user00000` and so on; person p is in room p % rooms, and all rooms are as large."""

    people: int
    rooms: int

    @property
    def template(self) -> str:
        return f"world_{self.people}_{self.rooms}"

    @property
    def head(self) -> int:
        """The last event of each room: its opening, and then its members came."""
        return 1 + self.people // self.rooms

    def user(self, number: int) -> str:
        return f"user{number:05}"

    def members(self, room: int) -> list[str]:
        return [self.user(number) for number in range(room, self.people, self.rooms)]


@contextmanager
def database(servers: Servers, shape: Shape) -> Iterator[tuple[str, str, str]]:
    """Give a database of that shape, and delete it at the end: its address for a node, its owner and the projector."""
    name = f"bench_{secrets.token_hex(4)}"
    with _maintenance(servers) as connection:
        _make_template(servers, connection, shape)
        _create(connection, name, shape.template)
    try:
        yield (
            _named(servers.database_url, name),
            _named(servers.migrate_database_url, name),
            _named(servers.projector_database_url, name),
        )
    finally:
        with _maintenance(servers) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def tokens(shape: Shape, path: Path) -> Path:
    """Write a token a line, person by person."""
    path.write_text("".join(_token(shape.user(number)) + "\n" for number in range(shape.people)))
    return path


def _token(user: str) -> str:
    """RFC 7515, HS256, by hand: ten thousand are wanted before anything is measured."""
    claims = {"sub": user, "exp": 4_000_000_000, "scope": "chat"}
    signed = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_base64(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _named(url: str, name: str) -> str:
    return f"{url.rsplit('/', 1)[0]}/{name}"


def _maintenance(servers: Servers) -> psycopg.Connection:
    return psycopg.connect(_named(servers.superuser_database_url, "postgres"), autocommit=True)


def _create(connection: psycopg.Connection, name: str, template: str) -> None:
    words = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
    connection.execute(words.format(*map(sql.Identifier, (name, template, OWNER))))


def _make_template(servers: Servers, connection: psycopg.Connection, shape: Shape) -> None:
    if (
        connection.execute("SELECT FROM pg_database WHERE datname = %s", [shape.template]).fetchone()
        is not None
    ):
        return
    draft = f"{shape.template}_{secrets.token_hex(4)}"
    _create(connection, draft, "template1")
    servers.postgres.hand_over(draft)
    migrate(
        _named(servers.migrate_database_url, draft),
        _named(servers.database_url, draft),
        _named(servers.projector_database_url, draft),
    )
    asyncio.run(_load(_named(servers.database_url, draft), shape))
    with psycopg.connect(_named(servers.migrate_database_url, draft), autocommit=True) as loaded:
        loaded.execute("VACUUM ANALYZE")
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    connection.execute(rename.format(sql.Identifier(draft), sql.Identifier(shape.template)))


async def _load(url: str, shape: Shape) -> None:
    keys = KeyRing(KEY)
    serializer = EventSerializer(keys)
    async with asyncpg.create_pool(url, min_size=1, max_size=AT_ONCE) as pool:

        async def connect() -> "asyncpg.Connection[Any]":
            return await asyncpg.connect(url)

        appender = Appender(connect, serializer, known_head=lambda _: None, placed=_ignore, deadline=30.0)
        running = asyncio.create_task(appender.run())
        placing = [
            appender.offer(entry)
            for room in range(shape.rooms)
            for entry in _opening(shape, room, serializer)
        ]
        for placed in await asyncio.gather(*placing):
            assert placed.outcome == "appended", placed
        running.cancel()
        # A person's key is made at their first connection or message; these have been here before.
        for start in range(0, shape.people, 1000):
            some = range(start, min(start + 1000, shape.people))
            await asyncio.gather(*(keys.of_person(shape.user(number), pool) for number in some))


def _ignore(_batch: CommitResult) -> None:
    """Nobody listens."""


def _opening(shape: Shape, room: int, serializer: EventSerializer) -> Iterator[AppendRequest]:
    first, *others = shape.members(room)
    stream = room_stream(f"room{room}")
    yield _entry(
        stream, first, serializer, RoomOpened(name=f"room{room}"), MemberJoined(user=first, role="owner")
    )
    for user in others:
        yield _entry(stream, user, serializer, MemberJoined(user=user))


def _entry(stream: str, user: str, serializer: EventSerializer, *events: Event) -> AppendRequest:
    fingerprint = hashlib.sha256(user.encode()).digest()[:16]
    return AppendRequest.of(
        serializer, stream, events, user=user, ref=f"load-{stream}", fingerprint=fingerprint
    )
