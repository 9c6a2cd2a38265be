"""The SQL of the deployment guide, executed literally on real clusters: installations run, and logs are protected."""

import asyncio
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.embedded.postgres import SUPERUSER
from tests.support.clients.native import client
from tests.support.environment import ROOT, environment
from tests.support.needs import PROGRAMS
from tests.support.processes.clusters import PASSWORD, Cluster, cluster
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database
from tests.support.servers.memory import servers_directory

VERSIONS = ["wheel", pytest.param("debian", marks=pytest.mark.needs("postgresql"))]
"""18, where CREATEROLE permits less than up to 15, and the oldest that Debian has here: 15 in Debian 12."""
FRESH, SECOND, MANAGED, ADMIN_OPTION = (
    "A cluster without",
    "A cluster that another",
    "A managed service",
    "Roles that",
)
ADMINISTRATOR = "service_administrator"
"""What a managed service gives: no superuser."""

DENIED = {
    "a node appends by itself": """INSERT INTO stored_events (originator_id, originator_version, topic, state, stream,
        subject, recorded_at, recorded_by) VALUES (gen_random_uuid(), 1, 't', '', 'room:a', 's', now(), 'x')""",
    "changes the log": "UPDATE stored_events SET recorded_by = 'mallory'",
    "deletes from the log": "DELETE FROM stored_events",
    "empties the log": "TRUNCATE stored_events",
    "drops its protection": "ALTER TABLE stored_events DISABLE TRIGGER append_only",
    "seals": "DELETE FROM seals",
    "makes keys": "INSERT INTO person_keys (key_id, person, scope) VALUES (gen_random_uuid(), 'bob', '')",
    "becomes the superuser": f"SET ROLE {SUPERUSER}",
    "becomes the owner": "SET ROLE PREFIX_owner",
    "becomes the definer": "SET ROLE PREFIX_definer",
    "becomes the projector": "SET ROLE PREFIX_projector",
    "makes itself a superuser": "ALTER ROLE PREFIX_app SUPERUSER",
    "may create roles": "CREATE ROLE mallory",
    "plants a function": "CREATE FUNCTION public.cardinality(text[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "plants a schema": "CREATE SCHEMA mine",
    "reads files": "SELECT pg_read_file('PG_VERSION')",
    "runs programs": "CREATE TEMPORARY TABLE t (x text); COPY t FROM PROGRAM 'id'",
}


