"""Several nodes as one command: `onrecord serve --workers N`.

Each worker is a process and a node with a name of its own. All listen on one port, each on its own socket
(SO_REUSEPORT), so the kernel spreads connections evenly; the parent reserves the port and accepts no connection.

Invariant: no worker dies silently, and none outlives the parent. Each holds one end of a socket pair: it reports its
address over the pair, and reads end of file from it when the parent has exited.
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
"""Seconds before a worker that ended is restarted; doubled each time, unless the worker ran for `LONG`."""

LONG = 60.0
"""Seconds after which a worker counts as started successfully."""

PATIENCE = 5.0
"""Seconds beyond the drain time after which a worker is killed."""

WRONG, UNREACHED = 2, 3
"""Exit codes of `service.cli`: invalid settings, and a server that cannot be reached."""

COMMAND = (sys.executable, "-m", "service.cli", "serve")

log = logging.getLogger("onrecord.workers")


class Parent:
    """The parent of a worker, reached over an inherited file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._line = socket.socket(fileno=descriptor)

    def watch(self) -> None:
        """Stop this process in order once the parent has exited; needs a running loop."""
        self._line.setblocking(False)
        asyncio.get_running_loop().add_reader(self._line, self._on_readable)

    def ready(self, address: str) -> None:
        """Report the address at which this worker listens."""
        with contextlib.suppress(OSError):  # the parent has exited, which `watch` handles
            self._line.sendall(address.encode())

    def _on_readable(self) -> None:
        with contextlib.suppress(ConnectionError):
            if self._line.recv(1):
                return
        asyncio.get_running_loop().remove_reader(self._line)
        log.warning("parent_gone")
        signal.raise_signal(signal.SIGTERM)


def listener(host: str, port: int) -> socket.socket:
    """Return a bound socket that shares its port with those of the other workers, and does not listen yet.

    Raises:
        OSError: the address cannot be resolved or bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(address)
    return bound


async def run(settings: Settings, count: int, ready: Callable[[str], None]) -> int:
    """Keep `count` workers running until cancelled; `ready` is called with the address once all listen.

    Returns the exit code of a worker whose settings are invalid, or that never listened; the others are stopped.
    """
    # Bound and never listening: chooses the port if the settings leave it open, and reserves it across restarts.
    with listener(settings.host, settings.port) as reserved:
        port = reserved.getsockname()[1]
        workers = [_Worker(number, port, settings) for number in range(1, count + 1)]
        running = [asyncio.create_task(worker.keep()) for worker in workers]
        announcing = asyncio.create_task(_announce(workers, ready))
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in (announcing, *running):
                task.cancel()
            await asyncio.gather(announcing, *running, return_exceptions=True)


async def _announce(workers: Sequence["_Worker"], ready: Callable[[str], None]) -> None:
    addresses = [await worker.address for worker in workers]
    ready(addresses[0])


class _Worker:
    """One worker process and its replacements."""

    def __init__(self, number: int, port: int, settings: Settings) -> None:
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._name = f"{settings.node}-{number}"
        self._env = os.environ | {"ONRECORD_NODE": self._name, "ONRECORD_PORT": str(port)}
        if settings.metrics_port:
            self._env["ONRECORD_METRICS_PORT"] = str(settings.metrics_port + number - 1)
        self._patience = settings.drain_seconds + PATIENCE

    async def keep(self) -> int:
        """Run the worker and restart it when it ends; return an exit code if a restart cannot help."""
        clock = asyncio.get_running_loop().time
        pause = FIRST_PAUSE
        while True:
            began = clock()
            code = await self._run_process()
            if code == WRONG or not self.address.done():
                return code if code > 0 else UNREACHED  # a restart would end in the same way
            if clock() - began > LONG:
                pause = FIRST_PAUSE
            log.error("worker_ended", extra={"worker": self._name, "code": code, "again_in": pause})
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _run_process(self) -> int:
        parent_end, worker_end = socket.socketpair()
        parent_end.setblocking(False)
        with parent_end:
            with worker_end:
                descriptor = worker_end.fileno()
                # In a session of its own, so Ctrl-C signals only the parent, which then stops the workers in order.
                process = await asyncio.create_subprocess_exec(
                    *COMMAND, "--worker", str(descriptor),
                    env=self._env, pass_fds=[descriptor], start_new_session=True,
                )  # fmt: skip
            log.info("worker_started", extra={"worker": self._name, "pid": process.pid})
            reading = asyncio.create_task(self._read_address(parent_end))
            try:
                return await process.wait()
            finally:
                reading.cancel()
                await self._end(process)

    async def _read_address(self, line: socket.socket) -> None:
        address = await asyncio.get_running_loop().sock_recv(line, 1024)
        if address and not self.address.done():
            self.address.set_result(address.decode())

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
