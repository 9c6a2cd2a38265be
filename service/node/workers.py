"""Several nodes as one command: `onrecord serve --workers N`.

Each worker is a process and a node like any other, with a name of its own. All listen on one port, each on a socket
of its own (SO_REUSEPORT), so the kernel spreads connections evenly; the parent holds the port and serves nobody.

The rule: no worker dies silently, and none outlives the parent, however that ends: each holds one end of a socket
pair, over which it says where it listens, and whose end tells it that the parent is gone.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from service.config.settings import Settings

FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0
"""Seconds before a worker that ended is started again: twice as long each time, until one has lived for long."""

LONG = 60.0
"""Seconds after which a worker counts as having come up well."""

PATIENCE = 5.0
"""Seconds beyond the drain that a worker has to end, before it is killed."""

WRONG, UNREACHED = 2, 3
"""Exit codes of `service.cli`: wrong settings, and a server that cannot be reached."""

COMMAND = (sys.executable, "-m", "service.cli", "serve")

log = logging.getLogger("onrecord.workers")


class Parent:
    """The parent, as a worker sees it, by the descriptor that it was given."""

    def __init__(self, descriptor: int) -> None:
        self._line = socket.socket(fileno=descriptor)

    def watch(self) -> None:
        """Stop this process, in order, once the parent is gone; needs a running loop."""
        self._line.setblocking(False)
        asyncio.get_running_loop().add_reader(self._line, self._heard)

    def ready(self, address: str) -> None:
        """Say where this worker listens."""
        with contextlib.suppress(OSError):  # it is gone, and `watch` sees to that
            self._line.sendall(address.encode())

    def _heard(self) -> None:
        with contextlib.suppress(ConnectionError):
            if self._line.recv(1):
                return
        asyncio.get_running_loop().remove_reader(self._line)
        log.warning("parent_gone")
        signal.raise_signal(signal.SIGTERM)


def listener(host: str, port: int) -> socket.socket:
    """Return a socket that shares its port with those of the other workers; it does not listen yet.

    Raises:
        OSError: that cannot be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(address)
    return made


async def run(settings: Settings, count: int, ready: Callable[[str], None]) -> int:
    """Keep so many workers running until cancelled; `ready` is told the address once all listen for the first time.

    Returns the exit code of a worker that cannot run as things are, or that never came to listen; the others are
    stopped.
    """
    # Bound and never listening: names the port where the setting leaves that open, and keeps it while workers change.
    with listener(settings.host, settings.port) as held:
        port = held.getsockname()[1]
        crew = [_Worker(number, port, settings) for number in range(1, count + 1)]
        keeping = [asyncio.create_task(worker.keep()) for worker in crew]
        announcing = asyncio.create_task(_announce(crew, ready))
        try:
            done, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in (announcing, *keeping):
                task.cancel()
            await asyncio.gather(announcing, *keeping, return_exceptions=True)


async def _announce(crew: Sequence["_Worker"], ready: Callable[[str], None]) -> None:
    addresses = [await worker.address for worker in crew]
    ready(addresses[0])


class _Worker:
    """One place in the crew, whoever fills it."""

    def __init__(self, number: int, port: int, settings: Settings) -> None:
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._name = f"{settings.node}-{number}"
        self._env = os.environ | {"ONRECORD_NODE": self._name, "ONRECORD_PORT": str(port)}
        if settings.metrics_port:
            self._env["ONRECORD_METRICS_PORT"] = str(settings.metrics_port + number - 1)
        self._patience = settings.drain_seconds + PATIENCE

    async def keep(self) -> int:
        """Run the worker, and again whenever it ends; return an exit code where that is no use."""
        clock = asyncio.get_running_loop().time
        pause = FIRST_PAUSE
        while True:
            began = clock()
            code = await self._once()
            if code == WRONG or not self.address.done():
                return code if code > 0 else UNREACHED  # it would end in the same way again
            if clock() - began > LONG:
                pause = FIRST_PAUSE
            log.error("worker_ended", extra={"worker": self._name, "code": code, "again_in": pause})
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _once(self) -> int:
        mine, theirs = socket.socketpair()
        mine.setblocking(False)
        with mine:
            with theirs:
                descriptor = theirs.fileno()
                # In a session of its own: Ctrl-C is the parent's, which then stops the workers in order.
                process = await asyncio.create_subprocess_exec(
                    *COMMAND, "--worker", str(descriptor),
                    env=self._env, pass_fds=[descriptor], start_new_session=True,
                )  # fmt: skip
            log.info("worker_started", extra={"worker": self._name, "pid": process.pid})
            hearing = asyncio.create_task(self._hear(mine))
            try:
                return await process.wait()
            finally:
                hearing.cancel()
                await self._end(process)

    async def _hear(self, line: socket.socket) -> None:
        said = await asyncio.get_running_loop().sock_recv(line, 1024)
        if said and not self.address.done():
            self.address.set_result(said.decode())

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._patience):
                await process.wait()
        except TimeoutError:
            log.error("worker_killed", extra={"worker": self._name, "pid": process.pid})  # noqa: TRY400 - known
            process.kill()
            await process.wait()
