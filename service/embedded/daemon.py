"""Starts one server program in its own session, waits until it answers, and stops it, by SIGKILL if necessary.

Invariant: a process is signalled only if its command line names the locked directory. The process id in a file may
belong to another process by now.
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

START_TIMEOUT = 60.0  # seconds; recovery after a crash replays the write-ahead log
# Not the caller's environment: variables such as PGOPTIONS would change what is tested.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_POLL_INTERVAL = 0.01  # seconds
_MAX_LOG = 1024 * 1024  # bytes above which a start truncates the log
_PORTS = range(20_000, 30_000)  # below the ports of outgoing connections, on Linux and macOS
# Logged by a server for a transient obstacle: a port in use, the shared memory of a killed predecessor.
_TRANSIENT = ("ddress already in use", "still in use", "lock file")


class Daemon(ABC):
    """A server on 127.0.0.1. Its port is chosen at the first start, and kept over restarts."""

    name: str
    stop_signals: Sequence[tuple[signal.Signals, float]]
    """Signals, each with the seconds that the server gets to end; SIGKILL comes last."""

    def __init__(self, log: Path, account: Account) -> None:
        self.log = log
        self.port = 0
        self._account = account
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that starts the server on `self.port`; its last word names its directory."""

    @abstractmethod
    def answers(self, pid: int) -> bool:
        """Return whether the server with this process id is ready for clients."""

    @abstractmethod
    def remembered_pid(self) -> int | None:
        """Return the process id in the server's own file, if there is one. It may be out of date."""

    @abstractmethod
    def prepare(self) -> None:
        """Create the files that a start needs."""

    def start(self) -> None:
        """Start the server; return when it answers.

        Raises:
            ServerDidNotStart: it ended or did not answer; the message has the end of its log.
        """
        self.stop()
        port, deadline = self.port, time.monotonic() + START_TIMEOUT
        while True:
            self.port = port or free_port()
            logged = self._attempt(deadline)
            if logged is None:
                return
            if not any(obstacle in logged for obstacle in _TRANSIENT) or time.monotonic() > deadline:
                end = " | ".join(logged.strip().splitlines()[-3:])
                raise ServerDidNotStart(f"{self.name} did not start; its log {self.log} ends: {end}")
            time.sleep(_POLL_INTERVAL)

    def stop(self) -> None:
        """Stop the server, if it runs; also one that a killed owner left behind.

        Raises:
            EmbeddedFailed: SIGKILL did not end it.
        """
        self._end(self.stop_signals)

    def kill(self) -> None:
        """Kill the server, as in a power cut."""
        self._end(())

    def restart(self, *, abruptly: bool = False) -> None:
        """Stop or kill the server, and start it on the same port."""
        self._end(() if abruptly else self.stop_signals)
        self.start()

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        process = self._process()
        return None if process is None else process.pid

    def _process(self) -> psutil.Process | None:
        if self._child is not None:
            return psutil.Process(self._child.pid) if self._child.poll() is None else None
        try:
            process = psutil.Process(self.remembered_pid() or -1)
            return process if self.command()[-1] in process.cmdline() else None
        except (psutil.Error, ValueError):
            return None

    def _attempt(self, deadline: float) -> str | None:
        """Start the server once; return None if it answers, otherwise what it logged, and leave nothing running."""
        self.prepare()
        with self.log.open("ab") as log:
            if log.tell() > _MAX_LOG:
                log.truncate(0)
            begin = log.seek(0, os.SEEK_END)
            self._child = child = self._spawn(log)
        while child.poll() is None and time.monotonic() < deadline:
            if self.answers(child.pid):
                return None
            time.sleep(_POLL_INTERVAL)
        self.kill()
        return self.log.read_bytes()[begin:].decode(errors="replace")

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - no user input
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
            **self._account.options,
        )

    def _end(self, signals: Sequence[tuple[signal.Signals, float]]) -> None:
        if (process := self._process()) is not None:
            for number, seconds in [*signals, (signal.SIGKILL, START_TIMEOUT)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
                if self._has_ended(process, seconds):
                    break
            else:
                raise EmbeddedFailed(f"{self.name} (process {process.pid}) does not end, even by SIGKILL.")
        self._child = None

    def _has_ended(self, process: psutil.Process, seconds: float) -> bool:
        """Wait up to so many seconds for a process to end; return whether it has."""
        deadline = time.monotonic() + seconds
        while self._is_running(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_INTERVAL)
        return True

    def _is_running(self, process: psutil.Process) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens at this moment."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedFailed(f"No port from {_PORTS.start} to {_PORTS.stop - 1} is free on 127.0.0.1.")
