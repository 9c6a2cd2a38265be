"""Measures appends: batches of posts through `chat_append`, one after the other, on a filled log.

    .venv/bin/python bench/experiments/append.py --filled 100000

Starts a throw-away Postgres, fills the log, and appends batches of each size as a node does: prepared statement, one
connection, one batch in flight. Prints a JSON line per size: events a second, and ms a batch (p50, p99).
"""

import argparse
import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.lifetime import supervised
from migrations.run import migrate
from service import embedded
from service.domain.events import MessagePosted
from service.domain.streams import SETTINGS, room_stream, user_subject
from service.encryption.keyring import KeyRing
from service.eventstore.entries import APPEND, AppendRequest, arguments
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    from service.encryption.person_key import PersonKey

USERS = 100


class Writer:
    """Makes and appends batches of posts, evenly over rooms and users."""

    def __init__(
        self, connection: "asyncpg.Connection[Any]", serializer: EventSerializer, rooms: int
    ) -> None:
        self.connection = connection
        self.serializer = serializer
        self.rooms = rooms
        self.heads = {room_stream(f"room{number}"): 0 for number in range(rooms)}
        self.keys: list[PersonKey] = []
        self.count = 0

    def batch(self, size: int) -> tuple[list[Any], ...]:
        decided = dict(self.heads)
        return arguments([self._entry(decided) for _ in range(size)], decided.__getitem__)

    def _entry(self, decided: dict[str, int]) -> AppendRequest:
        self.count += 1
        user = f"user{self.count % USERS}"
        stream = room_stream(f"room{self.count % self.rooms}")
        event = MessagePosted(author=user, content="x" * 100, ref=str(uuid4()))
        self.heads[stream] += 1
        return AppendRequest.of(
            self.serializer,
            stream,
            [event],
            user=user,
            ref=event.ref,
            fingerprint=hashlib.sha256(event.ref.encode()).digest()[:16],
            decided_on=decided[stream],
            guard=(SETTINGS, user_subject(user)),
            key=self.keys[self.count % USERS],
        )

    async def append(self, size: int) -> float:
        sent = self.batch(size)
        began = time.perf_counter()
        rows = await self.connection.fetch(APPEND, *sent)
        took = time.perf_counter() - began
        outcomes = {row["outcome"] for row in rows}
        assert outcomes == {"appended"}, outcomes
        return took


async def measure(options: argparse.Namespace, servers: embedded.Servers) -> None:
    keys = KeyRing(bytes(range(32)))
    async with asyncpg.create_pool(servers.database_url, min_size=1, max_size=2) as pool:
        connection = await asyncpg.connect(servers.database_url)
        writer = Writer(connection, EventSerializer(keys), options.rooms)
        writer.keys = [await keys.of_person(f"user{number}", pool) for number in range(USERS)]
        for _ in range(options.filled // 200):
            await writer.append(200)
        for size in options.sizes:
            took = sorted([await writer.append(size) for _ in range(max(20, options.events // size))])
            print(
                json.dumps(
                    {
                        "size": size,
                        "events_per_s": round(size * len(took) / sum(took)),
                        "us_per_event": round(sum(took) / len(took) / size * 1e6, 1),
                        "p50_ms": round(took[len(took) // 2] * 1000, 2),
                        "p99_ms": round(took[len(took) * 99 // 100] * 1000, 2),
                        "batches": len(took),
                        "filled": options.filled,
                    }
                ),
                flush=True,
            )
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--filled", type=int, default=20_000, help="events in the log before measuring")
    parser.add_argument("--events", type=int, default=10_000, help="approximate events per batch size")
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5, 10, 20, 50, 100, 200])
    options = parser.parse_args()
    with embedded.throwaway() as servers:
        migrate(servers.migrate_database_url, servers.database_url, servers.projector_database_url)
        asyncio.run(measure(options, servers))


if __name__ == "__main__":
    sys.exit(supervised(main))
