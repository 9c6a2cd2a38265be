"""A proxy before Postgres that loses the reply to a statement, after it took effect or while it runs."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.servers import proxies

EXECUTION = re.compile(rb"\AB")
"""asyncpg executes a prepared statement with a message that begins with Bind (PostgreSQL documentation, 54.7)."""
READY = b"Z\x00\x00\x00\x05I"  # ReadyForQuery, outside a transaction: the statement is committed


class Proxy(proxies.Proxy):
    """Forwards bytes both ways, except the next reply to `what`, which a test can lose."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.what = EXECUTION
        self.lost = 0
        self.lose_next_reply = False
        self.cut_before_reply = False

    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> "Link":
        """Return what forwards the bytes of one connection."""
        return Link(self, client, server)


class Link(proxies.Link):
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        super().__init__(proxy, client, server)
        self._proxy = proxy
        self._executing = False

    async def queries(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(proxies.CHUNK):
            self._executing = self._executing or bool(self._proxy.what.search(data))
            self._server.write(data)
            await self._server.drain()
            if self._executing and self._proxy.cut_before_reply:
                self._proxy.cut_before_reply = False
                self._lose()
        self._server.close()

    async def replies(self, reader: asyncio.StreamReader) -> None:
        tail = b""
        while data := await reader.read(proxies.CHUNK):
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
    """Give a proxy before the database at `url`, and its address."""
    async with proxies.proxied(url, Proxy) as found:
        yield found
