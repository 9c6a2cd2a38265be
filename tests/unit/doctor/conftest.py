"""The doctor's patients are real servers, and have what is found."""

import asyncio

from tests.support.servers.databases import database
from tests.support.servers.proxies import CHUNK, Link, Proxy

__all__ = ["Swallowing", "database"]


class Swallowing(Proxy):
    """A proxy that keeps to itself what the server sends about something, as a pooler does with notices."""

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
