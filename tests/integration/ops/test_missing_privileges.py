"""Each command whose database has no schema, or whose login lacks a privilege there, ends with 2 and one sentence."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations import newest
from tests.support.environment import environment
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy
from tests.support.waiting import until

COMMANDS = [
    ["serve"],
    ["serve", "--workers", "2"],
    ["project", "run"],
    ["project", "status"],
    ["project", "verify"],
    ["epoch"],
    ["epoch", "--renew"],
    ["migrate"],
    ["keys", "status"],
    ["keys", "rotate"],
    ["audit", "replay", "--room", "general"],
    ["audit", "room", "general"],
    ["audit", "person", "ann", "--room", "general"],
    ["audit", "checkpoint"],
    ["audit", "verify"],
    ["audit", "prove", "--room", "general", "--seq", "1"],
    ["audit", "export", "--all", "--out", "OUT"],
    ["audit", "keys", "--rotate"],
    ["audit", "erase", "--person", "ann", "--ground", "Her request of 3 May"],
    ["audit", "erasures"],
    ["audit", "hold", "--room", "general", "--ground", "Case 17"],
    ["audit", "release", "--room", "general", "--ground", "Case 17"],
    ["audit", "holds"],
    ["audit", "retention", "--room", "general", "--days", "30"],
    ["audit", "expire"],
]


@pytest.fixture
def stranger(database: Database) -> Iterator[str]:
    """The address of a login without any right in OnRecord."""
    name = f"stranger_{uuid4().hex}"
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        try:
            yield f"postgresql://{name}:x@{urlsplit(database.app_url).netloc.partition('@')[2]}/{database.name}"
        finally:
            superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_a_login_without_rights_is_named_in_one_sentence(
    database: Database, stranger: str, command: list[str], tmp_path: Path
) -> None:
    env = environment(
        database,
        ONRECORD_DATABASE_URL=stranger,
        ONRECORD_MIGRATE_DATABASE_URL=stranger,
        ONRECORD_PROJECTOR_DATABASE_URL=stranger,
    )
    words = [str(tmp_path / "out") if word == "OUT" else word for word in command]
    code, out, problem = await run(env, *words)
    assert (code, out) == (2, "")
    assert "Traceback" not in problem
    # Each of several workers says it.
    assert len({line for line in problem.splitlines() if not line.startswith("{")}) == 1
    assert "stranger_" in problem or "permission denied" in problem


READERS = [
    *(["audit", "person", "ann"], ["audit", "keys"], ["audit", "extension", "--since", "FILE"]),
    *(["audit", "erase-again", "FILE"], ["project", "run", "--only", "messages"]),
]


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS + READERS if command != ["migrate"] and "--since" not in command],
    ids=" ".join,
)
async def test_a_database_without_the_schema_is_named_in_one_sentence(
    database: Database, command: list[str], tmp_path: Path
) -> None:
    empty = database.superuser_url.rsplit("/", 1)[0] + "/postgres"
    logins = ("DATABASE_URL", "MIGRATE_DATABASE_URL", "PROJECTOR_DATABASE_URL")
    env = environment(database, **{f"ONRECORD_{login}": empty for login in logins})
    file = tmp_path / "file"
    file.write_text("")
    named = {"OUT": str(tmp_path / "out"), "FILE": str(file)}
    code, out, problem = await run(env, *(named.get(word, word) for word in command))
    assert (code, out) == (2, "")
    sentence = f"The database's schema is at nothing, {newest()} is needed: run `onrecord migrate`."
    assert {line for line in problem.splitlines() if not line.startswith("{")} == {sentence}


@pytest.mark.logs("task_waits")
@pytest.mark.parametrize("version", [newest(), "0001_log"])
async def test_a_projector_started_before_its_database_checks_the_schema(
    database: Database, version: str
) -> None:
    address = urlsplit(database.worker_url)
    proxy = Proxy(str(address.hostname), int(address.port or 0))
    await proxy.listen()
    proxy.refuse()  # nothing listens on its port now
    url = database.worker_url.replace(f":{address.port}/", f":{proxy.port}/")
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("UPDATE alembic_version SET version_num = %s", [version])
    env = environment(database, ONRECORD_PROJECTOR_DATABASE_URL=url)
    async with AsyncExitStack() as stack, running(env, "project", "run") as projector:
        stack.push_async_callback(proxy.close)
        await until(lambda: any("task_waits" in line for line in projector.words))
        await proxy.restore()
        if version == newest():
            await until(lambda: any("projection_leads" in line for line in projector.words))
            assert await projector.stop() == 0
        else:
            assert await projector.process.wait() == 2
            sentence = f"The database's schema is at {version}, {newest()} is needed"
            await until(lambda: sentence in "".join(projector.words))
