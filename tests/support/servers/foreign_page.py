"""An empty page of another origin, for a browser to open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


@asynccontextmanager
async def foreign_page() -> AsyncIterator[str]:
    """Serve an empty page; give its origin."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
        await writer.drain()
    except asyncio.IncompleteReadError:
        pass  # a browser opens connections in advance and closes those that it does not need
    finally:
        writer.close()
