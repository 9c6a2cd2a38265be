"""A PgBouncer for one test, in session or transaction mode, which can be killed and restarted on the same port."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from service.embedded.account import account
from tests.support.needs import path_of
from tests.support.servers.databases import Database
from tests.support.servers.ports import free_ports

CONFIGURATION = """
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {place}/users.txt
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 400
"""


class Pooler:
    """A PgBouncer before the server of a database; `size` bounds its connections for each login."""

    def __init__(self, database: Database, mode: str, place: Path, size: int) -> None:
        self._direct = database
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_ports()
        server = urlsplit(database.app_url)
        logins = map(urlsplit, (database.app_url, database.worker_url, database.owner_url))
        users = "".join(f'"{login.username}" "{login.password}"\n' for login in logins)
        ini = CONFIGURATION.format(
            host=server.hostname, server=server.port, port=self.port, place=place, mode=mode, size=size
        )
        for name, text in (("users.txt", users), ("pgbouncer.ini", ini)):
            (place / name).write_text(text)
            account().own(place / name)

    @property
    def database(self) -> Database:
        """The database, with addresses that lead through the pooler; the superuser's does not."""
        direct = self._direct
        return replace(
            direct,
            app_url=self.through(direct.app_url),
            worker_url=self.through(direct.worker_url),
            owner_url=self.through(direct.owner_url),
        )

    def through(self, url: str) -> str:
        """Return the address that leads through the pooler."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{self.port}").geturl()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        program = path_of("pgbouncer")
        assert program
        self._process = subprocess.Popen(
            [program, "-q", self._place / "pgbouncer.ini"],
            cwd=self._place,
            stderr=subprocess.DEVNULL,
            **account().options,
        )
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                assert self._process.poll() is None, "the pooler ended"

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def pooler(database: Database, mode: str, place: Path, size: int = 0) -> Iterator[Pooler]:
    """Give a running pooler; in session mode, every connection of a client needs one of the pooler's."""
    home = place / f"pgbouncer-{mode}"
    home.mkdir()
    account().own(home)
    made = Pooler(database, mode, home, size or (90 if mode == "session" else 20))
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(home)
