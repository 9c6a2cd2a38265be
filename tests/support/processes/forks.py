"""Processes that run a module as `python -m` does, forked from a process that has imported everything.

The start of Python takes most of the time of a whole-system test: about a second of a core for each node, projector and
command. A forked process has its own environment, output, signals and exit code, at a
twentieth of that time. OnRecord creates nothing at import time, so the processes share no state.

Invariant: the start and the end of an interpreter are tested in a newly started one
(`tests/unit/cli/test_cli.py`, the drills).
"""

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

IMPORTED = (
    "service.node.server",
    "service.node.projector",
    "service.node.workers",
    "service.cli.node",
    "migrations.run",
    "service.cli.history",
    "service.cli",
    "service.doctor",
    "service.cli.erasure",
    "service.cli.retention",
    "service.cli.keys",
    "databases.backends.postgres",
    "uvicorn.lifespan.off",
    "tests.support.processes.forks",
    "tests.support.processes.preloaded",
)
"""The modules that a process has imported already; it imports others itself."""


class Forked:
    """A running process, with the part of `asyncio.subprocess.Process` that tests use."""

    def __init__(self, process: Any, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self._process = process
        self.stdout = stdout
        self.stderr = stderr
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(process.sentinel, self._end)

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self._process.pid)

    @property
    def returncode(self) -> int | None:
        """The exit code, negative if a signal ended it; None while it runs."""
        return self._process.exitcode if self._ended.is_set() else None

    async def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        await self._ended.wait()
        return int(self._process.exitcode)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal.

        Raises:
            ProcessLookupError: it has ended.
        """
        if self._ended.is_set():
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send_signal(signal.SIGKILL)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait until it has ended; return its stdout and stderr."""
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._process.join()
        self._ended.set()


async def fork(env: dict[str, str], place: Path, module: str, *words: str) -> Forked:
    """Run a module with arguments, in a directory."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    (out, its_out), (err, its_err) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(env, place, its_out, its_err, module, words), daemon=True)
    with its_out, its_err:
        await asyncio.to_thread(process.start)  # the first one waits for the imports
    return Forked(process, await _reader(out), await _reader(err))


async def _reader(pipe: Connection) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    with pipe:
        file = os.fdopen(os.dup(pipe.fileno()), "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader


def _run(
    env: dict[str, str], place: Path, out: Connection, err: Connection, module: str, words: tuple[str, ...]
) -> None:
    """Become `python -m module words`."""
    with out, err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
