"""A TCP proxy before a server, which breaks the network between the two on request.

    async with proxied(database.app_url) as (proxy, url):
        proxy.hold()        # a black hole: connections stay open, and nothing passes
        proxy.restore()

Invariant: bytes are never changed, only delayed, withheld or cut off.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 seconds: the other side gets a reset instead of an orderly close."""


class Proxy:
    """Listens on 127.0.0.1 and forwards bytes both ways until a method changes that."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._target = (host, port)
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._refuses_after_accept = False
        self._open = asyncio.Event()
        self._open.set()
        self._delay = 0.0

    async def listen(self) -> None:
        """Accept connections; on the same port after `refuse`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every present connection; new ones are served."""
        for task, writer in [*self._tasks.items()]:
            _reset(writer)
            task.cancel()

    def reset(self) -> None:
        """Reset every connection, future ones as soon as they are accepted."""
        self._refuses_after_accept = True
        self.cut()

    def refuse(self) -> None:
        """Reset every connection and stop listening: a new one is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def hold(self) -> None:
        """Hold all data: connections are accepted and stay open."""
        self._open.clear()

    def delay(self, seconds: float) -> None:
        """Delay every piece by `seconds` each way; pieces stay in order."""
        self._delay = seconds

    async def restore(self) -> None:
        """Forward again, including the held data, as TCP would retransmit it."""
        self._refuses_after_accept = False
        self._delay = 0.0
        self._open.set()
        if self._server is None:
            await self.listen()

    async def close(self) -> None:
        """Stop, and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def passing(self) -> None:
        """Wait until a piece may pass."""
        await self._open.wait()
        if self._delay:
            await asyncio.sleep(self._delay)

    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> "Link":
        """Return what forwards the bytes of one connection."""
        return Link(self, client, server)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._refuses_after_accept:
            _reset(writer)
            return
        self._tasks[task] = writer
        try:
            await self._forward(reader, writer)
        except* (OSError, asyncio.CancelledError):
            pass  # either side is gone, or close() ends this; the server's own callback would log it
        finally:
            writer.close()
            self._tasks.pop(task, None)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        link = self.link(writer, upstream_writer)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(link.queries(reader))
                pumps.create_task(link.replies(upstream_reader))
        finally:
            upstream_writer.close()


class Link:
    """One connection through a proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._passing = proxy.passing
        self._client = client
        self._server = server

    async def queries(self, reader: asyncio.StreamReader) -> None:
        """Forward what the client sends, until it ends."""
        await self._pump(reader, self._server)

    async def replies(self, reader: asyncio.StreamReader) -> None:
        """Forward what the server sends, until it ends."""
        await self._pump(reader, self._client)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._passing()
            writer.write(data)
            await writer.drain()
        writer.close()


P = TypeVar("P", bound=Proxy)


@asynccontextmanager
async def proxied(url: str, make: Callable[[str, int], P]) -> AsyncIterator[tuple[P, str]]:
    """Give a proxy before the server at `url`, and the address that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = make(parts.hostname, parts.port)
    await proxy.listen()
    try:
        yield proxy, url.replace(f":{parts.port}/", f":{proxy.port}/")
    finally:
        await proxy.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class Swallowing(Proxy):
    """A proxy that drops messages of the server that contain a text, as a pooler drops notices."""

    def about(self, word: bytes) -> "Swallowing":
        self.word = word
        return self

    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Link:
        return _Swallowing(self, client, server, self.word)


class _Swallowing(Link):
    def __init__(
        self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter, word: bytes
    ) -> None:
        super().__init__(proxy, client, server)
        self._word = word

    async def replies(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK):
            if self._word not in data:
                self._client.write(data)
                await self._client.drain()
        self._client.close()


class Renaming(Proxy):
    """A proxy that sends the server's own address as `Host` and not the one that the browser used."""

    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> "Link":
        """Return what forwards the bytes of one connection."""
        return _RenamingLink(self, client, server)


class _RenamingLink(Link):
    async def queries(self, reader: asyncio.StreamReader) -> None:
        """Forward what the client sends, until it ends, with another host of the same length."""
        while data := await reader.read(CHUNK):
            self._server.write(data.replace(b"Host: 127.0.0.1", b"Host: 127.0.0.2"))
            await self._server.drain()
        self._server.close()
