"""Makes a corpus with the code as it is: `python -m tests.corpus.make NAME`, the commit's short hash as its name.

It starts servers, lets people talk and operators act on them (tests/support/corpus/life.py), and keeps a dump of the
database with what this version shows of it in tests/corpus/NAME.
"""

import argparse
import asyncio
import base64
import json
import lzma
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from service import embedded
from service.audit.history.format import as_json
from service.config.settings import Settings
from service.domain.events import EVENTS
from service.embedded import Servers
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import ROWS, EventSerializer
from tests.support.audit.proof import all_sealed
from tests.support.corpus import kept, life
from tests.support.corpus.backdating import backdate
from tests.support.environment import environment
from tests.support.processes.cluster import still_open
from tests.support.processes.processes import running
from tests.support.servers.databases import Database, fresh_database
from tests.support.waiting import projected, until

UNKEPT_VIEWS = {"readable_events"}
"""The log itself, which the dump and `log` hold already."""


def main() -> int:
    """Make a corpus under the name that the command line gives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the short hash of the commit that is checked out")
    place = kept.PLACE / parser.parse_args().name
    with embedded.throwaway() as servers, fresh_database(servers) as database:
        old, new = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
        place.mkdir(exist_ok=True)
        asyncio.run(_live(database, old, f"{new},{old}"))
        asyncio.run(_keep(servers, database, f"{new},{old}", place))
    sys.stdout.write(f"{place}: {sum(file.stat().st_size for file in place.iterdir())} bytes\n")
    return 0


async def _live(database: Database, old: str, both: str) -> None:
    env = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=old, ONRECORD_NODE="first")
    await life.long_ago(env)
    backdate(database.superuser_url, 45)
    await life.days_ago(env)
    backdate(database.superuser_url, 5)
    await life.rules(env)
    async with running(env, "serve") as node, running(env, "project", "run"):
        await life.a_day(node, env)
    env = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=both, ONRECORD_NODE="second")
    await life.command(env, "keys", "rotate")
    with tempfile.TemporaryDirectory() as place:
        async with running(env, "serve") as node, running(env, "project", "run"):
            await life.after_rotation(node, env)
            await all_sealed(database)
            await life.read(node, env, Path(place))
            await life.lasting_rules(env)
            async with life.connected(node, "alice", "bob"):
                await until(lambda: still_open(database) == 2)
                await node.kill()  # its sessions stay open on the record
            await _level(env, database)


async def _level(env: life.Env, database: Database) -> None:
    """Wait until all is projected and sealed."""
    await projected(database)
    await all_sealed(database)
    await life.command(env, "audit", "verify", "--words")
    await life.command(env, "project", "verify")


async def _keep(servers: Servers, database: Database, keys: str, place: Path) -> None:
    env = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=keys)
    with psycopg.connect(database.superuser_url) as owner:
        rooms = [row[0] for row in owner.execute(_ROOMS).fetchall()]
        present = {row[0] for row in owner.execute("SELECT DISTINCT topic FROM stored_events").fetchall()}
    assert present == EVENTS.keys(), f"the conversation lacks {EVENTS.keys() - present}"
    replay = {room: await life.command(env, "audit", "replay", "--room", room) for room in rooms}
    async with running(env, "project", "run"):
        await _level(env, database)
    (place / "checkpoint").write_text(await life.command(env, "audit", "checkpoint"))
    dump = kept.postgres(servers, "pg_dump", database, "--no-tablespaces")
    _compress(place / "dump.sql.xz", dump)
    with psycopg.connect(database.superuser_url) as reader:
        expected = {"replay": replay, "log": _log(reader, env), "views": _views(reader)}
    _compress(place / "expected.json.xz", json.dumps(expected, ensure_ascii=False))
    about = {
        "keyEncryptionKeys": keys,
        "words": {"expired": life.EXPIRED, "erased": life.ERASED, "held": life.HELD},
        "events": len(expected["log"]),
    }
    (place / "corpus.json").write_text(json.dumps(about, indent=2) + "\n")


def _log(reader: "psycopg.Connection[Any]", env: life.Env) -> list[str]:
    """Return the whole log as lines, words included where they can be read."""
    keys = Settings.from_env(env).key_encryption_key
    serializer = EventSerializer(KeyRing(keys))
    with reader.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(f"{ROWS} ORDER BY e.notification_id").fetchall()
    return [as_json(serializer.to_recorded(row), stream=True).decode() for row in rows]


def _views(reader: "psycopg.Connection[Any]") -> dict[str, kept.Rows]:
    return {name: rows[0] for name, rows in kept.views(reader).items() if name not in UNKEPT_VIEWS}


def _compress(file: Path, text: str) -> None:
    file.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


_ROOMS = "SELECT DISTINCT substr(stream, 6) FROM stored_events WHERE starts_with(stream, 'room:') ORDER BY 1"

if __name__ == "__main__":
    sys.exit(main())
