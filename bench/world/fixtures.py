"""Makes databases with rooms and members, from events that the service itself writes, and tokens of their users.

Each shape is loaded once into a template database, through the node's own appender, and copied for each server.
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
"""Database connections that make the users' keys."""


@dataclass(frozen=True)
class Shape:
    """Users named `user00000` and so on, and rooms of equal size; user number n is in room n % rooms."""

    people: int
    rooms: int

    @property
    def template(self) -> str:
        return f"world_{self.people}_{self.rooms}"

    @property
    def head(self) -> int:
        """The seq of each room's last event: its opening, then a join per member."""
        return 1 + self.people // self.rooms

    def user(self, number: int) -> str:
        return f"user{number:05}"

    def members(self, room: int) -> list[str]:
        return [self.user(number) for number in range(room, self.people, self.rooms)]


@contextmanager
def database(servers: Servers, shape: Shape) -> Iterator[tuple[str, str, str]]:
    """Yield the URLs of a new database of that shape for a node, the owner and the projector; drop it at the end."""
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
    """Write a file with a token per line, in the order of the users."""
    path.write_text("".join(_token(shape.user(number)) + "\n" for number in range(shape.people)))
    return path


def _token(user: str) -> str:
    """Return a token (RFC 7515, HS256), without a library: ten thousand are needed before anything is measured."""
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
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
    connection.execute(statement.format(*map(sql.Identifier, (name, template, OWNER))))


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

        appender = Appender(connect, serializer, known_head=lambda _: None, on_commit=_ignore, deadline=30.0)
        running = asyncio.create_task(appender.run())
        placing = [
            appender.offer(entry)
            for room in range(shape.rooms)
            for entry in _opening(shape, room, serializer)
        ]
        for placed in await asyncio.gather(*placing):
            assert placed.outcome == "appended", placed
        running.cancel()
        # A user's key is made at the first connection or message; these users have connected before.
        for start in range(0, shape.people, 1000):
            some = range(start, min(start + 1000, shape.people))
            await asyncio.gather(*(keys.of_person(shape.user(number), pool) for number in some))


def _ignore(_batch: CommitResult) -> None: ...


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
