"""Real server processes for whole-system tests, run as an operator would."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.environment import ROOT
from tests.support.processes.forks import Forked, fork

STARTED: list["Process"] = []
"""The processes whose logs `log_watch` checks after each test."""


@dataclass
class Process:
    """A running command of OnRecord."""

    process: Forked | asyncio.subprocess.Process
    words: list[str] = field(default_factory=list)
    address: str = ""
    watched: int = 0
    """How many of `words` `log_watch` has checked."""

    @property
    def url(self) -> str:
        """The native door."""
        return self.address.replace("http", "ws", 1) + "/ws"

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


def refusals(node: Process) -> list[dict[str, Any]]:
    """Return the lines `refused` of a node's log so far."""
    lines = [json.loads(line) for line in node.words if line.startswith("{")]
    return [line for line in lines if line["event"] == "refused"]


async def start(
    env: dict[str, str], *command: str, program: tuple[str, ...] = ("service.cli",), afresh: bool = False
) -> Process:
    """Start `onrecord COMMAND`; stderr is collected, stdout is left to the caller.

    `program` is a Python module, with its arguments before the command's. It is forked from a process that has
    imported everything, which takes a twentieth of the time, unless `afresh` is set.
    """
    if afresh:
        process: Forked | asyncio.subprocess.Process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *program, *command,
            cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    else:
        process = await fork(env, ROOT, *program, *command)
    return watched(Process(process))


def watched(started: Process) -> Process:
    """Let `log_watch` check the log of a process; return it."""
    STARTED.append(started)
    return started


@asynccontextmanager
async def running(
    env: dict[str, str], *command: str, program: tuple[str, ...] = ("service.cli",), afresh: bool = False
) -> AsyncIterator[Process]:
    """Give a command that runs until the block ends, started as by `start`; `serve` has printed its address."""
    started = await start(env, *command, program=program, afresh=afresh)
    collecting = asyncio.create_task(collect(started))
    try:
        if command[0] in ("serve", "dev"):
            await wait_for_address(started)
        yield started
    finally:
        await started.stop()
        await collecting
        print("".join(started.words))  # noqa: T201 - pytest shows it where a test has failed


async def run(env: dict[str, str], *command: str, afresh: bool = False) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, stdout and stderr."""
    return await ended(await start(env, *command, afresh=afresh))


async def ended(started: Process) -> tuple[int, str, str]:
    """Wait for the end of a command; return its exit code, stdout and stderr."""
    out, err = await started.process.communicate()
    started.words += err.decode().splitlines(keepends=True)
    return started.process.returncode or 0, out.decode(), err.decode()


async def wait_for_address(started: Process) -> None:
    """Wait until a node has printed its address."""
    assert started.process.stdout is not None
    while not started.address:
        line = (await started.process.stdout.readline()).decode()
        assert line, f"the server ended without listening: {''.join(started.words)}"
        if "http://" in line:
            started.address = "http://" + line.split("http://")[1].strip()


async def collect(started: Process) -> None:
    """Collect the stderr of a command until it ends."""
    assert started.process.stderr is not None
    while line := await started.process.stderr.readline():
        started.words.append(line.decode())
