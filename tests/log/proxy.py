"""A TCP proxy before Postgres that loses the reply to a statement, once it took effect or while it is under way."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

EXECUTION = re.compile(rb"\AB")
"""What asyncpg sends to have a prepared statement executed begins with Bind (PostgreSQL documentation, 54.7)."""
READY = b"Z\x00\x00\x00\x05I"  # ReadyForQuery, outside a transaction: what was executed is committed
_CHUNK = 65_536


class Proxy:
    """Forwards bytes both ways, but for the reply that a test asks it to lose: the next one to `what`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self.what = EXECUTION
        self.lost = 0
        self.lose_next_reply = False
        self.cut_before_reply = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        link = Link(self, writer, upstream_writer)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(link.queries(reader))
                pumps.create_task(link.replies(upstream_reader))
        except asyncio.CancelledError:
            pass  # by close(); the server's own callback would complain of it
        finally:
            writer.close()
            upstream_writer.close()
            self._tasks.discard(task)

    async def close(self) -> None:
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._executing = False

    async def queries(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_CHUNK):
            self._executing = self._executing or bool(self._proxy.what.search(data))
            self._server.write(data)
            await self._server.drain()
            if self._executing and self._proxy.cut_before_reply:
                self._proxy.cut_before_reply = False
                self._lose()
        self._server.close()

    async def replies(self, reader: asyncio.StreamReader) -> None:
        tail = b""
        while data := await reader.read(_CHUNK):
            if not (self._executing and self._proxy.lose_next_reply):
                self._client.write(data)
                continue
            tail = (tail + data)[-len(READY) :]
            if tail == READY:
                self._proxy.lose_next_reply = False
                self._lose()
        self._client.close()

    def _lose(self) -> None:
        self._proxy.lost += 1
        self._client.transport.abort()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Give a proxy before the database at `url`, and the address that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, url.replace(f":{parts.port}/", f":{port}/")
    finally:
        server.close()
        await proxy.close()
