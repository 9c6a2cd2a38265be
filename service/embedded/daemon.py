"""One server program: started in a session of its own, watched until it answers, and stopped for certain.

The rule: a process is only ever signalled after it was recognised as ours, by its command line, which names the
directory that we hold the lock of. Process numbers that are merely remembered may be someone else's by now.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import psutil

from service.config.development import EmbeddedFailed, ServerDidNotStart
from service.embedded.account import Account

PATIENCE = 60.0  # seconds that a start may take: recovery after a crash replays the write-ahead log
_LOOK = 0.01  # seconds between looks
_LONGEST_LOG = 1024 * 1024  # bytes after which a start begins the log anew
_PORTS = range(20_000, 30_000)  # below the ports of outgoing connections, on Linux and macOS
# What a server logs when something stands in its way for a moment: another's port, a killed predecessor's memory.
_PASSING = ("ddress already in use", "still in use", "lock file")


class Daemon(ABC):
    """A server on 127.0.0.1. Its port is chosen at the first start, and kept over restarts."""

    name: str
    stop_signals: Sequence[
        tuple[signal.Signals, float]
    ]  # each with the seconds it is given; SIGKILL comes last

    def __init__(self, log: Path, account: Account) -> None:
        self.log = log
        self.port = 0
        self._account = account
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The words that start the server on `self.port`; the last one names the directory it belongs to."""

    @abstractmethod
    def answers(self, pid: int) -> bool:
        """Whether the server with this process number is ready for clients."""

    @abstractmethod
    def remembered_pid(self) -> int | None:
        """The process number in the server's own file, if there is one. It may be out of date."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes the files that a start needs."""

    def start(self) -> None:
        """Starts the server; returns when it answers.

        Raises:
            ServerDidNotStart: with the end of the server's log.
        """
        self.stop()
        port, deadline = self.port, time.monotonic() + PATIENCE
        while True:
            self.port = port or free_port()
            story = self._attempt(deadline)
            if story is None:
                return
            if not any(words in story for words in _PASSING) or time.monotonic() > deadline:
                end = " | ".join(story.strip().splitlines()[-3:])
                raise ServerDidNotStart(f"{self.name} did not start; its log {self.log} ends: {end}")
            time.sleep(_LOOK)

    def stop(self) -> None:
        """Stops the server, one left behind by a killed owner too; does nothing if there is none."""
        self._end(self.stop_signals)

    def kill(self) -> None:
        """Ends the server as a power cut would: it gets to do nothing more."""
        self._end(())

    def restart(self, *, abruptly: bool = False) -> None:
        """Stops (or kills) and starts the server, on the same port."""
        self._end(() if abruptly else self.stop_signals)
        self.start()

    @property
    def pid(self) -> int | None:
        """The process number of the running server."""
        found = self._found()
        return None if found is None else found.pid

    def _found(self) -> psutil.Process | None:
        if self._child is not None:
            return psutil.Process(self._child.pid) if self._child.poll() is None else None
        try:
            process = psutil.Process(self.remembered_pid() or -1)
            return process if self.command()[-1] in process.cmdline() else None
        except (psutil.Error, ValueError):
            return None

    def _attempt(self, deadline: float) -> str | None:
        """Starts the server once: None if it answers, otherwise what it logged, and then nothing is left running."""
        self.prepare()
        with self.log.open("ab") as log:
            if log.tell() > _LONGEST_LOG:
                log.truncate(0)
            begin = log.seek(0, os.SEEK_END)
            self._child = child = self._spawn(log)
        while child.poll() is None and time.monotonic() < deadline:
            if self.answers(child.pid):
                return None
            time.sleep(_LOOK)
        self.kill()
        return self.log.read_bytes()[begin:].decode(errors="replace")

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own words
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            # Nothing of the caller's: PGOPTIONS and the like would change what is tested.
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            user=self._account.user,
            group=self._account.group,
            extra_groups=self._account.extra_groups,
        )

    def _end(self, signals: Sequence[tuple[signal.Signals, float]]) -> None:
        if (process := self._found()) is not None:
            for number, seconds in [*signals, (signal.SIGKILL, PATIENCE)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
                if self._gone(process, seconds):
                    break
        if self._child is not None:
            self._child.wait()
        self._child = None

    def _gone(self, process: psutil.Process, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._lives(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK)
        return True

    def _lives(self, process: psutil.Process) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedFailed(f"No port from {_PORTS.start} to {_PORTS.stop - 1} is free on 127.0.0.1.")