def block(title: str) -> str:
    """Return the SQL under a title of the guide."""
    text = (ROOT / "docs" / "guides" / "deploy.md").read_text(encoding="utf-8")
    found = re.search(rf"^\*\*{title}.*?```sql\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


@dataclass(frozen=True)
class Installation:
    """The addresses and settings that the guide's SQL makes."""

    cluster: Cluster
    prefix: str = "onrecord"
    name: str = "onrecord"

    @property
    def database(self) -> Database:
        words = {
            login: re.findall(
                rf"ROLE {self.prefix}_{login} LOGIN.* PASSWORD '(.*)';", block(FRESH) + block(SECOND)
            )[0]
            for login in ("owner", "app", "worker")
        }
        urls = {
            login: self.cluster.url(f"{self.prefix}_{login}", word, self.name)
            for login, word in words.items()
        }
        superuser = self.cluster.url(database=self.name)
        return Database(self.name, urls["owner"], urls["app"], urls["worker"], superuser)

    @property
    def environment(self) -> dict[str, str]:
        own = {} if self.prefix == "onrecord" else {"ONRECORD_DATABASE_ROLE_PREFIX": self.prefix}
        return environment(self.database, **own)

    async def migrate(self) -> None:
        code, versions, problem = await run(self.environment, "migrate")
        assert (code, problem) == (0, "")
        assert versions
        assert await run(self.environment, "migrate") == (0, "", "")

    async def live(self) -> None:
        """Chat, seal, rebuild a read model and examine everything."""
        env = {name: value for name, value in self.environment.items() if "PREFIX" not in name}
        async with (
            running(env, "serve") as node,
            running(env, "project", "run"),
            client(node.url, "ann") as ann,
        ):
            await ann.join("general")
            await ann.post("general", "hello")
            while (await run(env, "audit", "checkpoint"))[0]:
                await asyncio.sleep(0.1)
            code, line, _ = await run(env, "project", "rebuild", "messages")
            assert (code, json.loads(line)) == (0, {"name": "messages", "rebuild": "requested"})
            with psycopg.connect(self.database.worker_url, autocommit=True) as worker:
                while worker.execute(
                    "SELECT FROM notification_tracking WHERE application_name = 'messages_v2_again'"
                ).fetchone():
                    await asyncio.sleep(0.1)
            found = (await run(env, "doctor"))[1].splitlines()
        assert (await run(env, "project", "verify"))[0] == 0
        assert (await run(env, "audit", "verify"))[:2][0] == 0
        # The database of the first installation is open to every login until its owner closes it.
        found = [line for line in found if "PUBLIC may connect" not in line]
        wrong = [line for line in found if line.split()[0] == "fail"]
        assert wrong == []
        assert [
            line.split()[0] for line in found if line.split()[1] in ("grants", "powers", "functions")
        ] == ["ok"] * 3

    def judge(self) -> None:
        """Try as each login what would break the record."""
        with psycopg.connect(self.database.app_url, autocommit=True) as node:
            for what, statement in DENIED.items():
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    node.execute(statement.replace("PREFIX", self.prefix).encode())
                    pytest.fail(what)
        with psycopg.connect(self.database.worker_url, autocommit=True) as worker:
            for what in (
                "changes the log",
                "deletes from the log",
                "becomes the definer",
                "becomes the owner",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    worker.execute(DENIED[what].replace("PREFIX", self.prefix).encode())
        with psycopg.connect(self.database.owner_url, autocommit=True) as owner:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="the log is append-only"):
                owner.execute(DENIED["changes the log"].encode())
            assert owner.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (
                False,
            )
            roles = owner.execute(
                r"SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'read_models'"
            ).fetchall()
            assert roles == [(f"{self.prefix}_projector",)]


@pytest.fixture(scope="module", params=VERSIONS)
def clusters(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    binaries = Path(PROGRAMS["postgresql"][0]).parent if request.param == "debian" else None
    with tempfile.TemporaryDirectory(prefix="onrecord-test-", dir=servers_directory()) as place:
        with cluster(Path(place), binaries) as running_cluster:
            yield running_cluster


@pytest.fixture
def bare(clusters: Cluster) -> Iterator[Cluster]:
    yield clusters
    clusters.clear()


async def test_a_cluster_without_onrecord(bare: Cluster) -> None:
    bare.run(block(FRESH))
    installation = Installation(bare)
    await installation.migrate()
    await installation.live()
    installation.judge()


async def test_a_second_installation_has_roles_of_its_own(bare: Cluster) -> None:
    bare.run(block(FRESH))
    first, second = Installation(bare), Installation(bare, "chat_b", "chat_b")
    await first.migrate()
    bare.run(block(SECOND))
    await second.migrate()
    await asyncio.gather(first.live(), second.live())
    first.judge()
    second.judge()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(f"{first.database.app_url.removesuffix('onrecord')}chat_b")
    with psycopg.connect(f"{second.database.app_url.removesuffix('chat_b')}onrecord") as stranger:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute("SELECT FROM stored_events")


async def test_a_forgotten_prefix_does_not_join_two_installations(bare: Cluster) -> None:
    bare.run(block(FRESH))
    await Installation(bare).migrate()
    bare.run(block(SECOND))
    env = Installation(bare, "chat_b", "chat_b").environment
    del env["ONRECORD_DATABASE_ROLE_PREFIX"]
    code, out, problem = await run(env, "migrate")
    assert (code, out, problem.count("\n")) == (2, "", 1)
    assert problem.startswith(
        "onrecord_app, onrecord_owner, onrecord_worker have the roles onrecord_*, which another database of this "
        "cluster uses: set ONRECORD_DATABASE_ROLE_PREFIX to a prefix that no other installation has; "
    )
    await Installation(bare, "chat_b", "chat_b").migrate()


async def test_a_managed_service_without_a_superuser(bare: Cluster) -> None:
    bare.run(f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'")
    bare.run(block(MANAGED), ADMINISTRATOR)
    installation = Installation(bare)
    await installation.migrate()
    await installation.live()
    installation.judge()


async def test_roles_that_exist_and_an_owner_that_may_not_create_roles(bare: Cluster) -> None:
    bare.run(block(FRESH).replace("CREATEROLE ", ""))
    for role in ("node", "projector", "sealer", "definer", "analyst"):
        bare.run(f"CREATE ROLE onrecord_{role} NOLOGIN")
    installation = Installation(bare)
    code, out, problem = await run(installation.environment, "migrate")
    assert (code, out, problem.count("\n")) == (2, "", 1)
    assert problem.startswith(
        "The login onrecord_owner lacks the ADMIN OPTION of onrecord_node, onrecord_projector, onrecord_sealer, "
        "onrecord_definer: if another installation in this cluster uses these roles, set ONRECORD_DATABASE_ROLE_PREFIX"
    )
    assert block(ADMIN_OPTION).strip().rstrip(";") in problem
    bare.run(block(ADMIN_OPTION))
    await installation.migrate()
    await installation.live()
    installation.judge()


async def test_a_dump_is_restored_without_a_superuser(bare: Cluster, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "back-up-and-restore.md").read_text(encoding="utf-8")
    create, exchange, before, after = re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)
    bare.run(f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'")
    bare.run(block(MANAGED), ADMINISTRATOR)
    installation = Installation(bare)
    await installation.migrate()
    owner_url = installation.database.owner_url
    beside = owner_url.removesuffix("onrecord") + "onrecord_restored"
    as_of_guide = block(MANAGED).partition("GRANT onrecord_owner TO")
    bare.run(
        "".join(as_of_guide[1:]).replace("DATABASE onrecord ", "DATABASE onrecord_restored "), ADMINISTRATOR
    )
    (major,) = found(bare, "SELECT current_setting('server_version_num')::integer / 10000")[0]
    programs = bare.psql.parent if major >= 18 else Path(PROGRAMS["postgresql"][0]).parent
    dump, entries = tmp_path / "onrecord.dump", tmp_path / "list"

    def tool(name: str, *words: str | Path) -> str:
        done = subprocess.run([programs / name, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    tool("pg_dump", "--format=custom", "--file", dump, "--dbname", owner_url)
    with psycopg.connect(beside, autocommit=True) as owner:
        owner.execute(before.encode())
        lines = tool("pg_restore", "-l", dump).splitlines(keepends=True)
        entries.write_text("".join(line for line in lines if " SCHEMA - read_models " not in line))
        tool("pg_restore", "--exit-on-error", "-L", entries, "--dbname", beside, dump)
        owner.execute(after.encode())
        owner.execute(create.partition(";")[2].encode())  # the rights to connect
    logins = "onrecord_owner, onrecord_app, onrecord_worker"
    bare.run(f"GRANT {logins} TO CURRENT_USER", ADMINISTRATOR)
    with psycopg.connect(installation.database.app_url):  # a node that still runs
        bare.run(exchange, ADMINISTRATOR)
    bare.run(f"REVOKE {logins} FROM CURRENT_USER", ADMINISTRATOR)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(owner_url.removesuffix("onrecord") + "onrecord_broken")
    await installation.live()
    installation.judge()


def without(statement: str) -> str:
    return block(FRESH).replace(statement, "")


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        (
            without("CREATEROLE "),
            "The login onrecord_owner lacks CREATEROLE, and onrecord_node, onrecord_projector, ",
        ),
        (
            without(" OWNER onrecord_owner"),
            "The login onrecord_owner does not own the database onrecord: as its owner ",
        ),
        (
            re.sub("CREATE ROLE onrecord_worker.*", "", block(FRESH)),
            "The login onrecord_worker does not exist: as a role that may create roles, CREATE ROLE onrecord_worker ",
        ),
    ],
)
async def test_migrate_names_what_is_missing_and_changes_nothing(
    bare: Cluster, statements: str, sentence: str
) -> None:
    bare.run(statements)
    installation = Installation(bare)
    code, out, problem = await run(installation.environment, "migrate")
    assert (code, out, problem.count("\n")) == (2, "", 1)
    assert problem.startswith(sentence)
    assert found(bare, "SELECT rolname FROM pg_roles WHERE rolname = 'onrecord_node'") == []


async def test_a_migrated_database_keeps_the_names_of_its_roles(bare: Cluster) -> None:
    bare.run(block(SECOND))
    second = Installation(bare, "chat_b", "chat_b")
    await second.migrate()
    env = second.environment
    del env["ONRECORD_DATABASE_ROLE_PREFIX"]
    assert await run(env, "migrate") == (0, "", "")
    code, out, problem = await run(env | {"ONRECORD_DATABASE_ROLE_PREFIX": "chat_c"}, "migrate")
    assert (code, out) == (2, "")
    assert problem == (
        "The roles of this database begin with chat_b_, and ONRECORD_DATABASE_ROLE_PREFIX is chat_c: the setting "
        "counts before the first migration only; set it to chat_b, or unset it.\n"
    )
    assert found(bare, "SELECT rolname FROM pg_roles WHERE rolname ~ '^(onrecord|chat_c)'") == []


async def test_a_migrated_database_needs_no_right_to_grant(bare: Cluster) -> None:
    """As after an upgrade of the cluster from version 15, which leaves the owner without the ADMIN OPTION."""
    bare.run(block(FRESH))
    installation = Installation(bare)
    await installation.migrate()
    bare.run("ALTER ROLE onrecord_owner NOCREATEROLE")
    for role in ("node", "projector", "sealer", "definer", "analyst"):
        bare.run(
            f"REVOKE onrecord_{role} FROM onrecord_owner CASCADE; GRANT onrecord_{role} TO onrecord_owner"
        )
    bare.run(
        "GRANT onrecord_node TO onrecord_app; GRANT onrecord_projector, onrecord_sealer TO onrecord_worker"
    )
    assert await run(installation.environment, "migrate") == (0, "", "")


def found(bare: Cluster, query: str) -> list[Any]:
    with psycopg.connect(bare.url()) as superuser:
        return superuser.execute(query.encode()).fetchall()
