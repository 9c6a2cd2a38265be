"""PostgreSQL from its wheel: a cluster that is created once, with the application's database and roles.

Invariant: fsync and synchronous_commit stay on, in tests too. A cluster is created under another name and renamed when
it is complete, so that a killed start leaves no partial one.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from migrations import MIGRATIONS
from service.config.development import READER, EmbeddedFailed, Keys, ServerDidNotStart
from service.embedded.account import Account
from service.embedded.daemon import ENVIRONMENT, Daemon

DATABASE = "onrecord"
SUPERUSER = "postgres"
OWNER = "onrecord_owner"
"""The login that migrates; no superuser."""
APP = "onrecord_app"
"""The login of nodes and commands."""
WORKER = "onrecord_worker"
"""The login of the projector and the sealer."""
ROLES = MIGRATIONS / "roles.sql"

_CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # their paths have a length limit that a data directory's may exceed
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres(Daemon):
    """The PostgreSQL server of a data directory."""

    name = "PostgreSQL"
    # A smart shutdown would wait for clients; fast ends their sessions, immediate skips the checkpoint.
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))

    def __init__(self, programs: Path, home: Path, log: Path, account: Account, keys: Keys) -> None:
        super().__init__(log, account)
        self.programs = programs
        self._cluster = home / "postgres"
        self._passwords = {
            SUPERUSER: keys.owner_password,
            OWNER: keys.migrate_password,
            APP: keys.app_password,
            WORKER: keys.worker_password,
            READER: keys.reader_password,
        }

    @property
    def logins(self) -> tuple[str, str]:
        """The logins of nodes and of the projector."""
        return APP, WORKER

    def url(self, role: str = APP) -> str:
        """Return the address of the database for `role`."""
        password = self._passwords[role]
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def command(self) -> list[str]:
        """See `Daemon`."""
        settings = {**_CONFIGURATION, "port": str(self.port)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), *options, "-D", str(self._cluster)]

    def remembered_pid(self) -> int | None:
        """See `Daemon`."""
        lines = self._postmaster()
        return int(lines[0]) if lines and lines[0].isdecimal() else None

    def answers(self, pid: int) -> bool:
        """See `Daemon`. The eighth line of the server's file is its state, the first its process number."""
        lines = self._postmaster()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7] == "ready"  # noqa: PLR2004

    def prepare(self) -> None:
        """Create the cluster if it does not exist; delete the pid file of a server that is certainly gone."""
        if not (self._cluster / "PG_VERSION").exists():
            self._make_cluster()
        # The server does not run now. If its pid exists, another process has it, and Postgres would refuse to start.
        # If not, the file is kept: because of it Postgres waits for the child processes of a killed server.
        if (pid := self.remembered_pid()) is not None and psutil.pid_exists(pid):
            (self._cluster / "postmaster.pid").unlink()

    def start(self) -> None:
        """See `Daemon`; also create the application's database and roles if they are missing."""
        super().start()
        try:
            self._make_database()
        except psycopg.OperationalError as problem:
            self.stop()
            raise ServerDidNotStart(
                f"PostgreSQL in {self._cluster.parent} refuses its superuser; was keys.json changed? ({problem})"
            ) from problem

    def _postmaster(self) -> list[str]:
        try:
            return [line.strip() for line in (self._cluster / "postmaster.pid").read_text().splitlines()]
        except OSError:
            return []

    def _make_cluster(self) -> None:
        draft = self._cluster.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        password = self._cluster.with_name("password")
        password.unlink(missing_ok=True)
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(self._passwords[SUPERUSER])
        try:
            self._initdb(draft, self._account.own(password))
        finally:
            password.unlink(missing_ok=True)
        draft.rename(self._cluster)

    def _initdb(self, draft: Path, password: Path) -> None:
        # The built-in locale makes the order of texts the same on every machine.
        options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--auth=scram-sha-256", f"--pwfile={password}", f"--username={SUPERUSER}"]
        done = subprocess.run(  # noqa: S603 - no user input
            [self.programs / "initdb", *options, "-D", draft],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
            **self._account.options,
        )
        if done.returncode:
            raise EmbeddedFailed(f"initdb failed in {draft}: {done.stderr.strip()}")

    def _make_database(self) -> None:
        url = self.url(SUPERUSER).removesuffix(DATABASE) + "postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        self.hand_over(DATABASE)

    def hand_over(self, database: str) -> None:
        """Create the logins; give the owner's login a database and the objects that a superuser migrated in it."""
        url = self.url(SUPERUSER).removesuffix(DATABASE) + database
        with psycopg.connect(url) as connection:
            connection.execute(ROLES.read_bytes())
            for login in (APP, WORKER, READER):
                known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login])
                if known.fetchone() is None:
                    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
            for login in (OWNER, APP, WORKER, READER):
                role, password = sql.Identifier(login), sql.Literal(self._passwords[login])
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))
            connection.execute(_READER)
            # Development and tests create further databases.
            connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(OWNER)))


# The role is the protection; the settings prevent accidents, and an analyst may change them.
_READER = f"""
    GRANT onrecord_analyst TO {READER};
    ALTER ROLE {READER} SET default_transaction_read_only = on;
    ALTER ROLE {READER} SET statement_timeout = '5min';
    ALTER ROLE {READER} SET search_path = analytics
"""
