"""Each command whose database has no schema, or whose login lacks a privilege there, ends with 2 and one sentence."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql

from migrations import newest
from service.config.environment import SettingsInvalid
from service.config.settings import Settings
from service.node.server import Server, served
from tests.support.clients.native import Refused, client
from tests.support.environment import environment
from tests.support.processes.processes import Process, ended, run, running, start, wait_for_address
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy, proxied
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


async def test_a_node_with_the_projectors_login_names_what_it_lacks(
    database: Database,
) -> None:
    swapped = environment(
        database,
        ONRECORD_DATABASE_URL=database.worker_url,
        ONRECORD_PROJECTOR_DATABASE_URL=database.app_url,
    )
    for command in (["serve"], ["project", "run"]):
        code, out, problem = await run(swapped, *command)
        assert (code, out) == (2, "")
        [sentence] = [line for line in problem.splitlines() if not line.startswith("{")]
        assert "lacks" in sentence
        assert "DATABASE_URL" in sentence


async def test_a_node_with_the_projectors_login_ends_once_the_log_is_there(
    database: Database,
) -> None:
    async with proxied(database.worker_url, Proxy) as (proxy, url):
        proxy.refuse()
        node = await start(environment(database, ONRECORD_DATABASE_URL=url), "serve")
        await wait_for_address(node)
        await proxy.restore()
        code, _, problem = await ended(node)
        named = "ONRECORD_DATABASE_URL has to be the address of the nodes' login, and names the projector's, "
        assert (code, named in problem) == (2, True), problem


async def test_a_projector_without_its_setting_names_the_setting_first(database: Database) -> None:
    env = environment(database, ONRECORD_PROJECTOR_DATABASE_URL="")
    code, out, problem = await run(env, "project", "run")
    assert (code, out) == (2, "")
    assert problem.startswith(
        "ONRECORD_PROJECTOR_DATABASE_URL is not set, and the nodes' login onrecord_app lacks "
    )


async def test_migrate_names_a_missing_login_in_a_migrated_database(database: Database) -> None:
    missing = database.app_url.replace("onrecord_app:", "nobody_has_made:")
    code, out, problem = await run(environment(database, ONRECORD_DATABASE_URL=missing), "migrate")
    assert (code, out) == (2, "")
    assert problem.startswith("The login nobody_has_made does not exist: ")
    assert len(problem.splitlines()) == 1


async def test_migrate_warns_of_one_login_for_nodes_and_projector(database: Database) -> None:
    both = environment(database, ONRECORD_PROJECTOR_DATABASE_URL=database.app_url)
    try:
        code, _, problem = await run(both, "migrate")
    finally:  # roles are the whole server's
        await run(environment(database), "migrate")
    assert (code, "name one login, onrecord_app: it may serve and seal" in problem) == (0, True)


@pytest.mark.parametrize("command", [["serve"], ["serve", "--workers", "3"]], ids=" ".join)
async def test_a_port_for_chat_and_metrics_is_refused(database: Database, command: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    metrics = port - len(command) + 1
    env = environment(database, ONRECORD_PORT=str(port), ONRECORD_METRICS_PORT=str(metrics))
    code, out, problem = await run(env, *command)
    assert (code, out) == (2, "")
    assert f"and ONRECORD_PORT is {port}: choose another." in problem


async def test_a_port_that_is_taken_after_the_check_ends_the_node(database: Database) -> None:
    """The check of the settings passes; another process takes the port before the node listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings.from_env(environment(database, ONRECORD_PORT=str(taken.getsockname()[1])))
        async with served(settings) as running_node:
            server = Server(settings, running_node.gateway, lambda _address: None)
            with pytest.raises(SettingsInvalid, match="choose another with ONRECORD_PORT"):
                await server.serve()


@pytest.fixture
def read_only(database: Database) -> Iterator[Callable[[bool], None]]:
    """What switches the database to read-only and back, and ends its connections."""

    def switch(on: bool) -> None:  # noqa: FBT001 - its only argument
        with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
            superuser.execute("SET default_transaction_read_only = off")
            name = sql.Identifier(database.name)
            superuser.execute(
                sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(
                    name, sql.Literal(on)
                )
            )
            superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    yield switch
    switch(on=False)


async def readiness(node: Process) -> tuple[int, str]:
    async with httpx.AsyncClient(base_url=node.address) as http:
        answer = await http.get("/readyz")
        return answer.status_code, answer.json()["log"]


async def test_a_read_only_database_is_an_outage_and_no_fault(
    database: Database, read_only: Callable[[bool], None]
) -> None:
    """Neither process logs a failure, which every test checks."""
    env = environment(database, ONRECORD_DATABASE_TIMEOUT="1")

    async def is_answer(node: Process, *answer: object) -> bool:
        return await readiness(node) == answer

    read_only(True)
    async with running(env, "serve") as late, running(env, "project", "run"):
        await until(lambda: is_answer(late, 503, "not fit to serve"))
        read_only(False)
        await until(lambda: is_answer(late, 200, "ok"))
        async with client(late.url, "alice") as alice:
            await alice.join("general")
            read_only(True)
            await until(lambda: is_answer(late, 503, "not fit to serve"))
            with pytest.raises(Refused, match="unavailable"):
                await alice.post("general", "nowhere")
            read_only(False)
            await until(lambda: is_answer(late, 200, "ok"))
        async with client(late.url, "bob") as bob:
            await bob.join("general")
            await bob.post("general", "again")


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


async def test_a_changed_password_is_an_outage_and_no_fault(database: Database) -> None:
    """Neither process logs a failure, which every test checks; at a start the same is a wrong setting."""
    login = sql.Identifier(name := f"login_{uuid4().hex[:8]}")
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:

        def set_password(password: str) -> None:
            superuser.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(login, sql.Literal(password)))
            superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name]
            )

        superuser.execute(
            sql.SQL(
                "CREATE ROLE {} LOGIN PASSWORD 'first' IN ROLE onrecord_node, onrecord_projector, onrecord_sealer"
            ).format(login)
        )
        host = urlsplit(database.app_url).netloc.partition("@")[2]
        url = f"postgresql://{name}:first@{host}/{database.name}"
        env = environment(
            database,
            ONRECORD_DATABASE_URL=url,
            ONRECORD_PROJECTOR_DATABASE_URL=url,
            ONRECORD_DATABASE_TIMEOUT="1",
        )

        async def is_ready(node: Process, *answer: object) -> bool:
            return await readiness(node) == answer

        try:
            async with running(env, "serve") as node, running(env, "project", "run") as projector:
                await until(lambda: is_ready(node, 200, "ok"))
                await until(lambda: any("sealer_leads" in line for line in projector.words))
                set_password("second")
                await until(lambda: is_ready(node, 503, "unreachable"))
                await until(lambda: any("projection_waits" in line for line in projector.words))
                for command in (["serve"], ["serve", "--workers", "2"], ["project", "run"]):
                    assert (await run(env, *command))[0] == 3
                set_password("first")
                await until(lambda: is_ready(node, 200, "ok"))
        finally:
            superuser.execute(sql.SQL("DROP OWNED BY {}").format(login))
            superuser.execute(sql.SQL("DROP ROLE {}").format(login))
